// Portfolio: several strategies on one scenario, each with a share of the runs. The mix that finds
// most, if nothing is known of a scenario: 25 % PCT, 25 % POS, 15 % random, 15 % delay-bounded, 10
// % guided, 10 % fair PCT.
#ifndef MILLRACE_ENGINE_EXPLORE_PORTFOLIO_H_
#define MILLRACE_ENGINE_EXPLORE_PORTFOLIO_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "millrace/engine/explore/strategy.h"

namespace millrace {

class Portfolio final : public Strategy {
 public:
  // The recommended mix. kSeeded leaves out who makes the same runs whatever the seed
  // (delay-bounded), for campaigns that come back to a scenario with one seed after the other.
  enum class Members : uint8_t { kAll, kSeeded };
  explicit Portfolio(uint64_t seed, FaultRates rates = {}, Members members = Members::kAll);
  // A mix of one's own, with Add().
  Portfolio() = default;
  // `share` is relative to the others'.
  void Add(std::unique_ptr<Strategy> strategy, uint32_t share);

  std::string_view name() const override { return "portfolio"; }
  bool BeginRun() override;
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    return current_->strategy->Pick(kind, options);
  }
  void EndRun(const RunSummary& summary) override;
  bool wants_steps() const override;
  void OnStep(const Option& step) override;
  void OnTouch(uint64_t object, StepAccess access) override;
  void OnStandingTouch(uint64_t object) override;
  void OnFootprint(bool is_complete) override;
  // Of every member, and which of them made the latest run.
  std::string Progress() const override;

 private:
  struct Member {
    std::unique_ptr<Strategy> strategy;
    uint32_t share = 1;
    uint64_t runs = 0;
    bool is_done = false;
    bool wants_steps = false;
  };
  Member* Next();

  std::vector<Member> members_;
  Member* current_ = nullptr;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_PORTFOLIO_H_
