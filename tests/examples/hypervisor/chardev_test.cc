#include "examples/hypervisor/process/chardev.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "examples/hypervisor/process/event_loop.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"

namespace millrace {
namespace {

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
}

}  // namespace
}  // namespace millrace
