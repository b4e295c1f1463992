#include "examples/hypervisor/process/separate_tasks.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/engine.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/support/simulation.h"

namespace millrace::separate_tasks_test {
namespace {

// Gives out no stack for coroutines of one name.
class NoStackFor final : public Decider {
 public:
  explicit NoStackFor(std::string name) : name_(std::move(name)) {}
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    return kind == ChoiceKind::kFault && options[0].name == name_ ? 1 : 0;
  }

 private:
  const std::string name_;
};

using Texts = std::vector<std::string>;

TEST(SeparateTasks, OneWithoutAStackLeavesTheOthersAlone) {
  NoStackFor decider("big");
  const std::unique_ptr<Engine> engine = SimulatedEngine(&decider);
  Texts told;
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    SeparateTasks tasks(engine->scheduler(), "tasks");
    const auto sleeper = [&]() MILLRACE_MAY_SUSPEND {
      told.push_back(CoSleepFor(kMillisecond).ok() ? "slept" : "cancelled");
    };
    EXPECT_TRUE(tasks.Spawn("before", sleeper));
    EXPECT_FALSE(tasks.Spawn("big", sleeper));
    EXPECT_EQ(tasks.live(), 1u);
    EXPECT_TRUE(tasks.Spawn("after", sleeper));
    tasks.CoJoin();
    EXPECT_EQ(tasks.live(), 0u);
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(told, (Texts{"slept", "slept"}));
}

TEST(SeparateTasks, OneMayStartTheNextAsItsLastStep) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  int runs = 0;
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    SeparateTasks tasks(engine->scheduler(), "tasks");
    std::function<void()> next = [&]() MILLRACE_MAY_SUSPEND {
      if (++runs == 5) return;
      EXPECT_TRUE(tasks.Spawn("next", next));
    };
    EXPECT_TRUE(tasks.Spawn("first", next));
    tasks.CoJoin();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(runs, 5);
}

}  // namespace
}  // namespace millrace::separate_tasks_test
