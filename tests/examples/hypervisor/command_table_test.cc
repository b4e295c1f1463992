#include "examples/hypervisor/qmp/command_table.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "examples/hypervisor/qmp/json_text.h"
#include "examples/hypervisor/qmp/object_registry.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"

namespace millrace::command_table_test {
namespace {

CommandResult Nothing(const json::object&) { return json::value(json::object()); }

CommandSpec StreamSpec() {
  return {.name = "block-stream",
          .arguments = {{{"job-id", ArgumentType::kString, true},
                         {"device", ArgumentType::kString},
                         {"speed", ArgumentType::kInteger, true},
                         {"on-error", ArgumentType::kEnum, true, {"report", "ignore"}}}},
          .handler = Nothing};
}

std::string Check(std::string_view arguments) {
  const absl::StatusOr<json::value> value = ParseJson(arguments);
  return std::string(CommandTable::CheckArguments(StreamSpec(), value->get_object()).message());
}

TEST(CommandTable, ChecksDeclaredArgumentsInTheirOrder) {
  EXPECT_EQ(Check("{'device':'a'}"), "");
  EXPECT_EQ(Check("{'speed':'x'}"), "Parameter 'device' is missing");
  EXPECT_EQ(Check("{'speed':'x','device':'a','foo':1}"),
            "Invalid parameter type for 'speed', expected: integer");
  EXPECT_EQ(Check("{'device':'a','on-error':'x'}"),
            "Parameter 'on-error' does not accept value 'x'");
  EXPECT_EQ(Check("{'device':'a','foo':1}"), "Parameter 'foo' is unexpected");
}

TEST(CommandTable, DescribesWhatIsDeclared) {
  CommandTable table;
  table.Register(StreamSpec());
  table.Register({.name = "blockdev-add", .handler = Nothing});
  EXPECT_EQ(table.DescribeNames(), *ParseJson("[{'name':'block-stream'},{'name':'blockdev-add'}]"));
  const json::array schema = table.DescribeSchema();
  const auto find = [&](std::string_view name) -> const json::object* {
    for (const json::value& entry : schema) {
      if (View(entry.at("name").get_string()) == name) return &entry.get_object();
    }
    return nullptr;
  };
  ASSERT_NE(find("block-stream"), nullptr);
  EXPECT_EQ(find("block-stream")->at("arg-type"), "arg-block-stream");
  EXPECT_EQ(find("arg-block-stream")->at("members"),
            *ParseJson("[{'name':'job-id','type':'str','default':null},"
                       "{'name':'device','type':'str'},"
                       "{'name':'speed','type':'int','default':null},"
                       "{'name':'on-error','type':'enum-block-stream-on-error','default':null}]"));
  EXPECT_EQ(find("enum-block-stream-on-error")->at("values"), *ParseJson("['report','ignore']"));
  EXPECT_EQ(find("blockdev-add")->at("arg-type"), "any");
  EXPECT_EQ(find("arg-blockdev-add"), nullptr);
}

TEST(QmpError, CarriesClassTextAndData) {
  const absl::Status status = QmpError("DeviceNotActive", "Block job 'x' not found", {{"a", 1}});
  const QmpErrorReply reply = RenderError(status, nullptr);
  EXPECT_EQ(reply.error_class, "DeviceNotActive");
  EXPECT_EQ(reply.desc, "Block job 'x' not found");
  EXPECT_EQ(
      json::value(ToJson(reply)),
      *ParseJson("{'class':'DeviceNotActive','desc':\"Block job 'x' not found\",'data':{'a':1}}"));
}

TEST(QmpError, AConflictBecomesDataBesideTheRendersWords) {
  const absl::Status status =
      ConflictStatus(absl::StatusCode::kFailedPrecondition,
                     {.reason = ConflictReason::kNodeBusy,
                      .object = "mid",
                      .holders = {{.id = "job0", .type = "stream job", .since = 5}},
                      .next_step = "wait for 'job0'"},
                     "'mid' is busy; wait for 'job0'");
  const QmpErrorReply reply = RenderError(status, [](const absl::Status&) {
    QmpErrorReply own;
    own.desc = "Node 'mid' is busy: block device is in use by block job: stream";
    return own;
  });
  EXPECT_EQ(reply.desc, "Node 'mid' is busy: block device is in use by block job: stream");
  EXPECT_EQ(json::value(reply.data),
            *ParseJson("{'reason':'node-busy','object':'mid','holders':[{'id':'job0',"
                       "'type':'stream job','since-ns':5}],'next-step':\"wait for 'job0'\","
                       "'explanation':\"'mid' is busy; wait for 'job0'\"}"));
}

TEST(QmpError, APlainStatusIsAGenericErrorWithItsText) {
  const QmpErrorReply reply = RenderError(absl::InternalError("no luck"), nullptr);
  EXPECT_EQ(reply.error_class, "GenericError");
  EXPECT_EQ(reply.desc, "no luck");
  EXPECT_TRUE(reply.data.empty());
}

class Tracked final : public UserObject {
 public:
  Tracked(std::string id, std::string* gone) : id_(std::move(id)), gone_(gone) {}
  ~Tracked() override { *gone_ += id_; }
  std::vector<ConflictHolder> users() const override {
    if (!used) return {};
    return {{.id = "disk", .type = "node"}};
  }
  bool used = false;

 private:
  const std::string id_;
  std::string* const gone_;
};

class ObjectRegistryTest : public testing::Test {
 protected:
  ObjectRegistryTest() {
    for (const std::string_view type : {"iothread", "throttle-group"}) {
      objects_.RegisterType(
          type,
          [this](std::string_view id,
                 ArgumentReader& properties) -> absl::StatusOr<std::unique_ptr<UserObject>> {
            properties.OptionalInteger("limit");
            return std::make_unique<Tracked>(std::string(id), &gone_);
          });
    }
  }
  std::string Add(std::string_view text) {
    const absl::StatusOr<json::value> value = ParseJson(text);
    return std::string(objects_.Add(value->get_object(), ScalarStyle::kTyped).message());
  }

  std::string gone_;
  ObjectRegistry objects_;
};

TEST_F(ObjectRegistryTest, RefusesInQemusWordsAndOrder) {
  EXPECT_EQ(Add("{}"), "Parameter 'qom-type' is missing");
  EXPECT_EQ(Add("{'qom-type':'foo'}"), "Parameter 'qom-type' does not accept value 'foo'");
  EXPECT_EQ(Add("{'qom-type':'iothread'}"), "Parameter 'id' is missing");
  EXPECT_EQ(Add("{'qom-type':'iothread','id':'1i','x':1}"), "Parameter 'x' is unexpected");
  EXPECT_EQ(Add("{'qom-type':'iothread','id':'1i'}"), "Parameter 'id' expects an identifier");
  EXPECT_EQ(Add("{'qom-type':'iothread','id':'i'}"), "");
  EXPECT_EQ(Add("{'qom-type':'throttle-group','id':'i'}"),
            "attempt to add duplicate property 'i' to object (type 'container')");
}

TEST_F(ObjectRegistryTest, KeepsWhatIsUsed) {
  EXPECT_EQ(Add("{'qom-type':'iothread','id':'i'}"), "");
  auto* const object = static_cast<Tracked*>(objects_.Find("iothread", "i"));
  ASSERT_NE(object, nullptr);
  EXPECT_EQ(objects_.Find("throttle-group", "i"), nullptr);
  object->used = true;
  const absl::Status refused = objects_.Delete("i");
  EXPECT_EQ(refused.message(), "object 'i' is in use, can not be deleted");
  const json::object data = RenderError(refused, nullptr).data;
  EXPECT_EQ(json::serialize(data.at("holders")), R"([{"id":"disk","type":"node"}])");
  object->used = false;
  EXPECT_EQ(gone_, "");
  EXPECT_TRUE(objects_.Delete("i").ok());
  EXPECT_EQ(gone_, "i");
  EXPECT_EQ(objects_.Delete("i").message(), "object 'i' not found");
}

TEST_F(ObjectRegistryTest, EndsInReverseOrder) {
  for (const std::string_view id : {"b", "a", "c"}) {
    EXPECT_EQ(Add("{'qom-type':'iothread','id':'" + std::string(id) + "'}"), "");
  }
  gone_.clear();
  objects_.Clear();
  EXPECT_EQ(gone_, "cab");
}

TEST(CommandTable, AsksForTextWhereACommandWritesItAndTheClientTakesLines) {
  CommandTable table;
  int texts = 0;
  CommandSpec spec = StreamSpec();
  spec.handler = [](const json::object&) -> CommandResult { return json::array({1, 2}); };
  spec.text_handler = [&texts](const json::object&) -> CommandText {
    ++texts;
    return TextRope("[1, 2]");
  };
  table.Register(std::move(spec));
  std::vector<std::string> calls;
  table.Watch([&calls](std::string_view command, bool is_beginning) {
    calls.push_back(StrCat(is_beginning ? "begins " : "ends ", command));
  });
  const json::object arguments = {{"device", "a"}};
  auto engine = Engine::Create({.simulated = true});
  ASSERT_TRUE(engine.ok());
  const absl::Status status = (*engine)->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(TextRope text,
                              table.CoCallForText("block-stream", arguments, JsonLayout::kLine));
    EXPECT_EQ(text.ToString(), "[1, 2]");
    EXPECT_EQ(texts, 1);
    MILLRACE_ASSIGN_OR_RETURN(text,
                              table.CoCallForText("block-stream", arguments, JsonLayout::kPretty));
    EXPECT_EQ(text.ToString(), "[\n        1,\n        2\n    ]");
    EXPECT_EQ(texts, 1) << "text on one line was taken for another layout";
    EXPECT_FALSE(table.CoCallForText("block-stream", {}, JsonLayout::kLine).ok());
    EXPECT_FALSE(table.CoCallForText("no-command", {}, JsonLayout::kLine).ok());
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(calls, (std::vector<std::string>{"begins block-stream", "ends block-stream",
                                             "begins block-stream", "ends block-stream"}));
}

}  // namespace
}  // namespace millrace::command_table_test
