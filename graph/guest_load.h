// GuestLoad: how the reads and writes of a graph's guests fare, and how they would fare without
// jobs.
//
// A guest is whoever uses an attachment that queues while it is drained. A request's time is that
// from its entering the node to its end; what it waits for a drain before does not count. It is
// *undisturbed* if no job had a batch in flight at its start, and none began one before its end:
// what undisturbed requests take is what the guests would see without the jobs. One for the whole
// graph, because its disks mostly share the host's.
//
// Nearly, that is: while jobs copy, the undisturbed requests are those of the jobs' rests, and a
// disk may have written down little of what it was given before the rest began. So what the guests
// had just before the first job began to copy is kept as well (Quiet).
//
// Home thread; nothing suspends. A request costs two looks at the clock and no memory.
#ifndef MILLRACE_GRAPH_GUEST_LOAD_H_
#define MILLRACE_GRAPH_GUEST_LOAD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

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
  void OnCopierBegin();
  void OnCopierEnd();
  size_t copiers() const { return copiers_; }

  // What the guests had before anybody copied.
  struct Quiet {
    Nanoseconds until = 0;  // when the first began
    double mean = 0;        // of what their requests took
    double rate = 0;        // requests in a nanosecond
  };
  // Of at least half a second in which guests asked all the while, when that was last so; nothing
  // if it never was.
  const std::optional<Quiet>& quiet() const { return quiet_; }

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
  // How many had ended by then, and what they took together.
  struct Sample {
    Nanoseconds at = 0;
    uint64_t ended = 0;
    Nanoseconds total_latency = 0;
  };
  static constexpr Nanoseconds kSampleEvery = kSecond / 8;
  static constexpr size_t kSamplesMax = 8;

  void TakeSample(Nanoseconds now);

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
  // Oldest first, without a gap in which guests were idle; none while somebody copies.
  std::array<Sample, kSamplesMax> samples_ = {};
  size_t sample_count_ = 0;
  Nanoseconds next_sample_ = 0;
  std::optional<Quiet> quiet_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GUEST_LOAD_H_
