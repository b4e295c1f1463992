// A storm: random streams, commits, filters, pauses, cancels and finalizes over one chain, with a
// guest at work. Whatever is refused is refused for a conflict; what is accepted must end well, and
// at the end the chain is what the successful jobs say, in whatever order they ended.
#ifndef MILLRACE_TESTS_SUPPORT_JOB_STORM_H_
#define MILLRACE_TESTS_SUPPORT_JOB_STORM_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "examples/scenario_kit/chain_jobs.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/node_id.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/chain_story.h"

namespace millrace {

// The story that a storm is told on; `is_owned`: see ChainStoryOptions.
ChainStoryOptions JobStormOptions(bool is_owned);

struct JobStormCounts {
  uint64_t started = 0;    // jobs that were not refused
  uint64_t succeeded = 0;  // of these
  uint64_t cancelled = 0;
  uint64_t beside_others = 0;  // jobs that began while another one was not over
};

// What a storm goes over: a chain that a guest uses, and whoever keeps the books of it.
class StormChain {
 public:
  virtual ~StormChain() = default;
  virtual ChainJobs& chain_jobs() = 0;
  virtual uint64_t seed() const = 0;
  virtual absl::Status CoBegin(StreamOptions options) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoBegin(CommitOptions options) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoPutFilter(const std::string& name, NodeId below) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoTakeFilter(NodeId filter) MILLRACE_MAY_SUSPEND = 0;
  // As LayerViews has them.
  virtual void OnCommitted(size_t top, size_t base) = 0;
  virtual void OnWritten(size_t layer) = 0;
};

// The body of the story; all that is random in it comes from the story's seed. What came of it is
// added to `counts`.
absl::Status CoRunJobStorm(ChainStory& story, JobStormCounts* counts = nullptr)
    MILLRACE_MAY_SUSPEND;
absl::Status CoRunJobStorm(StormChain& chain, JobStormCounts* counts) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_JOB_STORM_H_
