// GuestLoad: how the reads and writes of a graph's guests fare, and how they would fare without
// jobs.
//
// A guest is whoever uses an attachment that queues while it is drained. A request's time is that
// from its entering the node to its end; what it waits for a drain before does not count. It is
// *undisturbed* if no job had a batch in flight at its start, and none began one before its end:
// what undisturbed requests take is what the guests would see without the jobs. One for the whole
// graph, because its disks mostly share the host's.
//
// Home thread; nothing suspends. A request costs two looks at the clock and no memory.
#ifndef MILLRACE_GRAPH_GUEST_LOAD_H_
#define MILLRACE_GRAPH_GUEST_LOAD_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "millrace/engine/scheduler/clock.h"

namespace millrace {

// How often a request took how long, in steps of at most a quarter. Only ever grows; what happened
// between two moments is the difference of two copies.
class LatencyHistogram {
 public:
  void Add(Nanoseconds latency) { ++counts_[BucketOf(latency)]; }
  // What was added since `earlier`, which is an older copy of this one.
  LatencyHistogram Since(const LatencyHistogram& earlier) const;
  uint64_t count() const;
  // A time that at least `share` (0 to 1) of the requests did not exceed; 0 if there are none.
  Nanoseconds Percentile(double share) const;

 private:
  // Four to a power of two, from 1 µs to days; the first takes everything below, the last above.
  static constexpr size_t kBuckets = 160;
  static size_t BucketOf(Nanoseconds latency);
  static Nanoseconds UpperBound(size_t bucket);

  std::array<uint32_t, kBuckets> counts_ = {};
};

class GuestLoad {
 public:
  explicit GuestLoad(const Clock& clock) : clock_(clock) {}

  // ---- For attachments --------------------------------------------------------------------------
  // A read or write from its entering the node to its end.
  class Request {
   public:
    // `load` null: not a guest's.
    Request(GuestLoad* load, bool is_write);
    ~Request();
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

   private:
    GuestLoad* const load_;
    Nanoseconds begin_ = 0;
    uint64_t batches_begun_ = 0;
    bool is_disturbed_ = false;
  };

  // ---- For jobs ---------------------------------------------------------------------------------
  void OnBatchBegin() {
    ++batches_in_flight_;
    ++batches_begun_;
  }
  void OnBatchEnd() { --batches_in_flight_; }
  // Jobs that copy at full speed; they share the memory for copies.
  void OnCopierBegin() { ++copiers_; }
  void OnCopierEnd() { --copiers_; }
  size_t copiers() const { return copiers_; }

  // Requests in flight now.
  size_t in_flight() const { return in_flight_; }
  // When the last request began or ended; negative if there was none.
  Nanoseconds last_activity() const { return last_activity_; }
  // When the last write began; negative if none did.
  Nanoseconds last_write() const { return last_write_; }
  // Of all requests that have ended.
  uint64_t ended() const { return ended_; }
  Nanoseconds total_latency() const { return total_latency_; }
  const LatencyHistogram& latencies() const { return latencies_; }
  // Of the undisturbed: how many there were, and the mean of the last few hundred.
  uint64_t undisturbed() const { return undisturbed_; }
  double undisturbed_mean() const { return undisturbed_mean_; }

 private:
  const Clock& clock_;
  size_t in_flight_ = 0;
  uint64_t ended_ = 0;
  Nanoseconds total_latency_ = 0;
  Nanoseconds last_activity_ = -1;
  Nanoseconds last_write_ = -1;
  uint64_t undisturbed_ = 0;
  double undisturbed_mean_ = 0;
  size_t batches_in_flight_ = 0;
  uint64_t batches_begun_ = 0;
  size_t copiers_ = 0;
  LatencyHistogram latencies_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GUEST_LOAD_H_
