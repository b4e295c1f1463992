// RandomWalk: at every step each option is equally likely. Cheap and surprisingly good at bugs of
// few steps; long delays of one party are practically never seen (see pct.h).
#ifndef MILLRACE_ENGINE_EXPLORE_RANDOM_H_
#define MILLRACE_ENGINE_EXPLORE_RANDOM_H_

#include "millrace/engine/explore/strategy.h"

namespace millrace {

class RandomWalk final : public Strategy {
 public:
  explicit RandomWalk(uint64_t seed, FaultRates rates = {}) : seed_(seed), others_(rates) {}

  std::string_view name() const override { return "random"; }
  bool BeginRun() override {
    const uint64_t run_seed = SeedOfRun(name(), seed_, runs_++);
    steps_ = RandomStream(run_seed, "schedule");
    others_.BeginRun(run_seed);
    return true;
  }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    if (kind == ChoiceKind::kStep) return steps_.Below(options.size());
    return others_.Pick(kind, options);
  }

 private:
  const uint64_t seed_;
  uint64_t runs_ = 0;
  RandomStream steps_{0};
  RandomChoices others_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_RANDOM_H_
