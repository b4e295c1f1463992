#include "millrace/graph/filters/throttle.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drivers/null.h"
#include "tests/support/simple_driver_context.h"
#include "tests/support/simulation.h"

namespace millrace::throttle_test {
namespace {

using Member = ThrottleGroup::Member;
constexpr ThrottleDirection kReads = ThrottleDirection::kRead;
constexpr ThrottleDirection kWrites = ThrottleDirection::kWrite;

TEST(ThrottleLimits, NonsenseIsRefusedByName) {
  struct Row {
    ThrottleLimits limits;
    std::string text;
  };
  const Row rows[] = {
      {{.bytes_total = {1}, .bytes_read = {1}}, "'bps-total' and 'bps-read'"},
      {{.operations_total = {1}, .operations_write = {1}}, "'iops-total' and 'iops-read'"},
      {{.bytes_read = {.burst = 5}}, "'bps-read-max' needs an average rate"},
      {{.bytes_read = {.average = 9, .burst = 5}}, "'bps-read-max' is below"},
      {{.bytes_write = {.average = 9, .burst_seconds = 2}}, "'bps-write-max-length' needs a burst"},
      {{.bytes_write = {.average = 9, .burst = 9, .burst_seconds = 0}}, "is 0"},
      {{.bytes_write = {.average = 9, .burst = 1u << 30, .burst_seconds = 1u << 30}}, "too long"},
      {{.bytes_total = {.average = UINT64_MAX}}, "'bps-total' is above"},
      {{.bytes_total = {.average = 1}, .operation_bytes = 512}, "'iops-size' needs"},
  };
  for (const Row& row : rows) {
    const absl::Status status = row.limits.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.text;
    EXPECT_NE(std::string(status.message()).find(row.text), std::string::npos) << status;
  }
  EXPECT_TRUE(ThrottleLimits{}.Validate().ok());
  EXPECT_TRUE((ThrottleLimits{.bytes_read = {5}, .bytes_write = {5}}).Validate().ok());
}

// How many seconds `count` requests of `bytes` take, one after the other.
double SecondsFor(const ThrottleLimits& limits, int count, uint64_t bytes,
                  ThrottleDirection direction = kWrites) {
  auto engine = SimulatedEngine();
  ThrottleGroup group(engine->scheduler(), "g", limits);
  Member member(group, "m");
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < count; ++i) member.CoPass(direction, bytes);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_FALSE(group.is_armed());
  return static_cast<double>(engine->clock().Now()) / static_cast<double>(kSecond);
}

TEST(Throttle, NoLimitTakesNoTime) { EXPECT_EQ(SecondsFor({}, 1000, 1 << 20), 0); }

TEST(Throttle, TheAverageRateHoldsBeyondATenthOfASecond) {
  // Ten seconds' worth in pieces of 10 ms: 100 ms are free, and the last piece is never waited for.
  EXPECT_NEAR(SecondsFor({.bytes_total = {1'000'000}}, 1000, 10'000), 9.89, 0.001);
}

TEST(Throttle, ALargeRequestPassesAndIsPaidAfterwards) {
  EXPECT_EQ(SecondsFor({.bytes_total = {1000}}, 1, 1'000'000), 0);
  EXPECT_NEAR(SecondsFor({.bytes_total = {1000}}, 2, 1'000'000), 999.9, 0.001);
}

TEST(Throttle, ABurstLastsAsLongAsItMayAtItsOwnRate) {
  const ThrottleLimits limits{
      .operations_total = {.average = 100, .burst = 1000, .burst_seconds = 5}};
  EXPECT_NEAR(SecondsFor(limits, 4000, 512), 3.9, 0.01);
  // The bucket of 5000 fills at 1000/s and leaks at 100/s meanwhile; the rest goes at 100/s.
  const double burst = (5000.0 - 100) / 900;
  EXPECT_NEAR(SecondsFor(limits, 10000, 512), burst + (10000 - 1000 * burst - 100) / 100, 0.1);
}

TEST(Throttle, LargeRequestsCountAsSeveralOperations) {
  ThrottleLimits limits{.operations_total = {100}};
  EXPECT_NEAR(SecondsFor(limits, 1000, 8192), 9.9, 0.02);
  limits.operation_bytes = 4096;
  EXPECT_NEAR(SecondsFor(limits, 1000, 8192), 19.9, 0.04);
  EXPECT_NEAR(SecondsFor(limits, 1000, 512), 9.9, 0.02);
}

TEST(Throttle, DirectionsHaveLimitsOfTheirOwn) {
  const ThrottleLimits limits{.bytes_read = {1000}};
  EXPECT_EQ(SecondsFor(limits, 100, 1000, kWrites), 0);
  EXPECT_NEAR(SecondsFor(limits, 100, 1000, kReads), 98.9, 0.001);
}

TEST(Throttle, MembersTakeTurns) {
  auto engine = SimulatedEngine();
  ThrottleGroup group(engine->scheduler(), "g", {.operations_total = {10}});
  Member members[] = {{group, "a"}, {group, "b"}, {group, "c"}};
  std::vector<int> order;
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    // The first member has many requests waiting, the others one at a time.
    for (int i = 0; i < 12; ++i) {
      scope.Spawn("greedy", [&]() MILLRACE_MAY_SUSPEND {
        members[0].CoPass(kReads, 512);
        order.push_back(0);
      });
    }
    for (int member : {1, 2}) {
      scope.Spawn("modest", [&, member]() MILLRACE_MAY_SUSPEND {
        for (int i = 0; i < 4; ++i) {
          members[member].CoPass(kReads, 512);
          order.push_back(member);
        }
      });
    }
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  ASSERT_EQ(order.size(), 20u);
  for (int member : {1, 2}) {
    EXPECT_EQ(std::count(order.begin(), order.begin() + 14, member), 4)
        << "member " << member << " had to stand behind the greedy one";
  }
}

TEST(Throttle, ReadsAndWritesTakeTurns) {
  auto engine = SimulatedEngine();
  ThrottleGroup group(engine->scheduler(), "g", {.bytes_total = {1000}});
  Member member(group, "a");
  std::vector<ThrottleDirection> order;
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    for (ThrottleDirection direction : {kReads, kWrites}) {
      for (int i = 0; i < 20; ++i) {
        scope.Spawn("guest", [&, direction]() MILLRACE_MAY_SUSPEND {
          member.CoPass(direction, 1000);
          order.push_back(direction);
        });
      }
    }
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  ASSERT_EQ(order.size(), 40u);
  EXPECT_NEAR(static_cast<double>(std::count(order.begin(), order.begin() + 20, kReads)), 10, 2);
}

struct Passed {
  Nanoseconds time;
  uint64_t bytes;
};

// I14. What went ahead of the limit because of a drain is allowed on top, once.
void ExpectWithinRate(const std::vector<Passed>& passed, uint64_t rate, uint64_t piece,
                      uint64_t drained_bytes) {
  for (size_t i = 0; i < passed.size(); ++i) {
    uint64_t bytes = 0;
    for (size_t j = i; j < passed.size(); ++j) {
      bytes += passed[j].bytes;
      const double seconds =
          static_cast<double>(passed[j].time - passed[i].time) / static_cast<double>(kSecond);
      EXPECT_LE(static_cast<double>(bytes), static_cast<double>(rate) * (seconds + 0.1) +
                                                static_cast<double>(piece + drained_bytes) + 1);
    }
  }
}

// Members drain, leave and join, and the limits are set again to what they are, under every
// schedule: the rate holds, and the timer is armed if and only if somebody waits.
TEST(Throttle, NoWindowHasMoreThanTheLimitAllows) {
  constexpr uint64_t kRate = 100'000;
  constexpr uint64_t kPiece = 7'000;
  Explore(
      [&](Engine& engine, uint64_t seed) {
        RandomStream random(seed, "workload");
        const ThrottleLimits limits{.bytes_total = {kRate}};
        ThrottleGroup group(engine.scheduler(), "g", limits);
        std::vector<Passed> passed;
        uint64_t drained_bytes = 0;
        const auto guest = [&](bool sets_limits) MILLRACE_MAY_SUSPEND -> absl::Status {
          for (int life = 0; life < 3; ++life) {
            Member member(group, "m");
            for (int i = 0; i < 4; ++i) {
              const uint64_t bytes = 1 + random.Below(kPiece);
              member.CoPass(random.OneIn(2) ? kReads : kWrites, bytes);
              passed.push_back({engine.clock().Now(), bytes});
              EXPECT_EQ(group.is_armed(), group.waiting() > 0);
              if (random.OneIn(4)) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
            }
            member.BeginDrain();
            const uint64_t bytes = 1 + random.Below(kPiece);
            const Nanoseconds before = engine.clock().Now();
            member.CoPass(kWrites, bytes);
            EXPECT_EQ(engine.clock().Now(), before) << "a drained member waited";
            passed.push_back({engine.clock().Now(), bytes});
            drained_bytes += bytes;
            member.EndDrain();
            if (sets_limits) {
              EXPECT_TRUE(group.SetLimits(limits).ok());
            }
            EXPECT_EQ(group.is_armed(), group.waiting() > 0);
          }
          return absl::OkStatus();
        };
        const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND {
          TaskScope scope("test");
          for (int i = 0; i < 4; ++i) {
            scope.Spawn("guest", [&, i]() MILLRACE_MAY_SUSPEND { return guest(i == 0); });
          }
          return scope.CoJoin();
        });
        EXPECT_TRUE(status.ok()) << status;
        ExpectWithinRate(passed, kRate, kPiece, drained_bytes);
        EXPECT_FALSE(group.is_armed());
      },
      8);
}

// A throttle filter over a null disk.
struct FilterUnderTest {
  FilterUnderTest(Engine& engine, const ThrottleLimits& limits)
      : group(std::make_shared<ThrottleGroup>(engine.scheduler(), "g", limits)),
        disk_context(engine, "disk"),
        context(engine, "throttle"),
        disk(MakeNullDriver({})),
        filter(MakeThrottleDriver(group)) {
    context.SetChild(Role::kFiltered, *disk);
  }
  absl::Status CoOpen() MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(disk->CoOpen(disk_context));
    return filter->CoOpen(context);
  }
  std::shared_ptr<ThrottleGroup> group;
  SimpleDriverContext disk_context;
  SimpleDriverContext context;
  std::unique_ptr<ProtocolDriver> disk;
  std::unique_ptr<FilterDriver> filter;
};

// R33: the clock stands still while a drain waits. R32: whoever stays is still served.
TEST(Throttle, DrainingLetsTheQueueGoAtOnceAndTheOthersPay) {
  auto engine = SimulatedEngine();
  FilterUnderTest node(*engine, {.bytes_total = {1}});
  Member other(*node.group, "other");
  bool other_passed = false;
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    TaskScope guests("guests");
    TaskScope others("others");
    std::string data(4096, 'x');
    other.CoPass(kWrites, 4096);  // the bucket is full from here on
    others.Spawn("other", [&]() MILLRACE_MAY_SUSPEND {
      other.CoPass(kWrites, 1);
      other_passed = true;
    });
    for (int i = 0; i < 3; ++i) {
      guests.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
        return node.filter->CoWrite(0, IoVector(data.data(), data.size()), {});
      });
      guests.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
        return node.filter->CoRead(0, IoVector(data.data(), data.size()));
      });
    }
    while (node.group->waiting() < 7) CoYield();
    node.filter->BeginDrain();
    node.filter->BeginDrain();
    node.filter->EndDrain();
    MILLRACE_RETURN_IF_ERROR(guests.CoJoin());
    EXPECT_EQ(engine->clock().Now(), 0);
    EXPECT_FALSE(other_passed);
    EXPECT_TRUE(node.group->is_armed());
    node.filter->EndDrain();
    node.filter->CoClose();
    MILLRACE_RETURN_IF_ERROR(others.CoJoin());
    EXPECT_NEAR(static_cast<double>(engine->clock().Now()), 7.0 * 4096 * kSecond, kSecond);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(Throttle, RaisingTheLimitWakesWhoWaits) {
  auto engine = SimulatedEngine();
  ThrottleGroup group(engine->scheduler(), "g", {.bytes_total = {1}});
  Member member(group, "m");
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
      member.CoPass(kReads, 1000);
      member.CoPass(kReads, 1000);
    });
    while (group.waiting() == 0) CoYield();
    EXPECT_EQ(group.SetLimits({.bytes_total = {.burst = 1}}).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(group.waiting(), 1u);
    EXPECT_TRUE(group.SetLimits({}).ok());
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(engine->clock().Now(), 0);
}

TEST(Throttle, FlushesPassAndEverythingElseIsCharged) {
  auto engine = SimulatedEngine();
  FilterUnderTest node(*engine, {.operations_total = {.average = 1}});
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    for (int i = 0; i < 10; ++i) MILLRACE_RETURN_IF_ERROR(node.filter->CoFlush());
    EXPECT_EQ(engine->clock().Now(), 0);
    char byte = 'x';
    MILLRACE_RETURN_IF_ERROR(node.filter->CoDiscard(ByteRange(0, 1)));
    MILLRACE_RETURN_IF_ERROR(node.filter->CoWriteZeroes(ByteRange(0, 1), {}));
    MILLRACE_RETURN_IF_ERROR(node.filter->CoWrite(0, IoVector(&byte, 1), {}));
    MILLRACE_RETURN_IF_ERROR(node.filter->CoRead(0, IoVector(&byte, 1)));
    EXPECT_NEAR(static_cast<double>(engine->clock().Now()), 2.9 * kSecond, kMillisecond);
    node.filter->CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace millrace::throttle_test
