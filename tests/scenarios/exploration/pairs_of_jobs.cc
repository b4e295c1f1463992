// Two jobs that meet on one chain, whatever they are and however their ranges lie.
#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scope/task_scope.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/story_scenario.h"

namespace millrace {
namespace {

constexpr size_t kLayersOfPairs = 7;

enum class Ends { kWheneverTheyWant, kFirstFirst, kSecondFirst };

// A stream of the layers from `top` down to `bottom` into top, or a commit of them into `bottom`.
struct Work {
  bool is_commit = false;
  size_t top = 0;
  size_t bottom = 0;

  std::set<size_t> Removed() const {
    std::set<size_t> removed;
    for (size_t layer = bottom; layer <= top; ++layer) removed.insert(layer);
    removed.erase(is_commit ? bottom : top);
    return removed;
  }
};

absl::Status CoStart(ChainStory& story, const char* id, const Work& work, bool by_hand)
    MILLRACE_MAY_SUSPEND {
  if (work.is_commit) {
    CommitOptions options = story.Commit(id, work.top, work.bottom);
    options.job.spec.finalizes_automatically = !by_hand;
    return story.CoStart(std::move(options));
  }
  StreamOptions options = story.StreamToBottom(id, work.top, work.bottom);
  options.job.spec.finalizes_automatically = !by_hand;
  return story.CoStart(std::move(options));
}

absl::Status CoEnd(ChainStory& story, const char* id, const Work& work, bool by_hand,
                   std::set<size_t>& layers) MILLRACE_MAY_SUSPEND {
  if (by_hand) MILLRACE_RETURN_IF_ERROR(story.CoFinalize(id));
  MILLRACE_RETURN_IF_ERROR(story.CoOver(id));
  for (size_t layer : work.Removed()) layers.erase(layer);
  return absl::OkStatus();
}

// Both start; what is accepted must succeed, and the chain at the end is what the jobs say.
absl::Status CoMeet(ScenarioRun& run, ChainStory& story, const Work& one, const Work& two,
                    bool may_refuse, Ends ends) MILLRACE_MAY_SUSPEND {
  const bool by_hand = ends != Ends::kWheneverTheyWant;
  std::set<size_t> layers;
  for (size_t layer = 0; layer < kLayersOfPairs; ++layer) layers.insert(layer);
  MILLRACE_RETURN_IF_ERROR(CoStart(story, "one", one, by_hand));
  const absl::Status second = CoStart(story, "two", two, by_hand);
  EXPECT_TRUE(second.ok() || (may_refuse && absl::IsFailedPrecondition(second))) << second;
  if (second.ok() && ends == Ends::kSecondFirst) {
    MILLRACE_RETURN_IF_ERROR(CoEnd(story, "two", two, by_hand, layers));
  }
  MILLRACE_RETURN_IF_ERROR(CoEnd(story, "one", one, by_hand, layers));
  if (second.ok() && ends != Ends::kSecondFirst) {
    MILLRACE_RETURN_IF_ERROR(CoEnd(story, "two", two, by_hand, layers));
  }
  const std::vector<size_t> left = LayerViews::LayersInUse(story.chain(), story.graph());
  Demand(run, std::set<size_t>(left.begin(), left.end()) == layers, "O3 chain", story.Shape());
  return absl::OkStatus();
}

// All three kinds at one time: two jobs, and between their ranges a filter.
absl::Status CoMeetAFilter(ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.StreamToBottom("stream", 2, 1)));
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("commit", 5, 4)));
  TaskScope user("user");
  user.Spawn("user", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("filter", story.node(3)));
    return story.CoRemoveFilter(story.Find("filter"));
  });
  absl::Status result = story.CoOver("stream");
  result.Update(story.CoOver("commit"));
  result.Update(user.CoJoin());
  if (result.ok()) DemandShape(run, story, "n6 <- n4 <- n3 <- n2 <- n0");
  return result;
}

std::string NameOfWork(const Work& work) {
  return StrCat(work.is_commit ? "commit " : "stream ", work.top, "-", work.bottom);
}

std::string_view NameOfEnds(Ends ends) {
  switch (ends) {
    case Ends::kWheneverTheyWant:
      return "";
    case Ends::kFirstFirst:
      return ", first ends first";
    case Ends::kSecondFirst:
      return ", second ends first";
  }
  return "";
}

}  // namespace

std::vector<Scenario> PairsOfJobs() {
  struct Ranges {
    size_t top_one, bottom_one, top_two, bottom_two;
    bool may_refuse;
  };
  // A commit also needs the layer above its top, so a neighbour below a stream may be refused; and
  // two commits want the same root.
  const Ranges ranges[] = {{5, 4, 3, 2, true},   // neighbours, the upper one first
                           {3, 2, 5, 4, true},   // neighbours, the lower one first
                           {5, 4, 2, 1, false},  // one layer apart
                           {5, 3, 4, 2, true},   // overlapping
                           {4, 2, 4, 2, true}};  // the same
  std::vector<Scenario> scenarios;
  for (const Ranges& each : ranges) {
    for (const bool first_commits : {false, true}) {
      for (const bool second_commits : {false, true}) {
        for (const Ends ends : {Ends::kWheneverTheyWant, Ends::kFirstFirst, Ends::kSecondFirst}) {
          const Work one{first_commits, each.top_one, each.bottom_one};
          const Work two{second_commits, each.top_two, each.bottom_two};
          const bool overlaps = each.bottom_one <= each.top_two && each.bottom_two <= each.top_one;
          if (overlaps && ends != Ends::kWheneverTheyWant) continue;
          scenarios.push_back(StoryScenario(
              StrCat(NameOfWork(one), " and ", NameOfWork(two), NameOfEnds(ends)),
              {.layers = kLayersOfPairs, .guest_rounds = 1},
              [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
                return CoMeet(run, story, one, two,
                              each.may_refuse || (first_commits && second_commits), ends);
              }));
        }
      }
    }
  }
  scenarios.push_back(StoryScenario("stream 2-1, commit 5-4 and a filter that comes and goes",
                                    {.layers = kLayersOfPairs, .guest_rounds = 1}, CoMeetAFilter));
  return scenarios;
}

}  // namespace millrace
