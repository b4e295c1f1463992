#include "millrace/engine/base/json_writer.h"

#include <gtest/gtest.h>

namespace millrace::json_writer_test {
namespace {

TEST(JsonWriter, WritesNestedValuesInOrder) {
  JsonWriter json;
  json.BeginObject().Key("a").BeginArray().Number(uint64_t{1}).Number(int64_t{-2}).EndArray();
  json.Key("b").BeginObject().EndObject().Key("c").Bool(true).Key("d").Null().EndObject();
  EXPECT_EQ(json.Take(), R"({"a": [1, -2], "b": {}, "c": true, "d": null})");
}

TEST(JsonWriter, StartsAnewAfterTake) {
  JsonWriter json;
  json.BeginArray().EndArray();
  EXPECT_EQ(json.Take(), "[]");
  EXPECT_EQ(json.String("x").Take(), "\"x\"");
}

TEST(JsonWriter, KeepsTheLargestNumbers) {
  EXPECT_EQ(JsonWriter().Number(UINT64_MAX).Take(), "18446744073709551615");
  EXPECT_EQ(JsonWriter().Number(INT64_MIN).Take(), "-9223372036854775808");
}

TEST(JsonWriter, EscapesWhatWouldEndTheStringOrMoveTheCursor) {
  EXPECT_EQ(JsonString("a\"b\\c\n\x1b[2J\x7f"), R"("a\"b\\c\n\u001b[2J\u007f")");
  EXPECT_EQ(JsonString(std::string_view("\0", 1)), R"("\u0000")");
}

TEST(JsonWriter, RepairsTextThatIsNotUtf8) {
  EXPECT_EQ(JsonString("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
            "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(JsonString("\xff"), "\"" + bad + "\"");
  EXPECT_EQ(JsonString("\xe2\x82"), "\"" + bad + bad + "\"");            // cut off
  EXPECT_EQ(JsonString("\xc0\x80"), "\"" + bad + bad + "\"");            // overlong
  EXPECT_EQ(JsonString("\xed\xa0\x80"), "\"" + bad + bad + bad + "\"");  // a surrogate
  EXPECT_EQ(JsonString("\xf4\x90\x80\x80"), "\"" + bad + bad + bad + bad + "\"");
}

TEST(JsonWriterDeathTest, RefusesValuesOutOfPlace) {
  JsonWriter json;
  json.BeginObject();
  EXPECT_DEATH(json.Number(uint64_t{1}), "without a key");
  EXPECT_DEATH(json.EndArray(), "without its begin");
  EXPECT_DEATH(json.Take(), "before its end");
}

}  // namespace
}  // namespace millrace::json_writer_test
