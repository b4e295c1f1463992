// stream: copies what a top image shows from the images below it into the top image, down to a
// base, which then becomes its direct backing. The guest goes on all the while.
//
//   before:  top <- mid <- bottom <- base        after:  top <- base
//
// What it owns is [top .. bottom]: operations claimed, and links leased down to the lowest filter
// above base, if there is one below bottom. Base is outside: it may be
// replaced meanwhile by other jobs, and is derived as "whatever is below the leased chain now" at
// the moment of the edit. Its filter (copy-on-read, above the top) goes with it.
#ifndef MILLRACE_JOBS_STREAM_STREAM_JOB_H_
#define MILLRACE_JOBS_STREAM_STREAM_JOB_H_

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

namespace millrace {

struct StreamOptions {
  // The device: the top, or a filter above it. Attachment::node() of the guest is right whatever
  // stands there now, and the job is then called after the guest's device. The job's own filter
  // goes directly above this node, so what the job writes passes every filter between this node and
  // the image. A top that is read-only becomes writable for the time of the job, as in QEMU.
  NodeId top{};
  // At most one of these two; neither: stream everything.
  std::optional<NodeId> base{};    // outside; may be another job's filter
  std::optional<NodeId> bottom{};  // the lowest image that is copied from; no filter
  // What the top's header is to say; empty: the name of the new backing. Only with a base.
  std::string backing_filename{};
  // Whether a base that is a mere file is called "raw" there, not by its protocol.
  bool masks_protocol = false;
  BlockJobOptions job{};
};

// What a stream has in its hands once nobody can get in its way any more.
struct StreamProofs : BlockJobProofs {
  NodeId overlay;  // the image that is filled: the top, filters skipped
  NodeId bottom;   // the lowest image that is copied from
};

// Takes every proof a stream needs, or names who is in the way. The order of the checks is
// QEMU's: clients see it in the errors.
absl::StatusOr<StreamProofs> ClaimForStream(Graph& graph, const StreamOptions& options,
                                            std::string_view job_id) MILLRACE_OPENS_VIEW;

// The same for a job that `manager` is to run: its filter's name and its id (the holder's) are new
// as well, or the device's name lends the id.
absl::StatusOr<StreamProofs> ClaimForNewStream(Graph& graph, const JobManager& manager,
                                               const StreamOptions& options) MILLRACE_OPENS_VIEW;

// Which step of its set-up a refusal comes from; only these two have a place of their own in QEMU's
// words ("Could not create node: ...", "Could not replace node: ...").
enum class StreamStep { kOther, kMakeFilter, kPutFilterInPlace };
StreamStep StreamStepOf(const absl::Status& refusal);

// Claims, sets up, creates and starts a stream job. On error nothing of it is left, and
// StreamStepOf() tells how far it came. The graph and the manager outlive the job; the manager's
// committer must be a BlockJobCommitter of this graph.
absl::StatusOr<JobNumber> CoStartStream(Graph& graph, JobManager& manager, StreamOptions options)
    MILLRACE_MAY_SUSPEND;

// Whether CoStartStream() would be refused while it sets up what `proofs` allow; all of that is let
// go of again. Nothing is changed, and nothing suspends: what only the host can tell, as whether a
// file can be opened for writing, is not asked.
absl::Status RehearseStreamStart(Graph& graph, StreamProofs proofs, const StreamOptions& options)
    MILLRACE_OPENS_VIEW;

class StreamJob final : public BlockJob {
 public:
  // Sets up what the proofs allow: the filter in place, the overlay writable, the nodes held.
  static absl::StatusOr<std::unique_ptr<StreamJob>> CoCreate(Graph& graph, StreamProofs proofs,
                                                             StreamOptions options)
      MILLRACE_MAY_SUSPEND;

  std::string_view type() const override { return "stream"; }
  absl::Status CoRun(JobContext& context) override MILLRACE_MAY_SUSPEND;
  absl::Status CoPrepare() override MILLRACE_MAY_SUSPEND;
  std::vector<NodeId> NodesToDrain(const GraphReader& reader) const override;
  bool edit_shows_the_same() const override { return true; }
  void StageGraphEdit(GraphTransaction& change) override;
  absl::Status CoFollowUp() override MILLRACE_MAY_SUSPEND;
  void CoAbort() override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<bool> StagePlannedEnd(GraphTransaction& change, JobEnd end,
                                       bool restores) override;
  void DropPlannedEnd(JobEnd end) override;
  void CoStopIo() override MILLRACE_MAY_SUSPEND { copier_.CoStopIo(); }
  void OnRestartIo() override { copier_.OnRestartIo(); }
  void Describe(JobInfo& info) const override { copier_.Describe(info); }
  ~StreamJob() override;

 private:
  // What its set-up made: who reads through the filter, and whether guests' reads pass it.
  struct Filter {
    Attachment reader;
    std::shared_ptr<bool> reads_pass;
  };
  StreamJob(Graph& graph, StreamProofs proofs, Filter filter, StreamOptions options,
            bool was_read_only);
  std::vector<Attachment*> IoAttachments() override { return {&reader_}; }
  const StreamOptions options_;
  const NodeId overlay_;
  const NodeId bottom_;
  Attachment reader_;  // on the filter: reading through it copies
  // Of the overlay, from the edit until its header is written.
  Attachment header_keeper_;
  const bool was_read_only_;
  class Mover;
  std::unique_ptr<Mover> mover_;
  LinearCopier copier_;
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_STREAM_STREAM_JOB_H_
