// The views of the wait-for graph: reports for people, the deadlock test, the cycle test.
#include <algorithm>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/strings/str_join.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/scheduler/scheduler_impl.h"

namespace millrace {
namespace {

WaitDescription Describe(const CoroutineState& coroutine) {
  WaitDescription description;
  if (coroutine.parked_on != nullptr) coroutine.parked_on->DescribeWait(description);
  return description;
}

std::string Line(const CoroutineState& coroutine) {
  if (coroutine.phase != CoroutineState::Phase::kSuspended) {
    return StrCat("  '", coroutine.name(), "' can run (at ", coroutine.parked_at, ")\n");
  }
  const WaitDescription description = Describe(coroutine);
  std::string line = StrCat("  '", coroutine.name(), "' waits at ", coroutine.parked_at);
  if (!description.object.empty()) StrAppend(&line, " for ", description.object);
  if (!description.holders.empty()) {
    StrAppend(&line, ", held by ", absl::StrJoin(description.holders, ", "));
  }
  if (description.idle) StrAppend(&line, " (idle service)");
  StrAppend(&line, "\n");
  return line;
}

}  // namespace

std::string Scheduler::DescribeWaits() const {
  std::string report;
  for (const CoroutineState* each = impl_->live.front(); each != nullptr;
       each = impl_->live.After(*each)) {
    StrAppend(&report, Line(*each));
  }
  return report;
}

std::optional<std::string> Scheduler::FindDeadlock() const {
  if (has_ready() || !impl_->timers.empty() || pending_external_ > 0) return std::nullopt;
  for (const StepSource* source : sources_) {
    if (source->EnabledSteps() > 0) return std::nullopt;
  }
  std::string waits;
  for (const CoroutineState* each = impl_->live.front(); each != nullptr;
       each = impl_->live.After(*each)) {
    const WaitDescription description = Describe(*each);
    if (description.external) return std::nullopt;
    if (!description.idle) StrAppend(&waits, Line(*each));
  }
  if (waits.empty()) return std::nullopt;
  std::string report = StrCat("deadlock: no coroutine can run and nothing is pending\n", waits);
  if (std::optional<std::string> cycle = FindWaitCycle()) StrAppend(&report, *cycle, "\n");
  return report;
}

std::optional<std::string> Scheduler::FindWaitCycle() const {
  absl::btree_map<uint64_t, const CoroutineState*> suspended;
  absl::btree_map<uint64_t, std::vector<uint64_t>> waits_for;
  for (const CoroutineState* each = impl_->live.front(); each != nullptr;
       each = impl_->live.After(*each)) {
    if (each->phase != CoroutineState::Phase::kSuspended) continue;
    suspended[each->number] = each;
    waits_for[each->number] = Describe(*each).coroutines;
  }
  // A coroutine that waits for several waits for all of them, so any path that returns is a cycle.
  absl::btree_map<uint64_t, int> color;  // 1 on the path, 2 finished
  std::vector<uint64_t> path;
  std::optional<std::string> found;
  auto visit = [&](auto&& self, uint64_t number) -> void {
    if (found || !suspended.contains(number) || color[number] == 2) return;
    if (color[number] == 1) {
      auto start = std::find(path.begin(), path.end(), number);
      std::vector<std::string> names;
      for (; start != path.end(); ++start) {
        names.push_back(StrCat("'", std::string(suspended[*start]->name()), "'"));
      }
      found = StrCat("wait cycle: ", absl::StrJoin(names, " -> "), " -> ", names.front());
      return;
    }
    color[number] = 1;
    path.push_back(number);
    for (uint64_t next : waits_for[number]) self(self, next);
    path.pop_back();
    color[number] = 2;
  };
  for (const auto& entry : suspended) visit(visit, entry.first);
  return found;
}

}  // namespace millrace
