// Decider: who answers every nondeterministic question of an engine.
//
// Which coroutine runs next, which I/O completes next and how it ends, which waiter wakes first,
// whether we crash here: each is one call of Pick(). Option 0 is always exactly what production
// does (first in, first out; success; no crash), so a schedule is a sparse list of deviations from
// it. An engine without a decider takes option 0 everywhere and pays one predictable branch for it;
// so explored code is the shipped code.
//
// Home thread only; Pick() must not suspend and must not touch the engine.
#ifndef MILLRACE_ENGINE_SCHEDULER_DECIDER_H_
#define MILLRACE_ENGINE_SCHEDULER_DECIDER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace millrace {

enum class ChoiceKind : uint8_t {
  kStep,     // what happens next: a coroutine runs, an I/O completes, a timer fires
  kOutcome,  // how an I/O ends: ok, error before its effect, error after it, torn
  kWake,     // which of several waiters is woken first
  kCrash,    // whether the simulated machine stops here
  kFault,    // whether a fallible allocation or a named site misbehaves
  kData,     // a test's own choice (sizes, offsets, commands)
};

std::string_view ChoiceKindName(ChoiceKind kind);

// What one option of a choice is, in words that survive unrelated edits of the code.
struct Option {
  uint64_t actor = 0;       // coroutine id or I/O ordinal; equal actors mean the same party
  std::string_view name;    // "stream0/copy", "write img-3"
  std::string_view detail;  // the yield point or outcome: "drain.begin", "error before effect"
};

class Decider {
 public:
  virtual ~Decider() = default;
  // Returns an index below options.size(), which is at least 2.
  virtual size_t Pick(ChoiceKind kind, absl::Span<const Option> options) = 0;
};

// Always option 0: production's order, through the seam. Useful to count choice points.
class FifoDecider final : public Decider {
 public:
  size_t Pick(ChoiceKind, absl::Span<const Option>) override {
    ++choices_;
    return 0;
  }
  uint64_t choices() const { return choices_; }

 private:
  uint64_t choices_ = 0;
};

// A small, fast, seedable generator (splitmix64). Streams with different names are independent, so
// that drawing one more number in a workload does not shift the schedule.
class RandomStream {
 public:
  explicit RandomStream(uint64_t seed, std::string_view stream_name = {});
  uint64_t Next();
  // Uniform in [0, bound); bound > 0.
  uint64_t Below(uint64_t bound) { return Next() % bound; }
  // True once in `n` draws on average.
  bool OneIn(uint64_t n) { return Below(n) == 0; }

 private:
  uint64_t state_;
};

// One recorded answer. `label` is "name@detail" of the option taken; a canonical answer (0) need
// not be recorded.
struct Decision {
  uint64_t ordinal = 0;  // number of the choice since the start, from 0
  ChoiceKind kind = ChoiceKind::kStep;
  uint32_t taken = 0;
  uint32_t options = 0;
  std::string label;
};

// Uniformly random among the options of steps and wake orders; faults and crashes stay canonical
// unless enabled. Records what it did.
class RandomDecider final : public Decider {
 public:
  struct Faults {
    // One in N outcomes, crashes or faults deviates; 0 means never.
    uint32_t outcome_one_in = 0;
    uint32_t fault_one_in = 0;
    uint32_t crash_one_in = 0;
  };
  explicit RandomDecider(uint64_t seed) : RandomDecider(seed, Faults{}) {}
  RandomDecider(uint64_t seed, Faults faults);

  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;

  const std::vector<Decision>& decisions() const { return decisions_; }

 private:
  size_t Choose(ChoiceKind kind, size_t count);

  RandomStream schedule_;
  RandomStream faults_stream_;
  Faults faults_;
  uint64_t ordinal_ = 0;
  std::vector<Decision> decisions_;  // deviations only
};

// Repeats recorded deviations and answers 0 everywhere else. When a recorded choice no longer fits
// (other kind, other label), it stops deviating and status() says "stale at step N": it never
// drifts silently.
class ReplayDecider final : public Decider {
 public:
  explicit ReplayDecider(std::vector<Decision> decisions) : decisions_(std::move(decisions)) {}

  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;

  // FailedPrecondition once stale.
  const absl::Status& status() const { return status_; }

 private:
  std::vector<Decision> decisions_;
  size_t next_ = 0;
  uint64_t ordinal_ = 0;
  absl::Status status_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SCHEDULER_DECIDER_H_
