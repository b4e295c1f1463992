// What a Scheduler owns. Internal; not installed.
#ifndef MILLRACE_ENGINE_SCHEDULER_SCHEDULER_IMPL_H_
#define MILLRACE_ENGINE_SCHEDULER_SCHEDULER_IMPL_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "millrace/engine/coroutine/coroutine_state.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {

struct Scheduler::Impl {
  std::unique_ptr<StackPool> own_stacks;
  StackPool* stacks = nullptr;  // its own, or one shared with other schedulers
  ExecutionContext main;
  IntrusiveList<CoroutineState, &CoroutineState::run_link> ready;
  IntrusiveList<CoroutineState, &CoroutineState::live_link> live;
  absl::btree_map<std::pair<Nanoseconds, uint64_t>, Timer*> timers;
  std::vector<Option> options;  // scratch space of one choice
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SCHEDULER_SCHEDULER_IMPL_H_
