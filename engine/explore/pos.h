// Pos: partial order sampling (Yuan, Yang, Gu, CAV 2018). Every next step of a party has a random
// priority and the highest is taken; then those that conflict with it get new ones. So it samples
// orders of conflicting steps evenly, however many independent steps lie between.
//
// Conflicts must be known before a step is taken. Pos learns, over the runs, what steps of a kind
// (name and yield point) touch, from what the engine, the graph and the jobs tell
// (Scheduler::Touch) and from TouchShared(). A step of which nothing is known conflicts with all
// others, so without touches this is a random walk.
//
// Pos is unfair: who has a low priority and meets nobody may wait very long for one that polls.
// Fair POS has a random end (fair_tail.h).
#ifndef MILLRACE_ENGINE_EXPLORE_POS_H_
#define MILLRACE_ENGINE_EXPLORE_POS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "millrace/engine/explore/fair_tail.h"
#include "millrace/engine/explore/strategy.h"

namespace millrace {

class Pos final : public Strategy {
 public:
  enum class Fairness : uint8_t { kUnfair, kFair };
  explicit Pos(uint64_t seed, FaultRates rates = {}, Fairness fairness = Fairness::kUnfair)
      : seed_(seed), is_fair_(fairness == Fairness::kFair), others_(rates) {}

  std::string_view name() const override { return is_fair_ ? "fair POS" : "POS"; }
  bool BeginRun() override;
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;
  void EndRun(const RunSummary&) override;
  bool wants_steps() const override { return true; }
  void OnStep(const Option& step) override;
  void OnTouch(uint64_t object, StepAccess access) override;

 private:
  // Objects as bits of a hash; two that share a bit look alike.
  struct Touched {
    uint64_t read = 0;
    uint64_t written = 0;
    bool is_known() const { return (read | written) != 0; }
  };
  // The next step of a party.
  struct Pending {
    uint64_t party = 0;
    size_t place = 0;  // index into places_
    uint64_t priority = 0;
  };
  static constexpr size_t kPlaces = 4096;

  static bool MayConflict(const Touched& a, const Touched& b);
  static size_t IndexOfPlace(const Option& option);
  Pending& PendingOf(const Option& option);
  void FinishStep();

  const uint64_t seed_;
  const bool is_fair_;
  FairTail tail_;
  uint64_t runs_ = 0;
  RandomStream random_{0};
  RandomChoices others_;
  std::array<Touched, kPlaces> places_ = {};
  std::vector<Pending> pending_;
  bool is_in_step_ = false;
  size_t place_ = 0;  // of the running step
  Touched touched_;   // by it
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_POS_H_
