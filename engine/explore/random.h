// RandomWalk: at every step each option is equally likely. Cheap and surprisingly good at bugs of
// few steps; long delays of one party are practically never seen (see pct.h).
#ifndef MILLRACE_ENGINE_EXPLORE_RANDOM_H_
#define MILLRACE_ENGINE_EXPLORE_RANDOM_H_

#include "millrace/engine/explore/strategy.h"

namespace millrace {

class RandomWalk final : public Strategy {
 public:
  // Run i of a walk is seeded with seed + i.
  explicit RandomWalk(uint64_t seed, FaultRates rates = {}) : next_seed_(seed), others_(rates) {}

  std::string_view name() const override { return "random"; }
  bool BeginRun() override {
    steps_ = RandomStream(next_seed_, "schedule");
    others_.BeginRun(next_seed_++);
    return true;
  }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    if (kind == ChoiceKind::kStep) return steps_.Below(options.size());
    return others_.Pick(kind, options);
  }

 private:
  uint64_t next_seed_;
  RandomStream steps_{0};
  RandomChoices others_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_RANDOM_H_
