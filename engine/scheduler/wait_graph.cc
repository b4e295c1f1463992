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

std::string Line(const Scheduler& scheduler, const CoroutineState& coroutine) {
  if (coroutine.phase != CoroutineState::Phase::kSuspended) {
    return StrCat("  '", coroutine.name(), "' can run (at ", coroutine.parked_at, ")\n");
  }
  WaitDescription description = Describe(coroutine);
  if (description.holders.empty()) {
    for (uint64_t id : description.coroutines) description.holders.push_back(scheduler.NameOf(id));
  }
  std::string line = StrCat("  '", coroutine.name(), "' waits at ", coroutine.parked_at);
  if (!description.object.empty()) StrAppend(&line, " for ", description.object);
  if (!description.holders.empty()) {
    StrAppend(&line, ", held by ", absl::StrJoin(description.holders, ", "));
  }
  if (description.idle) StrAppend(&line, " (idle service)");
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
    StrAppend(&report, Line(*this, *each));
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
    if (!description.idle) StrAppend(&waits, Line(*this, *each));
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
    graph[each->number] = Vertex{each, Describe(*each).coroutines};
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
