// EngineObserver: what an engine has to say, to whoever wants to hear it. The library prints
// nothing.
//
// Called on the home thread, in the middle of a step; an implementation must not suspend and must
// not call back into the engine, except to wake who waits (Event::Set, Condition::Notify). All
// methods have empty defaults.
#ifndef MILLRACE_ENGINE_OBSERVER_H_
#define MILLRACE_ENGINE_OBSERVER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace millrace {

struct JobEvent;  // millrace/engine/job/job_event.h

enum class LogLevel : uint8_t { kInfo, kWarning, kError };

// A piece of a timeline that has ended; the texts are valid during the call only.
struct TimelineSpan {
  enum class Kind : uint8_t {
    kStep,          // a coroutine ran: `name` is its name, `detail` the yield point it ran from
    kIo,            // a request of the I/O backend: `name` is its label, `detail` the operation
    kDrainPending,  // a drained section was waited for: `name` is its owner, `detail` its nodes
    kDrained,       // a drained section was held
  };
  Kind kind = Kind::kStep;
  std::string_view name;
  std::string_view detail;
  uint64_t id = 0;    // of the coroutine (kIo: that waits for it), or of the section
  int64_t begin = 0;  // engine time
  int64_t end = 0;
  uint64_t offset = 0;  // kIo
  uint64_t bytes = 0;   // kIo
  int64_t result = 0;   // kIo: as of IoRequest
};

// What is counted, all there is. A request of the I/O backend counts when it has completed, a
// failed one as an error only.
enum class Counter : uint8_t {
  kIoReads,        // "io.reads"
  kIoReadBytes,    // "io.read.bytes"
  kIoWrites,       // "io.writes"
  kIoWriteBytes,   // "io.write.bytes"
  kIoFlushes,      // "io.flushes"
  kIoErrors,       // "io.errors"
  kIoRegistered,   // "io.registered": reads and writes sent from memory that io_uring has pinned
  kIoEnters,       // "io.enters": system calls that sent requests to io_uring, or waited for it
  kGuestRequests,  // "guest.requests": begun by guests, as of Graph::guest_requests()
  kDrainsBegun,    // "drain.begun"
  kDrainsGranted,  // "drain.granted"
  kLeases,         // "graph.leases": chains frozen
  kGraphEdits,     // "graph.edits": transactions applied
  kNodesVisited,   // "graph.nodes.visited": looked at by edits, leases and drains: what they cost
  kJobsStarted,    // "job.started"
  kJobsEnded,      // "job.ended": of those started, completed, failed or cancelled
};
inline constexpr size_t kCounters = static_cast<size_t>(Counter::kJobsEnded) + 1;

// "io.read.bytes"; stable, for logs and metrics.
std::string_view CounterName(Counter counter);

class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  // One line, no newline at its end.
  virtual void OnLog(LogLevel /*level*/, std::string_view /*line*/) {}
  // Job events in exact order (see JobEvent).
  virtual void OnJobEvent(const JobEvent& /*event*/) {}
  // It grew by so much. Without an observer nothing is counted.
  virtual void OnCounter(Counter /*counter*/, uint64_t /*delta*/) {}
  // Only while Engine::SetTimeline(true).
  virtual void OnSpan(const TimelineSpan& /*span*/) {}
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_OBSERVER_H_
