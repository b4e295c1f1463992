// One job of any kind on a chain of four layers, and what the chain has to be once it has ended
// (O3). The parties that meet it are in jobs_against_others.cc.
#ifndef MILLRACE_TESTS_SCENARIOS_EXPLORATION_ONE_JOB_H_
#define MILLRACE_TESTS_SCENARIOS_EXPLORATION_ONE_JOB_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/error_policy.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "tests/scenarios/exploration/story_scenario.h"

namespace millrace {

inline constexpr size_t kLayersOfOneJob = 4;

// n2's data goes up into it from n1, or down into n1; an active commit takes n3 down into n2, a
// mirror all of the disk to an image beside it, which is called "target".
enum class OneJobKind { kStream, kCommit, kActiveCommit, kMirror };

std::string_view OneJobName(OneJobKind kind);

// The job is called "job", and stays when it is over, so that its end is not missed.
struct OneJobOptions {
  bool finalizes_late = false;  // by a user who finalizes it
  OnError on_error = OnError::kReport;
  // In several rounds of a few requests each: whoever holds it in the middle finds work undone.
  // Else all is in flight at once.
  bool copies_in_rounds = false;
  MirrorOptions mirror{};  // how, if it is one
};
absl::Status CoStartOneJob(ChainStory& story, OneJobKind kind, const OneJobOptions& options = {})
    MILLRACE_MAY_SUSPEND;

struct OneJobEnd {
  absl::Status status;
  bool has_started = true;  // false: refused, or nothing came of the attempt
  // An active commit or a mirror was told to make the switch. One that was told to end in peace
  // before that ends well, and moves nobody.
  bool is_to_switch = false;
};

// Waits for the end of one that has `started`; what becomes ready is completed then. What the
// layers show after such an end is known from here on.
OneJobEnd CoEndOneJob(ChainStory& story, OneJobKind kind, const absl::Status& started)
    MILLRACE_MAY_SUSPEND;

// O3: what the guest's disk stands on, from the top down: "n3 <- n2 <- n0" after a stream that has
// succeeded, as at the beginning after one that was cancelled or not started, one or the other if
// it failed otherwise. `above` are layers that somebody has put on top ("snapshot"); filters called
// "f" do not count, any other is one too many.
void JudgeChain(ScenarioRun& run, ChainStory& story, OneJobKind kind, const OneJobEnd& end,
                std::string_view above = {}) MILLRACE_OPENS_VIEW;

// The same for a job that is told of by what it leaves.
void JudgeChain(ScenarioRun& run, ChainStory& story, const absl::Status& over,
                std::string_view on_success, std::string_view at_first, std::string_view above = {})
    MILLRACE_OPENS_VIEW;

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_ONE_JOB_H_
