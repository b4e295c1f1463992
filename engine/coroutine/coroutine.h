// Coroutine: one stackful thread of execution on its scheduler's home thread.
//
// Only a TaskScope starts coroutines; code inside one meets this class through Coroutine::Current()
// and, rarely, Suspend(). A coroutine runs until it suspends; nothing preempts it. It has a name
// ("stream0/copy"), an id that is never reused, and, while suspended, a yield point and the
// Waitable it waits on.
#ifndef MILLRACE_ENGINE_COROUTINE_COROUTINE_H_
#define MILLRACE_ENGINE_COROUTINE_COROUTINE_H_

#include <cstdint>
#include <string_view>

#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/scheduler/wait.h"

namespace millrace {

class Scheduler;
class TaskScope;
class WaitQueue;
struct CoroutineState;

class Coroutine {
 public:
  // The running coroutine of this thread, or null outside coroutines.
  static Coroutine* Current();

  std::string_view name() const;
  uint64_t id() const;
  Scheduler& scheduler() const;

  // Whether the scope this coroutine belongs to (or one around it) was cancelled.
  bool is_cancelled() const;

  // While suspended: where ("io.read") and on what (may be null for a plain yield).
  std::string_view yield_point() const;
  const Waitable* waits_on() const;

 protected:
  Coroutine() = default;
  ~Coroutine() = default;
};

// The one way to give up the processor. Returns when somebody wakes this coroutine through its
// scheduler. Checks that it runs in a coroutine (a plain function must not suspend) and that no
// view or transaction is open on this thread (G9).
//
// `yield_point` must outlive the program (a literal). Almost nobody calls this: use the types in
// engine/sync, which pair each wake with one suspension.
void Suspend(const char* yield_point, const Waitable* on) MILLRACE_MAY_SUSPEND;

// Lets every other runnable coroutine run once. Not cancellable.
void CoYield(const char* yield_point = "yield") MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_ENGINE_COROUTINE_COROUTINE_H_
