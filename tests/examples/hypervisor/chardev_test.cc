#include "examples/hypervisor/process/chardev.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>

#include "examples/hypervisor/process/event_loop.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"

namespace millrace::chardev_test {
namespace {

// As long as it lives, no descriptor can be opened that is not open yet.
class NoDescriptorsLeft {
 public:
  NoDescriptorsLeft() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int next = dup(STDIN_FILENO);
    close(next);
    rlimit now = before_;
    now.rlim_cur = static_cast<rlim_t>(next);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &now), 0);
  }
  ~NoDescriptorsLeft() { setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptorsLeft(const NoDescriptorsLeft&) = delete;
  NoDescriptorsLeft& operator=(const NoDescriptorsLeft&) = delete;

 private:
  rlimit before_;
};

class ChardevTest : public testing::Test {
 protected:
  ChardevTest() : engine_(*Engine::Create({})), loop_(*engine_), chardevs_(loop_, true) {}

  absl::StatusOr<std::string> Add(std::string_view place, std::string_view id) {
    absl::StatusOr<std::string> added = std::string();
    TaskScope scope(engine_->scheduler(), "add");
    scope.Spawn("add", [&]() MILLRACE_MAY_SUSPEND { added = chardevs_.CoAddFromPlace(place, id); });
    loop_.RunUntil([&] { return scope.live() == 0; });
    EXPECT_TRUE(scope.Finish().ok());
    return added;
  }
  std::string Mistake(std::string_view place) {
    return std::string(Add(place, "wrong").status().message());
  }

  std::unique_ptr<Engine> engine_;
  EventLoop loop_;
  ChardevTable chardevs_;
  const std::string path_ =
      std::string(::testing::TempDir()) + "chardev_test_" + std::to_string(getpid()) + ".sock";
};

TEST_F(ChardevTest, AClientWhomNoDescriptorIsLeftForIsTakenLater) {
  ASSERT_TRUE(Add("unix:" + path_ + ",server=on,wait=off", "c").ok());
  int connections = 0;
  chardevs_.Find("c")->Activate([&](std::unique_ptr<Connection>) { ++connections; });
  const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  {
    const NoDescriptorsLeft none;
    ASSERT_EQ(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(engine_->NextDeadline(), kNever);
    loop_.Turn();
    // It sleeps until then rather than being told of the client in every turn.
    EXPECT_NE(engine_->NextDeadline(), kNever);
    EXPECT_EQ(connections, 0);
  }
  loop_.RunUntil([&] { return connections == 1; });
  close(client);
}

TEST_F(ChardevTest, APlaceInShortBecomesAChardev) {
  EXPECT_EQ(*Add("unix:" + path_ + ",server,nowait", "compat_monitor0"), "compat_monitor0");
  EXPECT_EQ(*Add("null", "n"), "n");
  EXPECT_EQ(*Add("stdio", "s"), "s");
  EXPECT_EQ(*Add("chardev:n", "other"), "n");
  EXPECT_EQ(chardevs_.Find("other"), nullptr);
  ASSERT_EQ(chardevs_.Describe().size(), 3u);
  EXPECT_EQ(chardevs_.Describe()[0].place, "unix:" + path_ + ",server=on");
  EXPECT_EQ(Mistake("chardev:none"), "chardev \"none\" not found");
  EXPECT_EQ(Mistake("frob:"), "'frob:' is not a valid char driver");
  EXPECT_EQ(Mistake("unix:" + path_ + ",sever=on"), "Invalid parameter 'sever'");
  EXPECT_EQ(Mistake("stdio"), "cannot use stdio by multiple character devices");
  constexpr char kEmptyPath[] =
      "Parameter 'path' is empty: name the file that the socket is, or a name with abstract=on";
  for (const std::string options : {"server=on,wait=off", "server=off"}) {
    EXPECT_EQ(Mistake("unix:," + options), kEmptyPath);
  }
}

}  // namespace
}  // namespace millrace::chardev_test
