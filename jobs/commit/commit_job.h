// commit: copies what the images from a top down hold into the base below them; then whatever stood
// on the top stands on the base, and top and everything between go.
//
//   before:  root <- over <- top <- mid <- base        after:  root <- over <- base
//
// A top that is the root itself, or that somebody writes, is the active layer: the guest's writes
// must be tracked, which a mirror does (mirror_job.h). Then the job is ready when the base is equal
// to the top, and the user completes it: whoever stood on the top stands on the base.
//
// For all others: base becomes writable, and grows if it is shorter than the top; if it is longer,
// what the overlays show as zeroes beyond the top's end becomes zeroes in the base. What it owns
// is [top .. base]: links leased, operations claimed; and it claims the root, as QEMU does. Its
// filter (above the top) must always be removable, so nobody may lease a link to it.
#ifndef MILLRACE_JOBS_COMMIT_COMMIT_JOB_H_
#define MILLRACE_JOBS_COMMIT_COMMIT_JOB_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/graph_view.h"
#include "millrace/jobs/block_job.h"
#include "millrace/jobs/copy/linear_copier.h"
#include "millrace/jobs/copy_set_up.h"

namespace millrace {

struct CommitOptions {
  NodeId root{};                 // the device
  NodeId top{};                  // the root or below it
  std::optional<NodeId> base{};  // below the top; none: the bottom-most image
  // What the overlays' headers are to say; empty: the name of the base. Not with an active layer.
  std::string backing_filename{};
  // Whether a base that is a mere file is called "raw" there, not by its protocol.
  bool masks_protocol = false;
  // Only of an active layer right above the base: whoever stands on the top stays there, and the
  // top, whose content the base has by then, is emptied. The job ends by itself.
  bool empties_top = false;
  BlockJobOptions job{};
};

struct CommitProofs : BlockJobProofs {
  NodeId top;
  NodeId base;
  NodeId lowest;           // the lowest image that is copied from: base's overlay
  bool is_active = false;  // the top is the active layer
};

// Takes every proof a commit needs, or names who is in the way. The order of the checks is
// QEMU's: clients see it in the errors.
absl::StatusOr<CommitProofs> ClaimForCommit(Graph& graph, const CommitOptions& options,
                                            std::string_view job_id) MILLRACE_OPENS_VIEW;
// The same for a job that `manager` is to run: its filter's name and its id (the holder's) are new
// as well, or the device's name lends the id.
absl::StatusOr<CommitProofs> ClaimForNewCommit(Graph& graph, const JobManager& manager,
                                               const CommitOptions& options) MILLRACE_OPENS_VIEW;

// Claims, sets up, creates and starts a commit job. On error nothing of it is left.
absl::StatusOr<JobNumber> CoStartCommit(Graph& graph, JobManager& manager, CommitOptions options)
    MILLRACE_MAY_SUSPEND;

// Whether CoStartCommit() would be refused while it sets up what `proofs` allow; all of that is let
// go of again. Nothing is changed, and nothing suspends: what only the host can tell, as whether a
// file can be opened for writing, is not asked.
absl::Status RehearseCommitStart(Graph& graph, CommitProofs proofs, const CommitOptions& options)
    MILLRACE_OPENS_VIEW;

class CommitJob final : public BlockJob {
 public:
  static absl::StatusOr<std::unique_ptr<CommitJob>> CoCreate(Graph& graph, CommitProofs proofs,
                                                             CommitOptions options)
      MILLRACE_MAY_SUSPEND;

  std::string_view type() const override { return "commit"; }
  absl::Status CoRun(JobContext& context) override MILLRACE_MAY_SUSPEND;
  absl::Status CoPrepare() override MILLRACE_MAY_SUSPEND;
  absl::Status CoCatchUp() override MILLRACE_MAY_SUSPEND;
  bool IsCaughtUp(const GraphReader& reader) override;
  std::vector<NodeId> NodesToDrain(const GraphReader& reader) const override;
  bool edit_shows_the_same() const override { return true; }
  void StageGraphEdit(GraphTransaction& change) override;
  absl::Status CoFollowUp() override MILLRACE_MAY_SUSPEND;
  void CoAbort() override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<bool> StagePlannedEnd(GraphTransaction& change, JobEnd end,
                                       bool restores) override;
  void CoStopIo() override MILLRACE_MAY_SUSPEND { copier_.CoStopIo(); }
  void OnRestartIo() override { copier_.OnRestartIo(); }
  void Describe(JobInfo& info) const override { copier_.Describe(info); }
  ~CommitJob() override;

 private:
  static absl::Status CoSetUp(Graph& graph, CommitProofs& proofs, const CommitOptions& options,
                              CopySetUp* set_up) MILLRACE_MAY_SUSPEND;

  CommitJob(Graph& graph, CommitProofs proofs, CopySetUp set_up, CommitOptions options);
  std::vector<Attachment*> IoAttachments() override;
  // What overlays show beyond the top's end is zeroes. Where the base is longer it would show what
  // the base has there.
  std::optional<ByteRange> RestToZero(const GraphReader& reader) const;
  std::optional<ByteRange> RestToZeroNow() MILLRACE_OPENS_VIEW;
  // Zeroes the start of the rest, of at most so many bytes. Returns how much had to be written.
  absl::StatusOr<uint64_t> CoZeroNext(uint64_t bytes_max) MILLRACE_MAY_SUSPEND;
  absl::Status CoZeroRest(JobContext& context) MILLRACE_MAY_SUSPEND;
  absl::Status CoFlushBase() MILLRACE_MAY_SUSPEND;

  const CommitOptions options_;
  const NodeId top_;
  const NodeId base_;
  const NodeId lowest_;
  CopySetUp set_up_;
  class Mover;
  std::unique_ptr<Mover> mover_;
  LinearCopier copier_;
  uint64_t zeroed_end_ = 0;  // of what RestToZero() has named so far
  bool must_flush_ = false;  // zeroes were written since the last flush
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_COMMIT_COMMIT_JOB_H_
