// What the stories of iotest 030 have in common: steps that answer with an error instead of failing
// a test, so that they can be told outside of one.
#ifndef MILLRACE_TESTS_SCENARIOS_IOTEST_030_STORY_STEPS_H_
#define MILLRACE_TESTS_SCENARIOS_IOTEST_030_STORY_STEPS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/job/job_info.h"
#include "tests/support/chain_story.h"

namespace millrace {

// A byte a second: what has copied its first piece stands still until its speed is changed.
inline constexpr int64_t kStandingStill = 1;

// InternalError with the text unless it holds.
absl::Status Must(bool holds, std::string_view what);
absl::Status MustBeShape(ChainStory& story, std::string_view shape) MILLRACE_OPENS_VIEW;
// `refused` is a refusal for this reason, about this object, because of `holder` ("": of nobody).
absl::Status MustBeRefused(const absl::Status& refused, ConflictReason reason,
                           std::string_view object, std::string_view holder = "");
// Of a node that a job of this id works on.
absl::Status MustBeBusy(const absl::Status& refused, std::string_view node,
                        std::string_view holder);

// What a job has told, from its creation to its end, in order, as ToString(JobEvent) has it. "n/n"
// stands for any number twice: of a mirror, which copies what the guest writes, too.
struct Told {
  std::string id;
  std::vector<std::string> lines;
};
// Of one that ended well: `between` is what it told between running and waiting.
Told EndedWell(std::string id, uint64_t bytes, std::vector<std::string> between = {});
Told EndedWell(std::string id, std::string progress, std::vector<std::string> between = {});
// Of one that became ready and was completed.
Told Switched(std::string id);
// Of one that ended otherwise; `end` is its last word before the state concluded.
Told Ended(std::string id, std::vector<std::string> between, std::string end);

// Other jobs drain what a job stands on, which parks it: whether that is left out of what it told.
enum class Parks : uint8_t { kCount, kAreLeftOut };
// Exactly these jobs have told something, and each of them exactly this.
absl::Status MustTell(ChainStory& story, const std::vector<Told>& jobs,
                      Parks parks = Parks::kCount);
// The job has told this so far.
absl::Status MustHaveToldSoFar(ChainStory& story, std::string_view id,
                               const std::vector<std::string>& lines);

absl::Status LetGo(ChainStory& story, std::string_view id);
// Looks every millisecond of simulated time until the job is as wanted; an error if it is over.
absl::Status CoWaitUntil(ChainStory& story, std::string_view id,
                         absl::FunctionRef<bool(const JobInfo&)> is_wanted) MILLRACE_MAY_SUSPEND;
absl::Status CoCompleteWhenReady(ChainStory& story, std::string_view id) MILLRACE_MAY_SUSPEND;
// It ends without an error.
absl::Status CoEndsWell(ChainStory& story, std::string_view id) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_IOTEST_030_STORY_STEPS_H_
