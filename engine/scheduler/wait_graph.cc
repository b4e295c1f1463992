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

WaitDescription DescribeCoroutine(const CoroutineState& coroutine) {
  WaitDescription description;
  if (coroutine.parked_on != nullptr) coroutine.parked_on->DescribeWait(description);
  return description;
}

CoroutineWait WaitOf(const Scheduler& scheduler, const CoroutineState& coroutine) {
  CoroutineWait wait;
  wait.number = coroutine.number;
  wait.name = coroutine.name();
  wait.yield_point = coroutine.parked_at;
  wait.since = coroutine.parked_since;
  wait.can_run = coroutine.phase != CoroutineState::Phase::kSuspended;
  if (wait.can_run) return wait;
  wait.on = DescribeCoroutine(coroutine);
  if (wait.on.holders.empty()) {
    for (uint64_t id : wait.on.coroutines) wait.on.holders.push_back(scheduler.NameOf(id));
  }
  return wait;
}

std::string Line(const CoroutineWait& wait) {
  if (wait.can_run) return StrCat("  '", wait.name, "' can run (at ", wait.yield_point, ")\n");
  std::string line = StrCat("  '", wait.name, "' waits at ", wait.yield_point);
  if (!wait.on.object.empty()) StrAppend(&line, " for ", wait.on.object);
  if (!wait.on.holders.empty()) {
    StrAppend(&line, ", held by ", absl::StrJoin(wait.on.holders, ", "));
  }
  if (wait.on.idle) StrAppend(&line, " (idle service)");
  StrAppend(&line, "\n");
  return line;
}

// A suspended coroutine as a vertex of the wait-for graph.
struct Vertex {
  const CoroutineState* coroutine;
  std::vector<uint64_t> waits_for;
  size_t next_edge = 0;  // the first of waits_for that the search has not followed
  bool is_on_path = false;
};

using WaitGraph = absl::btree_map<uint64_t, Vertex>;

// Follows edges from `start`, depth first, with a path of its own: chains of waits may be longer
// than a coroutine's stack is deep. Returns the path, which ends with the vertex that closes a
// cycle; empty if there is none.
std::vector<Vertex*> FindCycleFrom(WaitGraph& graph, Vertex& start) {
  std::vector<Vertex*> path;
  auto enter = [&path](Vertex& vertex) {
    vertex.is_on_path = true;
    path.push_back(&vertex);
  };
  enter(start);
  while (!path.empty()) {
    Vertex& vertex = *path.back();
    if (vertex.next_edge == vertex.waits_for.size()) {
      vertex.is_on_path = false;
      path.pop_back();
      continue;
    }
    auto next = graph.find(vertex.waits_for[vertex.next_edge++]);
    if (next == graph.end()) continue;  // it can run, or has ended
    if (next->second.is_on_path) {
      path.push_back(&next->second);
      return path;
    }
    if (next->second.next_edge == 0) enter(next->second);
  }
  return path;
}

}  // namespace

std::string Scheduler::DescribeWaits() const {
  std::string report;
  for (const CoroutineState* each = impl_->live.front(); each != nullptr;
       each = impl_->live.After(*each)) {
    StrAppend(&report, Line(WaitOf(*this, *each)));
  }
  return report;
}

std::vector<CoroutineWait> Scheduler::Waits() const {
  std::vector<CoroutineWait> waits;
  for (const CoroutineState* each = impl_->live.front(); each != nullptr;
       each = impl_->live.After(*each)) {
    waits.push_back(WaitOf(*this, *each));
  }
  return waits;
}

std::optional<std::string> Scheduler::FindDeadlock() const {
  if (has_ready() || !impl_->timers.empty() || pending_external_ > 0) return std::nullopt;
  for (const StepSource* source : sources_) {
    if (source->EnabledSteps() > 0) return std::nullopt;
  }
  std::string waits;
  for (const CoroutineState* each = impl_->live.front(); each != nullptr;
       each = impl_->live.After(*each)) {
    const WaitDescription description = DescribeCoroutine(*each);
    if (description.external) return std::nullopt;
    if (!description.idle) StrAppend(&waits, Line(WaitOf(*this, *each)));
  }
  if (waits.empty()) return std::nullopt;
  std::string report = StrCat("deadlock: no coroutine can run and nothing is pending\n", waits);
  if (std::optional<std::string> cycle = FindWaitCycle()) StrAppend(&report, *cycle, "\n");
  return report;
}

std::optional<std::string> Scheduler::FindWaitCycle() const {
  WaitGraph graph;
  for (const CoroutineState* each = impl_->live.front(); each != nullptr;
       each = impl_->live.After(*each)) {
    if (each->phase != CoroutineState::Phase::kSuspended) continue;
    graph[each->number] = Vertex{each, DescribeCoroutine(*each).coroutines};
  }
  // A coroutine that waits for several waits for all of them, so any path that returns is a cycle.
  for (auto& entry : graph) {
    if (entry.second.next_edge > 0) continue;
    std::vector<Vertex*> path = FindCycleFrom(graph, entry.second);
    if (path.empty()) continue;
    std::vector<std::string> names;
    for (auto each = std::find(path.begin(), path.end(), path.back()); each != path.end(); ++each) {
      names.push_back(StrCat("'", (*each)->coroutine->name(), "'"));
    }
    return "wait cycle: " + absl::StrJoin(names, " -> ");
  }
  return std::nullopt;
}

std::string Scheduler::NameOf(uint64_t coroutine_id) const {
  for (const CoroutineState* each = impl_->live.front(); each != nullptr;
       each = impl_->live.After(*each)) {
    if (each->number == coroutine_id) return StrCat("coroutine '", each->name(), "'");
  }
  return StrCat("a coroutine that has ended (id ", coroutine_id, ")");
}

}  // namespace millrace
