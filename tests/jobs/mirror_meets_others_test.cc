// Mirrors and active commits beside other jobs, filters and users of the graph.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/filters/quorum.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/jobs/mirror_support.h"

namespace millrace::mirror_meets_others_test {
namespace {

class PassFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "pass"; }
};

StreamOptions Stream(const MirrorWorld& world, size_t top, size_t base) {
  StreamOptions options;
  options.job.spec.id = "s";
  options.top = world.chain.nodes[top];
  options.base = world.chain.nodes[base];
  return options;
}

// iotest 030, stream_commit_1 and _2: a stream far below, and the active layer into a base between.
void StreamAndActiveCommit(size_t stream_top, size_t commit_base, int64_t speed,
                           const std::string& shape) {
  ExploreMirror(
      {.layers = 8},
      [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        StreamOptions stream = Stream(world, stream_top, 0);
        stream.job.spec.speed = speed;
        CommitOptions commit = ActiveCommit(world, commit_base);
        commit.job.spec.speed = speed;
        MILLRACE_RETURN_IF_ERROR(CoStartStream(world.graph(), world.jobs(), stream).status());
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), commit).status());
        for (const char* job : {"s", "c"}) {
          if (speed != 0) world.jobs().SetSpeed(job, 0).IgnoreError();
        }
        EXPECT_TRUE(world.CoWaitUntilReady("c"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("c"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("c"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("s"));
        EXPECT_EQ(world.Shape(), shape);
        EXPECT_EQ(world.chain.Header(stream_top), "img-0");
        return absl::OkStatus();
      },
      10);
}

TEST(StreamMeetsActiveCommit, BothFinish) { StreamAndActiveCommit(2, 3, 0, "n3 <- n2 <- n0"); }

TEST(StreamMeetsActiveCommit, BothFinishAfterHavingBeenSlow) {
  StreamAndActiveCommit(4, 5, 1024, "n5 <- n4 <- n0");
}

// The base of the commit is the stream's top: whoever comes second is refused, and the first ends.
TEST(StreamMeetsActiveCommit, OverlapIsRefusedWhenTheSecondStarts) {
  for (const bool stream_first : {false, true}) {
    ExploreMirror(
        {.layers = 6},
        [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
          StreamOptions stream = Stream(world, 3, 1);
          CommitOptions commit = ActiveCommit(world, 3);
          commit.job.spec.speed = 1;
          stream.job.spec.speed = 1;
          absl::Status first, second;
          if (stream_first) {
            first = CoStartStream(world.graph(), world.jobs(), stream).status();
            second = CoStartCommit(world.graph(), world.jobs(), commit).status();
          } else {
            first = CoStartCommit(world.graph(), world.jobs(), commit).status();
            second = CoStartStream(world.graph(), world.jobs(), stream).status();
          }
          EXPECT_TRUE(first.ok()) << first;
          EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition) << second;
          return world.graph().CheckInvariants();
        },
        50);
  }
}

// Job "i" puts the filter "pass" above the node.
absl::Status CoStartInsertPass(MirrorWorld& world, NodeId below) MILLRACE_MAY_SUSPEND {
  InsertFilterOptions insert;
  insert.spec.id = "i";
  insert.below = below;
  insert.filter_name = "pass";
  return CoStartInsertFilter(world.graph(), world.jobs(), std::make_unique<PassFilter>(), insert)
      .status();
}

TEST(InsertFilter, BelowTheBaseOfAnActiveCommitSurvivesThePivot) {
  ExploreMirror(
      {},
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(
            CoStartCommit(world.graph(), world.jobs(), ActiveCommit(world, 1)).status());
        MILLRACE_RETURN_IF_ERROR(CoStartInsertPass(world, world.chain.nodes[0]));
        EXPECT_TRUE(world.CoWaitUntilReady("c"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("c"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("c"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("i"));
        EXPECT_EQ(world.Shape(), "n1 <- [pass] <- n0");
        return absl::OkStatus();
      },
      10);
}

// "[pass] <- n1 <- n0", and the options of a mirror of all of it that is to replace n1.
absl::StatusOr<MirrorOptions> CoReplaceBelowAFilter(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartInsertPass(world, world.chain.top()));
  MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("i"));
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
  options.source = world.chain.guest.node();
  options.replaces = "n1";
  return options;
}

// The target takes the place of the image below the user's filter, which stays.
TEST(Mirror, ReplacesTheImageBelowAFilter) {
  ExploreMirror(
      {.layers = 2},
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, CoReplaceBelowAFilter(world));
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
        EXPECT_EQ(world.Shape(), "[pass] <- t");
        return absl::OkStatus();
      },
      10);
}

// A target of new writes only stands on the source in the end: here it would stand on itself.
TEST(Mirror, OfNewWritesOnlyDoesNotReplaceWhatItsSourceStandsOn) {
  MirrorEventLog log;
  RunMirrorOnce({.layers = 2}, log,
                [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, CoReplaceBelowAFilter(world));
                  options.sync = MirrorSync::kNone;
                  options.backing = MirrorBacking::kOfSource;
                  const absl::Status refused =
                      CoStartMirror(world.graph(), world.jobs(), options).status();
                  const std::optional<Conflict> conflict = ConflictOf(refused);
                  EXPECT_TRUE(conflict && conflict->reason == ConflictReason::kCycle) << refused;
                  EXPECT_EQ(world.Shape(), "[pass] <- n1 <- n0");
                  return absl::OkStatus();
                });
}

// A quorum "q" over three images "c0" to "c2", with the chain's guest on it.
absl::Status CoPutQuorumUnderGuest(MirrorWorld& world,
                                   std::vector<std::shared_ptr<MemoryOverlayImage>>* images)
    MILLRACE_MAY_SUSPEND {
  std::vector<std::pair<Role, NodeId>> children;
  for (int i = 0; i < 3; ++i) {
    images->push_back(std::make_shared<MemoryOverlayImage>(kBytes, 512));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId child, world.CoAddImage(StrCat("c", i), images->back()));
    children.emplace_back(Role::kData, child);
  }
  MILLRACE_ASSIGN_OR_RETURN(const NodeId quorum,
                            CoAdd(world, "q", MakeQuorumDriver({.vote_threshold = 2}), children));
  world.chain.guest.CoDetach();
  AttachmentOptions guest;
  guest.holder = world.chain.guest_holder;
  guest.permissions = {kConsistentRead | kWrite, kConsistentRead | kWriteUnchanged | kResize};
  MILLRACE_ASSIGN_OR_RETURN(world.chain.guest, Attachment::Attach(world.graph(), quorum, guest));
  world.disk = TaggedDisk(kSectors);
  return absl::OkStatus();
}

TEST(Mirror, ReplacesAChildOfAQuorum) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.layers = 1, .has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        std::vector<std::shared_ptr<MemoryOverlayImage>> images;
        MILLRACE_RETURN_IF_ERROR(CoPutQuorumUnderGuest(world, &images));
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 3, 4));
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.source = world.chain.guest.node();
        options.replaces = "c1";
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 4));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 9, 2));
        EXPECT_EQ(world.Shape(), "q");
        EXPECT_TRUE(MirrorGuest::Holds(*world.target, world.disk.versions()));
        EXPECT_TRUE(MirrorGuest::Holds(*images[0], world.disk.versions()));
        EXPECT_FALSE(MirrorGuest::Holds(*images[1], world.disk.versions()));
        return absl::OkStatus();
      });
}

absl::StatusOr<Attachment> ReaderOf(MirrorWorld& world, std::string_view name) MILLRACE_OPENS_VIEW {
  AttachmentOptions reader;
  reader.holder = MakeHolder("r", "reader");
  reader.permissions = {kConsistentRead, kAllPermissions};
  GraphTransaction change(world.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, change.Find(name));
  Attachment attached = change.Attach(node.id(), std::move(reader));
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return attached;
}

bool ViewWouldChange(const absl::Status& status) {
  const std::optional<Conflict> conflict = ConflictOf(status);
  return conflict && conflict->reason == ConflictReason::kViewWouldChange;
}

TEST(Mirror, DoesNotReplaceAChildOfAQuorumThatOthersSee) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.layers = 1, .has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        std::vector<std::shared_ptr<MemoryOverlayImage>> images;
        MILLRACE_RETURN_IF_ERROR(CoPutQuorumUnderGuest(world, &images));
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.source = world.chain.guest.node();
        options.replaces = "c1";
        MILLRACE_ASSIGN_OR_RETURN(Attachment reader, ReaderOf(world, "c1"));
        const absl::Status seen = CoStartMirror(world.graph(), world.jobs(), options).status();
        EXPECT_TRUE(ViewWouldChange(seen)) << seen;
        reader.CoDetach();
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        MILLRACE_ASSIGN_OR_RETURN(reader, ReaderOf(world, "c1"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        const absl::Status ended = world.CoWaitUntilOver("m");
        EXPECT_TRUE(ViewWouldChange(ended)) << ended;
        reader.CoDetach();
        return absl::OkStatus();
      });
}

// R15: a guest that always has a write on its way.
TEST(Mirror, AGuestThatNeverStopsWritingDoesNotKeepItFromEnding) {
  ExploreMirror(
      {.has_guest = false},
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        bool is_over = false;
        TaskScope hammer("hammer");
        hammer.Spawn("hammer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          for (uint64_t i = 0; !is_over; ++i) {
            MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, i % kSectors, 1));
          }
          return absl::OkStatus();
        });
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        absl::Status status = world.CoWaitUntilOver("m");
        is_over = true;
        status.Update(hammer.CoJoin());
        EXPECT_EQ(world.Shape(), "t");
        return status;
      },
      10);
}

// I14: what a job moves in a time is bounded by its speed and one buffer.
TEST(Mirror, MovesNoMoreThanItsSpeedAllows) {
  constexpr uint64_t kSpeed = 1024;
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.buffer_bytes = 512;
        options.job.spec.speed = kSpeed;
        Clock& clock = world.jobs_world.engine().clock();
        const Nanoseconds start = clock.Now();
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        while (world.StateOf("m") == JobState::kRunning) {
          const uint64_t milliseconds = static_cast<uint64_t>((clock.Now() - start) / kMillisecond);
          EXPECT_LE(world.jobs().Query("m")->current, milliseconds * kSpeed / 1000 + 1024);
          // Early wakes buy nothing.
          MILLRACE_RETURN_IF_ERROR(world.jobs().Pause("m"));
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(10 * kMillisecond));
          MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("m"));
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(10 * kMillisecond));
        }
        EXPECT_GE(clock.Now() - start, 7 * kSecond);
        return absl::OkStatus();
      });
}

// All members end in one edit, or none does.
TEST(Mirror, InATransactionNothingIsPivotedIfAnotherMemberFails) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.layers = 6}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        const std::shared_ptr<JobTransaction> together = world.jobs().NewTransaction();
        CommitOptions commit = ActiveCommit(world, 3);
        commit.job.spec.transaction = together;
        StreamOptions stream = Stream(world, 2, 0);
        stream.job.spec.transaction = together;
        stream.job.spec.speed = 1;
        MILLRACE_RETURN_IF_ERROR(CoStartStream(world.graph(), world.jobs(), stream).status());
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), commit).status());
        EXPECT_TRUE(world.CoWaitUntilReady("c"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("c"));
        EXPECT_TRUE(world.CoWaitForState("c", JobState::kWaiting));
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(20 * kMillisecond));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("s", true));
        world.CoWaitUntilOver("c").IgnoreError();
        world.CoWaitUntilOver("s").IgnoreError();
        EXPECT_EQ(world.Shape(), "n5 <- n4 <- n3 <- n2 <- n1 <- n0");
        return absl::OkStatus();
      });
}

// The same without a failure: the guest wrote while the mirror waited for the others.
TEST(Mirror, InATransactionWhatWasWrittenMeanwhileIsNotLost) {
  ExploreMirror(
      {.layers = 6},
      [](MirrorWorld& world, MirrorGuest& guest) MILLRACE_MAY_SUSPEND -> absl::Status {
        const std::shared_ptr<JobTransaction> together = world.jobs().NewTransaction();
        CommitOptions commit = ActiveCommit(world, 3);
        commit.job.spec.transaction = together;
        StreamOptions stream = Stream(world, 2, 0);
        stream.job.spec.transaction = together;
        stream.job.spec.speed = 1;
        MILLRACE_RETURN_IF_ERROR(CoStartStream(world.graph(), world.jobs(), stream).status());
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), commit).status());
        EXPECT_TRUE(world.CoWaitUntilReady("c"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("c"));
        EXPECT_TRUE(world.CoWaitForState("c", JobState::kWaiting));
        const size_t before = guest.operations();
        while (guest.operations() < before + 4) {
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
        }
        MILLRACE_RETURN_IF_ERROR(world.jobs().SetSpeed("s", 0));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("s"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("c"));
        EXPECT_EQ(world.Shape(), "n3 <- n2 <- n0");
        return absl::OkStatus();
      },
      10);
}

}  // namespace
}  // namespace millrace::mirror_meets_others_test
