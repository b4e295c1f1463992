#include "tests/scenarios/iotest_030/story_steps.h"

#include <optional>
#include <string>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace {

absl::Status Must(bool holds, std::string_view what) {
  return holds ? absl::OkStatus() : absl::InternalError(ToAbsl(what));
}

absl::Status MustBeShape(ChainStory& story, std::string_view shape) {
  const std::string found = story.Shape();
  return Must(found == shape, StrCat("the chain: it should be ", shape, ", but is ", found));
}

absl::Status MustBeRefused(const absl::Status& refused, ConflictReason reason,
                           std::string_view object, std::string_view holder) {
  const std::optional<Conflict> conflict = ConflictOf(refused);
  if (!conflict) return Must(false, StrCat("a refusal: there is none, but ", refused.ToString()));
  const bool is_holder =
      holder.empty() || (!conflict->holders.empty() && conflict->holders.front().id == holder);
  return Must(conflict->reason == reason && conflict->object == object && is_holder,
              StrCat("a refusal: it should be ", ConflictReasonName(reason), " of '", object,
                     "' by '", holder, "', but is ", refused.ToString()));
}

absl::Status MustBeBusy(const absl::Status& refused, std::string_view node,
                        std::string_view holder) {
  return MustBeRefused(refused, ConflictReason::kNodeBusy, node, holder);
}

absl::Status LetGo(ChainStory& story, std::string_view id) { return story.jobs().SetSpeed(id, 0); }

absl::Status CoWaitUntil(ChainStory& story, std::string_view id,
                         absl::FunctionRef<bool(const JobInfo&)> is_wanted) {
  for (;;) {
    MILLRACE_ASSIGN_OR_RETURN(const JobInfo info, story.jobs().Query(id));
    if (is_wanted(info)) return absl::OkStatus();
    MILLRACE_RETURN_IF_ERROR(
        Must(info.state != JobState::kConcluded, "a job: it is over before what was waited for"));
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
}

absl::Status CoCompleteWhenReady(ChainStory& story, std::string_view id) {
  MILLRACE_RETURN_IF_ERROR(CoWaitUntil(story, id, [](const JobInfo& job) { return job.is_ready; }));
  return story.jobs().Complete(id);
}

absl::Status CoEndsWell(ChainStory& story, std::string_view id) {
  const absl::Status over = story.CoOver(id);
  return Must(over.ok(), StrCat("a job: '", id, "' should have ended well: ", over.ToString()));
}

}  // namespace millrace
