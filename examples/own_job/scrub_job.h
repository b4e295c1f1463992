// scrub: a job of one's own, written outside the library. It reads everything that an image and the
// images below it hold, so that sectors that cannot be read any more are found while there is still
// a copy; it changes nothing.
//
// What it gets from the library for being a job: it is paced (speed), paused, cancelled and queried
// like any other; a drain brings it to rest; its error policy is the user's; its place in the graph
// is held while it runs, and named to whoever is refused because of it.
#ifndef MILLRACE_EXAMPLES_OWN_JOB_SCRUB_JOB_H_
#define MILLRACE_EXAMPLES_OWN_JOB_SCRUB_JOB_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/jobs/block_job.h"

namespace millrace::example {

// What was found; filled in while the job runs, on the home thread. Outlives the job.
struct ScrubReport {
  uint64_t bytes_read = 0;
  std::vector<uint64_t> bad_offsets;  // starts of pieces that could not be read
};

struct ScrubOptions {
  NodeId image{};
  ScrubReport* report = nullptr;  // must be given
  BlockJobOptions job{};
};

// FailedPrecondition if another job has the image for itself; InvalidArgument without a report.
absl::StatusOr<JobNumber> CoStartScrub(Graph& graph, JobManager& manager, ScrubOptions options)
    MILLRACE_MAY_SUSPEND;

class ScrubJob final : public BlockJob {
 public:
  ScrubJob(Graph& graph, BlockJobProofs proofs, Attachment reader, const ScrubOptions& options);

  std::string_view type() const override { return "scrub"; }
  absl::Status CoRun(JobContext& context) override MILLRACE_MAY_SUSPEND;
  std::vector<NodeId> NodesToDrain(const GraphReader& reader) const override;
  void StageGraphEdit(GraphTransaction& change) override;
  void CoAbort() override MILLRACE_MAY_SUSPEND;

 private:
  std::vector<Attachment*> IoAttachments() override { return {&reader_}; }
  absl::StatusOr<uint64_t> CoReadPiece(uint64_t offset, uint64_t bytes, JobContext& context)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoReadIfStored(uint64_t offset, uint64_t* bytes, JobContext& context)
      MILLRACE_MAY_SUSPEND;
  void CoCount(uint64_t bytes) MILLRACE_MAY_SUSPEND;

  Attachment reader_;
  const OnError on_error_;
  ScrubReport& report_;
};

}  // namespace millrace::example

#endif  // MILLRACE_EXAMPLES_OWN_JOB_SCRUB_JOB_H_
