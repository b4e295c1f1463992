// Disks that share a throttle group: what is queued goes on whatever becomes of the disk whose turn
// it is, and no more passes than the limit allows.
#include <memory>
#include <string>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/filters/throttle_group.h"
#include "tests/scenarios/exploration/micro_parts.h"

namespace millrace {
namespace {

ThrottleLimits TenASecond() {
  ThrottleLimits limits;
  limits.operations_total.average = 10;
  return limits;
}

// One disk has two requests; the other goes away after its own.
Scenario DiskThatLeaves() {
  return {"micro: two disks in a throttle group, one leaves", [](ScenarioRun& run) {
            ThrottleGroup group(run.engine().scheduler(), "group", TenASecond());
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              ThrottleGroup::Member one(group, "one");
              auto two = std::make_unique<ThrottleGroup::Member>(group, "two");
              TaskScope scope("guests");
              scope.Spawn("guest1", [&]() MILLRACE_MAY_SUSPEND {
                for (int i = 0; i < 2; ++i) one.CoPass(ThrottleDirection::kWrite, 512);
              });
              scope.Spawn("guest2", [&]() MILLRACE_MAY_SUSPEND {
                two->CoPass(ThrottleDirection::kWrite, 512);
                two.reset();
              });
              return scope.CoJoin();
            });
          }};
}

// A drain does not wait for the turn of the disk that it drains.
Scenario DiskThatIsDrained() {
  return {"micro: two disks in a throttle group, one is drained", [](ScenarioRun& run) {
            ThrottleGroup group(run.engine().scheduler(), "group", TenASecond());
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              ThrottleGroup::Member one(group, "one");
              ThrottleGroup::Member two(group, "two");
              int queued = 0;
              TaskScope scope("parties");
              scope.Spawn("guest1", [&]() MILLRACE_MAY_SUSPEND {
                for (int i = 0; i < 3; ++i) one.CoPass(ThrottleDirection::kWrite, 512);
              });
              scope.Spawn("guest2", [&]() MILLRACE_MAY_SUSPEND {
                ++queued;
                two.CoPass(ThrottleDirection::kWrite, 512);
                --queued;
              });
              scope.Spawn("drainer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                const Nanoseconds start = run.engine().clock().Now();
                two.BeginDrain();
                while (queued > 0) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
                if (run.engine().clock().Now() - start > 20 * kMillisecond) {
                  run.Fail("throttle", "a drain waits for the turn of its disk");
                }
                two.EndDrain();
                return absl::OkStatus();
              });
              return scope.CoJoin();
            });
          }};
}

// Who waits by the old limits does not wait for ever.
Scenario LimitsThatChange() {
  return {"micro: a throttled disk and new limits", [](ScenarioRun& run) {
            ThrottleGroup group(run.engine().scheduler(), "group", TenASecond());
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              ThrottleGroup::Member disk(group, "disk");
              TaskScope scope("parties");
              scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
                for (int i = 0; i < 4; ++i) disk.CoPass(ThrottleDirection::kRead, 512);
              });
              scope.Spawn("user", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                CoYield("micro.limits");
                MILLRACE_RETURN_IF_ERROR(group.SetLimits({}));
                CoYield("micro.limits");
                return group.SetLimits(TenASecond());
              });
              return scope.CoJoin();
            });
          }};
}

Scenario RateOfThree() {
  return {"micro: three disks keep the rate of their throttle group", [](ScenarioRun& run) {
            ThrottleGroup group(run.engine().scheduler(), "group", TenASecond());
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              std::unique_ptr<ThrottleGroup::Member> disks[3];
              int passed = 0;
              TaskScope scope("guests");
              for (auto& disk : disks) {
                disk = std::make_unique<ThrottleGroup::Member>(group, "disk");
                scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
                  disk->CoPass(ThrottleDirection::kWrite, 512);
                  ++passed;
                  // A tenth of a second's worth fits into the bucket, and one more is let in.
                  const int64_t tenths = run.engine().clock().Now() / (kSecond / 10);
                  if (passed > tenths + 2) run.Fail("throttle", "more passes than may");
                });
              }
              return scope.CoJoin();
            });
          }};
}

}  // namespace

std::vector<Scenario> ThrottleMicroScenarios() {
  return {DiskThatLeaves(), DiskThatIsDrained(), LimitsThatChange(), RateOfThree()};
}

}  // namespace millrace
