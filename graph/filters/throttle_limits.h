// ThrottleLimits: how much I/O a throttle group lets through, and ThrottleBuckets: how it is
// counted.
//
// Each limit is a leaky bucket, in QEMU's terms: what passes fills it, it leaks at the average
// rate, and while it is full the next request waits. Without a burst rate it holds a tenth of a
// second's worth; with one it holds `burst` * `burst_seconds`, and while it fills (if burst_seconds
// > 1) a second bucket keeps the burst to the burst rate. A request passes as soon as no bucket is
// over full, and is charged then, whatever its size: over any window of t seconds at most
//
//   average * t + what the bucket holds + one request        (invariant I14)
//
// pass. Pure computation in doubles; nothing here knows a clock or suspends.
#ifndef MILLRACE_GRAPH_FILTERS_THROTTLE_LIMITS_H_
#define MILLRACE_GRAPH_FILTERS_THROTTLE_LIMITS_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

struct ThrottleLimit {
  uint64_t average = 0;        // units a second; 0: no limit
  uint64_t burst = 0;          // units a second while bursting; 0: no bursts
  uint64_t burst_seconds = 1;  // how long a burst may last
};

struct ThrottleLimits {
  // Bytes: total, or reads and writes apart, not both.
  ThrottleLimit bytes_total{}, bytes_read{}, bytes_write{};
  // Requests, likewise.
  ThrottleLimit operations_total{}, operations_read{}, operations_write{};
  // A request larger than this counts as several; 0: each request is one.
  uint64_t operation_bytes = 0;

  // InvalidArgument, naming the limit by its option ("bps-total-max"), if they make no sense.
  absl::Status Validate() const;
};

enum class ThrottleDirection : uint8_t { kRead, kWrite };

class ThrottleBuckets {
 public:
  // Keeps what is charged: setting limits, even the same ones, never buys a free request.
  void SetLimits(const ThrottleLimits& limits, Nanoseconds now);
  // How long the next request must wait; 0 if it may pass. Limits must be valid.
  Nanoseconds WaitOf(ThrottleDirection direction, Nanoseconds now);
  void Charge(ThrottleDirection direction, uint64_t bytes);

 private:
  struct Bucket {
    ThrottleLimit limit;
    double level = 0;
    double burst_level = 0;
    Nanoseconds Wait() const;
    void Leak(double seconds);
    void Fill(double units);
  };
  void Leak(Nanoseconds now);

  std::array<Bucket, 3> bytes_;  // total, then by direction
  std::array<Bucket, 3> operations_;
  uint64_t operation_bytes_ = 0;
  Nanoseconds leaked_until_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_THROTTLE_LIMITS_H_
