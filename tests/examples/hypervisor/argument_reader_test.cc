#include "examples/hypervisor/qmp/argument_reader.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/qmp/json_text.h"

namespace millrace::argument_reader_test {
namespace {

// What Finish() says after `read`, for typed members and for members from text.
template <typename Read>
std::string Typed(std::string_view text, Read read) {
  const absl::StatusOr<json::value> value = ParseJson(text);
  ArgumentReader reader(value->get_object());
  read(reader);
  return std::string(reader.Finish().message());
}
template <typename Read>
std::string Text(std::string_view text, Read read) {
  const absl::StatusOr<OptionValue> value = ParseKeyval(text, "");
  ArgumentReader reader = value->Reader();
  read(reader);
  return std::string(reader.Finish().message());
}

TEST(ArgumentReader, MissesWhatIsRequired) {
  const auto read = [](ArgumentReader& reader) { reader.String("device"); };
  EXPECT_EQ(Typed("{}", read), "Parameter 'device' is missing");
  EXPECT_EQ(Typed("{'device':'a'}", read), "");
}

TEST(ArgumentReader, NamesTheTypeThatIsWanted) {
  const auto wanted = [](std::string_view name, std::string_view type) {
    return "Invalid parameter type for '" + std::string(name) + "', expected: " + std::string(type);
  };
  EXPECT_EQ(Typed("{'a':5}", [](auto& r) { r.OptionalString("a"); }), wanted("a", "string"));
  EXPECT_EQ(Typed("{'a':null}", [](auto& r) { r.String("a"); }), wanted("a", "string"));
  for (const std::string_view value : {"'5'", "1.5", "1.0", "true", "99999999999999999999"}) {
    EXPECT_EQ(Typed("{'a':" + std::string(value) + "}", [](auto& r) { r.OptionalInteger("a"); }),
              wanted("a", "integer"));
  }
  EXPECT_EQ(Typed("{'a':'on'}", [](auto& r) { r.OptionalBool("a"); }), wanted("a", "boolean"));
  EXPECT_EQ(Typed("{'a':1}", [](auto& r) { r.OptionalObject("a"); }), wanted("a", "object"));
  EXPECT_EQ(Typed("{'a':1}", [](auto& r) { r.OptionalArray("a"); }), wanted("a", "array"));
  for (const std::string_view value : {"'5'", "1.5", "true", "null"}) {
    const std::string a = "{'a':" + std::string(value) + "}";
    EXPECT_EQ(Typed(a, [](auto& r) { r.OptionalSize("a"); }), "Parameter 'a' expects uint64");
    EXPECT_EQ(Typed(a, [](auto& r) { r.OptionalUint32("a"); }), "Parameter 'a' expects uint64");
  }
  EXPECT_EQ(Typed("{'a':-5}", [](auto& r) { r.OptionalUint32("a"); }),
            "Parameter 'a' expects uint32_t");
  EXPECT_EQ(Typed("{'a':4294967296}", [](auto& r) { r.OptionalUint32("a"); }),
            "Parameter 'a' expects uint32_t");
}

// As QEMU's input visitor has it.
TEST(ArgumentReader, ASizeBelowZeroCountsFromTheTop) {
  EXPECT_EQ(Typed("{'a':-1}", [](auto& r) { EXPECT_EQ(r.OptionalSize("a"), ~uint64_t{0}); }), "");
}

TEST(ArgumentReader, RefusesOtherThanTheValuesOfAnEnumeration) {
  constexpr std::array<std::string_view, 2> kNames = {"full", "top"};
  const auto read = [&](ArgumentReader& reader) { reader.OptionalEnum("sync", kNames); };
  EXPECT_EQ(Typed("{'sync':'foo'}", read), "Parameter 'sync' does not accept value 'foo'");
  const json::object top = {{"sync", "top"}};
  EXPECT_EQ(ArgumentReader(top).OptionalEnum("sync", kNames), 1u);
}

TEST(ArgumentReader, RefusesWhatNobodyRead) {
  const auto read = [](ArgumentReader& reader) { reader.OptionalString("a"); };
  EXPECT_EQ(Typed("{'a':'x','b':1}", read), "Parameter 'b' is unexpected");
  EXPECT_EQ(Typed("{'a':'x','b':1}", [](ArgumentReader& reader) { reader.AcceptRest(); }), "");
}

TEST(ArgumentReader, KeepsTheFirstMistake) {
  const auto read = [](ArgumentReader& reader) {
    reader.OptionalInteger("b");
    EXPECT_FALSE(reader.ok());
    EXPECT_EQ(reader.String("a"), "");
  };
  EXPECT_EQ(Typed("{'b':'x','c':1}", read), "Invalid parameter type for 'b', expected: integer");
}

TEST(ArgumentReader, NamesNestedMembersByTheirPath) {
  const auto read = [](ArgumentReader& reader) {
    if (auto cache = reader.OptionalObject("cache")) {
      cache->OptionalBool("direct");
      static_cast<void>(cache->Finish());
    }
  };
  EXPECT_EQ(Typed("{'cache':{'direct':1}}", read),
            "Invalid parameter type for 'cache.direct', expected: boolean");
  EXPECT_EQ(Typed("{'cache':{'foo':1}}", read), "Parameter 'cache.foo' is unexpected");
}

TEST(ArgumentReader, ConvertsText) {
  EXPECT_EQ(Text("a=0x10,b=-7,c=yes,d=off,e=1.5k,f=2G",
                 [](ArgumentReader& reader) {
                   EXPECT_EQ(reader.Integer("a"), 16);
                   EXPECT_EQ(reader.Integer("b"), -7);
                   EXPECT_EQ(reader.OptionalBool("c"), true);
                   EXPECT_EQ(reader.OptionalBool("d"), false);
                   EXPECT_EQ(reader.OptionalSize("e"), 1536u);
                   EXPECT_EQ(reader.OptionalSize("f"), uint64_t{2} << 30);
                 }),
            "");
}

TEST(ArgumentReader, RefusesTextOfTheWrongKind) {
  EXPECT_EQ(Text("a=1K", [](auto& r) { r.OptionalInteger("a"); }), "Parameter 'a' expects integer");
  EXPECT_EQ(Text("a=", [](auto& r) { r.OptionalInteger("a"); }), "Parameter 'a' expects integer");
  EXPECT_EQ(Text("a=foo", [](auto& r) { r.OptionalBool("a"); }),
            "Parameter 'a' expects 'on' or 'off'");
  for (const std::string_view size : {"-1", "x", "1x", "1.5", "20E", "1.5.5k", "k", "1kk"}) {
    EXPECT_EQ(Text("a=" + std::string(size), [](auto& r) { r.OptionalSize("a"); }),
              "Parameter 'a' expects a non-negative number below 2^64")
        << size;
  }
}

}  // namespace
}  // namespace millrace::argument_reader_test
