// CoroutineState: what the scheduler keeps about one coroutine. It lives at the top of the
// coroutine's own stack, so that starting one allocates nothing. Internal; not installed.
#ifndef MILLRACE_ENGINE_COROUTINE_COROUTINE_STATE_H_
#define MILLRACE_ENGINE_COROUTINE_COROUTINE_STATE_H_

#include <cstdint>
#include <cstring>

#include "millrace/engine/coroutine/context_switch.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

struct CoroutineState final : Coroutine, ScopeMember {
  enum class Phase : uint8_t { kCreated, kReady, kRunning, kSuspended };
  static constexpr size_t kLabelBytesMax = 55;

  // Keeps both ends of a name that is too long: "stream-of-a-long-no...y-name/copy".
  void SetLabel(std::string_view name) {
    if (__builtin_expect(name.size() > kLabelBytesMax, 0)) return SetLongLabel(name);
    label_bytes = static_cast<uint8_t>(name.size());
    std::memcpy(label, name.data(), name.size());
  }
  void SetLongLabel(std::string_view name);

  ExecutionContext context;
  Stack stack;
  // Set by Scheduler::Start, like `label`; not initialised here, for every store counts there.
  Scheduler* home;
  TaskScope* scope;
  void (*body)(void* closure);
  void* closure;
  uint64_t number;
  const char* parked_at = "start";       // yield point of the latest suspension
  int64_t parked_since = 0;              // when the turn began in which it got there
  const Waitable* parked_on = nullptr;   // what it waits on, while suspended
  Waiter* cancellable_waiter = nullptr;  // set while parked where a cancel may wake it
  ListLink run_link;
  ListLink live_link;
  IntrusiveList<TaskScope, &TaskScope::opener_link_> open_scopes;  // opened by this coroutine
  Phase phase = Phase::kCreated;
  bool cancelled = false;
  uint8_t label_bytes = 0;
  char label[kLabelBytesMax];
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_COROUTINE_COROUTINE_STATE_H_
