// Section B: several jobs at once on a chain of nine, n8 <- n7 <- ... <- n0. After each the map of
// every image, and the exact events of every job; that one parks while another puts its filter in
// is left out of them.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"
#include "tests/scenarios/iotest_030/chain_maps.h"
#include "tests/scenarios/iotest_030/simulated_cases.h"
#include "tests/scenarios/iotest_030/story_steps.h"

namespace millrace {
namespace {

constexpr uint64_t kBytes = ChainStoryOptions().bytes;

template <typename Options>
Options Slow(Options options, std::string filter = "") {
  options.job.spec.speed = kStandingStill;
  options.job.filter_name = std::move(filter);
  return options;
}

// What is left: every image's map, the chain, and what the jobs have told, and no others.
absl::Status MustBeLeft(ChainStory& story, const ChainMaps& maps, std::string_view shape,
                        const std::vector<Told>& told) MILLRACE_OPENS_VIEW {
  MILLRACE_RETURN_IF_ERROR(maps.Check(story));
  MILLRACE_RETURN_IF_ERROR(MustTell(story, told, Parks::kAreLeftOut));
  return MustBeShape(story, shape);
}

absl::Status CoStreamParallel(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  for (size_t i = 2; i <= 8; i += 2) {
    MILLRACE_RETURN_IF_ERROR(story.CoStart(Slow(story.StreamToBottom(StrCat("s", i), i, i - 1))));
  }
  for (size_t i = 8; i > 0; i -= 2) MILLRACE_RETURN_IF_ERROR(LetGo(story, StrCat("s", i)));
  for (size_t i = 2; i <= 8; i += 2) MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, StrCat("s", i)));
  std::vector<Told> told;
  for (size_t i = 2; i <= 8; i += 2) {
    maps.OnStreamed(i, i - 2);
    told.push_back(EndedWell(StrCat("s", i), kBytes));
  }
  return MustBeLeft(story, maps, "n8 <- n6 <- n4 <- n2 <- n0", told);
}

absl::Status CoOverlapping1(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(Slow(story.Stream("s", 4, 1), "stream-filter")));
  MILLRACE_RETURN_IF_ERROR(
      MustBeBusy(story.CoStart(story.Stream("a", 5, 2)), "stream-filter", "s"));
  MILLRACE_RETURN_IF_ERROR(MustBeBusy(story.CoStart(story.Stream("b", 3, 2)), "n3", "s"));
  MILLRACE_RETURN_IF_ERROR(
      MustBeBusy(story.CoStart(story.Stream("c", 4, std::nullopt)), "n4", "s"));
  MILLRACE_RETURN_IF_ERROR(
      MustBeBusy(story.CoStart(story.Commit("d", 8, 4)), "stream-filter", "s"));
  MILLRACE_RETURN_IF_ERROR(MustBeBusy(story.CoStart(story.Commit("e", 3, 1)), "n3", "s"));
  // This one would have to rewrite the backing file's name in n2.
  MILLRACE_RETURN_IF_ERROR(MustBeBusy(story.CoStart(story.Commit("f", 1, 0)), "n2", "s"));
  MILLRACE_RETURN_IF_ERROR(LetGo(story, "s"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  maps.OnStreamed(4, 1);
  return MustBeLeft(story, maps, "n8 <- n7 <- n6 <- n5 <- n4 <- n1 <- n0",
                    {EndedWell("s", kBytes)});
}

absl::Status CoOverlapping2(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(Slow(story.Commit("c", 5, 3))));
  MILLRACE_RETURN_IF_ERROR(
      MustBeBusy(story.CoStart(story.Stream("a", 3, std::nullopt)), "n3", "c"));
  MILLRACE_RETURN_IF_ERROR(MustBeBusy(story.CoStart(story.Stream("b", 6, 2)), "n5", "c"));
  MILLRACE_RETURN_IF_ERROR(MustBeBusy(story.CoStart(story.Stream("d", 4, 2)), "n4", "c"));
  MILLRACE_RETURN_IF_ERROR(MustBeBusy(story.CoStart(story.Stream("e", 6, 4)), "n5", "c"));
  // A commit blocks the active layer too.
  MILLRACE_RETURN_IF_ERROR(MustBeBusy(story.CoStart(story.Stream("f", 8, 5)), "drive0", "c"));
  MILLRACE_RETURN_IF_ERROR(LetGo(story, "c"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "c"));
  story.views().OnCommitted(5, 3);
  maps.OnCommitted(5, 3);
  return MustBeLeft(story, maps, "n8 <- n7 <- n6 <- n3 <- n2 <- n1 <- n0",
                    {EndedWell("c", kBytes)});
}

absl::Status CoOverlapping3(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(Slow(story.Commit("c", 8, 3))));
  MILLRACE_RETURN_IF_ERROR(MustBeBusy(story.CoStart(story.Stream("a", 5, 3)), "n5", "c"));
  MILLRACE_RETURN_IF_ERROR(LetGo(story, "c"));
  MILLRACE_RETURN_IF_ERROR(CoCompleteWhenReady(story, "c"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "c"));
  story.views().OnWritten(3);
  maps.OnCommittedActive(3);
  return MustBeLeft(story, maps, "n3 <- n2 <- n1 <- n0", {Switched("c")});
}

absl::Status CoOverlapping4(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(Slow(story.Commit("c", 2, 0), "commit-filter")));
  MILLRACE_RETURN_IF_ERROR(MustBeRefused(story.CoStart(story.Stream("a", 4, 2)),
                                         ConflictReason::kUnleasableFilter, "commit-filter"));
  MILLRACE_RETURN_IF_ERROR(LetGo(story, "c"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "c"));
  story.views().OnCommitted(2, 0);
  maps.OnCommitted(2, 0);
  return MustBeLeft(story, maps, "n8 <- n7 <- n6 <- n5 <- n4 <- n3 <- n0",
                    {EndedWell("c", kBytes)});
}

// A stream does not own its base, so that may be the filter of another job.
absl::Status CoOverlapping5(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(Slow(story.Commit("c", 2, 0), "commit-filter")));
  StreamOptions stream = Slow(story.Stream("s", 4, std::nullopt));
  stream.base = story.Find("commit-filter");
  MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
  MILLRACE_RETURN_IF_ERROR(LetGo(story, "s"));
  MILLRACE_RETURN_IF_ERROR(LetGo(story, "c"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "c"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  story.views().OnCommitted(2, 0);
  maps.OnStreamed(4, 2);
  maps.OnCommitted(2, 0);
  return MustBeLeft(story, maps, "n8 <- n7 <- n6 <- n5 <- n4 <- n0",
                    {EndedWell("c", kBytes), EndedWell("s", kBytes)});
}

absl::Status CoStreamCommit1(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 2, 0)));
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 8, 3)));
  MILLRACE_RETURN_IF_ERROR(CoCompleteWhenReady(story, "c"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "c"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  story.views().OnWritten(3);
  maps.OnStreamed(2, 0);
  maps.OnCommittedActive(3);
  return MustBeLeft(story, maps, "n3 <- n2 <- n0", {EndedWell("s", kBytes), Switched("c")});
}

absl::Status CoStreamCommit2(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(Slow(story.Stream("s", 4, 0))));
  MILLRACE_RETURN_IF_ERROR(story.CoStart(Slow(story.Commit("c", 8, 5))));
  MILLRACE_RETURN_IF_ERROR(LetGo(story, "c"));
  MILLRACE_RETURN_IF_ERROR(LetGo(story, "s"));
  MILLRACE_RETURN_IF_ERROR(CoCompleteWhenReady(story, "c"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "c"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  story.views().OnWritten(5);
  maps.OnStreamed(4, 0);
  maps.OnCommittedActive(5);
  return MustBeLeft(story, maps, "n5 <- n4 <- n0", {EndedWell("s", kBytes), Switched("c")});
}

// A name that no node has.
absl::Status MustBeUnknownNode(ChainStory& story, std::string_view name) MILLRACE_OPENS_VIEW {
  GraphView view(story.graph());
  return MustBeRefused(view.Find(name).status(), ConflictReason::kUnknownNode, name);
}

// A base by name of a node, and by name of an image, are one and the same to the library: whoever
// takes a user's words looks it up. What it can be told twice is a base and a bottom.
StreamOptions WithBaseAndBottom(ChainStory& story) {
  StreamOptions stream = story.Stream("c", 4, 2);
  stream.bottom = story.node(3);
  return stream;
}

absl::Status CoStreamBaseNodeName(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(MustBeUnknownNode(story, "none"));
  MILLRACE_RETURN_IF_ERROR(MustBeRefused(story.CoStart(WithBaseAndBottom(story)),
                                         ConflictReason::kMutuallyExclusive, "n4"));
  MILLRACE_RETURN_IF_ERROR(
      MustBeRefused(story.CoStart(story.Stream("a", 4, 6)), ConflictReason::kNotBacking, "n6"));
  MILLRACE_RETURN_IF_ERROR(
      MustBeRefused(story.CoStart(story.Stream("b", 4, 4)), ConflictReason::kSameNode, "n4"));
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 4, 2)));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  maps.OnStreamed(4, 2);
  return MustBeLeft(story, maps, "n8 <- n7 <- n6 <- n5 <- n4 <- n2 <- n1 <- n0",
                    {EndedWell("s", kBytes)});
}

constexpr ChainStoryOptions kNine = {.layers = 9};

const SimulatedCase kParallelStories[] = {
    {"stream_parallel", kNine, &CoStreamParallel},
    {"overlapping_1", kNine, &CoOverlapping1},
    {"overlapping_2", kNine, &CoOverlapping2},
    {"overlapping_3", kNine, &CoOverlapping3},
    {"overlapping_4", kNine, &CoOverlapping4},
    {"overlapping_4_writable", {.layers = 9, .is_read_only = false}, &CoOverlapping4},
    {"overlapping_5", kNine, &CoOverlapping5},
    {"stream_commit_1", kNine, &CoStreamCommit1},
    {"stream_commit_2", kNine, &CoStreamCommit2},
    {"stream_base_node_name", kNine, &CoStreamBaseNodeName},
};

}  // namespace

absl::Span<const SimulatedCase> ParallelStories() { return kParallelStories; }

}  // namespace millrace
