// Clock: the engine's only source of time.
//
// Two clocks exist. RealClock reads the host's monotonic clock. SimulatedClock stands still until
// the scheduler, having nothing else to do, moves it to the next deadline; simulated tests
// therefore take no time and depend on none. Unit: nanoseconds since an arbitrary origin. Home
// thread only.
#ifndef MILLRACE_ENGINE_SCHEDULER_CLOCK_H_
#define MILLRACE_ENGINE_SCHEDULER_CLOCK_H_

#include <cstdint>

namespace millrace {

using Nanoseconds = int64_t;

inline constexpr Nanoseconds kMicrosecond = 1'000;
inline constexpr Nanoseconds kMillisecond = 1'000'000;
inline constexpr Nanoseconds kSecond = 1'000'000'000;
inline constexpr Nanoseconds kNever = INT64_MAX;

// A time-out for poll(2) that ends when `deadline` has come: milliseconds, rounded up, since a wait
// that ends too early would find nothing due and spin; -1 for kNever, 0 for what is over.
int MillisecondsUntil(Nanoseconds deadline, Nanoseconds now);

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Nanoseconds Now() const = 0;
  // Microseconds since the Unix epoch, for time stamps that people or protocols read.
  virtual int64_t UnixMicroseconds() const = 0;
  // Moves to `time` if the clock is simulated; says whether it did.
  virtual bool AdvanceTo(Nanoseconds time) = 0;
};

class RealClock final : public Clock {
 public:
  Nanoseconds Now() const override;
  int64_t UnixMicroseconds() const override;
  bool AdvanceTo(Nanoseconds) override { return false; }
};

class SimulatedClock final : public Clock {
 public:
  Nanoseconds Now() const override { return now_; }
  int64_t UnixMicroseconds() const override { return now_ / kMicrosecond; }
  bool AdvanceTo(Nanoseconds time) override {
    if (time > now_) now_ = time;
    return true;
  }

 private:
  Nanoseconds now_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SCHEDULER_CLOCK_H_
