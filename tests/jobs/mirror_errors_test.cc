// Mirrors whose I/O fails, that are refused, and that are asked for what cannot be.
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "tests/jobs/mirror_support.h"

namespace millrace::mirror_errors_test {
namespace {

std::optional<ConflictReason> ReasonOf(const absl::Status& status) {
  const std::optional<Conflict> conflict = ConflictOf(status);
  if (!conflict) return std::nullopt;
  return conflict->reason;
}

std::string DetailOf(const absl::Status& status) {
  const std::optional<Conflict> conflict = ConflictOf(status);
  return conflict ? conflict->detail : "";
}

// ---- Error policy ------------------------------------------------------------------------------

struct Failing {
  std::string node;  // whose first operation fails
  int error_number = EIO;
  OnError on_source = OnError::kReport;
  OnError on_target = OnError::kReport;
};

// A mirror of one piece whose first read or write fails. `then` runs once it is started.
void MirrorWithOneError(const Failing& failing, MirrorEventLog& log,
                        const std::function<absl::Status(MirrorWorld&)>& then) {
  RunMirrorOnce(
      {.layers = 1, .has_guest = false}, log,
      [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        for (uint64_t i = 0; i < 4; ++i) world.disk.Put(*world.chain.images[0], i);
        for (uint64_t i = 4; i < kSectors; ++i) {
          MILLRACE_RETURN_IF_ERROR(world.disk.CoZero(world.chain.guest, i, 1, true));
          world.chain.images[0]->map[i] = MemoryOverlayImage::Cluster::kUnallocated;
        }
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.on_source_error = failing.on_source;
        options.on_target_error = failing.on_target;
        world.jobs_world.engine().simulated_io()->Fail(
            {.path = failing.node, .nth = 1, .error_number = failing.error_number});
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        return then(world);
      });
}

absl::Status CoExpectFailure(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  EXPECT_FALSE(world.CoWaitUntilReady("m"));
  EXPECT_EQ(world.Shape(), "n0");
  return absl::OkStatus();
}

absl::Status CoExpectPivot(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
  MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
  EXPECT_EQ(world.Shape(), "t");
  return absl::OkStatus();
}

absl::Status CoExpectStopThenPivot(MirrorWorld& world, JobIoStatus io_status) MILLRACE_MAY_SUSPEND {
  EXPECT_TRUE(world.CoWaitForState("m", JobState::kPaused));
  EXPECT_EQ(world.jobs().Query("m")->io_status, io_status);
  MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("m"));
  EXPECT_EQ(world.jobs().Query("m")->io_status, JobIoStatus::kOk);
  return CoExpectPivot(world);
}

void ExpectLines(const MirrorEventLog& log, const std::vector<std::string>& wanted) {
  std::vector<std::string> found;
  for (const JobEvent& event : log.events) {
    if (event.kind == JobEventKind::kStatusChange) {
      found.emplace_back(JobStateName(event.state));
    } else if (event.kind == JobEventKind::kError) {
      found.push_back(
          StrCat(IoOperationName(event.operation), " error: ", ErrorActionName(event.action)));
    } else {
      found.push_back(StrCat(JobEventKindName(event.kind), " ", event.current, "/", event.total,
                             event.error.empty() ? "" : StrCat(" ", event.error)));
    }
  }
  EXPECT_EQ(found, wanted);
}

TEST(MirrorErrors, ReportedOneEndsTheJobWithNothingCounted) {
  for (const char* node : {"n0", "t"}) {
    MirrorEventLog log;
    MirrorWithOneError({.node = node}, log, [](MirrorWorld& world) MILLRACE_MAY_SUSPEND {
      return CoExpectFailure(world);
    });
    ExpectLines(
        log, {"created", "running", node[0] == 't' ? "write error: report" : "read error: report",
              "aborting", "block-job-completed 0/2048 Input/output error", "concluded", "null"});
  }
}

TEST(MirrorErrors, IgnoredOneIsTriedAgain) {
  for (const char* node : {"n0", "t"}) {
    MirrorEventLog log;
    MirrorWithOneError(
        {.node = node, .on_source = OnError::kIgnore, .on_target = OnError::kIgnore}, log,
        [](MirrorWorld& world) MILLRACE_MAY_SUSPEND { return CoExpectPivot(world); });
    ExpectLines(
        log, {"created", "running", node[0] == 't' ? "write error: ignore" : "read error: ignore",
              "ready", "block-job-ready 2048/2048", "waiting", "pending",
              "block-job-completed 2048/2048", "concluded", "null"});
  }
}

TEST(MirrorErrors, StoppingOneWaitsForTheUser) {
  for (const char* node : {"n0", "t"}) {
    MirrorEventLog log;
    MirrorWithOneError({.node = node, .on_source = OnError::kStop, .on_target = OnError::kStop},
                       log, [](MirrorWorld& world) MILLRACE_MAY_SUSPEND {
                         return CoExpectStopThenPivot(world, JobIoStatus::kFailed);
                       });
    ExpectLines(log,
                {"created", "running", node[0] == 't' ? "write error: stop" : "read error: stop",
                 "paused", "running", "ready", "block-job-ready 2048/2048", "waiting", "pending",
                 "block-job-completed 2048/2048", "concluded", "null"});
  }
}

TEST(MirrorErrors, EachSideHasItsOwnPolicy) {
  MirrorEventLog log;
  MirrorWithOneError({.node = "n0", .on_source = OnError::kIgnore, .on_target = OnError::kReport},
                     log,
                     [](MirrorWorld& world) MILLRACE_MAY_SUSPEND { return CoExpectPivot(world); });
  MirrorEventLog other;
  MirrorWithOneError(
      {.node = "t", .on_source = OnError::kIgnore, .on_target = OnError::kReport}, other,
      [](MirrorWorld& world) MILLRACE_MAY_SUSPEND { return CoExpectFailure(world); });
}

TEST(MirrorErrors, ATargetWithoutSpaceStopsTheJobIfThatIsWanted) {
  MirrorEventLog log;
  MirrorWithOneError({.node = "t", .error_number = ENOSPC, .on_target = OnError::kEnospc}, log,
                     [](MirrorWorld& world) MILLRACE_MAY_SUSPEND {
                       return CoExpectStopThenPivot(world, JobIoStatus::kNoSpace);
                     });
  EXPECT_EQ(log.Count(JobEventKind::kError), 1u);
}

// Soft cancel and complete both end a job only when its target is right, whatever fails meanwhile.
TEST(MirrorErrors, ReadyJobWhoseTargetFailsKeepsWhatItHasNotCopied) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.on_target_error = OnError::kStop;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        world.jobs_world.engine().simulated_io()->Fail({.path = "t", .nth = 1});
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 2));
        EXPECT_TRUE(world.CoWaitForState("m", JobState::kStandby));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("m"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
        EXPECT_EQ(world.Shape(), "t");
        return absl::OkStatus();
      });
  EXPECT_EQ(log.Count(JobEventKind::kError), 1u);
}

// R26: nothing that fails again and again keeps a forced cancel from ending the job.
TEST(MirrorErrors, CancelByForceEndsAJobWhoseTargetIsBroken) {
  for (const OnError policy : {OnError::kIgnore, OnError::kStop}) {
    MirrorEventLog log;
    RunMirrorOnce(
        {.has_guest = false}, log,
        [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
          options.on_target_error = policy;
          MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
          EXPECT_TRUE(world.CoWaitUntilReady("m"));
          world.jobs_world.engine().simulated_io()->Fail(
              {.path = "t", .nth = 1, .is_persistent = true});
          MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 2));
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
          MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", true));
          world.CoWaitUntilOver("m").IgnoreError();
          return absl::OkStatus();
        });
    ASSERT_NE(log.End(), nullptr);
    EXPECT_EQ(log.End()->kind, JobEventKind::kCancelled);
  }
}

TEST(MirrorErrors, TargetOfAnotherSizeEndsTheJobBeforeItCopiesAnything) {
  for (const uint64_t bytes : {kBytes / 2, kBytes * 2}) {
    MirrorEventLog log;
    RunMirrorOnce(
        {}, log, [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage(bytes));
          MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
          EXPECT_FALSE(world.CoWaitUntilReady("m"));
          return absl::OkStatus();
        });
    ASSERT_NE(log.End(), nullptr);
    EXPECT_EQ(ReasonOf(log.End()->status), ConflictReason::kSizeMismatch);
    EXPECT_EQ(log.End()->total, 0u);
  }
}

// ---- Refusals ----------------------------------------------------------------------------------

TEST(MirrorRefusals, CompleteBeforeReadyNamesVerbAndState) {
  MirrorEventLog log;
  RunMirrorOnce({}, log, [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(
        CoStartCommit(world.graph(), world.jobs(), ActiveCommit(world, 0)).status());
    const absl::Status early = world.jobs().Complete("c");
    EXPECT_EQ(ReasonOf(early), ConflictReason::kVerbNotAccepted);
    EXPECT_EQ(DetailOf(early), "complete running");
    EXPECT_TRUE(world.CoWaitUntilReady("c"));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("c"));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("c"));  // says the same again
    EXPECT_TRUE(world.CoWaitUntilOver("c").ok());
    EXPECT_EQ(world.Shape(), "n0");
    EXPECT_EQ(ReasonOf(world.jobs().Complete("c")), ConflictReason::kUnknownJob);
    return absl::OkStatus();
  });
}

TEST(MirrorRefusals, CompleteAfterASoftCancelComesTooLate) {
  MirrorEventLog log;
  RunMirrorOnce({}, log, [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(
        CoStartCommit(world.graph(), world.jobs(), ActiveCommit(world, 0)).status());
    EXPECT_TRUE(world.CoWaitUntilReady("c"));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("c", false));
    EXPECT_EQ(ReasonOf(world.jobs().Complete("c")), ConflictReason::kCannotComplete);
    return world.CoWaitUntilOver("c");
  });
  ASSERT_NE(log.End(), nullptr);
  EXPECT_EQ(log.End()->kind, JobEventKind::kCompleted);
}

TEST(MirrorRefusals, SourceChainAndTargetOfARunningJobAreBusy) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.is_owned_by_monitor = true}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        CommitOptions commit = ActiveCommit(world, 1);
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), commit).status());
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions mirror, world.CoMirrorToImage());
        // The device is the filter now; the old top is no root any more.
        mirror.source = world.chain.guest.node();
        absl::Status busy = CoStartMirror(world.graph(), world.jobs(), mirror).status();
        EXPECT_EQ(ReasonOf(busy), ConflictReason::kNodeBusy) << busy;
        EXPECT_EQ(ConflictOf(busy)->object, "drive0");
        CommitOptions second = ActiveCommit(world, 0);
        second.job.spec.id = "c2";
        second.root = world.chain.guest.node();
        second.top = world.chain.guest.node();
        busy = CoStartCommit(world.graph(), world.jobs(), second).status();
        EXPECT_EQ(ReasonOf(busy), ConflictReason::kNodeBusy) << busy;
        EXPECT_EQ(ConflictOf(busy)->holders.front().type, "commit job");
        mirror.source = world.chain.nodes[3];
        busy = CoStartMirror(world.graph(), world.jobs(), mirror).status();
        EXPECT_EQ(ReasonOf(busy), ConflictReason::kNotRoot) << busy;
        EXPECT_THAT(std::string(busy.message()),
                    testing::HasSubstr("not a root node: it lies below commit job 'c'; "));
        EXPECT_EQ(ConflictOf(busy)->holders.size(), 1u) << "the job's filter is named as well";
        EXPECT_TRUE(world.CoWaitUntilReady("c"));
        return absl::OkStatus();
      });
}

TEST(MirrorRefusals, OptionsThatCannotBe) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.is_owned_by_monitor = true, .is_read_only = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(const MirrorOptions good, world.CoMirrorToImage());
        auto refused = [&](std::function<void(MirrorOptions&)> spoil) MILLRACE_MAY_SUSPEND {
          MirrorOptions options = good;
          spoil(options);
          return CoStartMirror(world.graph(), world.jobs(), options).status();
        };
        EXPECT_EQ(DetailOf(refused([](MirrorOptions& o) { o.granularity = 256; })),
                  "granularity 512B-64MB");
        EXPECT_EQ(DetailOf(refused([](MirrorOptions& o) { o.granularity = 1 << 27; })),
                  "granularity 512B-64MB");
        EXPECT_EQ(DetailOf(refused([](MirrorOptions& o) { o.granularity = 1000; })),
                  "granularity power-of-two");
        EXPECT_EQ(DetailOf(refused([](MirrorOptions& o) { o.buffer_bytes = -1; })),
                  "buf-size non-negative");
        EXPECT_EQ(ReasonOf(refused([&](MirrorOptions& o) { o.target = o.source; })),
                  ConflictReason::kSameNode);
        EXPECT_EQ(ReasonOf(refused([](MirrorOptions& o) { o.replaces = "nobody"; })),
                  ConflictReason::kUnknownNode);
        EXPECT_EQ(ReasonOf(refused([](MirrorOptions& o) { o.replaces = "n1"; })),
                  ConflictReason::kViewWouldChange);
        // Somebody reads the target.
        AttachmentOptions reader;
        reader.holder = MakeHolder("r", "reader");
        reader.permissions = {kConsistentRead, kAllPermissions};
        MILLRACE_ASSIGN_OR_RETURN(Attachment other,
                                  Attachment::Attach(world.graph(), good.target, reader));
        EXPECT_EQ(ReasonOf(refused([](MirrorOptions&) {})), ConflictReason::kPermission);
        other.CoDetach();
        EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
        return world.graph().CheckInvariants();
      });
}

TEST(MirrorRefusals, BackingFileNameForAnActiveCommit) {
  MirrorEventLog log;
  RunMirrorOnce({}, log, [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
    CommitOptions options = ActiveCommit(world, 0);
    options.backing_filename = "x";
    const absl::Status refused = CoStartCommit(world.graph(), world.jobs(), options).status();
    EXPECT_EQ(ReasonOf(refused), ConflictReason::kMutuallyExclusive);
    EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
    return absl::OkStatus();
  });
}

// ---- Fault loops -------------------------------------------------------------------------------

// Runs `start` with the N-th I/O failing, for every N there is. Whatever became of the job, the
// guest's disk is right (RunMirror looks) and the chain is one of `shapes`.
void FailEachIo(const MirrorScenario& scenario, const IoFailure& kind,
                const std::vector<std::string>& shapes,
                const std::function<absl::Status(MirrorWorld&)>& start) {
  uint64_t failed = 1;
  uint64_t nth = 1;
  for (; failed > 0; ++nth) {
    SCOPED_TRACE(StrCat("the operation that failed: ", nth));
    std::unique_ptr<Engine> engine = SimulatedEngine();
    RunMirror(*engine, scenario,
              [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                IoFailure failure = kind;
                failure.nth = nth;
                engine->simulated_io()->Fail(failure);
                if (start(world).ok() && world.CoWaitUntilReady("j")) {
                  world.jobs().Complete("j").IgnoreError();
                  world.jobs().CoWaitUntilOver("j").IgnoreError();
                }
                const std::string shape = world.Shape();
                EXPECT_NE(std::find(shapes.begin(), shapes.end(), shape), shapes.end()) << shape;
                return world.graph().CheckInvariants();
              });
    failed = engine->simulated_io()->failed();
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(nth, 20u) << "too few operations for a test of each";
}

absl::Status CoStartCommitJ(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  CommitOptions options = ActiveCommit(world, 1);
  options.job.spec.id = "j";
  return CoStartCommit(world.graph(), world.jobs(), options).status();
}

absl::Status CoStartMirrorJ(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
  options.job.spec.id = "j";
  TaggedDisk hidden(kSectors);
  for (uint64_t i = 0; i < kSectors; i += 2) hidden.Put(*world.target, i);
  return CoStartMirror(world.graph(), world.jobs(), options).status();
}

TEST(MirrorFaults, EveryIoOfAnActiveCommitFailsOnce) {
  for (const bool after_effect : {false, true}) {
    FailEachIo({}, {.is_after_effect = after_effect}, {"n3 <- n2 <- n1 <- n0", "n1 <- n0"},
               [](MirrorWorld& world) MILLRACE_MAY_SUSPEND { return CoStartCommitJ(world); });
  }
}

TEST(MirrorFaults, EveryIoOfAMirrorFailsOnce) {
  for (const bool after_effect : {false, true}) {
    FailEachIo({}, {.is_after_effect = after_effect}, {"n3 <- n2 <- n1 <- n0", "t"},
               [](MirrorWorld& world) MILLRACE_MAY_SUSPEND { return CoStartMirrorJ(world); });
  }
}

TEST(MirrorFaults, TheTargetBreaksForGood) {
  FailEachIo({.has_guest = false}, {.path = "t", .is_persistent = true},
             {"n3 <- n2 <- n1 <- n0", "t"},
             [](MirrorWorld& world) MILLRACE_MAY_SUSPEND { return CoStartMirrorJ(world); });
  FailEachIo({.has_guest = false}, {.path = "n1", .is_persistent = true},
             {"n3 <- n2 <- n1 <- n0", "n1 <- n0"},
             [](MirrorWorld& world) MILLRACE_MAY_SUSPEND { return CoStartCommitJ(world); });
}

}  // namespace
}  // namespace millrace::mirror_errors_test
