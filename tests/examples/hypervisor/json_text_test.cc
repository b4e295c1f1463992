#include "examples/hypervisor/qmp/json_text.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/qmp/json_format.h"
#include "tests/support/seeds.h"

namespace millrace::json_text_test {
namespace {

// What a stream makes of `text`, cut at `cuts`: values as JSON, mistakes as their texts.
std::vector<std::string> Read(std::string_view text, const std::vector<size_t>& cuts = {},
                              JsonLimits limits = {}) {
  std::vector<std::string> seen;
  const auto take = [&](absl::StatusOr<json::value> value) {
    seen.push_back(value.ok() ? FormatJson(*value, JsonLayout::kLine)
                              : std::string(value.status().message()));
  };
  JsonStream stream(limits);
  size_t begin = 0;
  for (const size_t cut : cuts) {
    stream.Feed(text.substr(begin, cut - begin), take);
    begin = cut;
  }
  stream.Feed(text.substr(begin), take);
  stream.End(take);
  return seen;
}

std::vector<std::string> Wrong(std::vector<std::string> texts) {
  for (std::string& text : texts) text = "JSON parse error, " + text;
  return texts;
}

TEST(JsonText, ReadsValuesWithNothingBetweenThem) {
  EXPECT_EQ(Read("{}[]{'a':1}\"x\"true"),
            (std::vector<std::string>{"{}", "[]", R"({"a": 1})", R"("x")", "true"}));
}

TEST(JsonText, KeepsNumbersAsExactlyAsTheirTypeCan) {
  EXPECT_EQ(Read("[9223372036854775807,-9223372036854775808,18446744073709551615,1.5,-0]"),
            (std::vector<std::string>{
                "[9223372036854775807, -9223372036854775808, 18446744073709551615, 1.5, 0]"}));
  EXPECT_EQ(Read("[18446744073709551616,1e999,-1e999]"),
            (std::vector<std::string>{"[1.8446744073709552e+19, 1e999, -1e999]"}));
}

TEST(JsonText, DecodesEscapesAndSurrogatePairs) {
  EXPECT_EQ(ParseJson(R"("\"\\\/\b\f\n\r\t\u0041\u0000\ud83d\ude00")")->get_string(),
            json::string("\"\\/\b\f\n\r\tA\0\xf0\x9f\x98\x80", 14));
  EXPECT_EQ(ParseJson("'\\'\"'")->get_string(), "'\"");
}

TEST(JsonText, TellsMistakesInQemusWords) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> kCases = {
      {"foo", {"invalid keyword 'foo'"}},
      {"{\"execute\":}", {"expecting value"}},
      {"}", {"expecting value"}},
      {"[1,2}", {"expected separator in list"}},
      {"{'a':1 'b':2}", {"expected separator in dict"}},
      {"{'a' 1}", {"missing : in object pair"}},
      {"{'a':1,}", {"expecting value"}},
      {"{1:2}", {"key is not a string in object"}},
      {"{'a':1,'a':2}", {"duplicate key"}},
      {"{'a':1", {"premature EOI"}},
      {"%d", {"stray '%'"}},
      {"\"a\\qb\"", {"invalid escape sequence in string"}},
      {"\"\\ud800\"", {"\\ud800 is not a valid Unicode character"}},
      {"\"\\ud800\\u0041\"", {"\\ud800 is not a valid Unicode character"}},
      {"\"\\u00xy\"", {"\\u00xy is not a valid Unicode character"}},
      {"\"\\u00\"", {"\\u00\" is not a valid Unicode character"}},
      {"\"\x80\"", {"invalid UTF-8 sequence in string"}},
      {"\"\xed\xa0\x80\"", {"invalid UTF-8 sequence in string"}},
      {"01", {"stray '01'"}},
      {"-}", {"stray '-}'"}},
      {"\"open\n", {"stray '\"open\n'"}},
  };
  for (const auto& [text, mistakes] : kCases) EXPECT_EQ(Read(text), Wrong(mistakes)) << text;
}

TEST(JsonText, GoesOnBehindAMistake) {
  // To the next structural or control character, but for a tab.
  EXPECT_EQ(Read("{'a':0123}{}"),
            (std::vector<std::string>{"JSON parse error, stray '01'",
                                      "JSON parse error, expecting value", "{}"}));
  EXPECT_EQ(Read("% 1 \t 2 \n3"), (std::vector<std::string>{"JSON parse error, stray '%'", "3"}));
  EXPECT_EQ(Read("[1}}[2]"),
            (std::vector<std::string>{"JSON parse error, expected separator in list",
                                      "JSON parse error, expecting value", "[2]"}));
}

TEST(JsonText, HoldsItsLimits) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(Read(nested(1024)).size(), 1u);
  EXPECT_EQ(Read(nested(1024))[0][0], '[');
  EXPECT_EQ(Read(nested(1025))[0], "JSON nesting depth limit exceeded");
  // Texts inside commands are read on a coroutine's stack.
  EXPECT_TRUE(ParseJson(nested(64)).ok());
  EXPECT_EQ(ParseJson(nested(65)).status().message(), "JSON nesting depth limit exceeded");
  const JsonLimits limits = {.token_bytes_max = 100, .token_count_max = 20};
  EXPECT_EQ(Read("'" + std::string(97, 'x') + "'", {}, limits).size(), 1u);
  EXPECT_EQ(Read("'" + std::string(98, 'x') + "'", {}, limits)[0],
            "JSON token size limit exceeded");
  EXPECT_EQ(Read("[1,1,1,1,1,1,1,1,1,1,1]", {}, limits)[0], "JSON token count limit exceeded");
  // A string that never ends is not collected for ever.
  EXPECT_EQ(Read("'" + std::string(1000, 'x'), {}, limits)[0], "JSON token size limit exceeded");
}

TEST(JsonText, TakesExactlyOneValueWhereOneIsWanted) {
  EXPECT_TRUE(ParseJson("{}").ok());
  EXPECT_EQ(ParseJson("{} {}").status().message(), "Expecting at most one JSON value");
  EXPECT_EQ(ParseJson("{").status().message(), "JSON parse error, premature EOI");
  EXPECT_FALSE(ParseJson("").ok());
}

const char* const kFragments[] = {"{",
                                  "}",
                                  "[",
                                  "]",
                                  ":",
                                  ",",
                                  "\"",
                                  "'",
                                  "\\",
                                  "0",
                                  "1",
                                  "-",
                                  ".",
                                  "e",
                                  "true",
                                  "null",
                                  "x",
                                  " ",
                                  "\t",
                                  "\n",
                                  "\x01",
                                  "\x80",
                                  "\xc3\xa9",
                                  "\xff",
                                  "\\u0041",
                                  "\\ud83d\\ude00",
                                  "\"a\"",
                                  "'b'",
                                  "{\"execute\":\"quit\"}",
                                  "%",
                                  "1.5",
                                  "-0",
                                  "[[",
                                  "{'k':"};

std::string RandomText(std::mt19937_64& random) {
  std::string text;
  for (size_t count = random() % 40; count > 0; --count) {
    text += kFragments[random() % std::size(kFragments)];
  }
  return text;
}

TEST(JsonText, ReadsTheSameHoweverItIsCut) {
  for (const uint64_t seed : Seeds()) {
    std::mt19937_64 random(seed);
    for (int round = 0; round < 50; ++round) {
      const std::string text = RandomText(random);
      std::vector<size_t> cuts;
      for (size_t i = 0; i < text.size(); ++i) {
        if (random() % 3 == 0) cuts.push_back(i);
      }
      EXPECT_EQ(Read(text, cuts), Read(text)) << "seed " << seed << ": " << text;
    }
  }
}

json::value RandomValue(std::mt19937_64& random, int depth) {
  switch (random() % (depth > 0 ? 8 : 6)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return static_cast<int64_t>(random());
    case 3:
      return static_cast<double>(random() % 100000) + 0.125;
    case 4:
    case 5: {
      constexpr std::string_view kPieces[] = {
          "a", "\"", "\\", "\n", "\x1f", "\xc3\xa9", "\xf0\x9f\x98\x80", std::string_view("\0", 1)};
      std::string text;
      for (size_t count = random() % 6; count > 0; --count) {
        text += kPieces[random() % std::size(kPieces)];
      }
      return json::value(text);
    }
    case 6: {
      json::array array;
      for (size_t count = random() % 4; count > 0; --count) {
        array.push_back(RandomValue(random, depth - 1));
      }
      return array;
    }
    default: {
      json::object object;
      for (size_t count = random() % 4; count > 0; --count) {
        object["key" + std::to_string(random() % 10)] = RandomValue(random, depth - 1);
      }
      return object;
    }
  }
}

TEST(JsonFormat, IsReadBackAsItWas) {
  for (const uint64_t seed : Seeds()) {
    std::mt19937_64 random(seed);
    const json::value value = RandomValue(random, 5);
    for (const JsonLayout layout : {JsonLayout::kLine, JsonLayout::kPretty}) {
      const std::string text = FormatJson(value, layout);
      const absl::StatusOr<json::value> again = ParseJson(text);
      ASSERT_TRUE(again.ok()) << text << ": " << again.status();
      EXPECT_EQ(*again, value) << text;
      EXPECT_EQ(text.find('\n') == text.npos,
                layout == JsonLayout::kLine || !value.is_structured());
    }
  }
}

TEST(JsonFormat, WritesOnlyAsciiWhateverAStringHolds) {
  EXPECT_EQ(FormatJson("\x01\x7f\xc3\xa9\xff", JsonLayout::kLine), R"("\u0001\u007F\u00E9\uFFFD")");
  // A character that must not be is one mistake, not one per byte.
  EXPECT_EQ(FormatJson("\xed\xa0\x80|\xef\xbf\xbe|\xe2\x82", JsonLayout::kLine),
            R"("\uFFFD|\uFFFD|\uFFFD")");
}

TEST(JsonFormat, OrdersMembersAsQemusDictionaryDoes) {
  EXPECT_EQ(
      FormatJson({{"type", "mirror"}, {"device", "d"}, {"speed", 0}, {"len", 1}, {"offset", 1}},
                 JsonLayout::kLine),
      R"({"device": "d", "len": 1, "offset": 1, "speed": 0, "type": "mirror"})");
  EXPECT_EQ(
      FormatJson({{"event", "E"}, {"data", {{"path", "p"}, {"device", "d"}}}, {"timestamp", 0}},
                 JsonLayout::kPretty),
      "{\n    \"timestamp\": 0,\n    \"event\": \"E\",\n    \"data\": {\n"
      "        \"device\": \"d\",\n        \"path\": \"p\"\n    }\n}");
}

TEST(JsonFormat, OfMembersInOneBucketShowsTheNewestFirst) {
  EXPECT_EQ(FormatJson({{"aaa", 1}, {"aab", 2}}, JsonLayout::kLine), R"({"aab": 2, "aaa": 1})");
  EXPECT_EQ(FormatJson({{"aab", 2}, {"aaa", 1}}, JsonLayout::kLine), R"({"aaa": 1, "aab": 2})");
}

TEST(JsonFormat, IndentsByFourSpaces) {
  EXPECT_EQ(FormatJson({{"a", json::array({1, 2})}, {"b", json::object()}}, JsonLayout::kPretty),
            "{\n    \"a\": [\n        1,\n        2\n    ],\n    \"b\": {\n    }\n}");
}

}  // namespace
}  // namespace millrace::json_text_test
