// One commit on a chain, with a guest at work.
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "tests/support/chain_story.h"

namespace millrace {
namespace {

TEST(CommitJob, MovesTheLayersIntoTheBaseAndDropsThem) {
  TellChainStory({.layers = 5}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 2, 0)));
    EXPECT_TRUE(story.CoOver("c").ok());
    story.views().OnCommitted(2, 0);
    EXPECT_EQ(story.Shape(), "n4 <- n3 <- n0");
    EXPECT_EQ(story.graph().node_count(), 3u);
    EXPECT_TRUE(IsReadOnly(story.graph(), story.node(0)));
    return absl::OkStatus();
  });
}

TEST(CommitJob, CancelledLeavesTheChainAsItWas) {
  TellChainStory({.layers = 5}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    CommitOptions commit = story.Commit("c", 3, 1);
    commit.spec.speed = 512;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
    MILLRACE_RETURN_IF_ERROR(story.jobs().Cancel("c", true));
    story.CoOver("c").IgnoreError();
    // Part of the top may be in the base, where the layers between show it too.
    story.views().OnWritten(1);
    story.views().OnWritten(2);
    EXPECT_EQ(story.Shape(), "n4 <- n3 <- n2 <- n1 <- n0");
    EXPECT_TRUE(IsReadOnly(story.graph(), story.node(1)));
    return absl::OkStatus();
  });
}

TEST(CommitJob, FilterAboveItsTopStaysAndShowsTheBase) {
  TellChainStory({.layers = 5}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("f", story.node(3)));
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 3, 1)));
    EXPECT_TRUE(story.CoOver("c").ok());
    story.views().OnCommitted(3, 1);
    EXPECT_EQ(story.Shape(), "n4 <- [f] <- n1 <- n0");
    EXPECT_EQ(story.chain().Header(4), "img-1");
    return absl::OkStatus();
  });
}

TEST(CommitJob, FilterAboveItsTopCanBeTakenOutWhileItRuns) {
  TellChainStory({.layers = 5}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("f", story.node(3)));
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 3, 1)));
    EXPECT_TRUE(story.CoRemoveFilter(story.Find("f")).ok());
    EXPECT_TRUE(story.CoOver("c").ok());
    story.views().OnCommitted(3, 1);
    EXPECT_EQ(story.Shape(), "n4 <- n1 <- n0");
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace
