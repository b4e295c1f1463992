// What tests of graph/ share: a simulated engine with one graph, whose invariants are checked after
// every step of the simulation, and drivers and holders made for tests.
#ifndef MILLRACE_TESTS_SUPPORT_GRAPH_FIXTURE_H_
#define MILLRACE_TESTS_SUPPORT_GRAPH_FIXTURE_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "examples/scenario_kit/memory_chain.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/quiescable.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/wait_queue.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/holder.h"

namespace millrace {

// A filter that does nothing: every operation goes on to its child.
class PassFilter final : public FilterDriver {
 public:
  explicit PassFilter(bool is_unleasable = false) : is_unleasable_(is_unleasable) {}
  std::string_view driver_name() const override { return "pass"; }
  bool is_unleasable() const override { return is_unleasable_; }
  std::string_view filtered_edge_name() const override {
    return is_unleasable_ ? "backing" : "file";
  }

 private:
  const bool is_unleasable_;
};

// A job as drained sections see it, driven by hand: quiet outside its steps, in a quiet wait and
// never while it owns a granted section. A step that is begun while it is held waits.
class HandDrivenJob final : public Quiescable, public Waitable {
 public:
  explicit HandDrivenJob(std::string id) : id_(std::move(id)) {}

  HolderRef MakeHolderOf() { return MakeHolder(id_, "test job", 0, this); }
  void CoBeginStep() MILLRACE_MAY_SUSPEND;
  void EndStep();
  bool is_in_step() const { return is_in_step_; }
  bool is_held() const { return quiesce_count_ > 0 && granted_sections_ == 0; }
  int quiesce_count() const { return quiesce_count_; }
  int times_held_awake() const { return times_held_awake_; }

  void BeginQuiesce() override {
    ++quiesce_count_;
    if (!is_quiet()) ++times_held_awake_;
  }
  void EndQuiesce() override;
  bool is_quiet() const override {
    return granted_sections_ == 0 && (!is_in_step_ || quiet_waits_ > 0);
  }
  std::string DescribeQuiescable() const override { return "test job '" + id_ + "'"; }
  void EnterQuietWait() override;
  void CoLeaveQuietWait() override MILLRACE_MAY_SUSPEND;
  void OnSectionGranted() override;
  void OnSectionEnded() override;
  void DescribeWait(WaitDescription& description) const override;

 private:
  const std::string id_;
  bool is_in_step_ = false;
  int quiesce_count_ = 0;
  int times_held_awake_ = 0;
  int quiet_waits_ = 0;
  int granted_sections_ = 0;
  WaitQueue parked_;
};

// Runs `body` as a coroutine to its end, one step of the simulation after the other, and checks the
// graph's invariants after each, or only at the end. A deadlock fails the test with its report.
template <typename Body>
absl::Status RunChecked(Engine& engine, Graph& graph, bool checks_every_step, Body&& body) {
  engine.scheduler().SetChecksEdits(true);
  TaskScope scope(engine.scheduler(), "test");
  absl::Status result;
  scope.Spawn("test/main", [&]() MILLRACE_MAY_SUSPEND { result = body(); });
  absl::Status broken;
  while (scope.live() > 0) {
    if (!engine.PollOnce(1)) break;
    if (checks_every_step && broken.ok()) broken = graph.CheckInvariants();
  }
  MILLRACE_CHECK(scope.live() == 0,
                 engine.scheduler().FindDeadlock().value_or("the simulation ended early"));
  scope.Finish().IgnoreError();
  if (broken.ok()) broken = graph.CheckInvariants();
  EXPECT_TRUE(broken.ok()) << broken;
  return result;
}

class GraphFixture : public testing::Test {
 protected:
  GraphFixture();

  // Runs `body`, which returns a status, and then closes the graph; nothing may be left in it.
  template <typename Body>
  void Run(Body&& body) {
    absl::Status status = RunChecked(*engine_, *graph_, true, [&]() MILLRACE_MAY_SUSPEND {
      absl::Status result = body();
      graph_->CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(graph_->node_count(), 0u);
    EXPECT_EQ(engine_->scheduler().live_coroutines(), 0u);
  }

  NodeId Find(std::string_view name) MILLRACE_OPENS_VIEW;
  // An unattached staying attachment of `holder`.
  static AttachmentOptions Keep(const HolderRef& holder, std::string purpose = "keep");
  // A pass filter above `below`, inside a section of `holder`, opened.
  absl::StatusOr<NodeId> CoInsertPass(const std::string& name, NodeId below,
                                      const HolderRef& holder) MILLRACE_MAY_SUSPEND;
  absl::Status CoRemovePass(NodeId filter, const HolderRef& holder) MILLRACE_MAY_SUSPEND;

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Graph> graph_;
};

// A node over an overlay image of its own, named and ready to be committed by `change`.
NodeId AddOverlay(GraphTransaction& change, const std::string& name, uint64_t bytes = 4096);

// The status must be a refusal that carries this conflict, and tells people what to do next.
void ExpectConflict(const absl::Status& status, ConflictReason reason, std::string_view object,
                    int line = __builtin_LINE());

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_GRAPH_FIXTURE_H_
