// Two requests that meet on one chain, at least one of which is no plain stream or commit: an
// active commit, a mirror, a filter that is put in. The rules of tests/scenarios/pairs say which of
// them may stand beside the other; what may is let in, and ends well whoever ends first.
#include <array>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/story_scenario.h"
#include "tests/scenarios/pairs/job_request.h"
#include "tests/scenarios/pairs/pair_rules.h"

namespace millrace {
namespace {

constexpr size_t kLayersOfRequests = 5;
constexpr std::array<const char*, 2> kIdsOfRequests = {"one", "two"};

enum class Finish { kTogether, kFirstFirst, kSecondFirst };

// Until it is over; what becomes ready is completed, and what is pending is finalized.
absl::Status CoSeeToEnd(ChainStory& story, const char* id) MILLRACE_MAY_SUSPEND {
  for (bool is_completed = false;;) {
    MILLRACE_ASSIGN_OR_RETURN(const JobInfo job, story.jobs().Query(id));
    if (job.state == JobState::kConcluded) break;
    if (job.state == JobState::kReady && !is_completed) {
      is_completed = true;
      MILLRACE_RETURN_IF_ERROR(story.jobs().Complete(id));
    }
    if (job.state == JobState::kPending && !job.finalizes_automatically && !job.is_finalizing) {
      MILLRACE_RETURN_IF_ERROR(story.jobs().Finalize(id));
    }
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
  MILLRACE_RETURN_IF_ERROR(story.CoOver(id));
  return story.jobs().Dismiss(id);
}

bool IsOver(ChainStory& story, const char* id) {
  const absl::StatusOr<JobInfo> job = story.jobs().Query(id);
  return !job.ok() || job->state == JobState::kAborting || job->state == JobState::kConcluded;
}

class MeetingOfRequests {
 public:
  MeetingOfRequests(ScenarioRun& run, ChainStory& story, const JobRequest& one,
                    const JobRequest& two, Finish finish)
      : run_(run), story_(story), requests_{one, two}, finish_(finish) {}

  absl::Status CoTell() MILLRACE_MAY_SUSPEND {
    absl::Status status = CoTellHolding();
    for (const char* id : kIdsOfRequests) {  // what has not ended by now will not
      story_.jobs().Cancel(id, true).IgnoreError();
      story_.CoOver(id).IgnoreError();
    }
    for (Attachment& hold : holds_) hold.CoDetach();
    return status;
  }

 private:
  absl::Status CoTellHolding() MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(CoStart(0));
    const absl::Status second = CoStart(1);
    const bool is_first_over = IsOver(story_, kIdsOfRequests[0]);
    const bool may_start = MayStandBeside(requests_[0], requests_[1], kLayersOfRequests);
    EXPECT_TRUE(second.ok() == may_start || is_first_over) << second;
    Demand(run_, may_start || !second.ok() || is_first_over, "I6 refusal",
           "a job was let in on what another has for itself");
    if (!second.ok()) {
      MILLRACE_RETURN_IF_ERROR(CoSeeToEnd(story_, kIdsOfRequests[0]));
    } else {
      MILLRACE_RETURN_IF_ERROR(CoSeeToEnds());
    }
    Judge(second.ok());
    return absl::OkStatus();
  }

  absl::Status CoStart(size_t which) MILLRACE_MAY_SUSPEND {
    JobStart start;
    start.id = kIdsOfRequests[which];
    start.finalizes_by_hand = finish_ != Finish::kTogether;
    start.speed = 0;
    const bool is_filter = requests_[which].kind == RequestKind::kInsertFilter;
    if (is_filter) start.filter_name = StrCat("f-", start.id);
    return requests_[which].CoStart(story_, start, &holds_[which]);
  }

  absl::Status CoSeeToEnds() MILLRACE_MAY_SUSPEND {
    if (finish_ == Finish::kTogether) {
      TaskScope users("users");
      for (const char* id : kIdsOfRequests) {
        users.Spawn(id, [this, id]() MILLRACE_MAY_SUSPEND { return CoSeeToEnd(story_, id); });
      }
      return users.CoJoin();
    }
    const size_t earlier = finish_ == Finish::kFirstFirst ? 0 : 1;
    MILLRACE_RETURN_IF_ERROR(CoSeeToEnd(story_, kIdsOfRequests[earlier]));
    return CoSeeToEnd(story_, kIdsOfRequests[1 - earlier]);
  }

  // What they leave of the layers; filters and headers are the story's own affair (O4).
  void Judge(bool are_both_there) MILLRACE_OPENS_VIEW {
    std::set<size_t> layers;
    for (size_t layer = 0; layer < kLayersOfRequests; ++layer) layers.insert(layer);
    for (const size_t which : {0u, 1u}) {
      if (which == 1 && !are_both_there) continue;
      for (const size_t layer : requests_[which].Removes(kLayersOfRequests)) layers.erase(layer);
    }
    const std::vector<size_t> left = LayerViews::LayersInUse(story_.chain(), story_.graph());
    Demand(run_, std::set<size_t>(left.begin(), left.end()) == layers, "O3 chain", story_.Shape());
  }

  ScenarioRun& run_;
  ChainStory& story_;
  const std::array<JobRequest, 2> requests_;
  const Finish finish_;
  std::array<Attachment, 2> holds_;  // of a mirror's target
};

std::string_view NameOfFinish(Finish finish) {
  switch (finish) {
    case Finish::kTogether:
      return "";
    case Finish::kFirstFirst:
      return ", first ends first";
    case Finish::kSecondFirst:
      return ", second ends first";
  }
  return "";
}

Scenario MeetingScenario(const JobRequest& one, const JobRequest& two, Finish finish) {
  return StoryScenario(StrCat(one.InWords(), " beside ", two.InWords(), NameOfFinish(finish)),
                       {.layers = kLayersOfRequests, .guest_rounds = 1},
                       [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
                         return MeetingOfRequests(run, story, one, two, finish).CoTell();
                       });
}

// Neighbours, and such as overlap.
std::vector<std::pair<JobRequest, JobRequest>> RequestsThatMeet() {
  const auto stream = [](size_t top, size_t bottom) {
    return JobRequest{RequestKind::kStreamToBottom, top, bottom - 1};
  };
  const auto commit = [](size_t top, size_t base) {
    return JobRequest{RequestKind::kCommit, top, base};
  };
  const auto active = [](size_t base) { return JobRequest{RequestKind::kActiveCommit, 4, base}; };
  const auto filter = [](size_t layer) {
    return JobRequest{RequestKind::kInsertFilter, layer, std::nullopt};
  };
  const JobRequest mirror{RequestKind::kMirror, 4, std::nullopt};
  return {{active(3), stream(2, 1)}, {active(3), stream(3, 2)}, {active(3), commit(2, 1)},
          {active(3), commit(3, 2)}, {active(3), active(2)},    {active(3), mirror},
          {active(3), filter(4)},    {active(3), filter(3)},    {active(3), filter(2)},
          {mirror, stream(4, 3)},    {mirror, stream(3, 2)},    {mirror, commit(3, 2)},
          {mirror, commit(2, 1)},    {mirror, mirror},          {mirror, filter(4)},
          {mirror, filter(3)},       {stream(3, 2), filter(3)}, {stream(3, 2), filter(2)},
          {stream(3, 2), filter(1)}, {commit(3, 2), filter(3)}, {commit(3, 2), filter(2)},
          {commit(3, 2), filter(1)}, {filter(1), filter(1)},    {filter(2), filter(1)}};
}

}  // namespace

// Of two that may stand beside each other either ends first; started the other way round they end
// as they come. Refused is whoever comes second.
std::vector<Scenario> PairsOfRequests() {
  std::vector<Scenario> scenarios;
  for (const auto& [one, two] : RequestsThatMeet()) {
    const bool is_symmetric = one.InWords() == two.InWords();
    if (MayStandBeside(one, two, kLayersOfRequests)) {
      scenarios.push_back(MeetingScenario(one, two, Finish::kFirstFirst));
      scenarios.push_back(MeetingScenario(one, two, Finish::kSecondFirst));
      if (is_symmetric) scenarios.push_back(MeetingScenario(one, two, Finish::kTogether));
    } else {
      scenarios.push_back(MeetingScenario(one, two, Finish::kFirstFirst));
    }
    if (is_symmetric) continue;
    const bool may_come_first = MayStandBeside(two, one, kLayersOfRequests);
    scenarios.push_back(
        MeetingScenario(two, one, may_come_first ? Finish::kTogether : Finish::kFirstFirst));
  }
  return scenarios;
}

}  // namespace millrace
