#include "millrace/engine/scope/task_scope.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine_state.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/engine/scheduler/scheduler_impl.h"

namespace millrace {

TaskScope::TaskScope(std::string_view name)
    : scheduler_(Scheduler::OfRunning()), name_(name), opener_(scheduler_.running()) {
  opener_->open_scopes.PushBack(*this);
  is_cancelled_ = opener_->cancelled;
}

TaskScope::TaskScope(Scheduler& scheduler, std::string_view name)
    : scheduler_(scheduler), name_(name) {}

TaskScope::~TaskScope() {
  MILLRACE_CHECK(children_.empty(),
                 StrCat("scope '", name_, "' destroyed before it joined; alive: ", DescribeAlive(),
                        "; CoJoin() it on every path, an early return after Spawn() included, and "
                        "drive the engine until it has"));
  if (opener_ != nullptr) opener_->open_scopes.Remove(*this);
}

std::string TaskScope::DescribeAlive() const {
  std::string names;
  for (const ScopeMember* member = children_.front(); member != nullptr;
       member = children_.After(*member)) {
    StrAppend(&names, names.empty() ? "'" : ", '",
              static_cast<const CoroutineState*>(member)->name(), "'");
  }
  return names;
}

void* TaskScope::Start(std::string_view name, size_t bytes, size_t alignment, void (*body)(void*)) {
  void* memory = scheduler_.Start(*this, name, bytes, alignment, body);
  if (memory == nullptr) {
    Fail(absl::ResourceExhaustedError(
        StrCat("cannot start coroutine '", name,
               "': no memory for its stack; finish other work first, or raise "
               "vm.max_map_count")));
  }
  return memory;
}

void TaskScope::ReportOfRunning(absl::Status status) {
  if (!status.ok()) Scheduler::Current()->running()->scope->Fail(std::move(status));
}

void TaskScope::Fail(absl::Status status) {
  MILLRACE_SOMETIMES(!status_.ok(), "scope: a second error comes after the first");
  if (!status_.ok()) return;
  status_ = std::move(status);
  Cancel();
}

absl::Status TaskScope::CoJoin() {
  while (!children_.empty()) joiners_.CoWait("scope.join", this);
  if (MILLRACE_BUGGIFY("scope: yields after it has joined")) CoYield("scope.odd");
  return status_;
}

absl::Status TaskScope::Finish() {
  MILLRACE_CHECK(children_.empty(), StrCat("scope '", name_, "' still has coroutines"));
  return status_;
}

void TaskScope::Cancel() {
  if (is_cancelled_) return;
  is_cancelled_ = true;
  for (ScopeMember* member = children_.front(); member != nullptr;) {
    auto* coroutine = static_cast<CoroutineState*>(member);
    member = children_.After(*member);
    coroutine->cancelled = true;
    for (TaskScope* scope = coroutine->open_scopes.front(); scope != nullptr;
         scope = coroutine->open_scopes.After(*scope)) {
      scope->Cancel();
    }
    Waiter* const waiter = coroutine->cancellable_waiter;
    MILLRACE_SOMETIMES(waiter != nullptr, "scope: a cancel reaches a coroutine that waits");
    if (waiter != nullptr) waiter->queue->Cancel(*waiter);
  }
}

void TaskScope::DescribeWait(WaitDescription& description) const {
  description.object = StrCat("scope '", name_, "'");
  for (const ScopeMember* member = children_.front(); member != nullptr;
       member = children_.After(*member)) {
    const auto* child = static_cast<const CoroutineState*>(member);
    description.coroutines.push_back(child->number);
  }
}

}  // namespace millrace
