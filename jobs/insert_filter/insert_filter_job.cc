#include "millrace/jobs/insert_filter/insert_filter_job.h"

#include <utility>
#include <vector>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

AttachmentOptions KeeperOf(const BlockJobProofs& proofs) {
  AttachmentOptions options;
  options.holder = proofs.holder;
  options.purpose = "main node";
  options.queues_requests = false;
  options.stays_at_node = true;
  return options;
}

class InsertFilterJob final : public BlockJob {
 public:
  InsertFilterJob(Graph& graph, BlockJobProofs proofs, Attachment filter)
      : BlockJob(graph, std::move(proofs)), filter_(std::move(filter)) {}

  std::string_view type() const override { return "insert-filter"; }
  // The filter is open and waits; all that is left is the edit.
  absl::Status CoRun(JobContext&) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  std::vector<NodeId> NodesToDrain(const GraphReader& reader) const override {
    return {Below(reader)};
  }

  bool edit_shows_the_same() const override { return true; }
  void StageGraphEdit(GraphTransaction& change) override {
    change.ReplaceNode(Below(change), filter_.node());
    StageDetachAll(change);
  }

  void CoAbort() override MILLRACE_MAY_SUSPEND {
    if (filter_.is_attached()) filter_.CoDetach();
  }

 private:
  std::vector<Attachment*> IoAttachments() override { return {&filter_}; }

  // What the filter stands on now: while it waits beside the traffic, others may have put a filter
  // of theirs above its node, or another node in its place, and its own link went along.
  NodeId Below(const GraphReader& reader) const {
    MILLRACE_MUTANT(kM21) return MutantNote<NodeId>(filter_.node().slot);  // of its start
    const absl::StatusOr<NodeView> filter = reader.Resolve(filter_.node());
    MILLRACE_CHECK(filter.ok(), "a filter went although its job is attached to it");
    return filter->Filtered()->id();
  }

  Attachment filter_;
};

class RemoveFilterJob final : public BlockJob {
 public:
  RemoveFilterJob(Graph& graph, BlockJobProofs proofs, NodeId filter)
      : BlockJob(graph, std::move(proofs)), filter_(filter) {}

  std::string_view type() const override { return "remove-filter"; }
  absl::Status CoRun(JobContext&) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  std::vector<NodeId> NodesToDrain(const GraphReader&) const override { return {filter_}; }

  bool edit_shows_the_same() const override { return true; }
  void StageGraphEdit(GraphTransaction& change) override {
    StageDetachAll(change);
    change.RemoveFilter(filter_);
  }

 private:
  std::vector<Attachment*> IoAttachments() override { return {}; }

  const NodeId filter_;
};

// No lease is taken: what the filter's links lead to may change until they are edited (a job's own
// filter may come between), and the claim on the filter keeps chains that hold it from being
// leased.
absl::Status CheckNotLeased(const GraphReader& view, NodeId from, NodeId to,
                            const HolderRef& holder) {
  const absl::Status trial = FrozenChain::Freeze(view, from, to, holder).status();
  const std::optional<Conflict> conflict = ConflictOf(trial);
  return conflict && conflict->reason == ConflictReason::kFrozenLink ? trial : absl::OkStatus();
}

}  // namespace

// Nobody leases a link to the node, and, because of the claim, nobody will: a chain that is leased
// begins at the node, ends above it, or has it checked for claims.
absl::StatusOr<BlockJobProofs> ClaimForInsertFilter(Graph& graph,
                                                    const InsertFilterOptions& options) {
  MILLRACE_RETURN_IF_ERROR(CheckGiven(options.below, "InsertFilterOptions::below"));
  GraphView view(graph);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView below, view.Resolve(options.below));
  if (!below.has_followers()) {
    return RefuseJob(absl::StatusCode::kFailedPrecondition, ConflictReason::kNothingAbove,
                     below.name(), "",
                     StrCat("cannot insert a filter above '", below.name(),
                            "': nothing stands above it that would see the filter, and nothing "
                            "would keep it"),
                     "attach a device first, or open the node with the filter");
  }
  BlockJobProofs proofs = BlockJobProofs::For(graph, options.spec.id.value_or(""), "insert-filter");
  for (NodeId parent : below.parents()) {
    MILLRACE_RETURN_IF_ERROR(CheckNotLeased(view, parent, options.below, proofs.holder));
  }
  proofs.claims.emplace_back(graph, options.below,
                             OperationSet().With(Operation::kStream).With(Operation::kCommitTarget),
                             proofs.holder);
  return proofs;
}

absl::StatusOr<BlockJobProofs> ClaimForRemoveFilter(Graph& graph,
                                                    const RemoveFilterOptions& options) {
  MILLRACE_RETURN_IF_ERROR(CheckGiven(options.filter, "RemoveFilterOptions::filter"));
  GraphView view(graph);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView filter, view.Resolve(options.filter));
  if (!filter.is_filter()) {
    return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kNotFilter, filter.name(),
                     "", StrCat("cannot take out '", filter.name(), "': it is not a filter"),
                     "name a filter");
  }
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(view, options.filter, Operation::kDelete));
  BlockJobProofs proofs = BlockJobProofs::For(graph, options.spec.id.value_or(""), "remove-filter");
  if (const std::optional<NodeView> below = filter.Filtered()) {
    MILLRACE_RETURN_IF_ERROR(CheckNotLeased(view, options.filter, below->id(), proofs.holder));
  }
  for (NodeId parent : filter.parents()) {
    MILLRACE_RETURN_IF_ERROR(CheckNotLeased(view, parent, options.filter, proofs.holder));
  }
  proofs.ClaimAll(graph, options.filter);
  return proofs;
}

namespace {

absl::StatusOr<Attachment> Keep(Graph& graph, const BlockJobProofs& proofs, NodeId node)
    MILLRACE_OPENS_VIEW {
  return Attachment::Attach(graph, node, KeeperOf(proofs));
}

}  // namespace

absl::StatusOr<JobNumber> CoStartInsertFilter(Graph& graph, JobManager& manager,
                                              std::unique_ptr<FilterDriver> filter,
                                              InsertFilterOptions options) {
  MILLRACE_RETURN_IF_ERROR(manager.CheckNewId(options.spec.id, options.spec.is_internal));
  if (filter == nullptr) {
    return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kNotFilter, "", "",
                     "cannot insert a filter: none was given",
                     "make one, as by DriverRegistry::MakeFilter");
  }
  MILLRACE_ASSIGN_OR_RETURN(BlockJobProofs proofs, ClaimForInsertFilter(graph, options));
  MILLRACE_ASSIGN_OR_RETURN(Attachment attachment,
                            CoAddFilterBeside(graph, std::move(filter), options.filter_name,
                                              options.below, KeeperOf(proofs)));
  MILLRACE_MUTANT(kM21) MutantNote<NodeId>(attachment.node().slot) = options.below;
  auto job = std::make_unique<InsertFilterJob>(graph, std::move(proofs), std::move(attachment));
  return CoCreateAndStart(manager, std::move(options.spec), std::move(job));
}

absl::StatusOr<JobNumber> CoStartRemoveFilter(Graph& graph, JobManager& manager,
                                              RemoveFilterOptions options) {
  MILLRACE_RETURN_IF_ERROR(manager.CheckNewId(options.spec.id, options.spec.is_internal));
  MILLRACE_ASSIGN_OR_RETURN(BlockJobProofs proofs, ClaimForRemoveFilter(graph, options));
  MILLRACE_ASSIGN_OR_RETURN(Attachment keeper, Keep(graph, proofs, options.filter));
  proofs.attachments.push_back(std::move(keeper));
  MILLRACE_MUTANT(kR81) proofs.attachments.clear();  // a job that holds no reference
  auto job = std::make_unique<RemoveFilterJob>(graph, std::move(proofs), options.filter);
  return CoCreateAndStart(manager, std::move(options.spec), std::move(job));
}

}  // namespace millrace
