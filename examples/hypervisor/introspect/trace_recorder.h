// TraceRecorder: a timeline of the daemon in the JSON that Chrome's about:tracing and Perfetto
// load.
//
//   recorder.Start(4 << 20);
//   ...                                  // spans, job events and commands come in
//   std::string json = recorder.Stop();
//
// Tracks: "commands" (what QMP clients asked), "steps" (coroutines, one after the other), and
// asynchronous ones for I/O, for drained sections (waited for, then held) and for the states of
// each job. Bounded: once the text has reached its limit, further events are counted and dropped.
// Home thread; nothing suspends.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_TRACE_RECORDER_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_TRACE_RECORDER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "millrace/engine/job/job_event.h"
#include "millrace/engine/observer.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

class TraceRecorder final : public EngineObserver {
 public:
  // The clock outlives the recorder.
  explicit TraceRecorder(const Clock& clock) : clock_(clock) {}

  void Start(size_t bytes_max);
  // Ends the recording and returns the trace.
  std::string Stop();
  bool is_on() const { return is_on_; }
  // Of the recording that is on, or was last.
  uint64_t events() const { return events_; }
  uint64_t dropped() const { return dropped_; }

  void OnSpan(const TimelineSpan& span) override;
  void OnJobEvent(const JobEvent& event) override;
  // A QMP command begins or ends; they come one at a time.
  void OnCommand(std::string_view name, bool is_beginning);

 private:
  struct JobPhase {
    std::string state;
    Nanoseconds since = 0;
  };
  void Add(std::string event);
  // A pair of events that may overlap with others: `track` is the category, `id` unique in it.
  void AddAsync(std::string_view track, std::string_view id, std::string_view name,
                Nanoseconds begin, Nanoseconds end, const std::string& arguments);
  void AddOnTrack(int track, std::string_view category, std::string_view name, Nanoseconds begin,
                  Nanoseconds end, const std::string& arguments);
  void EndJobState(const std::string& id, Nanoseconds now);
  // Microseconds since the start, with three digits behind the point.
  std::string Micros(Nanoseconds time) const;

  const Clock& clock_;
  bool is_on_ = false;
  size_t bytes_max_ = 0;
  std::string text_;
  uint64_t events_ = 0;
  uint64_t dropped_ = 0;
  uint64_t io_count_ = 0;
  Nanoseconds started_at_ = 0;
  std::map<std::string, JobPhase> jobs_;
  std::string command_;  // that runs; empty: none
  Nanoseconds command_since_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_TRACE_RECORDER_H_
