// One commit on a chain, with a guest at work.
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/jobs/late_refusal.h"
#include "tests/support/chain_story.h"
#include "tests/support/graph_fixture.h"

namespace millrace::commit_test {
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

// What the top shows must fit into the base.
TEST(CommitJob, ShorterBaseIsGrown) {
  TellChainStory({.layers = 4, .bottom_bytes = 4 * 512},
                 [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
                   MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 2, 0)));
                   EXPECT_TRUE(story.CoOver("c").ok());
                   story.views().OnCommitted(2, 0);
                   EXPECT_EQ(story.Shape(), "n3 <- n0");
                   EXPECT_EQ(story.chain().images[0]->bytes, story.chain().images[3]->bytes);
                   return absl::OkStatus();
                 });
}

// ---- What the header above is to say ---------------------------------------------------------------

TEST(CommitJob, HeaderAboveItsTopNamesTheBase) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    EXPECT_EQ(story.chain().Header(3), "img-2");
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 2, 1)));
    EXPECT_TRUE(story.CoOver("c").ok());
    story.views().OnCommitted(2, 1);
    EXPECT_EQ(story.chain().images[3]->backing, (BackingReference{"img-1", "memory-overlay"}));
    return absl::OkStatus();
  });
}

TEST(CommitJob, HeaderAboveItsTopSaysWhatTheClientWantsAsBackingFile) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    CommitOptions options = story.Commit("c", 2, 1);
    options.backing_filename = "../elsewhere/base.img";
    MILLRACE_RETURN_IF_ERROR(story.CoStart(options));
    EXPECT_TRUE(story.CoOver("c").ok());
    story.views().OnCommitted(2, 1);
    EXPECT_EQ(story.chain().images[3]->backing,
              (BackingReference{"../elsewhere/base.img", "memory-overlay"}));
    // What it says is for others, who find the image under that name.
    story.chain().images[3]->backing.filename = "img-1";
    return absl::OkStatus();
  });
}

// ---- What is refused, and what others see ----------------------------------------------------------

TEST(CommitJob, RefusalsSayWhatIsWrongWithTheRequest) {
  TellChainStory(
      {.layers = 4, .cost = 50}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        const auto start = [&](const CommitOptions& options) MILLRACE_MAY_SUSPEND {
          return CoStartCommit(story.graph(), story.jobs(), options).status();
        };
        ExpectConflict(start(story.Commit("c", 1, 2)), ConflictReason::kNotInChain, "n1");
        ExpectConflict(start(story.Commit("c", 1, 1)), ConflictReason::kSameNode, "n1");
        CommitOptions nothing_below = story.Commit("c", 0, 0);
        nothing_below.base.reset();
        ExpectConflict(start(nothing_below), ConflictReason::kNoBacking, "n0");
        CommitOptions active = story.Commit("c", 3, 1);
        active.backing_filename = "img-1";
        ExpectConflict(start(active), ConflictReason::kMutuallyExclusive, "n3");
        EXPECT_EQ(story.Shape(), "n3 <- n2 <- n1 <- n0");
        return absl::OkStatus();
      });
}

TEST(CommitJob, ItsFilterHasTheNameThatTheClientGives) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    CommitOptions taken = story.Commit("c", 2, 1);
    taken.job.filter_name = "n0";
    const absl::Status late = CoStartCommit(story.graph(), story.jobs(), taken).status();
    ExpectConflict(late, ConflictReason::kDuplicateNodeName, "n0");
    // As in QEMU the job of an active commit has not been made by then, others have.
    EXPECT_EQ(LateRefusedJob(late), "c");
    CommitOptions active = story.Commit("c", 3, 1);
    active.job.filter_name = "n0";
    const absl::Status early = CoStartCommit(story.graph(), story.jobs(), active).status();
    ExpectConflict(early, ConflictReason::kDuplicateNodeName, "n0");
    EXPECT_EQ(LateRefusedJob(early), std::nullopt);
    EXPECT_EQ(story.Shape(), "n3 <- n2 <- n1 <- n0");
    CommitOptions options = story.Commit("c", 2, 1);
    options.job.filter_name = "mine";
    options.job.spec.speed = 512;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(options));
    EXPECT_EQ(story.Shape(), "n3 <- [mine] <- n2 <- n1 <- n0");
    MILLRACE_RETURN_IF_ERROR(story.jobs().SetSpeed("c", 0));
    EXPECT_TRUE(story.CoOver("c").ok());
    story.views().OnCommitted(2, 1);
    EXPECT_EQ(story.Shape(), "n3 <- n1 <- n0");
    EXPECT_FALSE(story.Find("mine").is_valid());
    return absl::OkStatus();
  });
}

TEST(CommitJob, CancelledLeavesTheChainAsItWas) {
  TellChainStory({.layers = 5}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    CommitOptions commit = story.Commit("c", 3, 1);
    commit.job.spec.speed = 512;
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
}  // namespace millrace::commit_test
