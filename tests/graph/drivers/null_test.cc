#include "millrace/graph/drivers/null.h"

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "tests/support/simple_driver_context.h"
#include "tests/support/simulation.h"

namespace millrace::null_test {
namespace {

TEST(NullDriver, ReadsZeroesOnlyIfAsked) {
  auto engine = SimulatedEngine();
  SimpleDriverContext context(*engine, "n");
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (const bool zeroes : {false, true}) {
      auto driver = MakeNullDriver({.bytes = 100, .read_zeroes = zeroes});
      MILLRACE_RETURN_IF_ERROR(driver->CoOpen(context));
      uint8_t bytes[2] = {7, 7};
      MILLRACE_RETURN_IF_ERROR(driver->CoRead(99, IoVector(bytes, 1)));
      EXPECT_EQ(bytes[0], zeroes ? 0 : 7);
      EXPECT_EQ(driver->CoMap(ByteRange(0, 100))->kind,
                zeroes ? ExtentKind::kZero : ExtentKind::kData);
      MILLRACE_RETURN_IF_ERROR(driver->CoWrite(99, IoVector(bytes, 2), {}));
      EXPECT_EQ(driver->bytes(), 101u);
    }
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(NullDriver, EachOperationTakesItsLatency) {
  auto engine = SimulatedEngine();
  SimpleDriverContext context(*engine, "n");
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    auto driver = MakeNullDriver({.bytes = 100, .latency = kMillisecond});
    MILLRACE_RETURN_IF_ERROR(driver->CoOpen(context));
    uint8_t byte = 7;
    MILLRACE_RETURN_IF_ERROR(driver->CoRead(0, IoVector(&byte, 1)));
    MILLRACE_RETURN_IF_ERROR(driver->CoWrite(0, IoVector(&byte, 1), {}));
    MILLRACE_RETURN_IF_ERROR(driver->CoFlush());
    MILLRACE_RETURN_IF_ERROR(driver->CoDiscard(ByteRange(0, 1)));
    MILLRACE_RETURN_IF_ERROR(driver->CoWriteZeroes(ByteRange(0, 1), {}));
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(engine->clock().Now(), 5 * kMillisecond);
}

}  // namespace
}  // namespace millrace::null_test
