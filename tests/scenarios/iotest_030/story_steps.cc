#include "tests/scenarios/iotest_030/story_steps.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/support/job_harness.h"

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

Told EndedWell(std::string id, uint64_t bytes, std::vector<std::string> between) {
  return EndedWell(std::move(id), StrCat(bytes, "/", bytes), std::move(between));
}

Told EndedWell(std::string id, std::string progress, std::vector<std::string> between) {
  Told told{std::move(id), {"status created", "status running"}};
  told.lines.insert(told.lines.end(), between.begin(), between.end());
  for (const std::string& line : {std::string("status waiting"), std::string("status pending"),
                                  StrCat("completed ", progress), std::string("status concluded"),
                                  std::string("status null")}) {
    told.lines.push_back(line);
  }
  return told;
}

Told Switched(std::string id) {
  return EndedWell(std::move(id), "n/n", {"status ready", "ready n/n"});
}

Told Ended(std::string id, std::vector<std::string> between, std::string end) {
  Told told{std::move(id), {"status created", "status running"}};
  told.lines.insert(told.lines.end(), between.begin(), between.end());
  for (std::string line : {std::string("status aborting"), std::move(end),
                           std::string("status concluded"), std::string("status null")}) {
    told.lines.push_back(std::move(line));
  }
  return told;
}

namespace {

// "completed 8/8" for "completed n/n".
bool IsLine(const std::string& line, const std::string& expected) {
  constexpr std::string_view kAny = "n/n";
  if (!std::string_view(expected).ends_with(kAny)) return line == expected;
  const size_t start = expected.size() - kAny.size();
  if (line.substr(0, start) != expected.substr(0, start)) return false;
  const size_t slash = line.find('/', start);
  return slash != std::string::npos && line.substr(start, slash - start) == line.substr(slash + 1);
}

bool AreLines(const std::vector<std::string>& lines, const std::vector<std::string>& expected) {
  return std::equal(lines.begin(), lines.end(), expected.begin(), expected.end(), &IsLine);
}

std::vector<std::string> WithoutParks(const std::vector<std::string>& lines) {
  std::vector<std::string> rest;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string next = i + 1 < lines.size() ? lines[i + 1] : "";
    const bool is_park = (lines[i] == "status paused" && next == "status running") ||
                         (lines[i] == "status standby" && next == "status ready");
    if (is_park) {
      ++i;
    } else {
      rest.push_back(lines[i]);
    }
  }
  return rest;
}

std::string InWords(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) StrAppend(&text, text.empty() ? "" : ", ", line);
  return text;
}

}  // namespace

absl::Status MustTell(ChainStory& story, const std::vector<Told>& jobs, Parks parks) {
  size_t told = 0;
  for (const Told& job : jobs) {
    const std::vector<std::string> all = story.events().Of(job.id);
    told += all.size();
    const std::vector<std::string> lines = parks == Parks::kCount ? all : WithoutParks(all);
    MILLRACE_RETURN_IF_ERROR(
        Must(AreLines(lines, job.lines), StrCat("events: '", job.id, "' should have told: ",
                                                InWords(job.lines), "; but told: ", InWords(all))));
  }
  return Must(told == story.events().lines().size(),
              StrCat("events: others have told something, too: ", InWords(story.events().lines())));
}

absl::Status MustHaveToldSoFar(ChainStory& story, std::string_view id,
                               const std::vector<std::string>& lines) {
  const std::vector<std::string> told = story.events().Of(id);
  return Must(told == lines, StrCat("events: by now '", id, "' should have told: ", InWords(lines),
                                    "; but told: ", InWords(told)));
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
