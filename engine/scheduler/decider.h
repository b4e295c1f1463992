// Decider: who answers every nondeterministic question of an engine.
//
// Which coroutine runs next, which I/O completes next and how it ends, which waiter wakes first,
// whether we crash here: each is one call of Pick(). Option 0 is always exactly what production
// does (first in, first out; success; no crash), so a schedule is a sparse list of deviations from
// it. An engine without a decider takes option 0 everywhere and pays one predictable branch for it;
// so explored code is the shipped code.
//
// One thing is no choice: when posted functions and doorbells (engine.h) are answered. A simulation
// does it before the next step, production once everything that was ready has run. So of what was
// posted and not yet accepted, explorations see only what its own step does to it.
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

struct ExplorationSite;  // millrace/engine/scheduler/exploration_site.h

enum class ChoiceKind : uint8_t {
  kStep,     // what happens next: a coroutine runs, an I/O completes, a timer fires
  kOutcome,  // how an I/O ends: ok, error before its effect, error after it, torn
  kWake,     // which of several waiters is woken first
  kCrash,    // whether the simulated machine stops here
  kFault,    // whether a fallible allocation or a named site misbehaves
  kData,     // a test's own choice (sizes, offsets, commands)
  kBuggify,  // whether a named site takes its odd but legal branch (MILLRACE_BUGGIFY)
  kLatency,  // how long an I/O takes, or whether its file stalls
};
inline constexpr size_t kChoiceKinds = 8;

std::string_view ChoiceKindName(ChoiceKind kind);

// What one option of a choice is, in words that survive unrelated edits of the code.
struct Option {
  uint64_t actor = 0;       // coroutine id or I/O ordinal; equal actors mean the same party
  std::string_view name;    // "stream0/copy", "write img-3"
  std::string_view detail;  // the yield point or outcome: "drain.begin", "error before effect"
};

// How a step uses an object that others may use, too.
enum class StepAccess : uint8_t { kRead, kWrite };

// Hears what a simulated engine does between choices: for explorers that record a run or want to
// know which steps touch the same things. Must not suspend and must not touch the engine; what it
// is handed lives only as long as the call.
class StepObserver {
 public:
  // A step begins. Of a coroutine, `detail` is the yield point it goes on from.
  virtual void OnStep(const Option& step, int64_t now_ns) = 0;
  // The running step uses a shared object, named so that equal names mean the same object in every
  // run of a scenario.
  virtual void OnTouch(std::string_view type, std::string_view name, StepAccess access) = 0;
  // From here on the running coroutine reports everything that it shares with others (or, again,
  // may not): see FootprintScope.
  virtual void OnFootprint(bool is_complete) = 0;
  // Something worth telling happened in the running step: kind "graph", object "n3", any text.
  virtual void OnNote(std::string_view kind, std::string_view object, std::string_view text) = 0;
  // Whether notes are kept. Who would build one in every step asks first.
  virtual bool keeps_notes() const { return true; }

 protected:
  ~StepObserver() = default;
};

class Decider {
 public:
  virtual ~Decider() = default;
  // Returns an index below options.size(), which is at least 2.
  virtual size_t Pick(ChoiceKind kind, absl::Span<const Option> options) = 0;
  // Who wants to hear of steps; asked once, when a scheduler is made. Null: nobody.
  virtual StepObserver* observer() { return nullptr; }
  // Whether a MILLRACE_BUGGIFY site takes its odd branch, asked at each visit: a choice of the kind
  // kBuggify, unless the decider answers without making one of it.
  virtual bool TakesOddBranch(const ExplorationSite& site);
  // The code came by a site, which is ExplorationSites()[index]: a MILLRACE_SOMETIMES whose
  // condition held, a MILLRACE_ALWAYS, or a MILLRACE_BUGGIFY that took its odd branch.
  virtual void OnSite(const ExplorationSite& /*site*/, size_t /*index*/) {}
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

// One recorded answer; a canonical answer (0) is not recorded. The option taken is the one with
// this label, and of several with the same label (two workers of one name at one yield point) the
// one that comes after `equals_before` others of them: the index among all options would change
// with any unrelated one.
struct Decision {
  uint64_t ordinal = 0;  // number of the choice since the start, from 0
  ChoiceKind kind = ChoiceKind::kStep;
  uint32_t equals_before = 0;
  std::string label;  // "name@detail"
};

// Uniformly random among the options of steps and wake orders; faults and crashes stay canonical
// unless enabled. Schedule, faults and a test's own data are drawn from independent streams of the
// seed. A seed repeats its schedule by itself, so a campaign runs without recording and records
// (which costs a label per deviation) only the seed that failed.
class RandomDecider final : public Decider {
 public:
  enum class Recording : bool { kOff, kOn };
  struct Faults {
    // One in N outcomes, faults, crashes, visits of a buggify site or latencies deviates; 0: never.
    uint32_t outcome_one_in = 0;
    uint32_t fault_one_in = 0;
    uint32_t crash_one_in = 0;
    uint32_t buggify_one_in = 0;
    uint32_t latency_one_in = 0;
  };
  explicit RandomDecider(uint64_t seed) : RandomDecider(seed, Faults{}) {}
  RandomDecider(uint64_t seed, Faults faults, Recording recording = Recording::kOn);

  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;

  // The deviations so far; empty if not recording.
  const std::vector<Decision>& decisions() const { return decisions_; }
  uint64_t choices() const { return ordinal_; }

 private:
  size_t Choose(ChoiceKind kind, size_t count);

  RandomStream schedule_;
  RandomStream faults_stream_;
  RandomStream data_;
  const Faults faults_;
  const Recording recording_;
  uint64_t ordinal_ = 0;
  std::vector<Decision> decisions_;
};

// Repeats recorded deviations and answers 0 everywhere else. When a recorded choice no longer fits
// (other kind, no such label), it stops deviating and status() says at which choice the schedule is
// stale: it never drifts silently.
class ReplayDecider final : public Decider {
 public:
  explicit ReplayDecider(std::vector<Decision> decisions) : decisions_(std::move(decisions)) {}

  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;

  // FailedPrecondition once stale.
  const absl::Status& status() const { return status_; }
  // The same at the end of a run; FailedPrecondition, too, if recorded choices were never reached.
  absl::Status Finish() const;

 private:
  std::vector<Decision> decisions_;  // by ordinal
  size_t next_ = 0;
  uint64_t ordinal_ = 0;
  absl::Status status_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SCHEDULER_DECIDER_H_
