// SeparateTasks: coroutines that have nothing to do with each other, joined together.
//
// In a TaskScope the first failure, and that is also a coroutine for which there is no stack,
// cancels all others and all that come later. Requests of clients are not like that: each has a
// scope of its own here, and one that cannot begin leaves the others alone.
//
//   if (!requests.Spawn("aio_write", [...]() MILLRACE_MAY_SUSPEND { ... })) return NoMemory();
//
// Home thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_SEPARATE_TASKS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_SEPARATE_TASKS_H_

#include <list>
#include <string>
#include <string_view>
#include <utility>

#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/condition.h"

namespace millrace {

class SeparateTasks {
 public:
  // The scheduler outlives it.
  SeparateTasks(Scheduler& scheduler, std::string_view name)
      : scheduler_(scheduler), name_(name), emptied_(name) {}
  // All must be over (checked by their scopes).
  ~SeparateTasks() = default;
  SeparateTasks(const SeparateTasks&) = delete;
  SeparateTasks& operator=(const SeparateTasks&) = delete;

  // Starts a coroutine, whose body returns nothing. False if there is no stack for it.
  template <typename Body>
  bool Spawn(std::string_view name, Body&& body) {
    Reap();
    const auto task = running_.emplace(running_.end(), scheduler_, name_);
    const bool is_started =
        task->Spawn(name, [this, task, body = std::forward<Body>(body)]() MILLRACE_MAY_SUSPEND {
          body();
          // Its scope goes once this coroutine is over.
          over_.splice(over_.end(), running_, task);
          if (running_.empty()) emptied_.Notify();
        });
    if (!is_started) running_.erase(task);
    return is_started;
  }

  size_t live() const { return running_.size(); }

  // Returns when none runs.
  void CoJoin() MILLRACE_MAY_SUSPEND {
    emptied_.CoWaitUntil([this] { return running_.empty(); });
    for (TaskScope& task : over_) task.CoJoin().IgnoreError();
    Reap();
  }

 private:
  void Reap() {
    over_.remove_if([](const TaskScope& task) { return task.live() == 0; });
  }

  Scheduler& scheduler_;
  const std::string name_;
  std::list<TaskScope> running_;
  std::list<TaskScope> over_;  // but for their coroutines' last steps
  Condition emptied_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_SEPARATE_TASKS_H_
