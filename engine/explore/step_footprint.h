// StepFootprint: what one step touched, and whether that is all.
#ifndef MILLRACE_ENGINE_EXPLORE_STEP_FOOTPRINT_H_
#define MILLRACE_ENGINE_EXPLORE_STEP_FOOTPRINT_H_

#include <algorithm>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

struct StepFootprint {
  bool is_complete = false;  // else the step may have touched anything
  absl::InlinedVector<uint64_t, 4> reads;
  absl::InlinedVector<uint64_t, 4> writes;

  // Keeps its memory.
  void Clear() {
    is_complete = false;
    reads.clear();
    writes.clear();
  }
  bool is_empty() const { return reads.empty() && writes.empty(); }
  void Add(uint64_t object, StepAccess access) {
    auto& objects = access == StepAccess::kWrite ? writes : reads;
    if (!Has(objects, object)) objects.push_back(object);
  }
  // What either touches.
  void Merge(const StepFootprint& other) {
    is_complete = is_complete && other.is_complete;
    for (uint64_t object : other.reads) Add(object, StepAccess::kRead);
    for (uint64_t object : other.writes) Add(object, StepAccess::kWrite);
  }

  template <typename Objects>
  static bool Has(const Objects& objects, uint64_t object) {
    return std::find(objects.begin(), objects.end(), object) != objects.end();
  }
  template <typename A, typename B>
  static bool Meet(const A& a, const B& b) {
    return std::any_of(a.begin(), a.end(), [&](uint64_t object) { return Has(b, object); });
  }
};

// Whether the order of two steps of different parties may matter.
inline bool MayConflict(const StepFootprint& a, const StepFootprint& b) {
  if (!a.is_complete || !b.is_complete) return true;
  return StepFootprint::Meet(a.writes, b.writes) || StepFootprint::Meet(a.writes, b.reads) ||
         StepFootprint::Meet(a.reads, b.writes);
}

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_STEP_FOOTPRINT_H_
