// A copying job beside guests: it works as much as leaves them most of their speed, or keeps what
// their requests take below a target, and no less than it must.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/jobs/copy/guest_watch.h"
#include "tests/support/job_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::guest_watch_test {
namespace {

constexpr Nanoseconds kQuietLatency = 100 * kMicrosecond;
constexpr Nanoseconds kBatchTime = 400 * kMicrosecond;

// A guest with one request at a time on a disk where what a job has in flight slows it down, and a
// job that does nothing but batches.
class Disk {
 public:
  // `is_seen`: what the guest waits for beside a batch is the disk, and not us to look at its
  // request.
  Disk(Engine& engine, Nanoseconds latency_beside_batch, bool is_seen = true)
      : engine_(engine),
        world_(engine),
        latency_beside_batch_(latency_beside_batch),
        is_seen_(is_seen) {}

  Graph& graph() { return world_.graph(); }
  // What requests take from now on with nothing in flight, whether or not a job rests.
  void SlowTo(Nanoseconds latency) { latency_ = latency; }
  // From now on the guest waits for so long between its requests.
  void IdleFor(Nanoseconds idle) { idle_ = idle; }

  // Runs the guest beside whatever `body` does.
  void Run(const std::function<void(Disk&)>& body) {
    const absl::Status status = engine_.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                                CoMakeMemoryChain(graph(), {.layers = 1}, false));
      TaskScope scope("disk");
      scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { CoGuest(chain.guest); });
      body(*this);
      is_over_ = true;
      const absl::Status joined = scope.CoJoin();
      world_.CoClose(chain);
      return joined;
    });
    EXPECT_TRUE(status.ok()) << status;
  }

  // The share of `duration` in which the job had a batch in flight.
  double CoWork(GuestWatch& watch, Nanoseconds duration) MILLRACE_MAY_SUSPEND {
    const Nanoseconds begin = engine_.clock().Now();
    Nanoseconds worked = 0;
    while (engine_.clock().Now() - begin < duration) {
      watch.AllowanceNow();
      if (const Nanoseconds rest = watch.TakeRest(); rest > 0) {
        CoSleepFor(rest).IgnoreError();
        continue;
      }
      watch.OnBatchBegin();
      ++in_flight_;
      CoSleepFor(kBatchTime).IgnoreError();
      --in_flight_;
      watch.OnBatchEnd();
      worked += kBatchTime;
    }
    return static_cast<double>(worked) / static_cast<double>(engine_.clock().Now() - begin);
  }
  // How many requests the guest does meanwhile.
  uint64_t CoCountRequests(const std::function<void()>& meanwhile) MILLRACE_MAY_SUSPEND {
    const uint64_t before = graph().guest_load().ended();
    meanwhile();
    return graph().guest_load().ended() - before;
  }

 private:
  void CoGuest(Attachment& guest) MILLRACE_MAY_SUSPEND {
    while (!is_over_) {
      uint8_t byte = 0;
      guest.CoRead(0, IoVector(&byte, 1)).IgnoreError();  // so that it is seen to be active
      const Nanoseconds latency = in_flight_ > 0 ? latency_beside_batch_ : latency_;
      if (!is_seen_) CoSleepFor(latency - kQuietLatency).IgnoreError();
      {
        const GuestLoad::Request request(&graph().guest_load(), false);
        CoSleepFor(is_seen_ ? latency : kQuietLatency).IgnoreError();
      }
      CoSleepFor(idle_).IgnoreError();
    }
  }

  Engine& engine_;
  JobWorld world_;
  const Nanoseconds latency_beside_batch_;
  Nanoseconds latency_ = kQuietLatency;
  Nanoseconds idle_ = 0;
  const bool is_seen_;
  int in_flight_ = 0;
  bool is_over_ = false;
};

// Of the requests that a guest does alone, what it does beside a job that works, and how much of
// the time that works.
void SparesTheGuest(bool is_seen) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, 3 * kQuietLatency, is_seen);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    const uint64_t alone =
        self.CoCountRequests([]() MILLRACE_MAY_SUSPEND { CoSleepFor(kSecond).IgnoreError(); });
    GuestWatch watch(self.graph(), 0);
    self.CoWork(watch, kSecond / 2);
    double share = 0;
    const uint64_t beside =
        self.CoCountRequests([&]() MILLRACE_MAY_SUSPEND { share = self.CoWork(watch, kSecond); });
    EXPECT_GE(static_cast<double>(beside) / static_cast<double>(alone), 0.66);
    EXPECT_GE(share, GuestWatch::kShareMin);
  });
}

TEST(GuestWatch, LeavesTheGuestTwoThirdsOfItsRequests) { SparesTheGuest(true); }

TEST(GuestWatch, LeavesThemToAGuestThatWaitsForUsToLookToo) { SparesTheGuest(false); }

// In the rests, too, the disk is somewhat slower: it still has what it was given before.
TEST(GuestWatch, RestsThatAreNotAsGoodAsNoJobAreNotTakenForIt) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, 3 * kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    const uint64_t alone =
        self.CoCountRequests([]() MILLRACE_MAY_SUSPEND { CoSleepFor(kSecond).IgnoreError(); });
    GuestWatch watch(self.graph(), 0);
    watch.SetCopying(true);
    self.SlowTo(kQuietLatency * 113 / 100);
    self.CoWork(watch, kSecond / 2);
    double share = 0;
    const uint64_t beside =
        self.CoCountRequests([&]() MILLRACE_MAY_SUSPEND { share = self.CoWork(watch, kSecond); });
    EXPECT_GE(static_cast<double>(beside) / static_cast<double>(alone), 0.695);
    EXPECT_GE(share, GuestWatch::kShareMin);
  });
}

// With larger requests, for instance: what it had before says nothing any more.
TEST(GuestWatch, GuestThatDoesSomethingElseIsMeasuredInTheRestsAfterAWhile) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, 3 * kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    CoSleepFor(kSecond).IgnoreError();
    GuestWatch watch(self.graph(), 0);
    watch.SetCopying(true);
    self.SlowTo(3 * kQuietLatency);
    self.CoWork(watch, 2 * kSecond);
    EXPECT_LE(self.CoWork(watch, kSecond), GuestWatch::kShareMin + 0.1) << "held responsible";
    self.CoWork(watch, 10 * kSecond);
    EXPECT_GE(self.CoWork(watch, kSecond), GuestWatch::kShareMax - 0.05);
  });
}

// Few requests that take no longer than before: it wants no more.
TEST(GuestWatch, GuestThatWantsLittleByNowDoesNotHoldTheJobUp) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    CoSleepFor(kSecond).IgnoreError();
    GuestWatch watch(self.graph(), 0);
    watch.SetCopying(true);
    self.IdleFor(33 * kMillisecond);
    self.CoWork(watch, 3 * kSecond);
    EXPECT_GE(self.CoWork(watch, 3 * kSecond), 0.8);
  });
}

TEST(GuestWatch, JobThatCostsTheGuestNothingHardlyRests) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    CoSleepFor(kSecond / 10).IgnoreError();
    GuestWatch watch(self.graph(), 0);
    EXPECT_GE(self.CoWork(watch, kSecond), GuestWatch::kShareMax - 0.02);
  });
}

TEST(GuestWatch, GuestThatNothingCanHelpDoesNotStopTheJob) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, 100 * kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    CoSleepFor(kSecond / 10).IgnoreError();
    GuestWatch watch(self.graph(), 0);
    EXPECT_GE(self.CoWork(watch, 2 * kSecond), GuestWatch::kShareMin * 0.9);
  });
}

// It has to rest to find out what the guest's requests take without it.
TEST(GuestWatch, GuestThatComesLaterIsSparedToo) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, 3 * kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    GuestWatch watch(self.graph(), 0);
    self.CoWork(watch, kSecond);
    EXPECT_LT(self.CoWork(watch, kSecond), 0.7);
  });
}

TEST(GuestWatch, FirstBatchBesideAGuestIsSmall) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, 3 * kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    EXPECT_FALSE(GuestWatch(self.graph(), 0).AllowanceNow());
    CoSleepFor(kMillisecond).IgnoreError();
    EXPECT_TRUE(GuestWatch(self.graph(), 0).AllowanceNow());
  });
}

TEST(GuestWatch, WhatIsWrittenBesideAGuestIsToBeFlushedBeforeItIsMuch) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, 3 * kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    GuestWatch watch(self.graph(), 0, /*flush_bytes=*/100);
    watch.OnWritten(100);
    EXPECT_FALSE(watch.IsFlushDue()) << "nobody waits";
    CoSleepFor(kMillisecond).IgnoreError();
    EXPECT_TRUE(watch.IsFlushDue());
    watch.OnFlush();
    watch.OnWritten(99);
    EXPECT_FALSE(watch.IsFlushDue());
    watch.OnWritten(1);
    EXPECT_TRUE(watch.IsFlushDue());
  });
}

// What only writes zeroes or discards is to be caught up with as well.
TEST(GuestWatch, ZeroesAndDiscardsAreWrites) {
  for (const bool is_discard : {false, true}) {
    const std::unique_ptr<Engine> engine = SimulatedEngine();
    JobWorld world(*engine);
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                                CoMakeMemoryChain(world.graph(), {.layers = 1}, false));
      const GuestWatch watch(world.graph(), 0);
      EXPECT_FALSE(watch.AreGuestsWriting());
      const ByteRange range(0, 512);
      const absl::Status changed =
          is_discard ? chain.guest.CoDiscard(range) : chain.guest.CoWriteZeroes(range, {});
      EXPECT_TRUE(watch.AreGuestsWriting());
      world.CoClose(chain);
      return changed;
    });
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST(GuestWatch, TargetThatIsFarOffAllowsAllThereIs) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, 3 * kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    CoSleepFor(kMillisecond).IgnoreError();
    GuestWatch watch(self.graph(), 100 * kMillisecond);
    const std::optional<GuestWatch::Allowance> first = watch.AllowanceNow();
    EXPECT_GE(self.CoWork(watch, kSecond), 0.99);
    const std::optional<GuestWatch::Allowance> last = watch.AllowanceNow();
    EXPECT_TRUE(first && last);
    if (!first || !last) return;
    EXPECT_GT(last->batches * last->batch_bytes, 8 * first->batches * first->batch_bytes);
  });
}

TEST(GuestWatch, TargetThatIsExceededMakesTheJobRestLongerThanWithout) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, 3 * kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    CoSleepFor(kMillisecond).IgnoreError();
    GuestWatch watch(self.graph(), 2 * kQuietLatency);
    self.CoWork(watch, kSecond);
    EXPECT_LT(self.CoWork(watch, kSecond), GuestWatch::kShareMin);
  });
}

TEST(GuestWatch, TellsWhatTheGuestSeesOnlyIfThereIsATarget) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Disk disk(*engine, 3 * kQuietLatency);
  disk.Run([](Disk& self) MILLRACE_MAY_SUSPEND {
    GuestWatch without(self.graph(), 0);
    GuestWatch with(self.graph(), kSecond);
    CoSleepFor(kSecond / 10).IgnoreError();
    JobInfo info;
    without.Describe(info);
    EXPECT_TRUE(info.figures.empty());
    with.Describe(info);
    EXPECT_EQ(info.figures.size(), 4u);
    if (info.figures.size() != 4) return;
    EXPECT_EQ(info.figures[0].name, "latency-target");
    EXPECT_EQ(info.figures[0].value, static_cast<uint64_t>(kSecond));
    EXPECT_EQ(info.figures[1].name, "guest-requests");
    EXPECT_GT(info.figures[1].value, 900u);
    EXPECT_EQ(info.figures[3].name, "guest-p99");
    EXPECT_GE(info.figures[3].value, static_cast<uint64_t>(kQuietLatency));
    EXPECT_LE(info.figures[3].value, static_cast<uint64_t>(kQuietLatency * 5 / 4));
  });
}

TEST(GuestWatch, ManyJobsShareTheMemoryForCopies) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  JobWorld world(*engine);
  GuestWatch watch(world.graph(), 0);
  watch.SetCopying(true);
  const GuestWatch::Allowance wanted = {8, uint64_t{1} << 20};
  EXPECT_EQ(watch.ShareOf(wanted).batches, 8u);
  std::vector<std::unique_ptr<GuestWatch>> others;
  for (const uint64_t jobs : std::vector<uint64_t>{4, 16, 64, 256}) {
    while (world.graph().guest_load().copiers() < jobs) {
      others.push_back(std::make_unique<GuestWatch>(world.graph(), 0));
      others.back()->SetCopying(true);
    }
    const GuestWatch::Allowance share = watch.ShareOf(wanted);
    EXPECT_GE(share.batches, 1u);
    EXPECT_GE(share.batch_bytes, uint64_t{128} << 10);
    EXPECT_LE(jobs * share.batches * share.batch_bytes, uint64_t{48} << 20);
  }
}

TEST(GuestWatch, JobIsCountedOnceHoweverOftenItSaysSoAndNoLongerThanItLives) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  JobWorld world(*engine);
  const GuestLoad& load = world.graph().guest_load();
  {
    GuestWatch watch(world.graph(), 0);
    watch.SetCopying(false);
    EXPECT_EQ(load.copiers(), 0u);
    watch.SetCopying(true);
    watch.SetCopying(true);
    EXPECT_EQ(load.copiers(), 1u);
    watch.SetCopying(false);
    watch.SetCopying(false);
    EXPECT_EQ(load.copiers(), 0u);
    watch.SetCopying(true);
  }
  EXPECT_EQ(load.copiers(), 0u);
}

}  // namespace
}  // namespace millrace::guest_watch_test
