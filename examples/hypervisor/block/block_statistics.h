// query-blockstats, and what it counts: requests of drives, as guests' devices and qemu-io's
// asynchronous commands make them. Home thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BLOCK_STATISTICS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BLOCK_STATISTICS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "examples/hypervisor/block/timed_statistics.h"
#include "examples/hypervisor/qmp/json.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

class BlockLayer;

enum class CountedIo : uint8_t { kRead, kWrite, kFlush, kUnmap };

// How many requests took how long. Bins are [0, b0), [b0, b1), ... [bn, infinity).
struct LatencyBins {
  std::vector<uint64_t> boundaries;  // nanoseconds, ascending
  std::vector<uint64_t> bins;        // one more than boundaries; empty: there is no histogram

  void Count(Nanoseconds took);
};

class DriveStatistics {
 public:
  // A request ended, or was refused before it began (`invalid`).
  void CountDone(CountedIo io, uint64_t bytes, Nanoseconds took, Nanoseconds now);
  void CountFailed(CountedIo io, Nanoseconds took, Nanoseconds now);
  void CountInvalid(CountedIo io, Nanoseconds now);

  // Begins to sort requests by what they take; without boundaries no more. InvalidArgument unless
  // they ascend from above zero.
  absl::Status SetHistogram(CountedIo io, std::vector<uint64_t> boundaries);
  // What that refuses.
  static absl::Status CheckBoundaries(const std::vector<uint64_t>& boundaries);

  // Tells of the last so many seconds as well, beside other intervals.
  void AddInterval(uint32_t seconds, Nanoseconds now) { intervals_.emplace_back(seconds, now); }

  // BlockDeviceStats, but for wr_highest_offset, which is the node's.
  json::object Describe(Nanoseconds now) const;

  // Whether invalid and failed requests count as accesses (stats-account-invalid, -failed).
  bool accounts_invalid = true;
  bool accounts_failed = true;

 private:
  struct Counters {
    uint64_t bytes = 0;
    uint64_t operations = 0;
    uint64_t invalid = 0;
    uint64_t failed = 0;
    Nanoseconds total = 0;
    LatencyBins histogram;
  };
  Counters& Of(CountedIo io) { return counters_[static_cast<size_t>(io)]; }
  void CountTime(CountedIo io, Nanoseconds took, Nanoseconds now);

  std::array<Counters, 4> counters_;
  mutable std::vector<TimedStatistics> intervals_;  // asked for, they may let go of what is old
  Nanoseconds last_access_ = 0;                     // 0: none yet
};

void RegisterBlockStatistics(BlockLayer& layer);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BLOCK_STATISTICS_H_
