#include "millrace/jobs/block_job.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/file_name.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"

namespace millrace {
namespace {

// The committer's transaction on its way through the job core, which does not know it.
class GraphJobEdit final : public JobEdit {
 public:
  explicit GraphJobEdit(GraphTransaction& change) : change_(change) {}
  GraphTransaction& change() const { return change_; }

 private:
  GraphTransaction& change_;
};

}  // namespace

BlockJobProofs BlockJobProofs::For(Graph& graph, std::string_view job_id, std::string_view type) {
  BlockJobProofs proofs;
  proofs.holder = std::make_shared<Holder>();
  proofs.holder->id = std::string(job_id);
  proofs.holder->type = StrCat(type, " job");
  proofs.holder->since = graph.engine().clock().Now();
  return proofs;
}

// ---- BlockJob ----------------------------------------------------------------------------------

BlockJob::BlockJob(Graph& graph, BlockJobProofs proofs)
    : graph_(graph), proofs_(std::move(proofs)), holder_(proofs_.holder) {}

absl::Status BlockJob::OnCreated() {
  proofs_.holder->quiescable = &context().quiescable();
  std::vector<Attachment*> attachments = IoAttachments();
  for (Attachment& attachment : proofs_.attachments) attachments.push_back(&attachment);
  MILLRACE_MUTANT(kM10) return absl::OkStatus();  // a drain that began before does not know it
  Attachment::BindQuiescable(attachments);
  return absl::OkStatus();
}

void BlockJob::StageEdit(JobEdit& edit) {
  GraphTransaction& change = static_cast<GraphJobEdit&>(edit).change();
  change.Show(proofs_.chain);
  StageGraphEdit(change);
}

size_t BlockJob::CountRequestsInFlight() {
  size_t requests = 0;
  for (const Attachment* attachment : IoAttachments()) requests += attachment->requests_in_flight();
  return requests;
}

// What only keeps its nodes may stay until it is dismissed.
std::string BlockJob::DescribeLeftovers() {
  if (proofs_.chain.is_held()) return "a lease on its chain";
  for (const Attachment* attachment : IoAttachments()) {
    if (attachment->is_attached()) {
      return StrCat("an attachment for I/O to node ", attachment->node().ToString());
    }
  }
  return {};
}

void BlockJob::StageDetachAll(GraphTransaction& change) {
  for (Attachment* attachment : IoAttachments()) change.Detach(*attachment);
  for (Attachment& attachment : proofs_.attachments) change.Detach(attachment);
}

void BlockJob::StageDetachUnkept(GraphTransaction& change) {
  if (!context().is_kept_for_dismissal()) return StageDetachAll(change);
  for (Attachment* attachment : IoAttachments()) change.Detach(*attachment);
}

absl::StatusOr<bool> BlockJob::StagePlannedEnd(GraphTransaction& change, JobEnd end,
                                               bool /*restores*/) {
  change.Show(proofs_.chain);
  if (end == JobEnd::kDismissed) {
    StageDetachAll(change);
    for (Attachment& attachment : kept_) change.Detach(attachment);
    return false;
  }
  if (end == JobEnd::kUndone) {
    StageDetachUnkept(change);
  } else {
    StageGraphEdit(change);
  }
  return context().is_kept_for_dismissal();
}

void BlockJob::DropPlannedEnd(JobEnd end) {
  if (end == JobEnd::kDone || end == JobEnd::kCompleted) kept_.clear();
}

void BlockJob::StageDetachIo(GraphTransaction& change, const std::vector<NamedNode>& also) {
  kept_.clear();  // of an edit that was put off
  StageDetachAll(change);
  if (!context().is_kept_for_dismissal()) return;
  for (const Attachment& attachment : proofs_.attachments) {
    kept_.push_back(change.Attach(
        attachment.node(), JobEdge(proofs_, attachment.purpose(), attachment.permissions())));
  }
  for (const NamedNode& named : also) {
    kept_.push_back(change.Attach(named.node, JobEdge(proofs_, named.purpose, {})));
  }
}

absl::Status BlockJob::CoFollowUp() {
  absl::Status status = CoSyncBackingHeaders(graph_, applied_.headers, holder_);
  graph_.CoWaitForClosed(applied_.dropped);
  return status;
}

void BlockJob::CoClean() { proofs_.chain.Release(); }

// ---- BlockJobCommitter -------------------------------------------------------------------------

std::vector<NodeId> BlockJobCommitter::NodesToDrain(absl::Span<JobBody* const> members) {
  GraphView view(graph_);
  std::vector<NodeId> nodes;
  for (JobBody* member : members) {
    for (NodeId node : static_cast<BlockJob*>(member)->NodesToDrain(view)) nodes.push_back(node);
  }
  return nodes;
}

bool BlockJobCommitter::AreCaughtUp(absl::Span<JobBody* const> members) {
  GraphView view(graph_);
  return std::all_of(members.begin(), members.end(), [&](JobBody* member) {
    return static_cast<BlockJob*>(member)->IsCaughtUp(view);
  });
}

absl::Status BlockJobCommitter::Apply(absl::Span<JobBody* const> members,
                                      const DrainedSection& drained) {
  GraphTransaction change(graph_);
  change.Show(drained).OnBehalfOf(static_cast<BlockJob*>(members.front())->holder());
  const bool shows_the_same = std::all_of(members.begin(), members.end(), [](JobBody* member) {
    return static_cast<BlockJob*>(member)->edit_shows_the_same();
  });
  if (shows_the_same) change.ShowsTheSame();
  GraphJobEdit edit(change);
  for (JobBody* member : members) member->StageEdit(edit);
  MILLRACE_ASSIGN_OR_RETURN(AppliedEdit applied, change.Commit());
  // Each overlay's header is one member's: the first that asked writes it.
  for (JobBody* member : members) {
    static_cast<BlockJob*>(member)->OnApplied(applied);
    applied.headers.clear();
  }
  return absl::OkStatus();
}

absl::Status BlockJobCommitter::CoCatchUp(absl::Span<JobBody* const> members) {
  for (JobBody* member : members) {
    MILLRACE_RETURN_IF_ERROR(static_cast<BlockJob*>(member)->CoCatchUp());
  }
  return absl::OkStatus();
}

absl::StatusOr<CommitOutcome> BlockJobCommitter::CoCommit(absl::Span<JobBody* const> members) {
  std::vector<HolderRef> owners;
  for (JobBody* member : members) owners.push_back(static_cast<BlockJob*>(member)->holder());
  // What must be drained is derived again if the graph has changed meanwhile: the nodes above a
  // job's chain may be others by the time the drain is granted, and somebody may have come below
  // who is to be drained, too.
  for (;;) {
    const std::vector<NodeId> nodes = NodesToDrain(members);
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(graph_, nodes, owners));
    while (NodesToDrain(members) == nodes) {
      const bool is_put_off = std::any_of(members.begin(), members.end(), [](JobBody* member) {
        return static_cast<BlockJob*>(member)->PutsOffTheEdit();
      });
      if (is_put_off) return CommitOutcome::kPutOff;
      absl::Status status = CoCatchUp(members);
      MILLRACE_MUTANT(kR55) {  // what fails here forgets what it has begun
        if (!status.ok()) new DrainedSection(std::move(drained));
      }
      MILLRACE_RETURN_IF_ERROR(status);
      if (NodesToDrain(members) == nodes && AreCaughtUp(members)) {
        MILLRACE_RETURN_IF_ERROR(Apply(members, drained));
        return CommitOutcome::kApplied;
      }
    }
  }
}

// ---- For the factories -------------------------------------------------------------------------

std::optional<std::string> JobIdFor(const BlockJobOptions& options, const NodeView& node) {
  if (options.spec.id || options.spec.is_internal) return options.spec.id;
  return node.device_name();
}

namespace {

// The device of a filter above the node, with the filter; nothing if there is none.
std::string DeviceAbove(const GraphReader& reader, const NodeView& node) {
  for (NodeId id : node.parents()) {
    absl::StatusOr<NodeView> parent = reader.Resolve(id);
    if (!parent.ok() || !parent->is_filter()) continue;
    if (const std::string device = parent->device_name(); !device.empty()) {
      return StrCat("; '", device, "' stands on filter '", parent->name(), "' above it");
    }
    if (std::string above = DeviceAbove(reader, *parent); !above.empty()) return above;
  }
  return "";
}

// There is no device whose name it could have. Who is at work there would be in its way, whatever
// it is called: he is told of first.
absl::Status RefuseToCallItAfter(const GraphReader& reader, const NodeView& node) {
  Conflict conflict{.reason = ConflictReason::kMissingJobId, .object = node.name()};
  conflict.detail = "device";
  std::string at_work;
  for (ConflictHolder& holder : node.users()) {
    if (!holder.type.ends_with(" job")) continue;
    StrAppend(&at_work, at_work.empty() ? "" : " and ", holder.type, " '", holder.id, "'");
    conflict.holders.push_back(std::move(holder));
  }
  std::string text = StrCat("cannot create a job without an id on node '", node.name(), "': ");
  conflict.next_step = "set spec.id";
  if (!at_work.empty()) {
    StrAppend(&text, at_work, " is at work on it; and ");
    conflict.next_step = "wait until that has ended, or cancel it";
  }
  StrAppend(&text, "it has no device of its own to be called after", DeviceAbove(reader, node));
  return RefusalStatus(absl::StatusCode::kInvalidArgument, conflict, text);
}

}  // namespace

absl::StatusOr<std::string> NewJobId(Graph& graph, const JobManager& manager,
                                     const BlockJobOptions& options, NodeId device) {
  GraphView view(graph);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(device));
  const std::optional<std::string> id = JobIdFor(options, node);
  if (!options.spec.id && id && id->empty()) {
    return RefuseToCallItAfter(view, node);
  }
  MILLRACE_RETURN_IF_ERROR(manager.CheckNewId(id, options.spec.is_internal));
  return id.value_or("");
}

absl::Status CheckGiven(NodeId node, std::string_view option) {
  if (node.is_valid()) return absl::OkStatus();
  return RefuseJob(absl::StatusCode::kFailedPrecondition, ConflictReason::kStaleNode, option, "",
                   StrCat(option, " is not given"), "give a node, as Attachment::node()");
}

absl::Status CheckFilterName(Graph& graph, const BlockJobOptions& options) {
  const GraphTransaction change(graph);
  return change.CheckNewName(options.filter_name);
}

absl::StatusOr<JobNumber> CoCreateAndStart(JobManager& manager, JobSpec spec,
                                           std::unique_ptr<BlockJob> job) {
  MILLRACE_ASSIGN_OR_RETURN(JobNumber number, manager.CoCreate(std::move(spec), std::move(job)));
  MILLRACE_RETURN_IF_ERROR(manager.CoStart(number));
  return number;
}

AttachmentOptions JobEdge(const BlockJobProofs& proofs, std::string purpose,
                          Permissions permissions) {
  AttachmentOptions options;
  options.holder = proofs.holder;
  options.purpose = std::move(purpose);
  options.permissions = permissions;
  options.reserved = Permissions();
  options.queues_requests = false;
  options.stays_at_node = true;
  return options;
}

bool IsReadOnly(Graph& graph, NodeId id) {
  GraphView view(graph);
  absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() && node->is_read_only();
}

namespace {

std::string WhoStandsOn(const std::vector<ConflictHolder>& holders) {
  std::string text;
  for (const ConflictHolder& holder : holders) {
    StrAppend(&text, text.empty() ? "" : ", ", holder.type, " '", holder.id, "'");
  }
  return text;
}

}  // namespace

absl::Status CheckIsRoot(const NodeView& device, std::string_view action) {
  // A root has users but no parent node; a job's filter above it makes it one no longer.
  if (device.has_attachment() && device.parents().empty()) return absl::OkStatus();
  Conflict conflict{.reason = ConflictReason::kNotRoot, .object = device.name()};
  conflict.holders = device.jobs_and_parents();
  std::string why = "nobody uses it as a disk";
  conflict.next_step = "attach its user first, or name the node that a user is attached to";
  if (!device.parents().empty()) {
    why = StrCat("it lies below ", WhoStandsOn(conflict.holders));
    conflict.next_step =
        "name a node that nothing stands on, or wait until the job above it has ended";
  }
  return RefusalStatus(
      absl::StatusCode::kInvalidArgument, conflict,
      StrCat("cannot ", action, " '", device.name(), "': the device is not a root node: ", why));
}

namespace {

void FindOverlaysOn(const GraphReader& reader, const NodeView& node,
                    std::vector<NodeId>* overlays) {
  for (NodeId id : node.parents()) {
    absl::StatusOr<NodeView> parent = reader.Resolve(id);
    if (!parent.ok()) continue;
    if (parent->is_filter()) {
      FindOverlaysOn(reader, *parent, overlays);
    } else if (std::optional<NodeView> backing = parent->Backing(); backing && *backing == node) {
      overlays->push_back(id);
    }
  }
}

}  // namespace

std::vector<NodeId> OverlaysOn(const GraphReader& reader, NodeId id) {
  std::vector<NodeId> overlays;
  if (absl::StatusOr<NodeView> node = reader.Resolve(id); node.ok()) {
    FindOverlaysOn(reader, *node, &overlays);
  }
  return overlays;
}

namespace {

absl::StatusOr<Attachment> AddFilter(Graph& graph, std::unique_ptr<FilterDriver> filter,
                                     const std::string& name, NodeId below,
                                     AttachmentOptions keeper) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.OnBehalfOf(keeper.holder);
  Attachment attachment;
  StageFilterBeside(change, std::move(filter), name, below, std::move(keeper), &attachment);
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return attachment;
}

// Whether a filter that was added beside `below` stands above another one by now: who puts one in
// place moves all that point at `below`, those that wait beside it included.
bool IsElsewhere(const GraphReader& reader, NodeId filter, NodeId below) {
  const absl::StatusOr<NodeView> view = reader.Resolve(filter);
  const std::optional<NodeView> child = view.ok() ? view->FilteredOrBacking() : std::nullopt;
  return child && child->id() != below;
}

absl::Status PutInPlace(Graph& graph, const DrainedSection& drained, NodeId filter, NodeId below,
                        const HolderRef& holder, FrozenChain* lease) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.Show(drained).OnBehalfOf(holder);
  StageFilterInPlace(change, filter, below, lease);
  return change.Commit().status();
}

}  // namespace

NodeId StageFilterBeside(GraphTransaction& change, std::unique_ptr<FilterDriver> filter,
                         const std::string& name, NodeId below, AttachmentOptions keeper,
                         Attachment* kept) {
  NodeOptions options;
  options.name = name;
  options.is_implicit = name.empty();
  options.is_read_only = filter->passes_no_writes();
  const NodeId id = change.AddNode(std::move(filter), std::move(options));
  change.AddChild(id, Role::kFiltered, below);
  *kept = change.Attach(id, std::move(keeper));
  return id;
}

void StageFilterInPlace(GraphTransaction& change, NodeId filter, NodeId below, FrozenChain* lease) {
  if (IsElsewhere(change, filter, below)) {
    change.RemoveChild(filter, Role::kFiltered);
    change.AddChild(filter, Role::kFiltered, below);
  }
  change.ReplaceNode(below, filter);
  if (lease != nullptr) {
    change.Show(*lease);
    change.ExtendLease(*lease, filter);
  }
}

absl::StatusOr<Attachment> CoAddFilterBeside(Graph& graph, std::unique_ptr<FilterDriver> filter,
                                             const std::string& name, NodeId below,
                                             AttachmentOptions keeper) {
  MILLRACE_ASSIGN_OR_RETURN(Attachment attachment,
                            AddFilter(graph, std::move(filter), name, below, std::move(keeper)));
  absl::Status status = CoOpenNode(graph, attachment.node());
  if (!status.ok()) {
    attachment.CoDetach();
    return status;
  }
  return attachment;
}

absl::Status CoPutFilterInPlace(Graph& graph, NodeId filter, NodeId below, const HolderRef& holder,
                                FrozenChain* lease) {
  MILLRACE_MUTANT(kR43) return PutInPlace(graph, {}, filter, below, holder, lease);
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                            DrainedSection::CoBegin(graph, {below}, {holder}));
  return PutInPlace(graph, drained, filter, below, holder, lease);
}

namespace {

absl::StatusOr<AppliedEdit> UndoSetUp(Graph& graph, const BlockJobProofs& proofs,
                                      const DrainedSection& drained, NodeId filter,
                                      const std::vector<Attachment*>& attachments)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.Show(drained).Show(proofs.chain).OnBehalfOf(proofs.holder);
  for (Attachment* attachment : attachments) change.Detach(*attachment);
  if (filter.is_valid()) change.RemoveFilter(filter);
  return change.Commit();
}

}  // namespace

void CoUndoSetUp(Graph& graph, const BlockJobProofs& proofs, NodeId filter, NodeId top,
                 const std::vector<Attachment*>& attachments) {
  absl::StatusOr<DrainedSection> drained = DrainedSection::CoBegin(graph, {top}, {proofs.holder});
  MILLRACE_CHECK(drained.ok(), "a job's top went although the job leases it");
  absl::StatusOr<AppliedEdit> edit = UndoSetUp(graph, proofs, *drained, filter, attachments);
  MILLRACE_CHECK(edit.ok(), StrCat("a job's set-up cannot be undone: ", edit.status().ToString()));
  drained->End();
  graph.CoWaitForClosed(edit->dropped);
}

absl::Status CoRestoreReadOnly(Graph& graph, NodeId node, const HolderRef& holder) {
  absl::Status status = CoSetReadOnly(graph, node, true, holder);
  const std::optional<Conflict> conflict = ConflictOf(status);
  bool is_moot = conflict && (conflict->reason == ConflictReason::kStaleNode ||
                              conflict->reason == ConflictReason::kReadOnly);
  MILLRACE_MUTANT(kR27) is_moot = conflict && conflict->reason == ConflictReason::kReadOnly;
  return is_moot ? absl::OkStatus() : status;
}

void CoTryRestoreReadOnly(Graph& graph, NodeId node, const HolderRef& holder) {
  const absl::Status status = CoRestoreReadOnly(graph, node, holder);
  if (status.ok()) return;
  graph.engine().observer().OnLog(
      LogLevel::kWarning,
      StrCat("a node stays writable after ", holder->Describe(),
             ", which had made it so: ", FromAbsl(status.message()), "; reopen it read-only"));
}

BackingReference ReferenceTo(const GraphReader& reader, NodeId base,
                             const std::string& wanted_filename, bool masks_protocol) {
  absl::StatusOr<NodeView> node = reader.Resolve(base);
  if (!node.ok()) return {};
  MILLRACE_MUTANT(kR01c) return {node->filename(), std::string(node->driver_name())};
  MILLRACE_MUTANT(kR04c) return {node->filename(), std::string(node->driver_name())};
  const NodeView image = SkipFilters(*node);
  FileNames names(reader, FileNames::Backing::kPastFilters);
  const bool is_masked = masks_protocol && image.kind() == NodeKind::kProtocol;
  return {wanted_filename.empty() ? names.Of(image).shown : wanted_filename,
          is_masked ? "raw" : std::string(image.driver_name())};
}

absl::Status RefuseJob(absl::StatusCode code, ConflictReason reason, std::string_view object,
                       std::string_view detail, std::string_view text, std::string_view next_step) {
  Conflict conflict;
  conflict.reason = reason;
  conflict.object = std::string(object);
  conflict.detail = std::string(detail);
  conflict.next_step = std::string(next_step);
  return ConflictStatus(code, conflict, StrCat(text, "; ", next_step));
}

}  // namespace millrace
