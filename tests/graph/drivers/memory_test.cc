#include "millrace/graph/drivers/memory.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scheduler/decider.h"
#include "tests/support/simple_driver_context.h"
#include "tests/support/simulation.h"

namespace millrace::memory_test {
namespace {

// Fails the first I/O after its effect, and everything else succeeds.
class FailFirstAfterEffect final : public Decider {
 public:
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    if (kind != ChoiceKind::kOutcome || fired_) return 0;
    fired_ = true;
    return std::min<size_t>(2, options.size() - 1);
  }

 private:
  bool fired_ = false;
};

TEST(MemoryDriver, RandomOperationsMatchAnArray) {
  constexpr uint64_t kBytesLimit = 40000;  // about ten pages, none of them special
  auto engine = SimulatedEngine();
  auto driver = MakeMemoryDriver({.bytes = 20000});
  SimpleDriverContext context(*engine, "m");
  std::vector<uint8_t> model(20000, 0);
  RandomStream random(17);
  const auto run = [&]() MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(driver->CoOpen(context));
    for (int i = 0; i < 2000; ++i) {
      const uint64_t offset = random.Below(model.size());
      const uint64_t bytes = 1 + random.Below(std::min<uint64_t>(model.size() - offset, 9000));
      switch (random.Below(6)) {
        case 0: {
          std::vector<uint8_t> data(bytes, static_cast<uint8_t>(i));
          MILLRACE_RETURN_IF_ERROR(
              driver->CoWrite(offset, IoVector::OfConst(data.data(), data.size()), {}));
          std::copy(data.begin(), data.end(), model.begin() + static_cast<ptrdiff_t>(offset));
          break;
        }
        case 1:
          MILLRACE_RETURN_IF_ERROR(driver->CoWriteZeroes(ByteRange(offset, bytes), {}));
          std::memset(model.data() + offset, 0, bytes);
          break;
        case 2:
          MILLRACE_RETURN_IF_ERROR(driver->CoDiscard(ByteRange(offset, bytes)));
          std::memset(model.data() + offset, 0, bytes);
          break;
        case 3: {
          const uint64_t size = 1 + random.Below(kBytesLimit);
          MILLRACE_RETURN_IF_ERROR(driver->CoResize(size));
          model.resize(size, 0);
          break;
        }
        case 4: {
          auto extent = driver->CoMap(ByteRange(offset, bytes));
          MILLRACE_RETURN_IF_ERROR(extent.status());
          EXPECT_GE(extent->bytes, 1u);
          EXPECT_LE(extent->bytes, bytes);
          if (extent->kind == ExtentKind::kZero) {
            const auto from = model.begin() + static_cast<ptrdiff_t>(offset);
            EXPECT_EQ(std::count(from, from + static_cast<ptrdiff_t>(extent->bytes), 0),
                      static_cast<ptrdiff_t>(extent->bytes));
          }
          break;
        }
        default:
          break;
      }
      EXPECT_EQ(driver->bytes(), model.size());
      std::vector<uint8_t> whole(model.size(), 0xee);
      MILLRACE_RETURN_IF_ERROR(driver->CoRead(0, IoVector(whole.data(), whole.size())));
      EXPECT_EQ(whole, model) << "after operation " << i;
    }
    return absl::OkStatus();
  };
  EXPECT_TRUE(engine->Run(run).ok());
}

TEST(MemoryDriver, AnImageOutlivesItsDriver) {
  auto engine = SimulatedEngine();
  auto image = std::make_shared<MemoryImage>();
  SimpleDriverContext context(*engine, "m");
  uint8_t read = 0;
  const auto run = [&]() MILLRACE_MAY_SUSPEND {
    auto writer = MakeMemoryDriver({.image = image});
    MILLRACE_RETURN_IF_ERROR(writer->CoOpen(context));
    const uint8_t byte = 7;
    MILLRACE_RETURN_IF_ERROR(writer->CoWrite(99, IoVector::OfConst(&byte, 1), {}));
    writer->CoClose();
    writer.reset();
    auto reader = MakeMemoryDriver({.image = image});
    MILLRACE_RETURN_IF_ERROR(reader->CoOpen(context));
    EXPECT_EQ(reader->bytes(), 100u);
    return reader->CoRead(99, IoVector(&read, 1));
  };
  EXPECT_TRUE(engine->Run(run).ok());
  EXPECT_EQ(read, 7);
}

TEST(MemoryDriver, AnErrorMayComeAfterTheEffect) {
  FailFirstAfterEffect decider;
  auto engine = SimulatedEngine(&decider);
  auto driver = MakeMemoryDriver({.bytes = 512});
  SimpleDriverContext context(*engine, "img-1");
  const auto run = [&]() MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(driver->CoOpen(context));
    const uint8_t byte = 7;
    const absl::Status status = driver->CoWrite(100, IoVector::OfConst(&byte, 1), {});
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(status.message(), "write 'img-1' at 100: Input/output error");
    uint8_t read = 0;
    MILLRACE_RETURN_IF_ERROR(driver->CoRead(100, IoVector(&read, 1)));
    EXPECT_EQ(read, 7);
    return absl::OkStatus();
  };
  EXPECT_TRUE(engine->Run(run).ok());
}

TEST(MemoryDriver, SparseImagesTakeOnlyWhatWasWritten) {
  auto engine = SimulatedEngine();
  auto driver = MakeMemoryDriver({.bytes = uint64_t{1} << 60});
  SimpleDriverContext context(*engine, "m");
  const auto run = [&]() MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(driver->CoOpen(context));
    const uint8_t byte = 7;
    MILLRACE_RETURN_IF_ERROR(driver->CoWrite(uint64_t{1} << 59, IoVector::OfConst(&byte, 1), {}));
    EXPECT_EQ(*driver->CoAllocatedBytes(), 4096u);
    auto extent = driver->CoMap(ByteRange(0, uint64_t{1} << 60));
    EXPECT_EQ(extent->kind, ExtentKind::kZero);
    EXPECT_EQ(extent->bytes, uint64_t{1} << 59);
    return absl::OkStatus();
  };
  EXPECT_TRUE(engine->Run(run).ok());
}

}  // namespace
}  // namespace millrace::memory_test
