// A file for tests that care for its life and not for its bytes: reads as zeroes, and forgets what
// is written. Those that derive from it add what they look at.
#ifndef MILLRACE_TESTS_SUPPORT_ZERO_FILE_H_
#define MILLRACE_TESTS_SUPPORT_ZERO_FILE_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/graph/driver.h"

namespace millrace {

class ZeroFile : public ProtocolDriver {
 public:
  // The name must outlive the driver.
  ZeroFile(std::string_view driver_name, uint64_t bytes)
      : driver_name_(driver_name), bytes_(bytes) {}

  std::string_view driver_name() const override { return driver_name_; }
  uint64_t bytes() const override { return bytes_; }
  absl::Status CoOpen(DriverContext&) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoRead(uint64_t, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    target.FillZero();
    return absl::OkStatus();
  }
  absl::Status CoWrite(uint64_t, const IoVector&, WriteFlags) override MILLRACE_MAY_SUSPEND {
    return absl::OkStatus();
  }
  absl::Status CoWriteZeroes(ByteRange, ZeroFlags) override MILLRACE_MAY_SUSPEND {
    return absl::OkStatus();
  }
  absl::Status CoDiscard(ByteRange) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoResize(uint64_t) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND {
    return Extent{range.bytes, ExtentKind::kData, HostOffset(range.offset)};
  }

 private:
  const std::string_view driver_name_;
  const uint64_t bytes_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_ZERO_FILE_H_
