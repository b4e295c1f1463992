#include "millrace/graph/filters/throttle_limits.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// So that a bucket's content stays exact in a double.
constexpr uint64_t kValueMax = 1'000'000'000'000'000;

size_t IndexOf(ThrottleDirection direction) {
  return direction == ThrottleDirection::kRead ? 1 : 2;
}

absl::Status CheckLimit(std::string_view name, const ThrottleLimit& limit) {
  const auto refuse = [&](std::string_view suffix, std::string_view why) {
    return absl::InvalidArgumentError(StrCat("throttle limit '", name, suffix, "' ", why));
  };
  if (limit.average > kValueMax) return refuse("", "is above 10^15");
  if (limit.burst > kValueMax) return refuse("-max", "is above 10^15");
  if (limit.burst_seconds == 0) return refuse("-max-length", "is 0; a burst lasts at least 1 s");
  if (limit.burst == 0) {
    if (limit.burst_seconds > 1) return refuse("-max-length", "needs a burst rate (-max)");
    return absl::OkStatus();
  }
  if (limit.average == 0) return refuse("-max", "needs an average rate");
  if (limit.burst < limit.average) return refuse("-max", "is below the average rate");
  if (limit.burst_seconds > kValueMax / limit.burst) {
    return refuse("-max-length", "is too long for that burst rate");
  }
  return absl::OkStatus();
}

absl::Status CheckEither(std::string_view unit, const ThrottleLimit& total,
                         const ThrottleLimit& read, const ThrottleLimit& write) {
  const bool has_total = total.average > 0 || total.burst > 0;
  const bool has_parts = read.average > 0 || read.burst > 0 || write.average > 0 || write.burst > 0;
  if (!has_total || !has_parts) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("throttle limits '", unit, "-total' and '", unit, "-read' or '", unit,
             "-write' exclude each other; set the total or the parts"));
}

}  // namespace

absl::Status ThrottleLimits::Validate() const {
  MILLRACE_RETURN_IF_ERROR(CheckLimit("bps-total", bytes_total));
  MILLRACE_RETURN_IF_ERROR(CheckLimit("bps-read", bytes_read));
  MILLRACE_RETURN_IF_ERROR(CheckLimit("bps-write", bytes_write));
  MILLRACE_RETURN_IF_ERROR(CheckLimit("iops-total", operations_total));
  MILLRACE_RETURN_IF_ERROR(CheckLimit("iops-read", operations_read));
  MILLRACE_RETURN_IF_ERROR(CheckLimit("iops-write", operations_write));
  MILLRACE_RETURN_IF_ERROR(CheckEither("bps", bytes_total, bytes_read, bytes_write));
  MILLRACE_RETURN_IF_ERROR(
      CheckEither("iops", operations_total, operations_read, operations_write));
  const bool limits_operations =
      operations_total.average > 0 || operations_read.average > 0 || operations_write.average > 0;
  if (operation_bytes > 0 && !limits_operations) {
    return absl::InvalidArgumentError("throttle limit 'iops-size' needs a limit of iops");
  }
  return absl::OkStatus();
}

void ThrottleBuckets::Bucket::Leak(double seconds) {
  level = std::max(level - static_cast<double>(limit.average) * seconds, 0.0);
  burst_level = std::max(burst_level - static_cast<double>(limit.burst) * seconds, 0.0);
}

void ThrottleBuckets::Bucket::Fill(double units) {
  if (limit.average == 0) return;
  level += units;
  if (limit.burst_seconds > 1) burst_level += units;
}

Nanoseconds ThrottleBuckets::Bucket::Wait() const {
  if (limit.average == 0) return 0;
  const auto wait_for = [](double extra, uint64_t rate) {
    constexpr double kLongest = 1e18;  // 30 years, and still a valid Nanoseconds
    const double wait = std::ceil(extra * static_cast<double>(kSecond) / static_cast<double>(rate));
    return static_cast<Nanoseconds>(std::clamp(wait, 1.0, kLongest));
  };
  // Some I/O may always come in a row, or every other request would wait.
  const double holds = limit.burst == 0 ? static_cast<double>(limit.average) / 10
                                        : static_cast<double>(limit.burst * limit.burst_seconds);
  if (level > holds) return wait_for(level - holds, limit.average);
  const double burst_holds = static_cast<double>(limit.burst) / 10;
  if (limit.burst_seconds > 1 && burst_level > burst_holds) {
    return wait_for(burst_level - burst_holds, limit.burst);
  }
  return 0;
}

void ThrottleBuckets::Leak(Nanoseconds now) {
  const double seconds = static_cast<double>(now - leaked_until_) / static_cast<double>(kSecond);
  leaked_until_ = now;
  for (Bucket& bucket : bytes_) bucket.Leak(seconds);
  for (Bucket& bucket : operations_) bucket.Leak(seconds);
}

void ThrottleBuckets::SetLimits(const ThrottleLimits& limits, Nanoseconds now) {
  Leak(now);
  bytes_[0].limit = limits.bytes_total;
  bytes_[1].limit = limits.bytes_read;
  bytes_[2].limit = limits.bytes_write;
  operations_[0].limit = limits.operations_total;
  operations_[1].limit = limits.operations_read;
  operations_[2].limit = limits.operations_write;
  operation_bytes_ = limits.operation_bytes;
}

Nanoseconds ThrottleBuckets::WaitOf(ThrottleDirection direction, Nanoseconds now) {
  Leak(now);
  const size_t index = IndexOf(direction);
  return std::max(
      {bytes_[0].Wait(), bytes_[index].Wait(), operations_[0].Wait(), operations_[index].Wait()});
}

void ThrottleBuckets::Charge(ThrottleDirection direction, uint64_t bytes) {
  const auto size = static_cast<double>(bytes);
  const double operations = operation_bytes_ > 0 && bytes > operation_bytes_
                                ? size / static_cast<double>(operation_bytes_)
                                : 1.0;
  for (const size_t index : {size_t{0}, IndexOf(direction)}) {
    bytes_[index].Fill(size);
    operations_[index].Fill(operations);
  }
}

}  // namespace millrace
