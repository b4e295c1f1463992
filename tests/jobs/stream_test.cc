// One stream on a chain, with a guest at work: which nodes it fills, keeps and drops, also where
// filters of users stand in the chain.
#include <memory>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drivers/memory_overlay.h"
#include "millrace/jobs/late_refusal.h"
#include "tests/support/chain_story.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::stream_test {
namespace {

TEST(StreamJob, CopiesWhatLiesBelowAndCutsTheChain) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 3, 0)));
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n3 <- n0");
    EXPECT_EQ(story.graph().node_count(), 2u);
    return absl::OkStatus();
  });
}

TEST(StreamJob, ReadOnlyIntermediateBecomesWritableForTheJobOnly) {
  TellChainStory({.layers = 4, .is_owned = true},
                 [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
                   MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 2, std::nullopt)));
                   EXPECT_FALSE(IsReadOnly(story.graph(), story.node(2)));
                   EXPECT_TRUE(story.CoOver("s").ok());
                   EXPECT_EQ(story.Shape(), "n3 <- n2");
                   EXPECT_EQ(story.chain().Header(2), "");
                   EXPECT_TRUE(IsReadOnly(story.graph(), story.node(2)));
                   return absl::OkStatus();
                 });
}

// ---- What the header is to say ---------------------------------------------------------------------

TEST(StreamJob, HeaderSaysWhatTheClientWantsAsBackingFile) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    StreamOptions options = story.Stream("s", 3, 0);
    options.backing_filename = "../elsewhere/base.img";
    MILLRACE_RETURN_IF_ERROR(story.CoStart(options));
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n3 <- n0");
    EXPECT_EQ(story.chain().images[3]->backing,
              (BackingReference{"../elsewhere/base.img", "memory-overlay"}));
    // What it says is for others, who find the image under that name.
    story.chain().images[3]->backing.filename = "img-0";
    return absl::OkStatus();
  });
}

TEST(StreamJob, BackingFileWithoutABaseIsRefused) {
  TellChainStory({.layers = 3, .cost = 50},
                 [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
                   StreamOptions options = story.Stream("s", 2, std::nullopt);
                   options.backing_filename = "base.img";
                   const absl::Status refused = story.CoStart(options);
                   const std::optional<Conflict> conflict = ConflictOf(refused);
                   EXPECT_TRUE(conflict.has_value()) << refused;
                   if (conflict) {
                     EXPECT_EQ(conflict->detail, "backing-file base");
                   }
                   EXPECT_EQ(story.Shape(), "n2 <- n1 <- n0");
                   return absl::OkStatus();
                 });
}

// ---- The device is a filter: the image below it gets the new backing, not the filter -------------

TEST(StreamJob, DeviceThatIsAFilterOverAReadOnlyOverlay) {
  TellChainStory({.layers = 5}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("f", story.node(3)));
    StreamOptions stream = story.Stream("s", 3, 1);
    stream.top = story.Find("f");
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n4 <- [f] <- n3 <- n1 <- n0");
    EXPECT_EQ(story.chain().Header(3), "img-1");
    EXPECT_TRUE(IsReadOnly(story.graph(), story.node(3)));
    return absl::OkStatus();
  });
}

TEST(StreamJob, DeviceThatIsAFilterOverAWritableOverlay) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("f", story.node(3)));
    StreamOptions stream = story.Stream("s", 3, std::nullopt);
    stream.top = story.Find("f");
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "[f] <- n3");
    EXPECT_EQ(story.chain().Header(3), "");
    return absl::OkStatus();
  });
}

TEST(StreamJob, DeviceThatIsAFilterDirectlyAboveTheBaseHasNothingToFill) {
  TellChainStory({.layers = 3}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("f", story.node(1)));
    StreamOptions stream = story.Stream("s", 1, 1);
    stream.top = story.Find("f");
    const absl::Status refused = story.CoStart(stream);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
    const std::optional<Conflict> conflict = ConflictOf(refused);
    EXPECT_TRUE(conflict && conflict->object == "n1") << refused;
    EXPECT_EQ(conflict->reason, ConflictReason::kNotInChain) << refused;
    EXPECT_EQ(story.Shape(), "n2 <- [f] <- n1 <- n0");
    return absl::OkStatus();
  });
}

TEST(StreamJob, RefusalsSayWhatIsWrongWithTheRequest) {
  TellChainStory({.layers = 3}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    ExpectConflict(story.CoStart(story.Stream("s", 1, 1)), ConflictReason::kSameNode, "n1");
    StreamOptions unnamed;
    unnamed.top = story.node(1);  // which has no device
    const absl::Status refused = CoStartStream(story.graph(), story.jobs(), unnamed).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    ExpectConflict(refused, ConflictReason::kMissingJobId, "n1");
    EXPECT_THAT(std::string(refused.message()), Not(testing::HasSubstr("above it")));
    ExpectConflict(CoStartStream(story.graph(), story.jobs(), {}).status(),
                   ConflictReason::kStaleNode, "StreamOptions::top");
    return absl::OkStatus();
  });
}

// The device stands on the filter, or on the filter of a stream that the user has forgotten.
TEST(StreamJob, WithoutAnIdBelowAFilterTheDeviceAboveIsNamed) {
  TellChainStory({.layers = 3}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("f", story.node(2)));
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("g", story.node(2)));
    StreamOptions unnamed;
    unnamed.top = story.node(2);
    const absl::Status refused = CoStartStream(story.graph(), story.jobs(), unnamed).status();
    ExpectConflict(refused, ConflictReason::kMissingJobId, "n2");
    EXPECT_THAT(std::string(refused.message()),
                testing::HasSubstr("'drive0' stands on filter 'f' above it; set spec.id"));
    return absl::OkStatus();
  });
}

TEST(StreamJob, ItsFilterHasTheNameThatTheClientGives) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    StreamOptions taken = story.Stream("s", 2, 0);
    taken.job.filter_name = "n0";
    const absl::Status refusal = CoStartStream(story.graph(), story.jobs(), taken).status();
    ExpectConflict(refusal, ConflictReason::kDuplicateNodeName, "n0");
    EXPECT_EQ(LateRefusedJob(refusal), std::nullopt);
    EXPECT_EQ(story.Shape(), "n3 <- n2 <- n1 <- n0");
    StreamOptions options = story.Stream("s", 2, 0);
    options.job.filter_name = "mine";
    options.job.spec.speed = 512;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(options));
    EXPECT_EQ(story.Shape(), "n3 <- [mine] <- n2 <- n1 <- n0");
    MILLRACE_RETURN_IF_ERROR(story.jobs().SetSpeed("s", 0));
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n3 <- n2 <- n0");
    EXPECT_FALSE(story.Find("mine").is_valid());
    return absl::OkStatus();
  });
}

// ---- Filters in the range, and below it ----------------------------------------------------------

TEST(StreamJob, BaseNamedBelowAUsersFilterTakesTheFilterOutOfTheChain) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("f", story.node(1)));
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 3, 1)));
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n3 <- n1 <- n0");
    EXPECT_FALSE(story.Find("f").is_valid());
    return absl::OkStatus();
  });
}

TEST(StreamJob, BottomNamedAboveAUsersFilterKeepsTheFilter) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("f", story.node(1)));
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.StreamToBottom("s", 3, 2)));
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n3 <- [f] <- n1 <- n0");
    EXPECT_EQ(story.chain().Header(3), "img-1");
    return absl::OkStatus();
  });
}

// The filter's own link may lead to a job's filter by the time it is taken out.
TEST(StreamJob, UsersFilterAboveItsTopCanBeTakenOutWhileItRuns) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoInsertFilter("f", story.node(2)));
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 2, 0)));
    EXPECT_TRUE(story.CoRemoveFilter(story.Find("f")).ok());
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n3 <- n2 <- n0");
    return absl::OkStatus();
  });
}

// ---- Given up, and held up -----------------------------------------------------------------------

TEST(StreamJob, CancelledLeavesTheChainAsItWas) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    StreamOptions stream = story.Stream("s", 2, 0);
    stream.job.spec.speed = 512;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    MILLRACE_RETURN_IF_ERROR(story.jobs().Cancel("s", true));
    const absl::Status over = story.CoOver("s");
    EXPECT_TRUE(absl::IsCancelled(over)) << over;
    EXPECT_EQ(story.Shape(), "n3 <- n2 <- n1 <- n0");
    EXPECT_TRUE(IsReadOnly(story.graph(), story.node(2)));
    return absl::OkStatus();
  });
}

// What a guest reads through the job's filter of a cluster that the job has not reached.
absl::StatusOr<MemoryOverlayImage::Cluster> CoReadAhead(ChainStory& story, int64_t speed)
    MILLRACE_MAY_SUSPEND {
  StreamOptions stream = story.Stream("s", 1, std::nullopt);
  stream.job.spec.speed = speed;
  MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
  CoYield("test.let_it_begin");
  if (speed > 0) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  const MemoryOverlayImage& top = *story.chain().images[1];
  const MemoryOverlayImage& below = *story.chain().images[0];
  size_t last = top.map.size();
  do {
    --last;
  } while (top.map[last] != MemoryOverlayImage::Cluster::kUnallocated ||
           below.map[last] != MemoryOverlayImage::Cluster::kData);
  uint8_t byte = 0;
  MILLRACE_RETURN_IF_ERROR(
      story.chain().guest.CoRead(last * top.cluster_bytes, IoVector(&byte, 1)));
  const MemoryOverlayImage::Cluster read = top.map[last];
  if (speed > 0) MILLRACE_RETURN_IF_ERROR(story.jobs().SetSpeed("s", 0));
  EXPECT_TRUE(story.CoOver("s").ok());
  EXPECT_NE(top.map[last], MemoryOverlayImage::Cluster::kUnallocated);
  return read;
}

// In production's order alone: under others the job may come by first.
void TellInOrder(const ChainStoryOptions& options, const ChainStoryBody& body) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  const absl::Status status = engine->Run(
      [&]() MILLRACE_MAY_SUSPEND { return CoTellChainStory(*engine, options, 0, body); });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(StreamJob, KeepsWhatGuestsReadOnlyWhileItHasASpeedLimit) {
  const ChainStoryOptions chain = {
      .layers = 2, .guest_rounds = 0, .bytes = uint64_t{32} << 20, .cluster_bytes = 64 << 10};
  TellInOrder(chain, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const MemoryOverlayImage::Cluster read, CoReadAhead(story, 0));
    EXPECT_EQ(read, MemoryOverlayImage::Cluster::kUnallocated);
    return absl::OkStatus();
  });
  TellInOrder(chain, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const MemoryOverlayImage::Cluster read, CoReadAhead(story, 1 << 20));
    EXPECT_EQ(read, MemoryOverlayImage::Cluster::kData);
    return absl::OkStatus();
  });
}

TEST(StreamJob, PausedMakesNoProgressUntilItIsResumed) {
  TellChainStory({.layers = 4, .guest_rounds = 0},
                 [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
                   StreamOptions stream = story.Stream("s", 3, 0);
                   stream.job.spec.speed = 512;  // a sector a second
                   stream.job.spec.dismisses_automatically = false;
                   MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
                   MILLRACE_RETURN_IF_ERROR(CoSleepFor(2 * kSecond));
                   MILLRACE_RETURN_IF_ERROR(story.jobs().Pause("s"));
                   JobInfo paused;
                   while (paused.state != JobState::kPaused) {
                     MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
                     MILLRACE_ASSIGN_OR_RETURN(paused, story.jobs().Query("s"));
                   }
                   EXPECT_LT(paused.current, paused.total);
                   MILLRACE_RETURN_IF_ERROR(CoSleepFor(60 * kSecond));
                   MILLRACE_ASSIGN_OR_RETURN(const JobInfo later, story.jobs().Query("s"));
                   EXPECT_EQ(later.current, paused.current);
                   MILLRACE_RETURN_IF_ERROR(story.jobs().Resume("s"));
                   EXPECT_TRUE(story.jobs().CoWaitUntilOver("s").ok());
                   EXPECT_EQ(story.Shape(), "n3 <- n0");
                   return absl::OkStatus();
                 });
}

}  // namespace
}  // namespace millrace::stream_test
