// The smallest stages: a lock, a semaphore, a throttle group, two images, and nothing else.
#include <array>
#include <memory>
#include <utility>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/engine/sync/semaphore.h"
#include "millrace/graph/drivers/null.h"
#include "millrace/graph/filters/throttle.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"

namespace millrace::gallery {
namespace {

// Four requests, the ranges of QEMU's active mirror: the first is under way when the next two come.
absl::Status CoFourRanges(Stage& stage) MILLRACE_MAY_SUSPEND {
  RangeLock lock("ranges");
  TaskScope requests("requests");
  const ByteRange ranges[] = {{0, 1}, {0, 2}, {0, 2}, {1, 2}};
  for (const ByteRange& range : ranges) {
    requests.Spawn("request", [&lock, range]() MILLRACE_MAY_SUSPEND {
      RangeLock::Hold hold;
      lock.CoAcquire(range, LockMode::kExclusive, hold);
      CoYield();
    });
  }
  return requests.CoJoin();
}

absl::Status CoThreeLockers(Stage& stage) MILLRACE_MAY_SUSPEND {
  Mutex mutex("m");
  int inside = 0;
  TaskScope lockers("lockers");
  for (int i = 0; i < 3; ++i) {
    lockers.Spawn("locker", [&]() MILLRACE_MAY_SUSPEND {
      for (int round = 0; round < 2; ++round) {
        const MutexLock lock = CoHold(mutex);
        stage.Require(++inside == 1, "I16", "two lockers hold mutex 'm'");
        CoYield();
        --inside;
      }
    });
  }
  return lockers.CoJoin();
}

// Of two that wait for permits, the first is cancelled: what it waited for is enough for the other.
absl::Status CoCancelFirstWaiter(Stage& stage) MILLRACE_MAY_SUSPEND {
  Semaphore semaphore("s", 1);
  TaskScope large("large");
  TaskScope small("small");
  large.Spawn("large", [&]() MILLRACE_MAY_SUSPEND {
    if (semaphore.CoAcquireCancellable(2).ok()) semaphore.Release(2);
  });
  small.Spawn("small", [&]() MILLRACE_MAY_SUSPEND {
    semaphore.CoAcquire(1);
    semaphore.Release(1);
  });
  CoYield();
  large.Cancel();
  large.CoJoin().IgnoreError();
  return small.CoJoin();
}

// ---- Throttle groups ----------------------------------------------------------------------------

ThrottleLimits OneASecond() {
  ThrottleLimits limits;
  limits.operations_total.average = 1;
  return limits;
}

// Two disks in a group; one is unplugged while the other waits.
absl::Status CoMemberLeaves(Stage& stage) MILLRACE_MAY_SUSPEND {
  ThrottleGroup group(stage.engine().scheduler(), "g", OneASecond());
  ThrottleGroup::Member stays(group, "stays");
  auto leaves = std::make_unique<ThrottleGroup::Member>(group, "leaves");
  TaskScope requests("requests");
  requests.Spawn("stays", [&]() MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < 3; ++i) stays.CoPass(ThrottleDirection::kRead, 1);
  });
  requests.Spawn("leaves", [&]() MILLRACE_MAY_SUSPEND {
    leaves->CoPass(ThrottleDirection::kRead, 1);
    leaves.reset();
  });
  return requests.CoJoin();
}

// A disk that is drained does not wait for its turn.
absl::Status CoDrainedMember(Stage& stage) MILLRACE_MAY_SUSPEND {
  ThrottleGroup group(stage.engine().scheduler(), "g", OneASecond());
  ThrottleGroup::Member first(group, "first");
  ThrottleGroup::Member drained(group, "drained");
  int waiting = 2;
  TaskScope requests("requests");
  requests.Spawn("first", [&]() MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < 4; ++i) first.CoPass(ThrottleDirection::kRead, 1);
  });
  for (int i = 0; i < 2; ++i) {
    requests.Spawn("drained", [&]() MILLRACE_MAY_SUSPEND {
      drained.CoPass(ThrottleDirection::kRead, 1);
      --waiting;
    });
  }
  CoYield();
  const Nanoseconds before = stage.engine().clock().Now();
  drained.BeginDrain();
  while (waiting > 0) stage.CoSleep(kMillisecond);
  stage.Require(stage.engine().clock().Now() - before < kSecond / 2, "I11",
                "a drain waits for the turn of the drained disk");
  drained.EndDrain();
  return requests.CoJoin();
}

absl::Status CoNewLimits(Stage& stage) MILLRACE_MAY_SUSPEND {
  ThrottleGroup group(stage.engine().scheduler(), "g", OneASecond());
  ThrottleGroup::Member member(group, "disk");
  TaskScope requests("requests");
  requests.Spawn("request", [&]() MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < 3; ++i) member.CoPass(ThrottleDirection::kRead, 1);
  });
  CoYield();
  MILLRACE_RETURN_IF_ERROR(group.SetLimits({}));
  return requests.CoJoin();
}

// Three disks of a group ask for much at once: what passes is what the limit allows (I14).
absl::Status CoGroupKeepsItsRate(Stage& stage) MILLRACE_MAY_SUSPEND {
  ThrottleGroup group(stage.engine().scheduler(), "g", OneASecond());
  std::array<std::unique_ptr<ThrottleGroup::Member>, 3> members;
  int passed = 0;
  TaskScope requests("requests");
  for (std::unique_ptr<ThrottleGroup::Member>& member : members) {
    member = std::make_unique<ThrottleGroup::Member>(group, "disk");
    requests.Spawn("request", [&]() MILLRACE_MAY_SUSPEND {
      for (int i = 0; i < 3; ++i) {
        member->CoPass(ThrottleDirection::kRead, 1);
        ++passed;
        // The bucket holds one second's worth, and one more is let into it.
        const Nanoseconds allowed = stage.engine().clock().Now() / kSecond + 2;
        stage.Require(passed <= allowed, "I14",
                      StrCat(passed, " requests have passed where ", allowed, " may"));
      }
    });
  }
  return requests.CoJoin();
}

// A throttle filter is opened above a node that is being drained.
absl::Status CoOpenThrottleUnderDrain(Stage& stage) MILLRACE_MAY_SUSPEND {
  const auto group = std::make_shared<ThrottleGroup>(stage.engine().scheduler(), "g", OneASecond());
  stage.Spawn("drainer", [&stage]() MILLRACE_MAY_SUSPEND {
    const absl::StatusOr<DrainedSection> drained =
        DrainedSection::CoBegin(stage.graph(), {stage.chain().top()}, {});
    for (int i = 0; i < 4; ++i) CoYield();
  });
  AttachmentOptions keeper;
  keeper.holder = MakeHolder("user", "monitor");
  keeper.queues_requests = false;
  keeper.stays_at_node = true;
  for (int i = 0; i < 3; ++i) {
    MILLRACE_ASSIGN_OR_RETURN(Attachment filter,
                              CoAddFilterBeside(stage.graph(), MakeThrottleDriver(group),
                                                StrCat("t", i), stage.chain().top(), keeper));
    CoYield();
    filter.CoDetach();
  }
  return absl::OkStatus();
}

// ---- Two images ---------------------------------------------------------------------------------

absl::StatusOr<NodeId> CoAddImage(Stage& stage, std::string name) MILLRACE_MAY_SUSPEND {
  MemoryOverlayOptions driver;
  driver.bytes = Stage::kBytes;
  NodeId id;
  {
    GraphTransaction change(stage.graph());
    id = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), {.name = std::move(name)});
    AttachmentOptions keep;
    keep.holder = MakeHolder("monitor", "monitor");
    keep.stays_at_node = true;
    stage.keepers().push_back(change.Attach(id, keep));
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(stage.graph(), id));
  return id;
}

absl::Status PutOn(Stage& stage, NodeId overlay, NodeId base, const DrainedSection& drained)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(stage.graph());
  change.Show(drained);
  change.SetBacking(overlay, base, std::nullopt);
  return change.Commit().status();
}

// Two users put one image on the other, each in his own direction.
absl::Status CoEachOnTheOther(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const NodeId x, CoAddImage(stage, "x"));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId y, CoAddImage(stage, "y"));
  TaskScope users("users");
  int refused = 0;
  const auto put = [&](NodeId overlay, NodeId base) {
    users.Spawn("user", [&stage, &refused, overlay, base]() MILLRACE_MAY_SUSPEND {
      const HolderRef user = MakeHolder("user", "monitor");
      const absl::StatusOr<DrainedSection> drained =
          DrainedSection::CoBegin(stage.graph(), {overlay}, {user});
      stage.RequireOk(drained.status(), "I8", "draining");
      if (drained.ok() && !PutOn(stage, overlay, base, *drained).ok()) ++refused;
    });
  };
  put(x, y);
  put(y, x);
  MILLRACE_RETURN_IF_ERROR(users.CoJoin());
  stage.Require(refused == 1, "G1", "each of two images is the other's backing");
  return absl::OkStatus();
}

}  // namespace

void AddMicroEntries(std::vector<Entry>& entries) {
  const StageOptions bare{.layers = 0};
  entries.push_back({Mutant::kR14,
                     "R14",
                     "a request waits for whoever overlaps it, also for those that wait for it",
                     {"four-ranges", bare, &CoFourRanges},
                     Script()});
  entries.push_back({Mutant::kR20c,
                     "R20c",
                     "a mutex is free until the woken waiter runs, and a newcomer slips in",
                     {"three-lockers", bare, &CoThreeLockers},
                     Script()});
  entries.push_back({Mutant::kR32,
                     "R32",
                     "a throttled disk that leaves takes the group's timer with it",
                     {"member-leaves", bare, &CoMemberLeaves},
                     Script()});
  entries.push_back({Mutant::kR33,
                     "R33",
                     "a drained disk waits for its turn in its group",
                     {"drained-member", bare, &CoDrainedMember},
                     Script()});
  entries.push_back({Mutant::kR35,
                     "R35",
                     "new limits take the timer away from requests that wait",
                     {"new-limits", bare, &CoNewLimits},
                     Script()});
  entries.push_back({Mutant::kR49,
                     "R49",
                     "who gives up waiting does not pass on what it was woken for",
                     {"cancel-first-waiter", bare, &CoCancelFirstWaiter},
                     Script()});
  entries.push_back({Mutant::kM24,
                     "M24",
                     "what a throttle group lets pass is charged when it runs, not when it may",
                     {"group-keeps-its-rate", bare, &CoGroupKeepsItsRate},
                     Script()});
  entries.push_back({Mutant::kR75,
                     "R75",
                     "a node's answer about permissions takes I/O, and others run meanwhile",
                     {"each-on-the-other", bare, &CoEachOnTheOther},
                     Script()});
  entries.push_back({Mutant::kR82,
                     "R82",
                     "each of two images becomes the other's backing",
                     {"each-on-the-other", bare, &CoEachOnTheOther},
                     Script()});
  entries.push_back(
      {Mutant::kM01,
       "M01",
       "a throttle filter that is opened in a drain does not know of it",
       {"open-throttle-under-drain", {.layers = 1, .guest_rounds = 2}, &CoOpenThrottleUnderDrain},
       Script()});
}

}  // namespace millrace::gallery
