// J4: a job that is kept for dismissal goes on naming its nodes, as in QEMU: nobody takes them away
// and no other job works on them, until it is dismissed. It reads and writes nothing any more.
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/operation_claim.h"
#include "tests/support/chain_story.h"
#include "tests/support/graph_fixture.h"

namespace millrace::dismissal_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The holder that a stream on the node would be refused for; empty if nobody is in its way.
std::string InTheWayOf(ChainStory& story, NodeId node) MILLRACE_OPENS_VIEW {
  GraphView view(story.graph());
  const std::optional<Conflict> conflict =
      ConflictOf(OperationClaim::Check(view, node, Operation::kStream));
  return conflict ? conflict->holders.front().id : "";
}

std::vector<std::string> PurposesOn(ChainStory& story, NodeId node) MILLRACE_OPENS_VIEW {
  GraphView view(story.graph());
  std::vector<std::string> purposes;
  const absl::StatusOr<NodeView> found = view.Resolve(node);
  if (!found.ok()) return {"gone"};
  for (const NodeView::JobUse& use : found->job_uses()) {
    EXPECT_TRUE(use.used.empty()) << use.purpose << " uses " << use.used.ToString();
    purposes.push_back(use.purpose);
  }
  return purposes;
}

absl::Status CoDismiss(ChainStory& story, const std::string& job) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.jobs().Dismiss(job));
  story.graph().CoWaitForReaper();
  return absl::OkStatus();
}

TEST(Dismissal, AStreamKeepsWhatItHasCutOut) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    const NodeId middle = story.node(2);
    StreamOptions stream = story.Stream("s", 3, 0);
    stream.job.spec.dismisses_automatically = false;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n3 <- n0");
    EXPECT_EQ(story.graph().node_count(), 4u);
    EXPECT_THAT(PurposesOn(story, middle), ElementsAre("intermediate node"));
    EXPECT_EQ(InTheWayOf(story, middle), "s");
    EXPECT_THAT(PurposesOn(story, story.node(0)), IsEmpty());
    MILLRACE_RETURN_IF_ERROR(CoDismiss(story, "s"));
    EXPECT_EQ(story.graph().node_count(), 2u);
    return absl::OkStatus();
  });
}

TEST(Dismissal, ACommitKeepsWhatItHasDroppedAndItsBase) {
  TellChainStory({.layers = 5}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    const NodeId top = story.node(2);
    CommitOptions commit = story.Commit("c", 2, 0);
    commit.job.spec.dismisses_automatically = false;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
    EXPECT_TRUE(story.CoOver("c").ok());
    story.views().OnCommitted(2, 0);
    EXPECT_EQ(story.Shape(), "n4 <- n3 <- n0");
    EXPECT_EQ(story.graph().node_count(), 5u);
    EXPECT_THAT(PurposesOn(story, top), ElementsAre("intermediate node"));
    EXPECT_THAT(PurposesOn(story, story.node(0)), ElementsAre("base"));
    EXPECT_EQ(InTheWayOf(story, story.node(0)), "c");
    MILLRACE_RETURN_IF_ERROR(CoDismiss(story, "c"));
    EXPECT_EQ(story.graph().node_count(), 3u);
    EXPECT_EQ(InTheWayOf(story, story.node(0)), "");
    return absl::OkStatus();
  });
}

// A commit that failed or was cancelled lets go of all at once, and a stream of nothing, as in
// QEMU.
TEST(Dismissal, OfJobsThatWereCancelled) {
  TellChainStory({.layers = 5}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    StreamOptions stream = story.Stream("s", 4, 3);
    CommitOptions commit = story.Commit("c", 2, 0);
    for (JobSpec* spec : {&stream.job.spec, &commit.job.spec}) {
      spec->dismisses_automatically = false;
      spec->finalizes_automatically = false;
    }
    MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
    MILLRACE_RETURN_IF_ERROR(story.jobs().Cancel("c", /*force=*/true));
    EXPECT_FALSE(story.CoOver("c").ok());
    EXPECT_EQ(InTheWayOf(story, story.node(1)), "");
    EXPECT_THAT(PurposesOn(story, story.node(1)), IsEmpty());
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    MILLRACE_RETURN_IF_ERROR(story.jobs().Cancel("s", /*force=*/true));
    EXPECT_FALSE(story.CoOver("s").ok());
    EXPECT_EQ(InTheWayOf(story, story.node(4)), "s");
    EXPECT_THAT(PurposesOn(story, story.node(4)), ElementsAre("active node"));
    MILLRACE_RETURN_IF_ERROR(CoDismiss(story, "s"));
    EXPECT_EQ(InTheWayOf(story, story.node(4)), "");
    return CoDismiss(story, "c");
  });
}

// Somebody's drain of a node that only the job still holds neither waits for the job nor outlives
// it unseen.
TEST(Dismissal, InTheMiddleOfSomebodysDrain) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    const std::vector<NodeId> nodes = {story.node(2), story.node(1)};
    StreamOptions stream = story.Stream("s", 3, 0);
    stream.job.spec.dismisses_automatically = false;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    EXPECT_TRUE(story.CoOver("s").ok());
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(story.graph(), nodes, {}));
      MILLRACE_RETURN_IF_ERROR(story.jobs().Dismiss("s"));
    }
    story.graph().CoWaitForReaper();
    EXPECT_EQ(story.graph().node_count(), 2u);
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::dismissal_test
