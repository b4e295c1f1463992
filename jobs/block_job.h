// BlockJob: a job that works on nodes. The bridge between the job core, which knows no graph, and
// the graph, which knows no job.
//
// A block job is made in four steps, which its factory (CoStartStream ...) takes in this order:
//   claim    one step without suspension: checks, the lease on its chain, claims on its nodes; from
//            here on nothing of it can vanish, and whoever is in the way has been named;
//   set up   (may suspend) its filter is put in place, nodes become writable, attachments are made;
//   create   the job core makes the job; its holder can be brought to rest by drains from here on;
//   start    CoRun.
// It ends in one GraphTransaction that the committer opens for all members of its job transaction.
#ifndef MILLRACE_JOBS_BLOCK_JOB_H_
#define MILLRACE_JOBS_BLOCK_JOB_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_body.h"
#include "millrace/engine/job/job_committer.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/freeze.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/operation_claim.h"
#include "millrace/jobs/copy/copy_tuning.h"

namespace millrace {

// Everything a block job holds while it lives; taken by its claim and set-up.
struct BlockJobProofs {
  std::shared_ptr<Holder> holder;  // shared with all of these
  FrozenChain chain;
  std::vector<OperationClaim> claims;
  std::vector<Attachment> attachments;  // keep its nodes; never used for I/O

  // "stream job 'id'", since now.
  static BlockJobProofs For(Graph& graph, std::string_view job_id, std::string_view type);
  // `as`: what for, where a refusal is to tell it.
  void ClaimAll(Graph& graph, NodeId node, std::string as = {}) {
    claims.emplace_back(graph, node, OperationSet::All(), holder, std::move(as));
  }
};

// How a job may end.
enum class JobEnd : uint8_t {
  kDone,       // its edit is applied
  kCompleted,  // the same of a mirror that the user completes: the target takes over
  kUndone,     // what it has set up is taken down
  kDismissed,  // it has ended, and goes
};

class BlockJob : public JobBody {
 public:
  BlockJob(Graph& graph, BlockJobProofs proofs);

  absl::Status OnCreated() override;
  void StageEdit(JobEdit& edit) final;
  size_t CountRequestsInFlight() override;
  std::string DescribeLeftovers() override;
  absl::Status CoFollowUp() override MILLRACE_MAY_SUSPEND;
  void CoClean() override MILLRACE_MAY_SUSPEND;

  // ---- For the committer ------------------------------------------------------------------------
  // Nodes that must be drained for this job's edit. Derived when asked.
  virtual std::vector<NodeId> NodesToDrain(const GraphReader& reader) const = 0;
  // This job's edits, derived from the graph as it is now. Cannot suspend.
  virtual void StageGraphEdit(GraphTransaction& change) = 0;
  // Called in the section, before the edits are staged, for what must be up to date at the edit:
  // nobody but the members does I/O on the drained nodes. Called again until all are caught up; so
  // it may leave to the next call what comes while it suspends. I/O through the job's own
  // attachments only. A failure is the commit's.
  virtual absl::Status CoCatchUp() MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  // Whether CoCatchUp() would find nothing to do: the last question before the edit, with nothing
  // in between that suspends.
  virtual bool IsCaughtUp(const GraphReader& /*reader*/) { return true; }
  // Asked in the section before CoCatchUp(), every time: whether that has so much to do that the
  // section is to end, all members are to prepare again, and another one is to begin. There must be
  // an end of it.
  virtual bool PutsOffTheEdit() { return false; }
  // Whether whoever stands above the job's nodes is shown by the edit what was shown before: what
  // leaves a chain has been copied (GraphTransaction::ShowsTheSame). Only if all members say so are
  // those who listen, as a mirror above, not told that all may be another.
  virtual bool edit_shows_the_same() const { return false; }
  void OnApplied(const AppliedEdit& edit) { applied_ = edit; }
  const HolderRef& holder() const { return holder_; }

  // ---- For a dry run ----------------------------------------------------------------------------
  // Stages what the graph is when the job has ended so, with all that follows up: for a rehearsal.
  // `restores`: what it has made writable becomes read-only again; in earnest that is left out
  // where somebody else writes. Returns whether its claims stay until it is dismissed, or what the
  // end would be refused for. Its lease goes in any case.
  virtual absl::StatusOr<bool> StagePlannedEnd(GraphTransaction& change, JobEnd end, bool restores);
  // Drops what that has staged; before the transaction goes.
  virtual void DropPlannedEnd(JobEnd end);

 protected:
  Graph& graph() const { return graph_; }
  BlockJobProofs& proofs() { return proofs_; }
  const BlockJobProofs& proofs() const { return proofs_; }
  // Attachments for I/O besides proofs().attachments, so that drains find them.
  virtual std::vector<Attachment*> IoAttachments() = 0;
  // Stages the end of all its attachments.
  void StageDetachAll(GraphTransaction& change);
  // The same of those for I/O, and of the others only if nothing is kept for who dismisses the job.
  void StageDetachUnkept(GraphTransaction& change);
  // The same at the end of a job that goes on naming its nodes while it waits to be dismissed (J4;
  // QEMU's stream and commit do): those of proofs().attachments, as what and sharing what they did,
  // but reserving nothing any more, and `also`. All of that ends with the job.
  struct NamedNode {
    NodeId node;
    std::string purpose;
  };
  void StageDetachIo(GraphTransaction& change, const std::vector<NamedNode>& also = {});

 private:
  Graph& graph_;
  BlockJobProofs proofs_;
  const HolderRef holder_;
  AppliedEdit applied_;
  std::vector<Attachment> kept_;  // until it is dismissed
};

// Gives every member's edits to one GraphTransaction, under one drained section.
class BlockJobCommitter final : public JobCommitter {
 public:
  explicit BlockJobCommitter(Graph& graph) : graph_(graph) {}

  absl::StatusOr<CommitOutcome> CoCommit(absl::Span<JobBody* const> members) override
      MILLRACE_MAY_SUSPEND;

 private:
  std::vector<NodeId> NodesToDrain(absl::Span<JobBody* const> members) MILLRACE_OPENS_VIEW;
  bool AreCaughtUp(absl::Span<JobBody* const> members) MILLRACE_OPENS_VIEW;
  absl::Status CoCatchUp(absl::Span<JobBody* const> members) MILLRACE_MAY_SUSPEND;
  absl::Status Apply(absl::Span<JobBody* const> members, const DrainedSection& drained)
      MILLRACE_OPENS_VIEW;

  Graph& graph_;
};

// What every block job's options have, as their `job`.
struct BlockJobOptions {
  JobSpec spec{};  // id, speed, finalize and dismiss
  OnError on_error = OnError::kReport;
  std::string filter_name{};  // of the job's filter; empty: a generated one, and implicit
  CopyTuning copy{};
};

// ---- For the factories of jobs ------------------------------------------------------------------

// The job's id, or the default: the device name of `node`.
std::optional<std::string> JobIdFor(const BlockJobOptions& options, const NodeView& node);
// The same for a job that is about to be created; errors as of JobManager::CheckNewId, and
// kMissingJobId with detail "device" where no id is given and no device is there to lend its name.
// Empty for an internal job.
absl::StatusOr<std::string> NewJobId(Graph& graph, const JobManager& manager,
                                     const BlockJobOptions& options, NodeId device)
    MILLRACE_OPENS_VIEW;
// FailedPrecondition (kStaleNode) if the option, called "StreamOptions::top", says nothing.
absl::Status CheckGiven(NodeId node, std::string_view option);
// What would be wrong with the name of its filter: a job whose filter stands before the job core
// has heard of it says this before NewJobId(), as in QEMU.
absl::Status CheckFilterName(Graph& graph, const BlockJobOptions& options) MILLRACE_OPENS_VIEW;

// The last two steps: the job core makes the job and starts it.
absl::StatusOr<JobNumber> CoCreateAndStart(JobManager& manager, JobSpec spec,
                                           std::unique_ptr<BlockJob> job) MILLRACE_MAY_SUSPEND;

// Options of a job's edge to a node: it stays there and never queues. It reserves nothing: what it
// asks for is not asked for any more when the job's filter goes.
AttachmentOptions JobEdge(const BlockJobProofs& proofs, std::string purpose,
                          Permissions permissions);

bool IsReadOnly(Graph& graph, NodeId node) MILLRACE_OPENS_VIEW;

// Refuses a device on which another node stands. `action` is for the text: "commit".
absl::Status CheckIsRoot(const NodeView& device, std::string_view action);

// The overlays whose backing link leads to `node`, through filters perhaps.
std::vector<NodeId> OverlaysOn(const GraphReader& reader, NodeId node);

// Adds `filter` beside the graph's traffic: above `below` with an edge of its own, held by `keeper`
// (which becomes an attachment to it), and opens it. On error nothing is left.
absl::StatusOr<Attachment> CoAddFilterBeside(Graph& graph, std::unique_ptr<FilterDriver> filter,
                                             const std::string& name, NodeId below,
                                             AttachmentOptions keeper) MILLRACE_MAY_SUSPEND;

// The edit in that; returns the filter, and what `keeper` became.
NodeId StageFilterBeside(GraphTransaction& change, std::unique_ptr<FilterDriver> filter,
                         const std::string& name, NodeId below, AttachmentOptions keeper,
                         Attachment* kept);

// Moves the traffic of `below` to the filter, drained, and extends the lease to it if there is one.
absl::Status CoPutFilterInPlace(Graph& graph, NodeId filter, NodeId below, const HolderRef& holder,
                                FrozenChain* lease) MILLRACE_MAY_SUSPEND;

// The edit in that.
void StageFilterInPlace(GraphTransaction& change, NodeId filter, NodeId below, FrozenChain* lease);

// Takes a job's set-up down again: detaches all of `attachments`, takes `filter` out (wherever it
// stands) above `top`, and waits for what that drops. For failed creations and CoAbort; cannot
// fail, because nobody else can have leased what the job leases.
void CoUndoSetUp(Graph& graph, const BlockJobProofs& proofs, NodeId filter, NodeId top,
                 const std::vector<Attachment*>& attachments) MILLRACE_MAY_SUSPEND;

// Makes a node read-only again that a job made writable. A node that is gone by now, or that
// somebody else writes, is left as it is.
absl::Status CoRestoreReadOnly(Graph& graph, NodeId node, const HolderRef& holder)
    MILLRACE_MAY_SUSPEND;
// The same where the job has an error of its own to tell: a node that stays writable is a warning
// in the log.
void CoTryRestoreReadOnly(Graph& graph, NodeId node, const HolderRef& holder) MILLRACE_MAY_SUSPEND;

// Name and format of what a header should say about `base`: of the image that shows through. With
// `masks_protocol` a protocol's format is "raw": what a header may say of a file everywhere.
BackingReference ReferenceTo(const GraphReader& reader, NodeId base,
                             const std::string& wanted_filename, bool masks_protocol = false);

// A refusal with its conflict.
absl::Status RefuseJob(absl::StatusCode code, ConflictReason reason, std::string_view object,
                       std::string_view detail, std::string_view text, std::string_view next_step);

}  // namespace millrace

#endif  // MILLRACE_JOBS_BLOCK_JOB_H_
