// What can happen next in a simulation, in which order it is offered, and that the option taken is
// the one that happens.
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/invariant_checker.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/support/simulation.h"

namespace millrace::step_test {
namespace {

using Log = std::vector<std::string>;

// Takes the option whose name it is told to want; else the first. Remembers the last offer.
class PickByName final : public Decider {
 public:
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    if (kind != ChoiceKind::kStep) return 0;
    offered.clear();
    for (const Option& option : options) offered.emplace_back(option.name);
    for (size_t i = 0; i < offered.size(); ++i) {
      if (offered[i] == wanted) return i;
    }
    return 0;
  }
  std::string wanted;
  Log offered;
};

class Steps final : public StepSource {
 public:
  Steps(Log& log, Log names) : names_(std::move(names)), log_(log) {}
  size_t EnabledSteps() const override { return names_.size(); }
  Option DescribeStep(size_t index) const override { return {100 + index, names_[index], "io"}; }
  void TakeStep(size_t index) override {
    log_.push_back(names_[index]);
    names_.erase(names_.begin() + static_cast<ptrdiff_t>(index));
  }

 private:
  Log names_;
  Log& log_;
};

// Two coroutines, two sources of external steps, two timers: one that is due and one that is not.
class Everything {
 public:
  explicit Everything(Decider* decider)
      : scheduler_(clock_, decider),
        scope_(scheduler_, "test"),
        first_(log_, {"io-1", "io-2"}),
        second_(log_, {"io-3"}) {
    scheduler_.AddStepSource(&first_);
    scheduler_.AddStepSource(&second_);
    for (const char* name : {"co-1", "co-2"}) {
      scope_.Spawn(name, [this, name]() MILLRACE_MAY_SUSPEND { log_.push_back(name); });
    }
    scheduler_.Arm(later_, 10);
    scheduler_.Arm(due_, 0);
  }
  ~Everything() {
    while (scheduler_.RunOneStep()) {
    }
  }
  bool Step() { return scheduler_.RunOneStep(); }
  const Log& log() const { return log_; }
  Nanoseconds Now() const { return clock_.Now(); }

 private:
  struct LoggingTimer {
    Log* log;
    const char* name;
    static void OnTimer(void* self) {
      auto* logging = static_cast<LoggingTimer*>(self);
      logging->log->push_back(logging->name);
    }
  };

  Log log_;
  SimulatedClock clock_;
  Scheduler scheduler_;
  TaskScope scope_;
  Steps first_;
  Steps second_;
  LoggingTimer log_later_{&log_, "later"};
  LoggingTimer log_due_{&log_, "due"};
  Timer later_{"later", &LoggingTimer::OnTimer, &log_later_};
  Timer due_{"due", &LoggingTimer::OnTimer, &log_due_};
};

TEST(RunOneStep, CanonicalOrderIsDueTimersCoroutinesInputThenTime) {
  FifoDecider fifo;
  for (Decider* decider : {static_cast<Decider*>(nullptr), static_cast<Decider*>(&fifo)}) {
    Everything everything(decider);
    while (everything.Step()) {
    }
    EXPECT_EQ(everything.log(), (Log{"due", "co-1", "co-2", "io-1", "io-2", "io-3", "later"}));
    EXPECT_EQ(everything.Now(), 10);
  }
  EXPECT_GT(fifo.choices(), 0u);
}

TEST(RunOneStep, TheOptionThatIsTakenIsTheOneThatHappens) {
  for (const char* wanted : {"due", "co-1", "co-2", "io-1", "io-2", "io-3"}) {
    PickByName decider;
    Everything everything(&decider);
    decider.wanted = wanted;
    EXPECT_TRUE(everything.Step());
    EXPECT_EQ(everything.log(), Log{wanted});
    EXPECT_EQ(decider.offered, (Log{"due", "co-1", "co-2", "io-1", "io-2", "io-3"}));
  }
}

// Nothing that runs takes time, so a timer that is not due waits for the coroutines, but not for
// input, which may be arbitrarily slow.
TEST(RunOneStep, TimePassesOnlyWhenNoCoroutineCanRun) {
  PickByName decider;
  decider.wanted = "later";
  Everything everything(&decider);
  for (int step = 0; step < 3; ++step) EXPECT_TRUE(everything.Step());
  EXPECT_EQ(everything.log(), (Log{"due", "co-1", "co-2"}));
  EXPECT_EQ(everything.Now(), 0);
  EXPECT_TRUE(everything.Step());
  EXPECT_EQ(decider.offered, (Log{"io-1", "io-2", "io-3", "later"}));
  EXPECT_EQ(everything.log().back(), "later");
  EXPECT_EQ(everything.Now(), 10);
}

TEST(RunOneStep, SaysWhenNothingCanHappenAnyMore) {
  Everything everything(nullptr);
  for (int step = 0; step < 7; ++step) EXPECT_TRUE(everything.Step());
  EXPECT_FALSE(everything.Step());
  EXPECT_EQ(everything.log().size(), 7u);
}

// ---- Timers -------------------------------------------------------------------------------------

class TimersTest : public testing::Test {
 protected:
  struct Named {
    Named(TimersTest& owner, const char* label) : test(owner), name(label) {}
    static void OnTimer(void* self) {
      auto* named = static_cast<Named*>(self);
      named->test.log_.push_back(named->name);
      if (named->then) named->then();
    }
    TimersTest& test;
    const char* name;
    std::function<void()> then;
    Timer timer{name, &OnTimer, this};
  };

  SimulatedClock clock_;
  Scheduler scheduler_{clock_};
  Log log_;
};

TEST_F(TimersTest, FireByDeadlineThenInOrderOfArming) {
  Named a(*this, "a");
  Named b(*this, "b");
  Named c(*this, "c");
  scheduler_.Arm(a.timer, 20);
  scheduler_.Arm(b.timer, 10);
  scheduler_.Arm(c.timer, 10);
  scheduler_.Arm(b.timer, 10);  // again: now behind c
  EXPECT_EQ(scheduler_.NextTimer(), 10);
  EXPECT_EQ(scheduler_.FireDueTimers(), 0u);
  clock_.AdvanceTo(20);
  EXPECT_EQ(scheduler_.FireDueTimers(), 3u);
  EXPECT_EQ(log_, (Log{"c", "b", "a"}));
  EXPECT_EQ(scheduler_.NextTimer(), kNever);
}

TEST_F(TimersTest, DisarmedTimersDoNotFire) {
  Named a(*this, "a");
  Named b(*this, "b");
  scheduler_.Arm(a.timer, 1);
  scheduler_.Arm(b.timer, 1);
  a.then = [&] { scheduler_.Disarm(b.timer); };
  clock_.AdvanceTo(1);
  EXPECT_EQ(scheduler_.FireDueTimers(), 1u);
  EXPECT_FALSE(b.timer.is_armed());
  scheduler_.Disarm(b.timer);  // no-op
}

TEST_F(TimersTest, ATimerThatRearmsItselfInThePastDoesNotStarveTheRest) {
  Named greedy(*this, "greedy");
  Named modest(*this, "modest");
  greedy.then = [&] { scheduler_.Arm(greedy.timer, 0); };
  scheduler_.Arm(greedy.timer, 1);
  scheduler_.Arm(modest.timer, 2);
  clock_.AdvanceTo(2);
  EXPECT_EQ(scheduler_.FireDueTimers(), 2u);
  EXPECT_EQ(log_, (Log{"greedy", "modest"}));
  EXPECT_EQ(scheduler_.FireDueTimers(), 1u);
  scheduler_.Disarm(greedy.timer);
}

TEST_F(TimersTest, AllThatAreDueFireBeforeTheCoroutinesTheyWake) {
  TaskScope scope(scheduler_, "test");
  Named late(*this, "timer");
  scope.Spawn("sleeper", [&]() MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(CoSleepUntil(5).ok());
    log_.push_back("sleeper");
  });
  EXPECT_TRUE(scheduler_.RunOneStep());
  scheduler_.Arm(late.timer, 5);
  while (scheduler_.RunOneStep()) {
  }
  EXPECT_EQ(log_, (Log{"timer", "sleeper"}));
}

// Fails if a due timer waits until nothing can run: the yielding coroutine then never stops.
TEST_F(TimersTest, SleepingForNoTimeEndsAlthoughOthersCanRun) {
  TaskScope scope(scheduler_, "test");
  bool is_done = false;
  int yields = 0;
  scope.Spawn("spinner", [&]() MILLRACE_MAY_SUSPEND {
    while (!is_done && ++yields < 100) CoYield();
  });
  scope.Spawn("sleeper", [&]() MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(CoSleepFor(0).ok());
    is_done = true;
  });
  while (scheduler_.RunOneStep()) {
  }
  EXPECT_LT(yields, 5);
}

TEST_F(TimersTest, DestroyingAnArmedTimerIsRefused) {
  auto die = [] {
    SimulatedClock clock;
    Scheduler scheduler(clock);
    Timer timer(
        "t", [](void*) {}, nullptr);
    scheduler.Arm(timer, 1);
  };
  EXPECT_DEATH(die(), "timer destroyed while armed");
}

// ---- Trace hash ---------------------------------------------------------------------------------

TEST(TraceHash, DiffersWhenTheOrderOfStepsDiffers) {
  std::vector<uint64_t> hashes;
  for (const char* first : {"co-1", "co-2", "io-1", "io-2"}) {
    PickByName decider;
    SimulatedClock clock;
    Scheduler scheduler(clock, &decider);
    Log log;
    Steps steps(log, {"io-1", "io-2"});
    scheduler.AddStepSource(&steps);
    TaskScope scope(scheduler, "test");
    scope.Spawn("co-1", []() MILLRACE_MAY_SUSPEND {});
    scope.Spawn("co-2", []() MILLRACE_MAY_SUSPEND {});
    decider.wanted = first;
    while (scheduler.RunOneStep()) {
    }
    for (uint64_t other : hashes) EXPECT_NE(scheduler.trace_hash(), other) << first;
    hashes.push_back(scheduler.trace_hash());
  }
}

TEST(TraceHash, DiffersWhenAYieldPointDiffers) {
  std::vector<uint64_t> hashes;
  // Shorter than, as long as, and longer than one word, differing in the last letter.
  for (const char* yield_point : {"ab", "ac", "abcdefgh", "abcdefgi", "abcdefgha", "abcdefghb"}) {
    FifoDecider decider;
    SimulatedClock clock;
    Scheduler scheduler(clock, &decider);
    TaskScope scope(scheduler, "test");
    scope.Spawn("co", [=]() MILLRACE_MAY_SUSPEND { CoYield(yield_point); });
    while (scheduler.RunOneStep()) {
    }
    for (uint64_t other : hashes) EXPECT_NE(scheduler.trace_hash(), other) << yield_point;
    hashes.push_back(scheduler.trace_hash());
  }
}

// ---- Invariants ----------------------------------------------------------------------------------

class Broken final : public InvariantChecker {
 public:
  absl::Status CheckInvariants() override {
    ++asked;
    return is_broken ? absl::InternalError("X1: 'it': does not hold") : absl::OkStatus();
  }
  int asked = 0;
  bool is_broken = false;
};

TEST(StepCheck, IsCalledAfterEveryStepOutsideOfIt) {
  FifoDecider fifo;
  for (Decider* decider : {static_cast<Decider*>(nullptr), static_cast<Decider*>(&fifo)}) {
    const auto engine = SimulatedEngine(decider);
    uint64_t calls = 0;
    engine->scheduler().SetStepCheck([&] {
      ++calls;
      EXPECT_EQ(engine->scheduler().running(), nullptr);
      EXPECT_EQ(engine->scheduler().steps(), calls);
    });
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      CoYield("somewhere");
      return CoSleepFor(kMillisecond);
    });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_GE(calls, 4u);  // two halves, the timer, the rest
  }
}

TEST(StepCheck, AsksEveryCheckerThatIsThereAndTellsTheFirstRefusal) {
  const auto engine = SimulatedEngine(nullptr);
  Broken first;
  Broken second;
  engine->scheduler().AddInvariantChecker(&first);
  engine->scheduler().AddInvariantChecker(&second);
  EXPECT_TRUE(engine->scheduler().CheckInvariants().ok());
  second.is_broken = true;
  EXPECT_EQ(engine->scheduler().CheckInvariants().message(), "X1: 'it': does not hold");
  engine->scheduler().RemoveInvariantChecker(&second);
  EXPECT_TRUE(engine->scheduler().CheckInvariants().ok());
  EXPECT_EQ(first.asked, 3);
  EXPECT_EQ(second.asked, 2);
  engine->scheduler().RemoveInvariantChecker(&first);
}

// ---- Posted work -------------------------------------------------------------------------------

TEST(PostedWork, ThatPostsItselfAgainLeavesStepsToOthers) {
  for (const bool by_polling : {false, true}) {
    auto engine = *Engine::Create({.simulated = true});
    int calls = 0;
    std::function<void()> again = [&] {
      if (++calls < 1000) engine->Post([&] { again(); });
    };
    again();
    int left = 5;
    TaskScope scope(engine->scheduler(), "test");
    scope.Spawn("worker", [&]() MILLRACE_MAY_SUSPEND {
      for (; left > 0; --left) CoYield("work");
    });
    if (by_polling) {
      while (left > 0) ASSERT_TRUE(engine->PollOnce(1));
    } else {
      ASSERT_TRUE(engine->RunUntil([&] { return left == 0; }));
    }
    EXPECT_LT(calls, 10);
    EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0 && calls == 1000; }));
    EXPECT_TRUE(scope.Finish().ok());
  }
}

}  // namespace
}  // namespace millrace::step_test
