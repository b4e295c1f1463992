// LinearCopier: copies what a chain of layers holds, from the start of an image to its end, with
// several batches in flight. The work of stream and commit.
//
// To the user it is a job that copies one piece after the other, as QEMU's does, whatever the
// window:
//   progress   everything before it is done;
//   errors     are looked at once nothing is in flight any more, the lowest first; progress then
//              stands where the failed piece starts, and what was copied behind it counts once the
//              job has gone on; only what has failed is tried again, and after a stop all of it;
//   pause      nothing is in flight in a job that is paused or drained;
//   speed      a piece is charged when it starts, so no more than one piece is ahead of the limit.
//
// A batch is one piece, or, where formats lie on files with nobody in between, as many neighbouring
// pieces as its memory holds. If a batch of several fails, its pieces are tried one by one before
// anything is said about it: only then is it known which of them the error belongs to. Under fault
// injection there is one piece at a time.
//
// While guests use the disk the window shrinks, and the job rests in between (GuestWatch).
//
// Home thread. It lives in the job's body; everything passed in must outlive it.
#ifndef MILLRACE_JOBS_COPY_LINEAR_COPIER_H_
#define MILLRACE_JOBS_COPY_LINEAR_COPIER_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_context.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/graph.h"
#include "millrace/jobs/copy/copy_mover.h"
#include "millrace/jobs/copy/copy_tuning.h"
#include "millrace/jobs/copy/copy_window.h"
#include "millrace/jobs/copy/extent_cursor.h"
#include "millrace/jobs/copy/guest_watch.h"

namespace millrace {

struct LinearCopyOptions {
  // The layers asked what they hold; see Attachment::CoAllocation.
  NodeId first{};
  NodeId last{};
  NodeId target{};  // one of them that needs no copy of what it holds; invalid: none
  OnError on_error = OnError::kReport;
  // Whether an ignored error skips the piece, and fails the job in the end; else it is tried again.
  bool ignoring_skips = false;
  // Whether errors of both sides are read errors to the user.
  bool names_reads_only = false;
  CopyTuning tuning{};
};

class LinearCopier {
 public:
  LinearCopier(Graph& graph, Attachment& reader, CopyMover& mover, LinearCopyOptions options);

  // The job's CoRun(): copies `bytes` from the start on. OK if the job is cancelled.
  absl::Status CoRun(JobContext& context, uint64_t bytes) MILLRACE_MAY_SUSPEND;
  // The body's hooks of these names.
  void CoStopIo() MILLRACE_MAY_SUSPEND;
  void OnRestartIo();
  void Describe(JobInfo& info) const { guests_.Describe(info); }

 private:
  // What the window may hold now.
  struct Allowance {
    size_t batches = 1;
    uint64_t batch_bytes = 0;  // 0: one piece
    uint64_t piece_bytes = kCopyPieceBytesMax;
    bool may_rest = false;  // for the guests' sake, before the next batch
  };
  Allowance AllowanceNow(const JobContext& context);
  bool AreGuestsSparedBySpeed(const JobContext& context) const;
  absl::Status CoCopy(JobContext& context, TaskScope& scope) MILLRACE_MAY_SUSPEND;
  // Starts what waits, or what comes next.
  absl::Status CoStartNext(JobContext& context, TaskScope& scope, const Allowance& allowance)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoFlushBesideGuests() MILLRACE_MAY_SUSPEND;
  // Cuts the next stretch off the image.
  absl::StatusOr<CopyStretch> CoCut(const Allowance& allowance) MILLRACE_MAY_SUSPEND;
  void AddNeighbours(const Allowance& allowance, CopyStretch& stretch);
  bool MustCopy(const AllocationRun& run) const;
  // What is to become of the lowest that has failed, with nothing in flight. An error ends the job.
  absl::Status HandleFailure(JobContext& context, CopyStretch& stretch);
  absl::Status CoHandleUnknown(JobContext& context, absl::Status status) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<ErrorAction> ApplyPolicy(JobContext& context, const CopyResult& failure);
  // Nothing new is begun while something has failed.
  bool MayCut() const { return !is_all_started() && !window_.has_failed(); }
  bool is_all_started() const { return cursor_ == end_; }

  CopyMover& mover_;
  const LinearCopyOptions options_;
  ExtentCursor extents_;
  CopyWindow window_;
  GuestWatch guests_;
  std::optional<PathTraits> path_;  // as looked at since the graph may last have changed
  bool is_running_ = false;         // in CoRun(); the hooks are called when that has returned, too
  uint64_t cursor_ = 0;             // everything before it is in the window or settled
  bool must_back_off_ = false;      // an error was ignored: do not try again at once
  uint64_t end_ = 0;
  absl::Status first_error_;  // of those that were ignored
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_COPY_LINEAR_COPIER_H_
