// Stream and commit with several pieces in flight look like jobs with one: to a pause, a drain, a
// cancel, an error, a speed limit, and to the guest.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/drain.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/jobs/mirror_support.h"

namespace millrace::copy_window_test {
namespace {

constexpr MirrorScenario kQuiet = {.layers = 3, .has_guest = false};

StreamOptions StreamAll(const MirrorWorld& world) {
  StreamOptions options;
  options.job.spec.id = "j";
  options.top = world.chain.top();
  options.job.copy.batches_max = 4;
  return options;
}

CommitOptions CommitBelowTop(const MirrorWorld& world) {
  CommitOptions options;
  options.job.spec.id = "j";
  options.root = world.chain.top();
  options.top = world.chain.nodes[1];
  options.base = world.chain.nodes[0];
  options.job.copy.batches_max = 4;
  return options;
}

absl::Status CoStartAny(MirrorWorld& world, bool is_stream, int64_t speed = 0)
    MILLRACE_MAY_SUSPEND {
  if (is_stream) {
    StreamOptions stream = StreamAll(world);
    stream.job.spec.speed = speed;
    return CoStartStream(world.graph(), world.jobs(), stream).status();
  }
  CommitOptions commit = CommitBelowTop(world);
  commit.job.spec.speed = speed;
  return CoStartCommit(world.graph(), world.jobs(), commit).status();
}

SimulatedIo& IoOf(MirrorWorld& world) { return *world.jobs_world.engine().simulated_io(); }

// ---- The window --------------------------------------------------------------------------------

TEST(CopyWindow, HoldsAsManyPiecesAsItMay) {
  for (const bool is_stream : {true, false}) {
    MirrorEventLog log;
    RunMirrorOnce(kQuiet, log,
                  [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                    IoOf(world).SetLatency(kSecond);
                    MILLRACE_RETURN_IF_ERROR(CoStartAny(world, is_stream));
                    size_t most = 0;
                    while (world.StateOf("j") == JobState::kRunning) {
                      most = std::max(most, IoOf(world).in_flight());
                      MILLRACE_RETURN_IF_ERROR(CoSleepFor(100 * kMillisecond));
                    }
                    EXPECT_EQ(most, 4u);
                    return absl::OkStatus();
                  });
  }
}

TEST(CopyWindow, PausedJobHasNothingInFlightAndMakesNoProgress) {
  for (const bool is_stream : {true, false}) {
    size_t paused = 0;
    ExploreMirror(kQuiet,
                  [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                    IoOf(world).SetLatency(kMillisecond);
                    MILLRACE_RETURN_IF_ERROR(CoStartAny(world, is_stream));
                    MILLRACE_RETURN_IF_ERROR(CoSleepFor(2 * kMillisecond));
                    if (!world.jobs().Pause("j").ok()) return absl::OkStatus();
                    if (!world.CoWaitForState("j", JobState::kPaused)) return absl::OkStatus();
                    ++paused;
                    EXPECT_EQ(IoOf(world).in_flight(), 0u);
                    const uint64_t current = world.jobs().Query("j")->current;
                    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
                    EXPECT_EQ(IoOf(world).in_flight(), 0u);
                    EXPECT_EQ(world.jobs().Query("j")->current, current);
                    MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("j"));
                    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("j"));
                    EXPECT_EQ(world.Shape(), is_stream ? "n2" : "n2 <- n0");
                    return absl::OkStatus();
                  });
    EXPECT_GT(paused, 0u) << "under no seed was there a job to pause";
  }
}

// A pause or a drain may last, and the job's neighbours could use the memory that it leaves.
TEST(CopyWindow, PausedOrDrainedJobIsNoneOfThoseThatShareTheMemory) {
  for (const bool is_stream : {true, false}) {
    MirrorEventLog log;
    RunMirrorOnce(kQuiet, log,
                  [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                    const GuestLoad& load = world.graph().guest_load();
                    IoOf(world).SetLatency(kMillisecond);
                    // Pieces are so far apart that some are left.
                    MILLRACE_RETURN_IF_ERROR(CoStartAny(world, is_stream, /*speed=*/2048));
                    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond / 2));
                    EXPECT_EQ(load.copiers(), 1u);
                    MILLRACE_RETURN_IF_ERROR(world.jobs().Pause("j"));
                    EXPECT_TRUE(world.CoWaitForState("j", JobState::kPaused));
                    EXPECT_EQ(load.copiers(), 0u) << "paused";
                    MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("j"));
                    MILLRACE_RETURN_IF_ERROR(CoSleepFor(10 * kMillisecond));
                    EXPECT_EQ(load.copiers(), 1u) << "resumed";
                    MILLRACE_ASSIGN_OR_RETURN(
                        DrainedSection section,
                        DrainedSection::CoBegin(world.graph(), {world.chain.nodes[0]}, {}));
                    EXPECT_NE(world.StateOf("j"), JobState::kNull);
                    EXPECT_EQ(load.copiers(), 0u) << "drained";
                    section.End();
                    MILLRACE_RETURN_IF_ERROR(CoSleepFor(10 * kMillisecond));
                    EXPECT_EQ(load.copiers(), 1u) << "let go again";
                    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("j"));
                    EXPECT_EQ(load.copiers(), 0u);
                    return absl::OkStatus();
                  });
  }
}

TEST(CopyWindow, DrainIsGrantedOnceEverythingInFlightHasEnded) {
  for (const bool is_stream : {true, false}) {
    size_t drained = 0;
    ExploreMirror(kQuiet,
                  [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                    IoOf(world).SetLatency(kMillisecond);
                    MILLRACE_RETURN_IF_ERROR(CoStartAny(world, is_stream));
                    MILLRACE_RETURN_IF_ERROR(CoSleepFor(2 * kMillisecond));
                    for (int round = 0; round < 3; ++round) {
                      absl::StatusOr<DrainedSection> section =
                          DrainedSection::CoBegin(world.graph(), {world.chain.nodes[0]}, {});
                      if (!section.ok()) break;  // the stream is over and n0 gone
                      if (world.StateOf("j") != JobState::kNull) {
                        ++drained;
                        EXPECT_EQ(IoOf(world).in_flight(), 0u);
                      }
                      section->End();
                      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
                    }
                    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("j"));
                    EXPECT_EQ(world.Shape(), is_stream ? "n2" : "n2 <- n0");
                    return absl::OkStatus();
                  });
    EXPECT_GT(drained, 0u) << "under no seed did a drain meet the job";
  }
}

TEST(CopyWindow, CancelLeavesTheChainAsItWas) {
  for (const bool is_stream : {true, false}) {
    size_t cancelled = 0;
    ExploreMirror({.layers = 3},
                  [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                    IoOf(world).SetLatency(kMillisecond);
                    MILLRACE_RETURN_IF_ERROR(CoStartAny(world, is_stream));
                    MILLRACE_RETURN_IF_ERROR(CoSleepFor(2 * kMillisecond));
                    world.jobs().Cancel("j", true).IgnoreError();  // it may have just ended
                    const absl::Status over = world.CoWaitUntilOver("j");
                    EXPECT_TRUE(over.ok() || absl::IsCancelled(over)) << over;
                    const char* const ended = is_stream ? "n2" : "n2 <- n0";
                    EXPECT_EQ(world.Shape(), over.ok() ? ended : "n2 <- n1 <- n0");
                    cancelled += over.ok() ? 0 : 1;
                    return absl::OkStatus();
                  });
    EXPECT_GT(cancelled, 0u) << "under no seed was there a job to cancel";
  }
}

// ---- Guests ------------------------------------------------------------------------------------

TEST(CopyWindow, GuestsWritesIntoPiecesInFlightAreKept) {
  for (const bool is_stream : {true, false}) {
    ExploreMirror({.layers = 3, .map_takes_step = true},
                  [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                    MILLRACE_RETURN_IF_ERROR(CoStartAny(world, is_stream));
                    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("j"));
                    EXPECT_EQ(world.Shape(), is_stream ? "n2" : "n2 <- n0");
                    return absl::OkStatus();  // the guest and the world verify every byte
                  });
  }
}

// ---- Speed -------------------------------------------------------------------------------------

// What a job may have written by now, of 512 bytes a cluster. Looked at while it runs and once more
// when it is over: a job that knows no limit is over before anybody looks.
void CoTellOfALimitedJob(bool is_stream, MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  constexpr int64_t kSpeed = 1024;
  const MemoryOverlayImage& target = *world.chain.images[is_stream ? 2 : 0];
  const auto data = [&target] {
    return std::count(target.map.begin(), target.map.end(), MemoryOverlayImage::Cluster::kData);
  };
  const auto own = data();
  IoOf(world).SetLatency(kMillisecond);
  const Nanoseconds start = world.jobs_world.engine().clock().Now();
  const absl::Status started = CoStartAny(world, is_stream, kSpeed);
  EXPECT_TRUE(started.ok()) << started;
  const auto look = [&] {
    const Nanoseconds passed = world.jobs_world.engine().clock().Now() - start;
    // A slice of 100 ms may be used up at its start.
    EXPECT_LE(512 * (data() - own), passed * kSpeed / kSecond + 512 + kSpeed / 10);
  };
  while (world.StateOf("j") == JobState::kRunning) {
    look();
    CoSleepFor(50 * kMillisecond).IgnoreError();
  }
  const absl::Status over = world.CoWaitUntilOver("j");
  EXPECT_TRUE(over.ok()) << over;
  look();
  EXPECT_GE(data() - own, 5) << "there was something to copy";
}

TEST(CopyWindow, IsNeverMoreThanOnePieceAheadOfTheSpeedLimit) {
  for (const bool is_stream : {true, false}) {
    ExploreMirror(kQuiet,
                  [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                    CoTellOfALimitedJob(is_stream, world);
                    return absl::OkStatus();
                  });
  }
}

// ---- Errors ------------------------------------------------------------------------------------

struct Failing {
  std::string node = "n0";
  std::vector<uint64_t> nth;  // operations on the node, in the order in which they complete
  OnError on_error = OnError::kReport;
  int error_number = EIO;
};

// A stream of two layers over kSectors sectors in pieces of one sector, all of which n0 holds.
void StreamWithErrors(const Failing& failing, MirrorEventLog& log,
                      const std::function<absl::Status(MirrorWorld&)>& then) {
  RunMirrorOnce(
      {.layers = 2, .has_guest = false}, log,
      [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        using Cluster = MemoryOverlayImage::Cluster;
        std::fill(world.chain.images[1]->map.begin(), world.chain.images[1]->map.end(),
                  Cluster::kUnallocated);
        for (uint64_t i = 0; i < kSectors; ++i) {
          world.disk.Put(*world.chain.images[0], i);
          // So that no run is longer than a sector: zeroes and data take turns.
          if (i % 2 == 1) {
            MILLRACE_RETURN_IF_ERROR(world.disk.CoZero(world.chain.guest, i, 1, false));
            world.chain.images[1]->map[i] = Cluster::kUnallocated;
            world.chain.images[0]->map[i] = Cluster::kZero;
          }
        }
        // What was written just now counts as a guest's: a job would step back.
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
        StreamOptions options = StreamAll(world);
        options.job.on_error = failing.on_error;
        for (uint64_t nth : failing.nth) {
          IoOf(world).Fail(
              {.path = failing.node, .nth = nth, .error_number = failing.error_number});
        }
        IoOf(world).SetLatency(kMillisecond);
        MILLRACE_RETURN_IF_ERROR(CoStartStream(world.graph(), world.jobs(), options).status());
        return then(world);
      });
}

std::vector<std::string> LinesOf(const MirrorEventLog& log) {
  std::vector<std::string> found;
  for (const JobEvent& event : log.events) {
    if (event.kind == JobEventKind::kStatusChange) {
      found.emplace_back(JobStateName(event.state));
    } else if (event.kind == JobEventKind::kError) {
      found.push_back(StrCat(IoOperationName(event.operation), " error at ", event.current / 512));
    } else {
      found.push_back(StrCat(JobEventKindName(event.kind), " ", event.current / 512, "/",
                             event.total / 512, event.error.empty() ? "" : " ", event.error));
    }
  }
  return found;
}

using Lines = std::vector<std::string>;

// Reads of n0 are for sectors 0, 2, 4 …: the third is for sector 4.
TEST(CopyWindow, ReportedErrorEndsTheJobWhereTheLowestPieceFailed) {
  MirrorEventLog log;
  StreamWithErrors({.nth = {3, 4}}, log, [](MirrorWorld& world) MILLRACE_MAY_SUSPEND {
    EXPECT_FALSE(world.CoWaitForState("j", JobState::kPaused));
    EXPECT_EQ(world.Shape(), "n1 <- n0");
    return absl::OkStatus();
  });
  EXPECT_EQ(LinesOf(log),
            (Lines{"created", "running", "read error at 4", "aborting",
                   "block-job-completed 4/16 Input/output error", "concluded", "null"}));
}

TEST(CopyWindow, FailedWriteIsAReadErrorOfItsPieceToo) {
  MirrorEventLog log;
  StreamWithErrors({.node = "n1", .nth = {1}}, log, [](MirrorWorld& world) MILLRACE_MAY_SUSPEND {
    EXPECT_FALSE(world.CoWaitForState("j", JobState::kPaused));
    return absl::OkStatus();
  });
  const Lines lines = LinesOf(log);
  ASSERT_GE(lines.size(), 3u);
  EXPECT_EQ(lines[2].substr(0, 10), "read error");
}

// Two of the pieces in flight fail: those of sectors 0 and 2.
TEST(CopyWindow, StoppedJobTriesAgainAllThatHasFailedAfterOneResume) {
  MirrorEventLog log;
  StreamWithErrors({.nth = {1, 2}, .on_error = OnError::kStop}, log,
                   [&](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
                     while (log.Count(JobEventKind::kError) == 0) {
                       MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
                     }
                     EXPECT_TRUE(world.CoWaitForState("j", JobState::kPaused));
                     EXPECT_EQ(IoOf(world).in_flight(), 0u);
                     EXPECT_EQ(world.jobs().Query("j")->io_status, JobIoStatus::kFailed);
                     EXPECT_EQ(world.jobs().Query("j")->current, 0u);
                     MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("j"));
                     MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("j"));
                     EXPECT_EQ(world.Shape(), "n1");
                     return absl::OkStatus();
                   });
  EXPECT_EQ(LinesOf(log),
            (Lines{"created", "running", "read error at 0", "paused", "running", "waiting",
                   "pending", "block-job-completed 16/16", "concluded", "null"}));
}

TEST(CopyWindow, IgnoredErrorsSkipTheirPiecesAndFailTheStreamAtItsEnd) {
  MirrorEventLog log;
  StreamWithErrors({.nth = {1, 5}, .on_error = OnError::kIgnore}, log,
                   [](MirrorWorld& world) MILLRACE_MAY_SUSPEND {
                     EXPECT_FALSE(world.CoWaitForState("j", JobState::kPaused));
                     return absl::OkStatus();
                   });
  EXPECT_EQ(LinesOf(log),
            (Lines{"created", "running", "read error at 0", "read error at 8", "aborting",
                   "block-job-completed 16/16 Input/output error", "concluded", "null"}));
}

// The last write to end fails. Nothing is started after it that would settle what was given up.
TEST(CopyWindow, IgnoredErrorAfterWhichNothingIsLeftToStartEndsTheJob) {
  MirrorEventLog log;
  StreamWithErrors({.node = "n1", .nth = {kSectors}, .on_error = OnError::kIgnore}, log,
                   [](MirrorWorld& world) MILLRACE_MAY_SUSPEND {
                     EXPECT_FALSE(world.CoWaitForState("j", JobState::kPaused));
                     return absl::OkStatus();
                   });
  EXPECT_EQ(LinesOf(log),
            (Lines{"created", "running", "read error at 10", "aborting",
                   "block-job-completed 16/16 Input/output error", "concluded", "null"}));
}

TEST(CopyWindow, IgnoredErrorsOfAllPiecesEndTheJob) {
  MirrorEventLog log;
  std::vector<uint64_t> all;
  for (uint64_t i = 1; i <= kSectors; ++i) all.push_back(i);
  StreamWithErrors({.node = "n1", .nth = all, .on_error = OnError::kIgnore}, log,
                   [](MirrorWorld& world) MILLRACE_MAY_SUSPEND {
                     EXPECT_FALSE(world.CoWaitForState("j", JobState::kPaused));
                     return absl::OkStatus();
                   });
  EXPECT_EQ(log.Count(JobEventKind::kError), kSectors);
  EXPECT_EQ(LinesOf(log).back(), "null");
}

TEST(CopyWindow, NoSpaceStopsOneJobAndEndsAnother) {
  for (const int error_number : {ENOSPC, EIO}) {
    MirrorEventLog log;
    StreamWithErrors({.nth = {2}, .on_error = OnError::kEnospc, .error_number = error_number}, log,
                     [&](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
                       const bool stops = world.CoWaitForState("j", JobState::kPaused);
                       EXPECT_EQ(stops, error_number == ENOSPC);
                       if (!stops) return absl::OkStatus();
                       EXPECT_EQ(world.jobs().Query("j")->io_status, JobIoStatus::kNoSpace);
                       MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("j"));
                       return world.CoWaitUntilOver("j");
                     });
  }
}

// Under every order of completions, whatever fails: a job that stops and is resumed loses nothing.
TEST(CopyWindow, StoppedAndResumedUntilItSucceedsCopiesEverything) {
  for (const bool is_stream : {true, false}) {
    ExploreMirror({.layers = 3}, [&](MirrorWorld& world, MirrorGuest& guest) MILLRACE_MAY_SUSPEND {
      return [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
        for (const uint64_t nth : {2u, 5u, 6u}) {
          IoOf(world).Fail({.path = is_stream ? "n1" : "n0", .nth = nth});
        }
        StreamOptions stream = StreamAll(world);
        stream.job.on_error = OnError::kStop;
        CommitOptions commit = CommitBelowTop(world);
        commit.job.on_error = OnError::kStop;
        MILLRACE_RETURN_IF_ERROR(is_stream
                                     ? CoStartStream(world.graph(), world.jobs(), stream).status()
                                     : CoStartCommit(world.graph(), world.jobs(), commit).status());
        while (world.StateOf("j") != JobState::kNull) {
          world.jobs().Resume("j").IgnoreError();
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
        }
        guest.Stop();
        EXPECT_EQ(world.Shape(), is_stream ? "n2" : "n2 <- n0");
        return absl::OkStatus();
      }();
    });
  }
}

}  // namespace
}  // namespace millrace::copy_window_test
