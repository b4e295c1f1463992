// An observer that adds up an engine's counters.
#ifndef MILLRACE_TESTS_SUPPORT_COUNTING_OBSERVER_H_
#define MILLRACE_TESTS_SUPPORT_COUNTING_OBSERVER_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "millrace/engine/observer.h"

namespace millrace {

class CountingObserver final : public EngineObserver {
 public:
  void OnCounter(Counter counter, uint64_t delta) override {
    counts_[static_cast<size_t>(counter)] += delta;
  }
  uint64_t Of(Counter counter) const { return counts_[static_cast<size_t>(counter)]; }
  void Clear() { counts_ = {}; }

 private:
  std::array<uint64_t, kCounters> counts_ = {};
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_COUNTING_OBSERVER_H_
