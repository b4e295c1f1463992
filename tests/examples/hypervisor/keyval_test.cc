#include "examples/hypervisor/options/keyval.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "examples/hypervisor/qmp/json_format.h"
#include "examples/hypervisor/qmp/json_text.h"
#include "tests/support/seeds.h"

namespace millrace::keyval_test {
namespace {

std::string Show(const absl::StatusOr<OptionValue>& value) {
  return value.ok() ? FormatJson(value->object, JsonLayout::kLine)
                    : std::string(value.status().message());
}

std::string Keyval(std::string_view text) { return Show(ParseKeyval(text, "driver")); }
std::string Legacy(std::string_view text) { return Show(ParseLegacyOptions(text, "backend")); }

TEST(Keyval, NestsByDotsAndMakesListsOfNumbers) {
  EXPECT_EQ(Keyval("qcow2,file.driver=file,file.filename=a"),
            R"({"driver": "qcow2", "file": {"driver": "file", "filename": "a"}})");
  EXPECT_EQ(Keyval("children.1=b,children.0.driver=null-co"),
            R"({"children": [{"driver": "null-co"}, "b"]})");
}

TEST(Keyval, TakesTwoCommasForOne) {
  EXPECT_EQ(Keyval("a=1,,2,b=,,"), R"({"a": "1,2", "b": ","})");
  EXPECT_EQ(Keyval("null-co,"), R"({"driver": "null-co"})");
  EXPECT_EQ(Keyval(""), "{}");
}

TEST(Keyval, TheLastOfEqualNamesCounts) { EXPECT_EQ(Keyval("a=1,a=2"), R"({"a": "2"})"); }

TEST(Keyval, RefusesInQemusWords) {
  EXPECT_EQ(Keyval("a=1,b"), "Expected '=' after parameter 'b'");
  EXPECT_EQ(Keyval("a=1,=x"), "Invalid parameter ''");
  EXPECT_EQ(Keyval("a=1,.a=1"), "Invalid parameter '.a'");
  EXPECT_EQ(Keyval("a=1,9a=1"), "Invalid parameter '9a'");
  EXPECT_EQ(Keyval("a=1,a b=1"), "Invalid parameter 'a b'");
  EXPECT_EQ(Keyval("null-co,,x"), "Invalid parameter ''");
  EXPECT_EQ(Keyval("a=1,a.b=1"), "Parameters 'a.*' used inconsistently");
  EXPECT_EQ(Keyval("a.b=1,a=1"), "Parameters 'a.*' used inconsistently");
  EXPECT_EQ(Keyval("c.0.x=1,c.a.x=1"), "Parameters 'c.*' used inconsistently");
  EXPECT_EQ(Keyval("c.0.x=1,c.2.x=1"), "Parameter 'c.1' missing");
  EXPECT_EQ(Keyval("help"), R"({"driver": "help"})");
  EXPECT_EQ(Keyval("a=1,help"), "Help is not available for this option");
  std::string deep = "a";
  for (int level = 1; level < 64; ++level) deep += ".a";
  EXPECT_TRUE(ParseKeyval(deep + "=1", "").ok());
  deep += ".a";
  EXPECT_EQ(Keyval(deep + "=1"), "Invalid parameter '" + deep + "'");
  const std::string long_name(128, 'a');
  EXPECT_EQ(Keyval(long_name + "=1"), "Parameter '" + long_name + "' is too long");
}

TEST(Keyval, TakesJsonInPlaceOfPairs) {
  EXPECT_EQ(Keyval("{'driver':'x','size':5}"), R"({"driver": "x", "size": 5})");
  EXPECT_EQ(ParseKeyval("{}", "")->style, ScalarStyle::kTyped);
  EXPECT_EQ(ParseKeyval("a=1", "")->style, ScalarStyle::kText);
  EXPECT_EQ(Keyval("{'driver':'x'"), "JSON parse error, premature EOI");
}

TEST(Keyval, SurvivesAnyText) {
  constexpr std::string_view kFragments[] = {"a", "b", ".", ",", "=", "0", "1", ",,", "a.0.b", "{"};
  for (const uint64_t seed : Seeds()) {
    std::mt19937_64 random(seed);
    std::string text;
    for (size_t count = random() % 30; count > 0; --count) {
      text += kFragments[random() % std::size(kFragments)];
    }
    for (const auto& value : {ParseKeyval(text, "a"), ParseLegacyOptions(text, "a")}) {
      EXPECT_TRUE(value.ok() || !value.status().message().empty()) << text;
    }
  }
}

void Flatten(const json::value& value, const std::string& path, std::string* text) {
  if (value.is_string()) {
    *text += (text->empty() ? "" : ",") + path + "=";
    for (const char c : View(value.get_string())) *text += c == ',' ? ",," : std::string(1, c);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.get_array().size(); ++i) {
      Flatten(value.get_array()[i], path + "." + std::to_string(i), text);
    }
  } else {
    for (const auto& member : value.get_object()) {
      const std::string name(View(member.key()));
      Flatten(member.value(), path.empty() ? name : path + "." + name, text);
    }
  }
}

json::value RandomOptions(std::mt19937_64& random, int depth) {
  const uint64_t kind = depth == 0 ? 0 : random() % 3;
  if (kind == 0) return json::value(std::string(random() % 3, ',') + std::to_string(random() % 9));
  if (kind == 1) {
    json::array list;
    for (size_t count = 1 + random() % 12; count > 0; --count) {
      list.push_back(RandomOptions(random, depth - 1));
    }
    return list;
  }
  json::object object;
  for (size_t count = 1 + random() % 3; count > 0; --count) {
    object["k" + std::to_string(random() % 5)] = RandomOptions(random, depth - 1);
  }
  return object;
}

TEST(Keyval, ReadsBackWhatWasFlattened) {
  for (const uint64_t seed : Seeds()) {
    std::mt19937_64 random(seed);
    const json::object options = {{"top", RandomOptions(random, 4)}};
    std::string text;
    Flatten(options, "", &text);
    const absl::StatusOr<OptionValue> value = ParseKeyval(text, "");
    ASSERT_TRUE(value.ok()) << text << ": " << value.status();
    EXPECT_EQ(value->object, options) << text;
  }
}

TEST(LegacyOptions, TakeBareWordsForSwitches) {
  EXPECT_EQ(Legacy("socket,id=a,server,nowait"),
            R"({"backend": "socket", "server": "on", "id": "a", "wait": "off"})");
}

TEST(DriveOptions, SetTheFileNameApart) {
  const auto drive =
      ParseDriveOptions("if=none,file=a,,b.img,file.locking=off,backing.node-name=m");
  ASSERT_TRUE(drive.ok());
  EXPECT_EQ(drive->filename, "a,b.img");
  EXPECT_EQ(FormatJson(drive->options.object, JsonLayout::kLine),
            R"({"if": "none", "backing": {"node-name": "m"}, "file": {"locking": "off"}})");
  EXPECT_FALSE(ParseDriveOptions("if=none")->filename.has_value());
  EXPECT_EQ(ParseDriveOptions("{'file':'x'}")->filename, "x");
}

TEST(DottedMembers, NestBesideObjectsOfTheSameName) {
  const json::value text =
      *ParseJson("{'driver':'q','file.driver':'f','file':{'x.y':1},'c.0':'a','c.1':{'d':true}}");
  const auto nested = NestDottedMembers(text.get_object());
  ASSERT_TRUE(nested.ok()) << nested.status();
  EXPECT_EQ(json::value(*nested),
            *ParseJson("{'driver':'q','file':{'driver':'f','x':{'y':1}},'c':['a',{'d':true}]}"));
  EXPECT_FALSE(NestDottedMembers({{"a", 1}, {"a.b", 2}}).ok());
}

}  // namespace
}  // namespace millrace::keyval_test
