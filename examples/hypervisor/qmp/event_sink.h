// EventSink: where QMP events go.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_EVENT_SINK_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_EVENT_SINK_H_

#include <string_view>

#include "examples/hypervisor/qmp/json.h"

namespace millrace {

class EventSink {
 public:
  virtual ~EventSink() = default;
  // Sends an event, stamped with the wall clock, to every monitor that has negotiated, in the order
  // of the calls and of replies: what is emitted before a handler returns arrives before its reply,
  // except for commands that reply first (CommandSpec::replies_first). Never suspends, so it may be
  // called from an EngineObserver. An empty `data` is left out. Home thread only.
  virtual void Emit(std::string_view name, json::object data) = 0;
  // Hands what has been emitted and replied so far to the clients, as far as they read: for whoever
  // writes to where one of them may be, stdout.
  virtual void Flush() = 0;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_EVENT_SINK_H_
