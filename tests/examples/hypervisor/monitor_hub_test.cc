#include "examples/hypervisor/qmp/monitor_hub.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/process/chardev.h"
#include "examples/hypervisor/process/event_loop.h"
#include "examples/hypervisor/qmp/json_text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/event.h"

namespace millrace::monitor_hub_test {
namespace {

// The far end of a monitor's socket.
class Client {
 public:
  explicit Client(int fd) : fd_(fd) {}
  ~Client() { Close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void EndSending() { shutdown(fd_, SHUT_WR); }
  void Send(std::string_view text) {
    ASSERT_EQ(send(fd_, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // As much as the socket takes without waiting.
  size_t SendSome(std::string_view text) {
    const ssize_t count = send(fd_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return count < 0 ? 0 : static_cast<size_t>(count);
  }
  // What has come, line by line, without time stamps.
  std::vector<std::string> Lines() {
    char bytes[65536];
    for (ssize_t count; (count = recv(fd_, bytes, sizeof(bytes), MSG_DONTWAIT)) >= 0;) {
      if (count == 0) {
        is_over_ = true;
        break;
      }
      text_.append(bytes, static_cast<size_t>(count));
    }
    std::vector<std::string> lines;
    for (size_t end; (end = text_.find("\r\n")) != text_.npos; text_.erase(0, end + 2)) {
      std::string line = text_.substr(0, end);
      if (line.starts_with("{\"timestamp\"")) line.erase(0, line.find("\"event\""));
      lines.push_back(line);
    }
    return lines;
  }
  bool is_over() const { return is_over_; }

 private:
  int fd_;
  std::string text_;
  bool is_over_ = false;
};

class MonitorHubTest : public testing::Test {
 protected:
  MonitorHubTest()
      : engine_(*Engine::Create({})),
        loop_(*engine_),
        chardevs_(loop_, false),
        release_("the test"),
        hub_(commands_, renderer_, {{"package", "test"}}),
        scope_(engine_->scheduler(), "test") {
    loop_.BeforeWait([this] { hub_.Housekeep(); });
    commands_.Register({.name = "echo", .handler = [](const json::object& arguments) {
                          return CommandResult(json::value(arguments));
                        }});
    commands_.Register(
        {.name = "wait", .handler = [this](const json::object&) MILLRACE_MAY_SUSPEND {
           ++waits_begun_;
           release_.CoWait();
           ++waits_ended_;
           return CommandResult(json::value(json::object()));
         }});
    const auto emit = [this](const json::object&) {
      hub_.Emit("FIRST", {});
      hub_.Emit("SECOND", {{"a", 1}});
      return CommandResult(json::value(json::object()));
    };
    commands_.Register({.name = "emit", .handler = emit});
    commands_.Register({.name = "emit-late", .handler = emit, .replies_first = true});
    commands_.Register({.name = "large", .handler = [](const json::object&) {
                          return CommandResult(json::value(std::string(100'000, 'x')));
                        }});
    commands_.Register({.name = "huge", .handler = [](const json::object&) {
                          return CommandResult(json::value(std::string(17 << 20, 'x')));
                        }});
    scope_.Spawn("serve", [this]() MILLRACE_MAY_SUSPEND { hub_.CoServe(); });
  }
  ~MonitorHubTest() override {
    release_.Set();
    hub_.Stop();
    loop_.RunUntil([this] { return scope_.live() == 0; });
    EXPECT_TRUE(scope_.Finish().ok());
  }

  std::unique_ptr<Client> Connect(std::string_view options = "") {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const std::string id = "c" + std::to_string(next_id_++);
    absl::Status status;
    TaskScope scope(engine_->scheduler(), "connect");
    scope.Spawn("connect", [&]() MILLRACE_MAY_SUSPEND {
      status = chardevs_.CoAddFromOption("socket,id=" + id + ",fd=" + std::to_string(ends[1]));
    });
    loop_.RunUntil([&] { return scope.live() == 0; });
    EXPECT_TRUE(scope.Finish().ok());
    EXPECT_TRUE(status.ok()) << status;
    status = hub_.AddFromOption(id + std::string(options), chardevs_);
    EXPECT_TRUE(status.ok()) << status;
    hub_.Activate();
    return std::make_unique<Client>(ends[0]);
  }
  std::unique_ptr<Client> ConnectNegotiated() {
    std::unique_ptr<Client> client = Connect();
    client->Send("{'execute':'qmp_capabilities'}");
    Settle();
    EXPECT_EQ(client->Lines().size(), 2u);
    return client;
  }
  // Until nothing more happens. A few turns are enough for what is in the sockets.
  void Settle() {
    for (int turn = 0; turn < 20; ++turn) loop_.Turn();
  }

  std::unique_ptr<Engine> engine_;
  EventLoop loop_;
  ChardevTable chardevs_;
  CommandTable commands_;
  ErrorRenderer renderer_;
  Event release_;
  MonitorHub hub_;
  TaskScope scope_;
  int next_id_ = 0;
  int waits_begun_ = 0;
  int waits_ended_ = 0;
};

using Lines = std::vector<std::string>;

TEST_F(MonitorHubTest, AcceptsNothingBeforeTheNegotiationAndNoneAfter) {
  const auto client = Connect();
  client->Send(
      "{'execute':'echo','id':1}{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}"
      "{'execute':'qmp_capabilities','id':2}{'execute':'echo','id':[null]}");
  Settle();
  EXPECT_EQ(
      client->Lines(),
      (Lines{R"({"QMP": {"version": {"package": "test"}, "capabilities": []}})",
             R"({"id": 1, "error": {"class": "CommandNotFound", "desc": "Expecting capabilities )"
             R"(negotiation with 'qmp_capabilities'"}})",
             R"({"error": {"class": "GenericError", "desc": "Capability oob not available"}})",
             R"({"return": {}, "id": 2})", R"({"return": {}, "id": [null]})"}));
}

TEST_F(MonitorHubTest, RefusesWhatIsNoRequest) {
  const auto client = ConnectNegotiated();
  client->Send(
      "[1]{'execute':1}{'execute':'echo','arguments':1}{'execute':'echo','x':1}"
      "{'id':3}{'exec-oob':'echo'}{'execute':'foo'}");
  Settle();
  const auto wrong = [](std::string text) {
    return "{\"error\": {\"class\": \"GenericError\", \"desc\": \"QMP input " + text + "\"}}";
  };
  EXPECT_EQ(client->Lines(),
            (Lines{wrong("must be a JSON object"), wrong("member 'execute' must be a string"),
                   wrong("member 'arguments' must be an object"), wrong("member 'x' is unexpected"),
                   R"({"id": 3, "error": {"class": "GenericError", "desc": "QMP input lacks )"
                   R"(member 'execute'"}})",
                   wrong("member 'exec-oob' is unexpected"),
                   R"({"error": {"class": "CommandNotFound", "desc": "The command foo has not )"
                   R"(been found"}})"}));
}

TEST_F(MonitorHubTest, ArgumentsThatNestTooDeepAreRefusedBeforeAHandlerSeesThem) {
  const auto client = ConnectNegotiated();
  const auto request = [](size_t depth) {
    return "{'execute':'echo','arguments':{'a':" + std::string(depth, '[') +
           std::string(depth, ']') + "}}";
  };
  client->Send(request(63) + request(64) + request(1000));
  Settle();
  const Lines lines = client->Lines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].starts_with("{\"return\""));
  EXPECT_TRUE(lines[1].starts_with("{\"error\""));
  EXPECT_TRUE(lines[2].starts_with("{\"error\""));
}

TEST_F(MonitorHubTest, EventsComeBeforeTheReplyUnlessTheCommandRepliesFirst) {
  const auto client = ConnectNegotiated();
  const auto other = ConnectNegotiated();
  client->Send("{'execute':'emit'}{'execute':'emit-late'}");
  Settle();
  const std::string first = "\"event\": \"FIRST\"}";
  const std::string second = "\"event\": \"SECOND\", \"data\": {\"a\": 1}}";
  EXPECT_EQ(client->Lines(),
            (Lines{first, second, "{\"return\": {}}", "{\"return\": {}}", first, second}));
  EXPECT_EQ(other->Lines(), (Lines{first, second, first, second}));
}

TEST_F(MonitorHubTest, OnlyThoseWhoHaveNegotiatedHearEvents) {
  const auto client = Connect();
  hub_.Emit("EARLY", {});
  Settle();
  EXPECT_EQ(client->Lines().size(), 1u);
}

TEST_F(MonitorHubTest, OneCommandRunsAtATimeOverAllMonitors) {
  const auto slow = ConnectNegotiated();
  const auto quick = ConnectNegotiated();
  slow->Send("{'execute':'wait'}{'execute':'wait'}");
  Settle();
  quick->Send("{'execute':'echo'}");
  Settle();
  EXPECT_EQ(waits_begun_, 1);
  EXPECT_EQ(quick->Lines(), Lines{});
  release_.Set();
  Settle();
  EXPECT_EQ(quick->Lines(), Lines{"{\"return\": {}}"});
  EXPECT_EQ(slow->Lines(), (Lines{"{\"return\": {}}", "{\"return\": {}}"}));
}

TEST_F(MonitorHubTest, MonitorsTakeTurns) {
  const auto first = ConnectNegotiated();
  const auto second = ConnectNegotiated();
  first->Send("{'execute':'wait'}{'execute':'emit'}{'execute':'emit'}");
  Settle();
  second->Send("{'execute':'echo'}");
  Settle();
  release_.Set();
  Settle();
  // Its reply comes before the events of the other's next command.
  const Lines lines = second->Lines();
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0], "{\"return\": {}}");
}

TEST_F(MonitorHubTest, ACommandWhoseClientVanishesRunsToItsEnd) {
  const auto other = ConnectNegotiated();
  {
    const auto client = ConnectNegotiated();
    client->Send("{'execute':'wait'}{'execute':'emit'}");
    Settle();
  }
  Settle();
  EXPECT_EQ(waits_begun_, 1);
  release_.Set();
  Settle();
  EXPECT_EQ(waits_ended_, 1);
  EXPECT_EQ(other->Lines().size(), 2u) << "what had arrived before the end is carried out";
}

TEST_F(MonitorHubTest, AClientThatStopsSendingStillGetsItsReplies) {
  const auto client = ConnectNegotiated();
  client->Send("{'execute':'wait'}{'execute':'echo'}");
  client->EndSending();
  Settle();
  release_.Set();
  Settle();
  EXPECT_EQ(client->Lines(), (Lines{"{\"return\": {}}", "{\"return\": {}}"}));
  EXPECT_TRUE(client->is_over());
}

TEST_F(MonitorHubTest, AClientThatDoesNotReadIsNotServedForEver) {
  const auto client = ConnectNegotiated();
  const std::string request = "{'execute':'large'}";
  size_t sent = 0;
  // Thousands of requests would make hundreds of megabytes of replies.
  for (int round = 0; round < 5000; ++round) {
    const size_t count = client->SendSome(request);
    sent += count;
    if (count < request.size()) break;
    if (round % 100 == 0) Settle();
  }
  Settle();
  const auto other = ConnectNegotiated();
  other->Send("{'execute':'echo'}");
  Settle();
  EXPECT_EQ(other->Lines().size(), 1u) << "the others are served meanwhile";
  // It is not read from: what it sends stays in the socket.
  while (sent < (64u << 20)) {
    const size_t count = client->SendSome(std::string(4096, ' '));
    if (count == 0) break;
    sent += count;
    Settle();
  }
  EXPECT_LT(sent, 4u << 20);
  // Once it reads, it gets everything that it asked for.
  size_t replies = 0;
  for (int turn = 0; turn < 1000; ++turn) {
    const size_t count = client->Lines().size();
    replies += count;
    Settle();
    if (count == 0 && turn > 10) break;
  }
  EXPECT_GT(replies, 10u);
}

// However fast it asks, what waits behind a command that takes its time stays in the socket.
TEST_F(MonitorHubTest, AClientThatAsksFasterThanItIsServedIsNotReadFrom) {
  const auto client = ConnectNegotiated();
  client->Send("{'execute':'wait'}");
  Settle();
  ASSERT_EQ(waits_begun_, 1);
  const std::string request =
      "{'execute':'echo','arguments':{'a':'" + std::string(4096, 'x') + "'}}";
  size_t sent = 0;
  while (sent < (64u << 20)) {
    const size_t count = client->SendSome(std::string_view(request).substr(sent % request.size()));
    if (count == 0) break;
    sent += count;
    Settle();
  }
  EXPECT_LT(sent, 4u << 20);
  release_.Set();
  size_t replies = 0;
  for (int turn = 0; turn < 1000 && replies < sent / request.size() + 1; ++turn) {
    Settle();
    replies += client->Lines().size();
  }
  EXPECT_EQ(replies, sent / request.size() + 1) << "some were lost";
}

TEST_F(MonitorHubTest, AReplyLargerThanWhatMayWaitDoesNotEndTheConversation) {
  const auto client = ConnectNegotiated();
  const std::string id(3 << 20, 'x');
  const std::string request = "{'execute':'echo','id':'" + id + "'}{'execute':'echo'}";
  Lines lines;
  for (size_t sent = 0, turn = 0; lines.size() < 2 && turn < 2000; ++turn) {
    if (sent < request.size()) sent += client->SendSome(std::string_view(request).substr(sent));
    Settle();
    for (std::string& line : client->Lines()) lines.push_back(std::move(line));
  }
  EXPECT_EQ(lines, (Lines{"{\"return\": {}, \"id\": \"" + id + "\"}", "{\"return\": {}}"}));
}

TEST_F(MonitorHubTest, AnEventBehindALargeReplyDoesNotCutOffWhoReads) {
  const auto client = ConnectNegotiated();
  client->Send("{'execute':'huge'}");
  Settle();
  hub_.Emit("FIRST", {});
  Lines lines;
  for (int turn = 0; turn < 1000 && lines.size() < 2 && !client->is_over(); ++turn) {
    for (const std::string& line : client->Lines()) lines.push_back(line.substr(0, 16));
    Settle();
  }
  EXPECT_EQ(lines, (Lines{"{\"return\": \"xxxx", "\"event\": \"FIRST\""}));
  EXPECT_FALSE(client->is_over());
}

TEST_F(MonitorHubTest, AClientThatReadsNoEventsIsCutOff) {
  const auto client = ConnectNegotiated();
  const std::string text(1 << 20, 'x');
  for (int i = 0; i < 20; ++i) hub_.Emit("LARGE", {{"text", text}});
  Settle();
  for (int turn = 0; turn < 1000 && !client->is_over(); ++turn) {
    client->Lines();
    Settle();
  }
  EXPECT_TRUE(client->is_over());
  EXPECT_FALSE(hub_.has_unsent());
}

TEST_F(MonitorHubTest, PrettyMonitorsIndentAndEchoIds) {
  const auto client = Connect(",pretty=on");
  client->Send("{'execute':'qmp_capabilities','id':{'a':1}}");
  Settle();
  const Lines lines = client->Lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1], "{\n    \"return\": {\n    },\n    \"id\": {\n        \"a\": 1\n    }\n}");
}

TEST_F(MonitorHubTest, RefusesMonitorsItCannotHave) {
  const auto client = Connect();
  const auto refusal = [&](std::string_view text) {
    return std::string(hub_.AddFromOption(text, chardevs_).message());
  };
  EXPECT_EQ(refusal("x"), "chardev \"x\" not found");
  EXPECT_EQ(refusal("c0"), "Device 'c0' is in use");
  EXPECT_EQ(refusal("c0,mode=readline"), "Only QMP is supported");
  EXPECT_EQ(refusal("c0,mode=foo"), "Parameter 'mode' does not accept value 'foo'");
  EXPECT_EQ(refusal("c0,foo=x"), "Parameter 'foo' is unexpected");
  EXPECT_EQ(refusal("mode=control"), "Parameter 'chardev' is missing");
}

}  // namespace
}  // namespace millrace::monitor_hub_test
