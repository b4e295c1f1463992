#include "millrace/engine/base/quiescable.h"

#include <functional>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::quiescable_test {
namespace {

class Subject final : public Quiescable {
 public:
  void BeginQuiesce() override {}
  void EndQuiesce() override {}
  bool is_quiet() const override { return true; }
  std::string DescribeQuiescable() const override { return "subject"; }
  void EnterQuietWait() override {}
  void CoLeaveQuietWait() MILLRACE_MAY_SUSPEND override {}
  void OnSectionGranted() override {}
  void OnSectionEnded() override {}
  using Quiescable::NotifyQuiet;
};

class Listener final : public QuietListener {
 public:
  explicit Listener(std::function<void()> on_quiet = [] {}) : on_quiet_(std::move(on_quiet)) {}
  void OnQuiet() override {
    ++calls;
    on_quiet_();
  }
  int calls = 0;

 private:
  std::function<void()> on_quiet_;
};

TEST(Quiescable, TellsEveryListener) {
  Subject subject;
  Listener first, second;
  subject.AddQuietListener(&first);
  subject.AddQuietListener(&second);
  subject.NotifyQuiet();
  subject.RemoveQuietListener(&first);
  subject.NotifyQuiet();
  subject.RemoveQuietListener(&second);
  EXPECT_EQ(first.calls, 1);
  EXPECT_EQ(second.calls, 2);
}

TEST(Quiescable, DoesNotCallAListenerThatAnEarlierOneRemoved) {
  Subject subject;
  Listener second;
  Listener first([&] { subject.RemoveQuietListener(&second); });
  subject.AddQuietListener(&first);
  subject.AddQuietListener(&second);
  subject.NotifyQuiet();
  EXPECT_EQ(second.calls, 0);
  subject.RemoveQuietListener(&first);
}

TEST(Quiescable, ListenersMayRemoveThemselvesAndAddOthersWhileNotified) {
  Subject subject;
  Listener late;
  Listener first;
  Listener self([&] {
    subject.RemoveQuietListener(&self);
    subject.AddQuietListener(&late);
  });
  subject.AddQuietListener(&self);
  subject.AddQuietListener(&first);
  subject.NotifyQuiet();
  EXPECT_EQ(self.calls, 1);
  EXPECT_EQ(first.calls, 1);
  EXPECT_EQ(late.calls, 0);
  subject.NotifyQuiet();
  EXPECT_EQ(self.calls, 1);
  EXPECT_EQ(late.calls, 1);
  subject.RemoveQuietListener(&first);
  subject.RemoveQuietListener(&late);
}

}  // namespace
}  // namespace millrace::quiescable_test
