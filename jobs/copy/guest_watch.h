// GuestWatch: how much a copying job may do beside the guests.
//
// What a job has in flight is what guests' requests wait for. While guests use the graph's disks,
// which mostly share the host's (GuestLoad), the job has one small batch in flight; and it rests
// between batches for as large a part of the time as it takes to keep the mean time of the guests'
// requests below kSlowdownMax of what they take undisturbed, and to let them do kRateMin of what
// they do undisturbed: a request may wait for us before we see it. It works for some milliseconds,
// then rests for some: what the guests' requests take in the rests, and how many there are, is the
// measure, or what it was just before jobs began to copy, as long as that was not long ago. However
// slow the guests become, it works for kShareMin of the time: a job must end.
//
// With a latency target, the measure is the 99th percentile of all the guests' requests: the job
// does as much as keeps it below the target, up to all that it does without guests.
//
// Home thread; nothing suspends. Costs a look at the clock for each batch.
#ifndef MILLRACE_JOBS_COPY_GUEST_WATCH_H_
#define MILLRACE_JOBS_COPY_GUEST_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "millrace/engine/engine.h"
#include "millrace/engine/job/job_info.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/guest_load.h"
#include "millrace/jobs/copy/copy_tuning.h"

namespace millrace {

class GuestWatch {
 public:
  // How much slower guests' requests may be on average: then at least 0.7 of them are done.
  static constexpr double kSlowdownMax = 1.38;
  static constexpr double kRateMin = 0.75;
  static constexpr double kShareMin = 0.3;
  // So that there are rests to measure in.
  static constexpr double kShareMax = 0.95;
  // With a target that somebody has asked for.
  static constexpr double kShareMinForTarget = 0.05;

  // `latency_target`: of the 99th percentile; 0: none. `graph` must outlive the watch.
  // `flush_bytes`: CopyTuning.
  GuestWatch(Graph& graph, Nanoseconds latency_target,
             uint64_t flush_bytes = CopyTuning().flush_bytes);
  ~GuestWatch() { SetCopying(false); }
  GuestWatch(const GuestWatch&) = delete;
  GuestWatch& operator=(const GuestWatch&) = delete;

  // What the job may have in flight while guests are active.
  struct Allowance {
    size_t batches = 1;
    uint64_t batch_bytes = 0;
  };
  // Nothing if no guest has asked for anything within the last kMemory.
  std::optional<Allowance> AllowanceNow();
  // Whether guests have written anything within the last kMemory.
  bool AreGuestsWriting() const;

  // What the job may have in flight with nobody to care for but other jobs that copy: `wanted`, or
  // its share of the memory that the engine keeps for copies. More would have to be faulted in
  // afresh each time, which takes longer than the disk does.
  Allowance ShareOf(Allowance wanted) const;
  // Whether the job is one of those that share it: it copies, and is neither paused nor drained.
  // Saying the same again does nothing.
  void SetCopying(bool is_copying);

  // A batch is in flight between these two.
  void OnBatchBegin();
  void OnBatchEnd();
  // The job has written so much that is not flushed.
  void OnWritten(uint64_t bytes) { unflushed_bytes_ += bytes; }
  // Whether it is to be flushed before the job goes on: for as long as a flush lasts, guests may
  // have to wait, so it is better to have many short ones than a long one at the end.
  bool IsFlushDue();
  // A flush begins.
  void OnFlush() { unflushed_bytes_ = 0; }
  // How long the job must rest before its next batch; 0: it may go on. The rest counts as taken.
  Nanoseconds TakeRest();

  // Tells what the guests' requests took since the job began to copy, if there is a target.
  void Describe(JobInfo& info) const;

 private:
  // Longer than a guest with one request at a time needs to ask again, shorter than what a user
  // would notice of a job that still steps back.
  static constexpr Nanoseconds kMemory = 50 * kMillisecond;

  bool IsGuestActive();
  void Adjust();
  // How far above its limit what the guests see is; nothing if it is not known.
  std::optional<double> Excess() const;
  // What the guests' requests would take, and how many there would be in a nanosecond (0: not
  // known), without the job.
  struct Undisturbed {
    double mean = 0;
    double rate = 0;
  };
  Undisturbed UndisturbedNow() const;
  // Whether the guests want much less than they did before jobs copied.
  bool WantLess(const GuestLoad::Quiet& before) const;
  void BeginPeriod(Nanoseconds now);
  void EndRest(Nanoseconds now);

  Graph& graph_;
  GuestLoad& load_;
  const Nanoseconds latency_target_;
  const uint64_t flush_bytes_;
  uint64_t unflushed_bytes_ = 0;
  const LatencyHistogram latencies_before_;  // as the watch began
  uint64_t seen_;
  Nanoseconds active_until_ = -1;

  bool is_copying_ = false;
  size_t in_flight_ = 0;
  Nanoseconds busy_from_ = 0;
  double share_ = 1;      // of the time, that the job works
  double owed_rest_ = 0;  // nanoseconds
  // The rest that was taken last, and may still go on; negative: none.
  Nanoseconds rest_begin_ = -1;
  uint64_t rest_ended_ = 0;  // requests before it
  size_t level_;             // of what it may have in flight

  // Since the share was last changed.
  Nanoseconds period_begin_ = 0;
  uint64_t period_ended_ = 0;
  Nanoseconds period_latency_ = 0;
  LatencyHistogram period_latencies_;
  double rest_time_ = 0;      // in its rests
  double rest_requests_ = 0;  // ended in them
  // Requests in a nanosecond of rest, lately; nothing: not known.
  std::optional<double> rest_rate_;
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_COPY_GUEST_WATCH_H_
