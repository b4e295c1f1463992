// Random operations on random formats against a model in memory.
#include <cstdint>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/qcow2_workload.h"
#include "tests/support/seeds.h"

namespace millrace::driver_property_test {
namespace {

void RunSeed(uint64_t seed) {
  RandomStream random(seed, "options");
  const Qcow2CreateOptions options = RandomOptions(random);
  SCOPED_TRACE("seed " + std::to_string(seed) + ": " + Describe(options));
  CrashDisk disk = MakeImage(options);
  std::vector<uint8_t> backing;
  const bool preallocated = options.preallocation != Qcow2Preallocation::kOff;
  if (random.OneIn(2) && !preallocated) backing = Pattern(options.bytes, seed);
  std::vector<uint8_t> model = backing;
  model.resize(AlignUp(options.bytes, 512));
  auto engine = SimulatedEngine();
  const int sessions = 1 + static_cast<int>(random.Below(3));
  for (int session = 0; session < sessions; ++session) {
    FakeDriverContext context(*engine, disk);
    FormatNode node(context,
                    MakeQcow2Driver({.cache_bytes_max = random.OneIn(2) ? 16384u : 1u << 20}),
                    backing);
    Qcow2Workload workload(random.Next(), node, std::move(model));
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      absl::Status result;
      for (int step = 0; step < 40 && result.ok(); ++step) result = workload.CoStep();
      if (result.ok()) result = workload.CoVerifyAll();
      node.CoClose();
      return result;
    });
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_THAT(context.warnings(), testing::IsEmpty());
    model = std::move(workload.model());
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
    ASSERT_TRUE(check.ok() && check->is_clean()) << Describe(check);
  }
}

TEST(Qcow2Property, RandomOperationsMatchTheModelAndLeaveACleanImage) {
  for (uint64_t seed : Seeds(16)) {
    RunSeed(seed);
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace millrace::driver_property_test
