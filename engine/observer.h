// EngineObserver: what an engine has to say, to whoever wants to hear it. The library prints
// nothing.
//
// Called on the home thread, in the middle of a step; an implementation must not suspend and must
// not call back into the engine, except to wake who waits (Event::Set, Condition::Notify). All
// methods have empty defaults.
#ifndef MILLRACE_ENGINE_OBSERVER_H_
#define MILLRACE_ENGINE_OBSERVER_H_

#include <cstdint>
#include <string_view>

namespace millrace {

struct JobEvent;  // millrace/engine/job/job_event.h

enum class LogLevel : uint8_t { kInfo, kWarning, kError };

class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  // One line, no newline at its end.
  virtual void OnLog(LogLevel level, std::string_view line) {}
  // Job events in exact order (see JobEvent).
  virtual void OnJobEvent(const JobEvent& event) {}
  // A named counter grew: "io.read.bytes", "drain.granted".
  virtual void OnCounter(std::string_view counter, uint64_t delta) {}
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_OBSERVER_H_
