// Two parties put a filter above one node at the same time: each adds its filter beside the chain,
// waits for a drain and then takes its place, and finds the other's there.
// Found by the explorer: "mirror against a filter above n3, with odd branches".
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/drain.h"
#include "tests/support/chain_story.h"

namespace millrace::filters_beside_test {
namespace {

// Both wait for somebody else's drain until each has its filter beside n3. `meetings`: how often
// neither was refused.
absl::Status CoMeet(ChainStory& story, size_t& meetings) MILLRACE_MAY_SUSPEND {
  absl::Status inserted;
  absl::Status started;
  TaskScope scope("users");
  {
    MILLRACE_ASSIGN_OR_RETURN(
        DrainedSection drained,
        DrainedSection::CoBegin(story.graph(), {story.node(3)}, {story.chain().monitor_holder}));
    scope.Spawn("filter", [&]() MILLRACE_MAY_SUSPEND {
      inserted = story.CoInsertFilter("f", story.node(3));
    });
    scope.Spawn("stream", [&]() MILLRACE_MAY_SUSPEND {
      StreamOptions options = story.Stream("s", 3, 1);
      options.job.spec.finalizes_automatically = false;
      started = story.CoStart(std::move(options));
    });
    for (int turn = 0; turn < 50; ++turn) CoYield("test.drained");
  }
  MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
  // Whoever claims first may be in the other's way; nothing else may go wrong.
  EXPECT_TRUE(inserted.ok() || absl::IsFailedPrecondition(inserted)) << inserted;
  EXPECT_TRUE(started.ok() || absl::IsFailedPrecondition(started)) << started;
  if (!started.ok()) return absl::OkStatus();
  if (inserted.ok()) {
    ++meetings;
    EXPECT_NE(story.Shape().find("[f] <- ["), std::string::npos) << story.Shape();
  }
  MILLRACE_RETURN_IF_ERROR(story.CoFinalize("s"));
  return story.CoOver("s");
}

TEST(FiltersBeside, OneTakesItsPlaceBelowTheOtherThatWasFaster) {
  size_t meetings = 0;
  TellChainStory({.layers = 4, .guest_rounds = 1},
                 [&](ChainStory& story) MILLRACE_MAY_SUSPEND { return CoMeet(story, meetings); });
  EXPECT_GT(meetings, 0u);
}

}  // namespace
}  // namespace millrace::filters_beside_test
