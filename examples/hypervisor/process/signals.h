// TerminationSignals: SIGTERM, SIGINT and SIGHUP as something an event loop can wait for.
//
// One at a time in a process, since signal handlers are the process's. SIGPIPE is ignored: a
// client that is gone is an error of a write.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_SIGNALS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_SIGNALS_H_

#include <functional>
#include <memory>

#include "examples/hypervisor/process/event_loop.h"

namespace millrace {

class TerminationSignals {
 public:
  // `on_signal` is called by the loop.
  TerminationSignals(EventLoop& loop, std::function<void()> on_signal);
  ~TerminationSignals();
  TerminationSignals(const TerminationSignals&) = delete;
  TerminationSignals& operator=(const TerminationSignals&) = delete;

 private:
  const int fd_;
  EventLoop::Watch watch_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_SIGNALS_H_
