// Pct: probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010). Every party has a random
// priority and the highest one that can run does; at d - 1 random steps whoever would run drops
// below all initial priorities, to one of d - 1 places there: each step has a place of its own,
// drawn at random, so who drops later ends above or below who dropped before. A bug of depth d (d
// ordering constraints) is found by a run with probability of at least 1 / (n k^(d-1)), for n
// parties and k choices of a step; k is the most seen so far.
//
// Time is a party of a special kind: when it may pass although something else could happen, and
// does, it drops below everybody. Else who polls with a timer would keep a slow I/O from ever
// ending.
//
// Pct is unfair: a low party may starve for ever. Fair PCT has a random end (fair_tail.h), and its
// k is the length of a fair run.
#ifndef MILLRACE_ENGINE_EXPLORE_PCT_H_
#define MILLRACE_ENGINE_EXPLORE_PCT_H_

#include <utility>
#include <vector>

#include "millrace/engine/explore/fair_tail.h"
#include "millrace/engine/explore/strategy.h"

namespace millrace {

class Pct final : public Strategy {
 public:
  struct Options {
    uint64_t seed = 1;
    // Runs take these depths in turn.
    uint32_t depth_min = 2;
    uint32_t depth_max = 4;
    bool is_fair = false;
    FaultRates rates = {};
  };
  explicit Pct(const Options& options) : options_(options), others_(options.rates) {}

  std::string_view name() const override { return options_.is_fair ? "fair PCT" : "PCT"; }
  bool BeginRun() override;
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;
  void EndRun(const RunSummary& summary) override;

 private:
  uint64_t PriorityOf(uint64_t party) const;
  void Drop(uint64_t party, uint64_t priority);
  size_t Highest(absl::Span<const Option> options) const;

  const Options options_;
  uint64_t runs_ = 0;
  uint64_t run_seed_ = 0;
  uint64_t choices_expected_ = 100;  // k
  uint64_t choices_max_ = 0;
  uint64_t choice_ = 0;  // of a step, in this run, from 1
  FairTail tail_;        // if it is fair
  // The choices at which somebody drops, rising, and the place that it drops to, from 1.
  std::vector<std::pair<uint64_t, uint64_t>> changes_;
  uint64_t times_passed_ = 0;
  size_t next_change_ = 0;                              // index into changes_
  std::vector<std::pair<uint64_t, uint64_t>> dropped_;  // party and its priority
  RandomStream random_{0};
  RandomChoices others_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_PCT_H_
