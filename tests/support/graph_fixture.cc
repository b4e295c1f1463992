#include "tests/support/graph_fixture.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_node.h"
#include "tests/support/simulation.h"

namespace millrace {

void HandDrivenJob::CoBeginStep() {
  while (is_held()) parked_.CoWait("hand-driven.held", this);
  MILLRACE_CHECK(!is_in_step_, "a hand-driven job takes one step at a time");
  is_in_step_ = true;
}

void HandDrivenJob::EndStep() {
  is_in_step_ = false;
  if (is_quiet()) NotifyQuiet();
}

void HandDrivenJob::EndQuiesce() {
  MILLRACE_CHECK(quiesce_count_ > 0, "I9: a hand-driven job was released more often than held");
  if (--quiesce_count_ == 0) parked_.WakeAll();
}

void HandDrivenJob::EnterQuietWait() {
  ++quiet_waits_;
  if (is_quiet()) NotifyQuiet();
}

void HandDrivenJob::CoLeaveQuietWait() {
  while (is_held()) parked_.CoWait("hand-driven.quiet", this);
  --quiet_waits_;
}

void HandDrivenJob::OnSectionGranted() {
  ++granted_sections_;
  parked_.WakeAll();
}

void HandDrivenJob::OnSectionEnded() {
  --granted_sections_;
  if (is_quiet()) NotifyQuiet();
}

void HandDrivenJob::DescribeWait(WaitDescription& description) const {
  description.object = "the drains that hold " + DescribeQuiescable();
}

GraphFixture::GraphFixture() {
  engine_ = SimulatedEngine();
  engine_->scheduler().SetStepCheck(nullptr);  // Run() looks after every step
  graph_ = std::make_unique<Graph>(*engine_);
}

NodeId GraphFixture::Find(std::string_view name) {
  GraphView view(*graph_);
  absl::StatusOr<NodeView> node = view.Find(name);
  return node.ok() ? node->id() : NodeId();
}

AttachmentOptions GraphFixture::Keep(const HolderRef& holder, std::string purpose) {
  AttachmentOptions options;
  options.holder = holder;
  options.purpose = std::move(purpose);
  options.queues_requests = false;
  options.stays_at_node = true;
  return options;
}

namespace {

absl::StatusOr<NodeId> StagePass(Graph& graph, const std::string& name, NodeId below,
                                 const HolderRef& holder, const DrainedSection& drained)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.Show(drained).OnBehalfOf(holder);
  NodeOptions options;
  options.name = name;
  const NodeId filter = change.AddNode(std::make_unique<PassFilter>(), options);
  change.InsertFilter(filter, below);
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return filter;
}

absl::StatusOr<AppliedEdit> RemovePass(Graph& graph, NodeId filter, const HolderRef& holder,
                                       const DrainedSection& drained) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.Show(drained).OnBehalfOf(holder);
  change.RemoveFilter(filter);
  return change.Commit();
}

}  // namespace

absl::StatusOr<NodeId> GraphFixture::CoInsertPass(const std::string& name, NodeId below,
                                                  const HolderRef& holder) {
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                            DrainedSection::CoBegin(*graph_, {below}, {holder}));
  MILLRACE_ASSIGN_OR_RETURN(NodeId filter, StagePass(*graph_, name, below, holder, drained));
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, filter));
  return filter;
}

absl::Status GraphFixture::CoRemovePass(NodeId filter, const HolderRef& holder) {
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                            DrainedSection::CoBegin(*graph_, {filter}, {holder}));
  return RemovePass(*graph_, filter, holder, drained).status();
}

void ExpectConflict(const absl::Status& status, ConflictReason reason, std::string_view object,
                    int line) {
  SCOPED_TRACE(testing::Message() << "expected at line " << line << ": " << status);
  const std::optional<Conflict> conflict = ConflictOf(status);
  ASSERT_TRUE(conflict.has_value());
  EXPECT_EQ(conflict->reason, reason);
  EXPECT_EQ(conflict->object, object);
  EXPECT_NE(conflict->next_step, "");
  EXPECT_NE(std::string(status.message()).find(conflict->next_step), std::string::npos);
}

NodeId AddOverlay(GraphTransaction& change, const std::string& name, uint64_t bytes) {
  MemoryOverlayOptions driver;
  driver.bytes = bytes;
  driver.filename = "img-" + name;
  NodeOptions options;
  options.name = name;
  return change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), options);
}

}  // namespace millrace
