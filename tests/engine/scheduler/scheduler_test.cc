#include "millrace/engine/scheduler/scheduler.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/sync/event.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace::scheduler_test {
namespace {

std::unique_ptr<Engine> SimulatedEngine(Decider* decider = nullptr) {
  auto engine = Engine::Create({.simulated = true, .decider = decider});
  EXPECT_TRUE(engine.ok());
  return *std::move(engine);
}

TEST(Scheduler, RunsCoroutinesInSpawningOrder) {
  auto engine = SimulatedEngine();
  std::vector<int> order;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    for (int i = 0; i < 3; ++i) {
      scope.Spawn("child", [&order, i]() MILLRACE_MAY_SUSPEND {
        order.push_back(i);
        CoYield();
        order.push_back(i + 10);
      });
    }
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 10, 11, 12}));
}

TEST(Scheduler, SimulatedSleepTakesVirtualTimeOnly) {
  auto engine = SimulatedEngine();
  absl::Status status =
      engine->Run([&]() MILLRACE_MAY_SUSPEND { return CoSleepFor(3600 * kSecond); });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(engine->clock().Now(), 3600 * kSecond);
}

TEST(Scheduler, DeadlockReportNamesWaiterAndHolder) {
  auto engine = SimulatedEngine();
  Event never("the thing that never happens");
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("waiter", [&]() MILLRACE_MAY_SUSPEND { return never.CoWaitCancellable(); });
  EXPECT_FALSE(engine->RunUntil([&] { return scope.live() == 0; }));
  std::optional<std::string> report = engine->scheduler().FindDeadlock();
  ASSERT_TRUE(report.has_value());
  EXPECT_NE(report->find("'waiter' waits at event.wait"), std::string::npos) << *report;
  scope.Cancel();
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
  EXPECT_EQ(scope.Finish().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace millrace::scheduler_test
