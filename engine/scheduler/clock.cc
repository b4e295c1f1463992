#include "millrace/engine/scheduler/clock.h"

#include <algorithm>
#include <chrono>
#include <climits>

namespace millrace {

int MillisecondsUntil(Nanoseconds deadline, Nanoseconds now) {
  if (deadline == kNever) return -1;
  if (deadline <= now) return 0;
  const Nanoseconds whole = (deadline - now - 1) / kMillisecond + 1;
  return static_cast<int>(std::min<Nanoseconds>(whole, INT_MAX));
}

Nanoseconds RealClock::Now() const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t RealClock::UnixMicroseconds() const {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace millrace
