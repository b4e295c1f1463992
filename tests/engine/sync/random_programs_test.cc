// Random programs over the sync primitives, under random schedules, against simple models.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/engine/sync/event.h"
#include "millrace/engine/sync/gate.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/engine/sync/semaphore.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/support/simulation.h"

namespace millrace::random_programs_test {
namespace {

constexpr int kWorkers = 5;
constexpr int kRounds = 6;

// Runs `body(worker)` in kWorkers coroutines, each in a scope of its own, while `also` runs beside
// them; then everything must have ended.
template <typename Body, typename Also>
void RunWorkers(Engine& engine, Body body, Also also) {
  std::vector<std::unique_ptr<TaskScope>> scopes;
  for (int i = 0; i < kWorkers; ++i) {
    scopes.push_back(std::make_unique<TaskScope>(engine.scheduler(), "worker scope"));
    scopes.back()->Spawn(StrCat("worker-", i), [body, i]() MILLRACE_MAY_SUSPEND { body(i); });
  }
  TaskScope beside(engine.scheduler(), "beside");
  beside.Spawn("beside", [&]() MILLRACE_MAY_SUSPEND { also(scopes); });
  auto is_done = [&] {
    return beside.live() == 0 && std::all_of(scopes.begin(), scopes.end(),
                                             [](auto& scope) { return scope->live() == 0; });
  };
  ASSERT_TRUE(engine.RunUntil(is_done)) << engine.scheduler().FindDeadlock().value_or("?");
}

using Scopes = std::vector<std::unique_ptr<TaskScope>>;

// A moment that is sometimes no time, sometimes a step, sometimes time.
void CoDawdle(RandomStream& random) MILLRACE_MAY_SUSPEND {
  switch (random.Below(3)) {
    case 0:
      return;
    case 1:
      return CoYield("dawdle");
    default:
      (void)CoSleepFor(static_cast<Nanoseconds>(random.Below(3)));
  }
}

// ---- Mutex --------------------------------------------------------------------------------------

TEST(RandomPrograms, AMutexAdmitsOneAndServesEverybody) {
  Explore([](Engine& engine, uint64_t seed) {
    RandomStream random(seed, "program");
    Mutex mutex("m");
    int inside = 0;
    int served = 0;
    RunWorkers(
        engine,
        [&](int) MILLRACE_MAY_SUSPEND {
          for (int round = 0; round < kRounds; ++round) {
            if (random.OneIn(3) ? mutex.TryLock() : (mutex.CoLock(), true)) {
              EXPECT_EQ(++inside, 1);
              CoDawdle(random);
              --inside;
              ++served;
              mutex.Unlock();
            }
            CoDawdle(random);
          }
        },
        [&](Scopes&) {});
    EXPECT_GT(served, 0);
    EXPECT_FALSE(mutex.is_locked());
  });
}

// ---- Semaphore ----------------------------------------------------------------------------------

// Requests in a row; a request is granted when those before it are and the permits suffice.
class SemaphoreModel {
 public:
  struct Request {
    uint64_t permits;
    bool granted = false;
    bool cancelled = false;
    TaskScope* scope;
  };

  explicit SemaphoreModel(uint64_t permits) : available_(permits) {}
  Request* Arrive(uint64_t permits, TaskScope* scope) {
    waiting_.push_back({permits, false, false, scope});
    Request* request = &waiting_.back();
    Grant();
    return request;
  }
  // The caller is about to cancel `scope`.
  void Cancel(TaskScope* scope) {
    for (Request& request : waiting_) request.cancelled |= request.scope == scope;
  }
  void Leave(Request* request) {
    if (request->granted) {
      available_ += request->permits;
      granted_.remove_if([&](const Request& each) { return &each == request; });
    } else {
      waiting_.remove_if([&](const Request& each) { return &each == request; });
    }
    Grant();
  }
  uint64_t available() const { return available_; }

 private:
  void Grant() {
    for (auto each = waiting_.begin(); each != waiting_.end();) {
      auto request = each++;
      if (request->cancelled) continue;
      if (request->permits > available_) return;
      available_ -= request->permits;
      request->granted = true;
      granted_.splice(granted_.end(), waiting_, request);
    }
  }
  uint64_t available_;
  std::list<Request> waiting_;  // in order of arrival
  std::list<Request> granted_;
};

TEST(RandomPrograms, ASemaphoreGrantsInOrderWhoeverIsCancelled) {
  Explore([](Engine& engine, uint64_t seed) {
    RandomStream random(seed, "program");
    constexpr uint64_t kPermits = 4;
    Semaphore semaphore("s", kPermits);
    SemaphoreModel model(kPermits);
    Scopes* all = nullptr;
    RunWorkers(
        engine,
        [&](int worker) MILLRACE_MAY_SUSPEND {
          while (all == nullptr) CoYield();
          TaskScope* scope = (*all)[static_cast<size_t>(worker)].get();
          for (int round = 0; round < kRounds; ++round) {
            const uint64_t permits = 1 + random.Below(kPermits);
            SemaphoreModel::Request* request = model.Arrive(permits, scope);
            const bool was_granted_at_once = request->granted;
            request->cancelled = scope->is_cancelled() && !was_granted_at_once;
            const absl::Status status = semaphore.CoAcquireCancellable(permits);
            EXPECT_EQ(status.ok(), request->granted) << status;
            if (status.ok()) CoDawdle(random);
            if (status.ok()) semaphore.Release(permits);
            model.Leave(request);
            CoDawdle(random);
          }
        },
        [&](Scopes& scopes) MILLRACE_MAY_SUSPEND {
          all = &scopes;
          for (int cancels = 0; cancels < 2; ++cancels) {
            CoDawdle(random);
            CoDawdle(random);
            TaskScope* victim = scopes[random.Below(kWorkers)].get();
            model.Cancel(victim);
            victim->Cancel();
          }
        });
    EXPECT_EQ(semaphore.available(), kPermits);
    EXPECT_EQ(model.available(), kPermits);
  });
}

// ---- Range lock ---------------------------------------------------------------------------------

// Everybody who wants or has a range, in order of arrival, and who has which byte.
class RangeModel {
 public:
  static constexpr uint64_t kBytes = 16;
  struct Claim {
    ByteRange range;
    LockMode mode;
    bool is_held = false;
  };

  Claim* Arrive(ByteRange range, LockMode mode) {
    claims_.push_back({range, mode});
    return &claims_.back();
  }
  // Exclusion and fairness at once: whoever came before and conflicts must have left.
  void Hold(Claim* claim) {
    claim->is_held = true;
    for (const Claim& each : claims_) {
      if (&each == claim) break;
      EXPECT_FALSE(Conflict(each, *claim)) << "overtook " << each.range.ToString();
    }
    for (const Claim& each : claims_) {
      EXPECT_FALSE(&each != claim && each.is_held && Conflict(each, *claim)) << "not exclusive";
    }
  }
  void Leave(Claim* claim) {
    claims_.remove_if([&](const Claim& each) { return &each == claim; });
  }
  bool MayTry(const Claim& claim) const {
    return std::none_of(claims_.begin(), claims_.end(), [&](const Claim& each) {
      return &each != &claim && Conflict(each, claim);
    });
  }
  bool empty() const { return claims_.empty(); }

 private:
  // Byte by byte, on purpose: the lock itself compares ends.
  static bool Conflict(const Claim& a, const Claim& b) {
    if (a.mode == LockMode::kShared && b.mode == LockMode::kShared) return false;
    for (uint64_t byte = 0; byte < kBytes; ++byte) {
      if (a.range.Contains(byte) && b.range.Contains(byte)) return true;
    }
    return false;
  }
  std::list<Claim> claims_;
};

TEST(RandomPrograms, ARangeLockExcludesAndNeverLetsALaterConflictOvertake) {
  Explore([](Engine& engine, uint64_t seed) {
    RandomStream random(seed, "program");
    RangeLock lock("r");
    RangeModel model;
    RunWorkers(
        engine,
        [&](int) MILLRACE_MAY_SUSPEND {
          for (int round = 0; round < kRounds; ++round) {
            const uint64_t offset = random.Below(RangeModel::kBytes);
            const ByteRange range(offset, random.Below(RangeModel::kBytes - offset + 1));
            const LockMode mode = random.OneIn(2) ? LockMode::kShared : LockMode::kExclusive;
            RangeLock::Hold hold;
            RangeModel::Claim* claim = model.Arrive(range, mode);
            if (random.OneIn(4)) {
              const bool taken = lock.TryAcquire(range, mode, hold);
              EXPECT_EQ(taken, model.MayTry(*claim));
              if (!taken) {
                model.Leave(claim);
                continue;
              }
            } else {
              lock.CoAcquire(range, mode, hold);
            }
            model.Hold(claim);
            CoDawdle(random);
            model.Leave(claim);
            hold.Release();
          }
        },
        [&](Scopes&) {});
    EXPECT_TRUE(lock.empty());
    EXPECT_TRUE(model.empty());
  });
}

// ---- Condition, gate, event ---------------------------------------------------------------------

// Two producers and three consumers over a buffer of two places: nothing is lost, doubled or stuck.
TEST(RandomPrograms, ABoundedBufferLosesNoItemAndNoWake) {
  Explore([](Engine& engine, uint64_t seed) {
    RandomStream random(seed, "program");
    Condition changed("buffer");
    std::deque<int> buffer;
    int produced = 0;
    int consumed = 0;
    int64_t sum = 0;
    constexpr int kItems = 2 * kRounds;
    RunWorkers(
        engine,
        [&](int worker) MILLRACE_MAY_SUSPEND {
          const bool is_producer = worker < 2;
          while (is_producer ? produced < kItems : consumed < kItems) {
            CoDawdle(random);
            if (is_producer) {
              changed.CoWaitUntil([&] { return buffer.size() < 2 || produced == kItems; });
              if (produced == kItems) break;
              buffer.push_back(++produced);
            } else {
              changed.CoWaitUntil([&] { return !buffer.empty() || consumed == kItems; });
              if (buffer.empty()) break;
              sum += buffer.front();
              buffer.pop_front();
              ++consumed;
            }
            EXPECT_LE(buffer.size(), 2u);
            changed.Notify();
          }
          changed.Notify();
        },
        [&](Scopes&) {});
    EXPECT_EQ(consumed, kItems);
    EXPECT_EQ(sum, kItems * (kItems + 1) / 2);
  });
}

TEST(RandomPrograms, NobodyPassesAClosedGateAndEverybodyPassesInTheEnd) {
  Explore([](Engine& engine, uint64_t seed) {
    RandomStream random(seed, "program");
    Gate gate("g");
    int passed = 0;
    RunWorkers(
        engine,
        [&](int) MILLRACE_MAY_SUSPEND {
          for (int round = 0; round < kRounds; ++round) {
            gate.CoPass();
            EXPECT_TRUE(gate.is_open());
            ++passed;
            CoDawdle(random);
          }
        },
        [&](Scopes&) MILLRACE_MAY_SUSPEND {
          for (int round = 0; round < kRounds; ++round) {
            const uint64_t closings = 1 + random.Below(2);
            for (uint64_t i = 0; i < closings; ++i) gate.Close();
            CoDawdle(random);
            for (uint64_t i = 0; i < closings; ++i) gate.Open();
            CoDawdle(random);
          }
        });
    EXPECT_EQ(passed, kWorkers * kRounds);
  });
}

// A chain of hand-overs: each worker waits for its own event, resets it, and sets the next one's,
// while cancels rain on those who listen to them. R49: a wake that is lost stops the chain.
TEST(RandomPrograms, ATokenPassedByEventsIsNeverLost) {
  Explore([](Engine& engine, uint64_t seed) {
    RandomStream random(seed, "program");
    std::vector<std::unique_ptr<Event>> turns;
    for (int i = 0; i < kWorkers; ++i) turns.push_back(std::make_unique<Event>("turn"));
    int handed_over = 0;
    turns[0]->Set();
    RunWorkers(
        engine,
        [&](int worker) MILLRACE_MAY_SUSPEND {
          Event& mine = *turns[static_cast<size_t>(worker)];
          Event& next = *turns[static_cast<size_t>((worker + 1) % kWorkers)];
          for (int round = 0; round < kRounds; ++round) {
            // A cancelled wait takes nothing away: try again without the cancel.
            if (!mine.CoWaitCancellable().ok()) mine.CoWait();
            EXPECT_TRUE(mine.is_set());
            EXPECT_EQ(handed_over++ % kWorkers, worker);
            mine.Reset();
            CoDawdle(random);
            next.Set();
          }
        },
        [&](Scopes& scopes) MILLRACE_MAY_SUSPEND {
          CoDawdle(random);
          scopes[random.Below(kWorkers)]->Cancel();
        });
    EXPECT_EQ(handed_over, kWorkers * kRounds);
  });
}

// ---- Sleeps and kicks ---------------------------------------------------------------------------

// A sleeper that others kick at random moments sleeps until its deadline or a kick, never past its
// deadline, and never for ever; the loop of a rate-limited job over it ends exactly on time.
TEST(RandomPrograms, AnInterruptibleSleepIsKickedAtAnyMoment) {
  Explore([](Engine& engine, uint64_t seed) {
    RandomStream random(seed, "program");
    InterruptibleSleep rest(engine.scheduler());
    const Nanoseconds end = 20;
    bool is_over = false;
    RunWorkers(
        engine,
        [&](int worker) MILLRACE_MAY_SUSPEND {
          if (worker == 0) {
            while (engine.clock().Now() < end) rest.CoSleepUntil(end);
            EXPECT_EQ(engine.clock().Now(), end);
            is_over = true;
            return;
          }
          for (int round = 0; round < kRounds; ++round) {
            EXPECT_TRUE(CoSleepFor(static_cast<Nanoseconds>(random.Below(4))).ok());
            rest.Kick();
            EXPECT_FALSE(rest.is_sleeping());
          }
        },
        [&](Scopes&) {});
    EXPECT_TRUE(is_over);
  });
}

// ---- Coroutines that cannot be started ----------------------------------------------------------

// One spawn in five finds no stack. The scope fails with ResourceExhausted, whatever had started is
// cancelled and joined, and no stack stays behind (checked by Explore).
TEST(RandomPrograms, SpawnsThatFailLeaveNothingBehind) {
  int failed = 0;
  Explore(
      [&failed](Engine& engine, uint64_t seed) {
        RandomStream random(seed, "program");
        TaskScope root(engine.scheduler(), "root");
        int started = 0;
        int ended = 0;
        root.Spawn("parent", [&]() MILLRACE_MAY_SUSPEND {
          TaskScope scope("children");
          bool all = true;
          for (int i = 0; i < kWorkers; ++i) {
            const bool is_started = scope.Spawn("child", [&]() MILLRACE_MAY_SUSPEND {
              (void)CoSleepFor(static_cast<Nanoseconds>(random.Below(10)));
              ++ended;
            });
            started += is_started;
            all &= is_started;
            CoDawdle(random);
          }
          const absl::Status status = scope.CoJoin();
          EXPECT_EQ(status.ok(), all) << status;
          EXPECT_TRUE(all || absl::IsResourceExhausted(status)) << status;
          failed += !all;
        });
        EXPECT_TRUE(engine.RunUntil([&] { return root.live() == 0; }));
        EXPECT_EQ(started, ended);
      },
      /*cost=*/1, {.fault_one_in = 5});
  EXPECT_GT(failed, 0);
}

}  // namespace
}  // namespace millrace::random_programs_test
