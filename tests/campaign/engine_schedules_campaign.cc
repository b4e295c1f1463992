// Random coroutines that contend for every kind of lock, under random schedules.
//
// Held against it: no two holders where one is allowed, no lost wake (a deadlock is reported by the
// engine), and the same schedule for the same seed.
#include <algorithm>
#include <memory>
#include <vector>

#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/engine/sync/semaphore.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/campaign/campaign.h"

namespace millrace {
namespace {

constexpr uint64_t kBytes = 64;
constexpr uint64_t kPermits = 3;

// The locks under test, and what a plain count says about them.
struct World {
  Mutex mutex{"mutex"};
  Semaphore semaphore{"semaphore", kPermits};
  RangeLock range_lock{"range"};
  int in_mutex = 0;
  uint64_t permits_out = 0;
  std::vector<int> readers = std::vector<int>(kBytes);
  std::vector<int> writers = std::vector<int>(kBytes);
  std::string complaint;

  void Expect(bool holds, std::string_view what) {
    if (!holds && complaint.empty()) complaint = what;
  }
};

void CoPause(RandomStream& random) MILLRACE_MAY_SUSPEND {
  if (random.OneIn(3)) {
    (void)CoSleepFor(static_cast<Nanoseconds>(random.Below(5)) * kMillisecond);
  } else {
    CoYield();
  }
}

void CoUseMutex(World& world, RandomStream& random) MILLRACE_MAY_SUSPEND {
  MutexLock lock(CoHold(world.mutex));
  world.Expect(++world.in_mutex == 1, "two coroutines hold the mutex");
  CoPause(random);
  --world.in_mutex;
}

void CoUseSemaphore(World& world, RandomStream& random) MILLRACE_MAY_SUSPEND {
  const uint64_t permits = 1 + random.Below(kPermits);
  world.semaphore.CoAcquire(permits);
  world.permits_out += permits;
  world.Expect(world.permits_out <= kPermits, "more permits are out than there are");
  CoPause(random);
  world.permits_out -= permits;
  world.semaphore.Release(permits);
}

void CoUseRange(World& world, RandomStream& random) MILLRACE_MAY_SUSPEND {
  const uint64_t begin = random.Below(kBytes);
  const uint64_t bytes = 1 + random.Below(kBytes - begin);
  const bool exclusive = random.OneIn(2);
  RangeLock::Hold hold;
  world.range_lock.CoAcquire({begin, bytes}, exclusive ? LockMode::kExclusive : LockMode::kShared,
                             hold);
  std::vector<int>& mine = exclusive ? world.writers : world.readers;
  for (uint64_t at = begin; at < begin + bytes; ++at) {
    ++mine[at];
    world.Expect(world.writers[at] == 0 || world.writers[at] + world.readers[at] == 1,
                 "an exclusive range is shared");
  }
  CoPause(random);
  for (uint64_t at = begin; at < begin + bytes; ++at) --mine[at];
}

struct Outcome {
  std::string complaint;
  uint64_t trace_hash = 0;
  uint64_t steps = 0;
};

// Stacks are kept from run to run: to map them takes longer than a run.
Outcome RunOnce(uint64_t seed) {
  static StackPool stacks;
  RandomDecider decider(seed);
  auto engine = Engine::Create({.simulated = true, .decider = &decider, .stacks = &stacks});
  World world;
  RandomStream random(seed, "workload");
  absl::Status status = (*engine)->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("workers");
    const uint64_t workers = 2 + random.Below(6);
    for (uint64_t worker = 0; worker < workers; ++worker) {
      scope.Spawn(StrCat("worker", worker), [&]() MILLRACE_MAY_SUSPEND {
        for (int round = 0; round < 10; ++round) {
          switch (random.Below(3)) {
            case 0:
              CoUseMutex(world, random);
              break;
            case 1:
              CoUseSemaphore(world, random);
              break;
            default:
              CoUseRange(world, random);
          }
        }
      });
    }
    return scope.CoJoin();
  });
  world.Expect(status.ok(), status.message().empty() ? "failed" : "a worker failed");
  return {world.complaint, (*engine)->scheduler().trace_hash(), (*engine)->scheduler().steps()};
}

absl::Status RunSeed(uint64_t seed, CampaignCounts& counts) {
  const Outcome once = RunOnce(seed);
  const Outcome again = RunOnce(seed);
  counts["schedules"] += 1;  // the second is the same
  counts["steps"] += once.steps;
  if (!once.complaint.empty()) return absl::InternalError(once.complaint);
  if (once.trace_hash != again.trace_hash) return absl::InternalError("one seed, two schedules");
  return absl::OkStatus();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) { return millrace::RunCampaign(argc, argv, millrace::RunSeed); }
