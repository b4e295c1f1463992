#include "millrace/graph/drivers/null.h"

#include <algorithm>

#include "millrace/engine/engine.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace {
namespace {

class NullDriver final : public ProtocolDriver {
 public:
  explicit NullDriver(const NullOptions& options) : options_(options), bytes_(options.bytes) {}

  std::string_view driver_name() const override { return options_.driver_name; }
  uint64_t bytes() const override { return bytes_; }
  std::string filename() const override { return options_.driver_name + "://"; }

  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND {
    context_ = &context;
    return absl::OkStatus();
  }
  absl::Status CoRead(uint64_t, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    CoTakeTime();
    if (options_.read_zeroes) target.FillZero();
    return absl::OkStatus();
  }
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags) override
      MILLRACE_MAY_SUSPEND {
    CoTakeTime();
    bytes_ = std::max(bytes_, offset + source.bytes());
    return absl::OkStatus();
  }
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags) override MILLRACE_MAY_SUSPEND {
    CoTakeTime();
    bytes_ = std::max(bytes_, range.end());
    return absl::OkStatus();
  }
  absl::Status CoDiscard(ByteRange) override MILLRACE_MAY_SUSPEND {
    CoTakeTime();
    return absl::OkStatus();
  }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND {
    CoTakeTime();
    return absl::OkStatus();
  }
  absl::Status CoResize(uint64_t new_bytes) override MILLRACE_MAY_SUSPEND {
    CoTakeTime();
    bytes_ = new_bytes;
    return absl::OkStatus();
  }
  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND {
    return Extent{.bytes = range.bytes,
                  .kind = options_.read_zeroes ? ExtentKind::kZero : ExtentKind::kData,
                  .host = HostOffset(range.offset)};
  }
  absl::StatusOr<uint64_t> CoAllocatedBytes() override MILLRACE_MAY_SUSPEND { return uint64_t{0}; }

 private:
  // A request in flight is not cut short by cancelling who issued it, as with a real disk.
  void CoTakeTime() MILLRACE_MAY_SUSPEND {
    if (options_.latency == 0) return;
    Scheduler& scheduler = context_->engine().scheduler();
    InterruptibleSleep delay(scheduler);
    delay.CoSleepUntil(scheduler.Now() + options_.latency);
  }

  const NullOptions options_;
  uint64_t bytes_;
  DriverContext* context_ = nullptr;
};

}  // namespace

std::unique_ptr<ProtocolDriver> MakeNullDriver(NullOptions options) {
  return std::make_unique<NullDriver>(options);
}

}  // namespace millrace
