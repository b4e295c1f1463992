// The fault loop: one fixed sequence of operations, in which the N-th operation on the file fails,
// for every N. Each failure is a clean error; nothing already written is lost, and the image stays
// free of corruption whatever the driver did after the error.
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/faulted_guest.h"
#include "tests/support/qcow2_images.h"

namespace millrace::driver_fault_test {
namespace {

// Writes, zeroes, discards, fills, grows and flushes.
void CoRunSequence(FaultedGuest& guest) MILLRACE_MAY_SUSPEND {
  const uint64_t cluster = guest.cluster();
  guest.CoWrite(100, 50);
  guest.CoWrite(cluster * 3, 2 * cluster);
  guest.CoFlush();
  guest.CoZero(0, cluster);
  guest.CoWrite(cluster * 3 + 512, 1024);
  guest.CoDiscard(cluster * 4, cluster);
  guest.CoFlush();
  guest.CoPopulate(cluster * 6, cluster);
  guest.CoWrite(guest.bytes() - 700, 700);
  guest.CoResize(guest.bytes() * 3);
  guest.CoWrite(guest.bytes() - 3000, 3000);
  guest.CoFlush();
  for (uint64_t i = 0; i < 4; ++i) guest.CoWrite((7 + 2 * i) * cluster + 10, 20);
  guest.CoFlush();
  guest.CoFlush();
}

struct Case {
  const char* name;
  Qcow2CreateOptions options;
  bool has_backing;
};
const Case kCases[] = {
    {"SmallClusters", {.bytes = 40960, .cluster_bytes = 512, .refcount_bits = 64}, true},
    {"Version2", {.bytes = 65536, .version = 2, .cluster_bytes = 1024}, false},
    {"Subclusters", {.bytes = 1 << 18, .cluster_bytes = 16384, .extended_l2 = true}, true},
    {"Lazy", {.bytes = 1 << 16, .cluster_bytes = 4096, .lazy_refcounts = true}, true},
};

class Qcow2FaultLoop : public testing::TestWithParam<Case> {};

struct Fault {
  uint64_t at = UINT64_MAX - 1;
  bool for_ever = false;
  bool after_effect = false;
};

// Runs the sequence with a fault; returns how many operations it took.
uint64_t RunWithFault(const Case& test, const Fault& fault) {
  CrashDisk disk = MakeImage(test.options);
  const std::vector<uint8_t> backing =
      test.has_backing ? Pattern(test.options.bytes, 1) : std::vector<uint8_t>();
  std::vector<uint8_t> model = backing;
  model.resize(test.options.bytes);
  const bool for_ever = fault.for_ever;
  auto engine = SimulatedEngine();
  uint64_t operations = 0;
  {
    FakeDriverContext context(*engine, disk);
    FormatNode node(context, MakeQcow2Driver({.cache_bytes_max = 16384}), backing);
    FakeDriverContext again(*engine, disk);
    FormatNode reopened(again, MakeQcow2Driver(), backing);
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      disk.FailAt(fault.at, for_ever, fault.after_effect);
      if (const absl::Status open = node.CoOpen(); !open.ok()) {
        node.CoClose();
        disk.FailNever();
        return absl::OkStatus();
      }
      FaultedGuest guest(node, model);
      CoRunSequence(guest);
      operations = disk.operations();
      if (!for_ever) disk.FailNever();
      const absl::Status seen = for_ever ? absl::OkStatus() : guest.CoVerify(node);
      node.CoClose();
      disk.FailNever();
      MILLRACE_RETURN_IF_ERROR(seen);
      if (fault.at < operations && guest.failures() == 0 && for_ever) {
        return absl::InternalError("a failure went unnoticed");
      }
      MILLRACE_RETURN_IF_ERROR(reopened.CoOpen());
      const absl::Status result =
          for_ever ? guest.CoVerifyFlushed(reopened) : guest.CoVerify(reopened);
      reopened.CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
  }
  disk.FailNever();
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  EXPECT_TRUE(check.ok() && check->corruptions == 0) << Describe(check);
  return operations;
}

void Loop(const Case& test, Fault fault) {
  fault.at = UINT64_MAX - 1;
  const uint64_t count = RunWithFault(test, fault);
  ASSERT_GT(count, 30u);
  for (fault.at = 0; fault.at < count; ++fault.at) {
    SCOPED_TRACE(StrCat("number ", fault.at, " of ", count, " fails"));
    RunWithFault(test, fault);
    if (testing::Test::HasFailure()) return;
  }
}

TEST_P(Qcow2FaultLoop, TheNthOperationFailsAndNothingBreaks) { Loop(GetParam(), {}); }
TEST_P(Qcow2FaultLoop, TheNthOperationFailsAfterItsEffectAndNothingBreaks) {
  Loop(GetParam(), {.after_effect = true});
}
TEST_P(Qcow2FaultLoop, FromTheNthOperationOnAllFailAndNothingBreaks) {
  Loop(GetParam(), {.for_ever = true});
}
TEST_P(Qcow2FaultLoop, FromTheNthOperationOnAllFailAfterTheirEffectAndNothingBreaks) {
  Loop(GetParam(), {.for_ever = true, .after_effect = true});
}
INSTANTIATE_TEST_SUITE_P(Formats, Qcow2FaultLoop, testing::ValuesIn(kCases),
                         [](const auto& each) { return std::string(each.param.name); });

// Creating an image either works or leaves something that nobody takes for one. Returns after how
// many operations there is an image.
uint64_t CreateWithEveryFailure(const Qcow2CreateOptions& options, const Fault& fault) {
  auto engine = SimulatedEngine();
  uint64_t operations = 1;
  for (uint64_t n = 0; n <= operations; ++n) {
    CrashDisk disk;
    DiskFile file(disk);
    disk.FailAt(n, fault.for_ever, fault.after_effect);
    const absl::Status status =
        engine->Run([&]() MILLRACE_MAY_SUSPEND { return CoCreateQcow2(file, options); });
    if (n == operations) {
      EXPECT_TRUE(status.ok()) << status;
    }
    if (status.ok()) continue;
    operations = n + 2;
    disk.FailNever();
    // The last flush may fail with everything in place; before that there is no header.
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
    EXPECT_TRUE(!check.ok() || check->is_clean()) << Describe(check);
  }
  return operations;
}

TEST(Qcow2CreateFaults, TheNthOperationFailsAndNoImageIsLeft) {
  const Qcow2CreateOptions cases[] = {
      {.bytes = 1 << 20, .cluster_bytes = 4096, .backing_filename = "base.qcow2"},
      {.bytes = 1 << 20, .version = 2, .cluster_bytes = 512},
      {.bytes = 1 << 20, .cluster_bytes = 16384, .refcount_bits = 64, .extended_l2 = true},
      {.bytes = 1 << 18, .cluster_bytes = 512, .preallocation = Qcow2Preallocation::kMetadata},
  };
  for (const Qcow2CreateOptions& options : cases) {
    for (const Fault& fault : {Fault(), Fault{.for_ever = true}, Fault{.after_effect = true}}) {
      SCOPED_TRACE(StrCat(Describe(options), fault.for_ever ? ", and all after it" : "",
                          fault.after_effect ? ", but it is done" : ""));
      EXPECT_GT(CreateWithEveryFailure(options, fault), 5u) << "too few for a test of each";
    }
  }
}

}  // namespace
}  // namespace millrace::driver_fault_test
