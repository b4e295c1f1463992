// What tests of engine/sync/ share: coroutines in one scope that write down what happens to them.
#ifndef MILLRACE_TESTS_ENGINE_SYNC_SYNC_FIXTURE_H_
#define MILLRACE_TESTS_ENGINE_SYNC_SYNC_FIXTURE_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"
#include "tests/support/simulation.h"

namespace millrace {

using Log = std::vector<std::string>;

class SyncFixture : public testing::Test {
 protected:
  template <typename Body>
  void Spawn(std::string_view name, Body&& body) {
    scope_.Spawn(name, std::forward<Body>(body));
  }
  // Runs until nothing can happen any more.
  void Settle() {
    engine_->RunUntil([] { return false; });
  }
  void ExpectAllDone() {
    Settle();
    EXPECT_EQ(scope_.live(), 0u) << engine_->scheduler().DescribeWaits();
  }

  std::unique_ptr<Engine> engine_ = SimulatedEngine();
  TaskScope scope_{engine_->scheduler(), "test"};
  Log log_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_ENGINE_SYNC_SYNC_FIXTURE_H_
