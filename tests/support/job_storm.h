// A storm: random streams, commits, filters, pauses, cancels and finalizes over one chain, with a
// guest at work. Whatever is refused is refused for a conflict; what is accepted must end well, and
// at the end the chain is what the successful jobs say, in whatever order they ended.
#ifndef MILLRACE_TESTS_SUPPORT_JOB_STORM_H_
#define MILLRACE_TESTS_SUPPORT_JOB_STORM_H_

#include <cstdint>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "tests/support/chain_story.h"

namespace millrace {

// The story that a storm is told on; `is_owned`: see ChainStoryOptions.
ChainStoryOptions JobStormOptions(bool is_owned);

struct JobStormCounts {
  uint64_t started = 0;    // jobs that were not refused
  uint64_t succeeded = 0;  // of these
  uint64_t cancelled = 0;
};

// The body of the story; all that is random in it comes from the story's seed. What came of it is
// added to `counts`.
absl::Status CoRunJobStorm(ChainStory& story, JobStormCounts* counts = nullptr)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_JOB_STORM_H_
