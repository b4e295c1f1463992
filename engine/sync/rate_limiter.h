// RateLimiter: how long a job must wait so that it moves no more than `speed` bytes a second.
//
// QEMU's accounting: slices of 100 ms with a quota each; what overshoots the quota
// is paid back exactly by stretching the slice, so one 512 KiB chunk at 64 KiB/s costs 8 s. The
// caller sleeps in a loop until Account(0) asks for no more delay, because drains, set-speed and
// resume wake sleepers early (race R24):
//
//   while (Nanoseconds delay = limiter.Account(clock.Now(), 0)) CoSleep(delay);
#ifndef MILLRACE_ENGINE_SYNC_RATE_LIMITER_H_
#define MILLRACE_ENGINE_SYNC_RATE_LIMITER_H_

#include <algorithm>
#include <cstdint>

#include "millrace/engine/scheduler/clock.h"

namespace millrace {

class RateLimiter {
 public:
  static constexpr Nanoseconds kSlice = 100 * kMillisecond;

  // Bytes per second; 0 means unlimited. What was charged in the running slice stays charged and is
  // paid back at the new speed: setting a speed, even the same one, never buys a free piece.
  void SetSpeed(uint64_t bytes_per_second) {
    speed_ = bytes_per_second;
    // speed * slice, at least one byte per slice.
    slice_quota_ = std::max<uint64_t>(speed_ / (kSecond / kSlice), 1);
    // A slice that was stretched for its debt ends when that is paid at a higher speed. Else what
    // is left of it would let a whole quota pass, and the next slice at the same moment another.
    if (speed_ != 0) slice_end_ = std::min(slice_end_, slice_start_ + LengthOfSlice());
  }
  uint64_t speed() const { return speed_; }

  // Charges `bytes` at time `now` and returns the delay to keep before the next charge, 0 if none.
  Nanoseconds Account(Nanoseconds now, uint64_t bytes) {
    if (speed_ == 0) return 0;
    if (slice_end_ < now) {
      slice_start_ = now;
      slice_end_ = now + kSlice;
      dispatched_ = 0;
    }
    dispatched_ += bytes;
    if (dispatched_ < slice_quota_) return 0;
    slice_end_ = slice_start_ + LengthOfSlice();
    return std::max<Nanoseconds>(slice_end_ - now, 0);
  }

 private:
  Nanoseconds LengthOfSlice() const {
    if (dispatched_ < slice_quota_) return kSlice;
    const double slices = static_cast<double>(dispatched_) / static_cast<double>(slice_quota_);
    return static_cast<Nanoseconds>(std::min(slices * static_cast<double>(kSlice), kStretchMax));
  }

  static constexpr double kStretchMax = 1e18;  // 30 years, and still a valid Nanoseconds

  uint64_t speed_ = 0;
  uint64_t slice_quota_ = 0;
  uint64_t dispatched_ = 0;
  Nanoseconds slice_start_ = 0;
  Nanoseconds slice_end_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SYNC_RATE_LIMITER_H_
