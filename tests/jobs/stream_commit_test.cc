// Streams, commits and filter insertions that meet on one chain, with a guest at work.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/support/chain_story.h"
#include "tests/support/seeds.h"

namespace millrace::stream_commit_test {
namespace {

// Who ends first, where both wait to be finalized by hand.
enum class Ends { kAutomatically, kStreamFirst, kCommitFirst };

// overlapping_5: the base of the stream is the filter of a commit, which goes when the commit ends.
void TellOverlapping5(Ends ends) {
  TellChainStory({.layers = 6}, [&](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    CommitOptions commit = story.Commit("c", 2, 0);
    commit.job.filter_name = "commit-filter";
    commit.job.spec.finalizes_automatically = false;  // so that its filter is there to be named
    StreamOptions stream = story.Stream("s", 4, std::nullopt);
    stream.job.spec.finalizes_automatically = ends == Ends::kAutomatically;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
    stream.base = story.Find("commit-filter");
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    if (ends == Ends::kStreamFirst) {
      MILLRACE_RETURN_IF_ERROR(story.CoFinalize("s"));
      EXPECT_TRUE(story.CoOver("s").ok());
      EXPECT_EQ(story.Shape(), "n5 <- n4 <- [commit-filter] <- n2 <- n1 <- n0");
      EXPECT_EQ(story.chain().Header(4), "img-2");
    }
    MILLRACE_RETURN_IF_ERROR(story.CoFinalize("c"));
    EXPECT_TRUE(story.CoOver("c").ok());
    story.views().OnCommitted(2, 0);
    if (ends == Ends::kCommitFirst) {
      EXPECT_EQ(story.Shape().substr(0, 5), "n5 <-");
      MILLRACE_RETURN_IF_ERROR(story.CoFinalize("s"));
    }
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n5 <- n4 <- n0");
    return absl::OkStatus();
  });
}

TEST(StreamMeetsCommit, StreamOverTheCommitsFilterEndsWheneverItEnds) {
  TellOverlapping5(Ends::kAutomatically);
}

TEST(StreamMeetsCommit, StreamOverTheCommitsFilterEndsFirst) {
  TellOverlapping5(Ends::kStreamFirst);
}

TEST(StreamMeetsCommit, StreamOverTheCommitsFilterEndsLast) {
  TellOverlapping5(Ends::kCommitFirst);
}

// The same with neither finalized by hand. Both stand still until they are let go, the one a little
// before the other; each order of ending is seen, and is right.
TEST(StreamMeetsCommit, BothEndByThemselvesInEitherOrder) {
  int stream_was_first = 0;
  int commit_was_first = 0;
  TellChainStory({.layers = 6}, [&](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    CommitOptions commit = story.Commit("c", 2, 0);
    commit.job.filter_name = "commit-filter";
    commit.job.spec.speed = 1;  // so that its filter is there to be named
    MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
    StreamOptions stream = story.Stream("s", 4, std::nullopt);
    stream.base = story.Find("commit-filter");
    stream.job.spec.speed = 1;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    const bool is_commit_let_go_first = story.seed() % 2 == 1;
    MILLRACE_RETURN_IF_ERROR(story.jobs().SetSpeed(is_commit_let_go_first ? "c" : "s", 0));
    for (uint64_t i = 0; i < story.seed() % 300; ++i) CoYield();
    // The other, if it has not ended: neither waits for the other.
    MILLRACE_RETURN_IF_ERROR(story.jobs().SetSpeed(is_commit_let_go_first ? "s" : "c", 0));
    TaskScope watchers("watchers");
    watchers.Spawn("of the stream", [&]() MILLRACE_MAY_SUSPEND {
      const absl::Status over = story.CoOver("s");
      if (story.Find("commit-filter").is_valid()) ++stream_was_first;
      return over;
    });
    watchers.Spawn("of the commit", [&]() MILLRACE_MAY_SUSPEND {
      const absl::Status over = story.CoOver("c");
      if (story.jobs().Query("s").ok()) ++commit_was_first;
      story.views().OnCommitted(2, 0);
      return over;
    });
    MILLRACE_RETURN_IF_ERROR(watchers.CoJoin());
    EXPECT_EQ(story.Shape(), "n5 <- n4 <- n0");
    EXPECT_EQ(story.chain().Header(4), "img-0");
    return absl::OkStatus();
  });
  if (SeedCount() < 50) return;  // perhaps not in so few
  EXPECT_GT(stream_was_first, 0);
  EXPECT_GT(commit_was_first, 0);
}

// overlapping_4: refused when it starts, on a writable chain too.
TEST(StreamMeetsCommit, RangeThatHoldsTheCommitsFilterIsRefusedAtTheStart) {
  for (bool is_read_only : {false, true}) {
    TellChainStory({.layers = 6, .is_read_only = is_read_only},
                   [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
                     CommitOptions commit = story.Commit("c", 2, 0);
                     commit.job.filter_name = "commit-filter";
                     commit.job.spec.speed = 1;
                     MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
                     const absl::Status refused = story.CoStart(story.Stream("s", 4, 2));
                     EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
                     const std::optional<Conflict> conflict = ConflictOf(refused);
                     EXPECT_TRUE(conflict.has_value());
                     if (conflict) {
                       EXPECT_EQ(conflict->reason, ConflictReason::kUnleasableFilter);
                       EXPECT_EQ(conflict->object, "commit-filter");
                       EXPECT_EQ(conflict->detail, "backing");
                       EXPECT_EQ(conflict->holders.size(), 1u);
                       for (const ConflictHolder& holder : conflict->holders) {
                         EXPECT_EQ(holder.id, "c");
                         EXPECT_EQ(holder.type, "commit job");
                       }
                     }
                     MILLRACE_RETURN_IF_ERROR(story.jobs().Cancel("c", true));
                     story.CoOver("c").IgnoreError();
                     for (size_t layer : {0u, 1u}) story.views().OnWritten(layer);
                     return absl::OkStatus();
                   });
  }
}

TEST(StreamMeetsCommit, TwoAdjacentStreamsAndACommitFinishTogether) {
  TellChainStory({.layers = 9}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.StreamToBottom("s4", 4, 3)));
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.StreamToBottom("s2", 2, 1)));
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 7, 5)));
    for (const char* id : {"s4", "s2", "c"}) EXPECT_TRUE(story.CoOver(id).ok()) << id;
    story.views().OnCommitted(7, 5);
    EXPECT_EQ(story.Shape(), "n8 <- n5 <- n4 <- n2 <- n0");
    EXPECT_EQ(story.graph().node_count(), 5u);
    return absl::OkStatus();
  });
}

// The seed's case, each way round: all three wait for their user, who finalizes them in one step.
TEST(StreamMeetsCommit, TwoStreamsAndACommitFinalizedInOneStepEndWellInEveryOrder) {
  std::vector<std::string> order = {"c", "s2", "s4"};
  do {
    const auto tell = [&](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
      StreamOptions upper = story.StreamToBottom("s4", 4, 3);
      StreamOptions lower = story.StreamToBottom("s2", 2, 1);
      CommitOptions commit = story.Commit("c", 7, 5);
      for (JobSpec* spec : {&upper.job.spec, &lower.job.spec, &commit.job.spec}) {
        spec->finalizes_automatically = false;
      }
      MILLRACE_RETURN_IF_ERROR(story.CoStart(upper));
      MILLRACE_RETURN_IF_ERROR(story.CoStart(lower));
      MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
      for (const std::string& id : order) {
        while (story.jobs().Query(id)->state != JobState::kPending) {
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
        }
      }
      for (const std::string& id : order) {
        MILLRACE_RETURN_IF_ERROR(story.jobs().Finalize(id));  // does not suspend
      }
      for (const std::string& id : order) {
        const absl::Status over = story.CoOver(id);
        EXPECT_TRUE(over.ok()) << id << ": " << over;
      }
      story.views().OnCommitted(7, 5);
      EXPECT_EQ(story.Shape(), "n8 <- n5 <- n4 <- n2 <- n0");
      EXPECT_EQ(story.chain().Header(8), "img-5");
      EXPECT_EQ(story.chain().Header(4), "img-2");
      EXPECT_EQ(story.chain().Header(2), "img-0");
      EXPECT_EQ(story.graph().node_count(), 5u);
      return absl::OkStatus();
    };
    TellChainStory({.layers = 9}, tell);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(InsertFilter, BetweenBottomAndBaseDuringAStreamSurvivesIt) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    StreamOptions stream = story.StreamToBottom("s", 3, 1);
    stream.job.spec.finalizes_automatically = false;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    EXPECT_TRUE(story.CoInsertFilter("f", story.node(0)).ok());
    MILLRACE_RETURN_IF_ERROR(story.CoFinalize("s"));
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n3 <- [f] <- n0");
    EXPECT_EQ(story.chain().Header(3), "img-0");
    return absl::OkStatus();
  });
}

TEST(InsertFilter, BetweenBottomAndBaseWhileAStreamStillCopiesSurvivesIt) {
  TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    StreamOptions stream = story.StreamToBottom("s", 3, 1);
    stream.job.spec.speed = 512;  // a sector a second
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    EXPECT_TRUE(story.CoInsertFilter("f", story.node(0)).ok());
    const JobInfo at_work = *story.jobs().Query("s");
    const bool is_paused = at_work.state == JobState::kPaused;  // for the drain, a moment ago
    EXPECT_TRUE(at_work.state == JobState::kRunning || is_paused) << int(at_work.state);
    EXPECT_LE(at_work.current, 1024u) << "it is about to end";
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "n3 <- [f] <- n0");
    EXPECT_EQ(story.chain().Header(3), "img-0");
    return absl::OkStatus();
  });
}

TEST(InsertFilter, AboveEveryNodeOfARunningStreamGoesWhereTheRangeAllows) {
  TellChainStory({.layers = 5}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    StreamOptions stream = story.StreamToBottom("s", 3, 2);
    stream.job.spec.finalizes_automatically = false;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    // Inside the leased range it is refused, above and below it is not.
    EXPECT_FALSE(story.CoInsertFilter("f2", story.node(2)).ok());
    EXPECT_TRUE(story.CoInsertFilter("f4", story.node(4)).ok());
    EXPECT_TRUE(story.CoInsertFilter("f1", story.node(1)).ok());
    MILLRACE_RETURN_IF_ERROR(story.CoFinalize("s"));
    EXPECT_TRUE(story.CoOver("s").ok());
    EXPECT_EQ(story.Shape(), "[f4] <- n4 <- n3 <- [f1] <- n1 <- n0");
    return absl::OkStatus();
  });
}

// ---- All three together -------------------------------------------------------------------------

// What has happened while both jobs were there, over all schedules.
struct Meetings {
  uint64_t inserted = 0;
  uint64_t frozen = 0;  // inserting was refused for a lease
  uint64_t stale = 0;   // or because the node was gone
  uint64_t requests = 0;
  uint64_t in_flight_most = 0;
  uint64_t reads_beside_writes = 0;
  uint64_t calls_in_filters = 0;
  uint64_t leases_seen = 0;
};

bool AreBothThere(ChainStory& story) {
  return story.jobs().Query("s").ok() && story.jobs().Query("c").ok();
}

// Puts a filter somewhere and takes it out again, whenever it can, for as long as both jobs are
// there and twice more: inside a job's range it is refused, and a layer may be gone when it comes
// to it.
absl::Status CoMoveFilters(ChainStory& story, const std::string& name, RandomStream& random,
                           Meetings& meetings) MILLRACE_MAY_SUSPEND {
  for (int after = 0; after < 2; after += AreBothThere(story) ? 0 : 1) {
    const size_t layer = random.Below(story.chain().nodes.size());
    const absl::Status put = story.CoInsertFilter(name, story.node(layer));
    const uint64_t is_meeting = AreBothThere(story) ? 1 : 0;
    if (!put.ok()) {
      const std::optional<Conflict> conflict = ConflictOf(put);
      const bool is_frozen = conflict && conflict->reason == ConflictReason::kFrozenLink;
      const bool is_stale = conflict && conflict->reason == ConflictReason::kStaleNode;
      EXPECT_TRUE(is_frozen || is_stale) << "layer " << layer << ": " << put;
      if (is_frozen) meetings.frozen += is_meeting;
      if (is_stale) ++meetings.stale;
      // A job may wait for time to pass.
      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMicrosecond));
      continue;
    }
    meetings.inserted += is_meeting;
    for (uint64_t i = random.Below(20); i > 0; --i) CoYield();
    const absl::Status taken = story.CoRemoveFilter(story.Find(name));
    EXPECT_TRUE(taken.ok()) << taken;
  }
  return absl::OkStatus();
}

TEST(StreamCommitAndFilters, WorkOnOneChainUnderAnySchedule) {
  Meetings meetings;
  TellChainStory(
      {.layers = 7, .busy_guests = 2}, [&](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(story.CoStart(story.StreamToBottom("s", 2, 1)));
        MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 5, 4)));
        const uint64_t requests = story.guests().requests;
        RandomStream random(story.seed(), "filters");
        TaskScope users("users");
        for (const char* name : {"f", "g"}) {
          users.Spawn(name, [&, name]() MILLRACE_MAY_SUSPEND {
            return CoMoveFilters(story, name, random, meetings);
          });
        }
        EXPECT_TRUE(story.CoOver("s").ok());
        EXPECT_TRUE(story.CoOver("c").ok());
        meetings.requests += story.guests().requests - requests;
        story.views().OnCommitted(5, 4);
        MILLRACE_RETURN_IF_ERROR(users.CoJoin());
        EXPECT_EQ(story.Shape(), "n6 <- n4 <- n3 <- n2 <- n0");
        EXPECT_EQ(story.graph().node_count(), 5u);
        meetings.in_flight_most = std::max(meetings.in_flight_most, story.guests().in_flight_most);
        meetings.reads_beside_writes += story.guests().reads_beside_writes;
        meetings.calls_in_filters += story.shadow().calls().all;
        meetings.leases_seen += story.shadow().leases_seen();
        return absl::OkStatus();
      });
  if (SeedCount() < 50) return;  // perhaps not in so few
  EXPECT_GT(meetings.inserted, 0u);
  EXPECT_GT(meetings.frozen, 0u);
  EXPECT_GT(meetings.stale, 0u);
  EXPECT_GT(meetings.requests, 0u);
  EXPECT_GT(meetings.in_flight_most, 3u);
  EXPECT_GT(meetings.reads_beside_writes, 0u);
  EXPECT_GT(meetings.calls_in_filters, 0u);
  EXPECT_GT(meetings.leases_seen, 0u);
}

}  // namespace
}  // namespace millrace::stream_commit_test
