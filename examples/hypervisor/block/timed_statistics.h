// TimedStatistics: what requests took in the last so many seconds, as clients of QEMU ask for them
// by the drive option stats-intervals.
//
// As QEMU has it: two windows of the interval's length follow each other at half its distance, and
// the older one is told. So what is told is of half an interval at least, and of one at most. Home
// thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_TIMED_STATISTICS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_TIMED_STATISTICS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "examples/hypervisor/qmp/json.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

// Least, most and mean of some latencies, of the recent ones.
class TimedAverage {
 public:
  // `period` is positive.
  TimedAverage(Nanoseconds period, Nanoseconds now);

  void Count(Nanoseconds took, Nanoseconds now);

  struct Told {
    Nanoseconds least = 0;
    Nanoseconds most = 0;
    Nanoseconds mean = 0;
    // How many were under way on the average.
    double depth = 0;
  };
  // Of no requests all are 0.
  Told Tell(Nanoseconds now);

 private:
  struct Window {
    Nanoseconds end = 0;
    uint64_t count = 0;
    Nanoseconds least = 0;
    Nanoseconds most = 0;
    Nanoseconds sum = 0;
  };
  // Windows that are over begin anew, where they would if nobody had waited so long.
  void Advance(Nanoseconds now);
  // The one that ends first, and so has begun first.
  const Window& Older() const { return windows_[windows_[1].end < windows_[0].end ? 1 : 0]; }

  Nanoseconds period_;
  std::array<Window, 2> windows_;
};

// Of one interval, for reads, writes and flushes.
class TimedStatistics {
 public:
  static constexpr size_t kKinds = 3;

  TimedStatistics(uint32_t seconds, Nanoseconds now);

  // `kind`: 0 a read, 1 a write, 2 a flush.
  void Count(size_t kind, Nanoseconds took, Nanoseconds now) { averages_[kind].Count(took, now); }
  // BlockDeviceTimedStats.
  json::object Describe(Nanoseconds now);

 private:
  uint32_t seconds_;
  std::array<TimedAverage, kKinds> averages_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_TIMED_STATISTICS_H_
