// Guided: mutates schedules that met something new. New is a pair of steps one right after the
// other, of different parties, at places (name and yield point) that no run showed in this order
// before. Runs that met one join the corpus; each new run repeats one of them up to a random
// choice, with a few choices before it changed, and goes on at random.
#ifndef MILLRACE_ENGINE_EXPLORE_GUIDED_H_
#define MILLRACE_ENGINE_EXPLORE_GUIDED_H_

#include <cstdint>
#include <string>
#include <vector>

#include "millrace/engine/explore/strategy.h"

namespace millrace {

class Guided final : public Strategy {
 public:
  explicit Guided(uint64_t seed, FaultRates rates = {})
      : seed_(seed), others_(rates), pairs_seen_(kPairBits / 64) {}

  std::string_view name() const override { return "guided"; }
  bool BeginRun() override;
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;
  void EndRun(const RunSummary& summary) override;
  bool wants_steps() const override { return true; }
  void OnStep(const Option& step) override;
  std::string Progress() const override;

  uint64_t pairs() const { return pairs_; }

 private:
  static constexpr size_t kPairBits = 1 << 20;
  static constexpr size_t kCorpusMax = 4096;

  void Mutate();

  const uint64_t seed_;
  uint64_t runs_ = 0;
  RandomStream random_{0};
  RandomChoices others_;
  std::vector<std::vector<uint16_t>> corpus_;
  std::vector<uint16_t> plan_;        // indices to take first
  std::vector<uint16_t> taken_;       // in this run
  std::vector<uint64_t> pairs_seen_;  // bits of hashes
  uint64_t pairs_ = 0;
  uint64_t new_pairs_ = 0;  // of this run
  uint64_t last_party_ = 0;
  uint64_t last_place_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_GUIDED_H_
