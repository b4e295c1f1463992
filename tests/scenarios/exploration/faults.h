// Faults in scenarios that were written for the case that all goes well: what is still a finding
// then, and the loop that lets every operation fail in turn.
#ifndef MILLRACE_TESTS_SCENARIOS_EXPLORATION_FAULTS_H_
#define MILLRACE_TESTS_SCENARIOS_EXPLORATION_FAULTS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "millrace/engine/explore/scenario.h"
#include "millrace/engine/explore/strategy.h"

namespace millrace {

// The scenario with faults of I/O and of allocations among what is explored. What its body EXPECTs
// may fail then, and errors that somebody is told of are none; but invariants hold: whatever is
// named by letter and number (tests/support/oracle_names.h), and all that ScenarioRun itself finds.
Scenario WithFaults(Scenario scenario);

// Production's order; in the n-th run the n-th chance to fail is taken.
class FaultLoop final : public Strategy {
 public:
  // Once, or from the n-th chance on.
  enum class Lasts : uint8_t { kOnce, kForEver };
  // The operation has no effect, or one all the same; there is no space; a part of it is done.
  // What is no I/O (an allocation, a coroutine's stack) fails with kNoEffect only.
  enum class How : uint8_t { kNoEffect, kAfterEffect, kNoSpace, kTorn };

  // With a stride, every so manieth chance only, from the first on.
  explicit FaultLoop(Lasts lasts, How how = How::kNoEffect, uint64_t stride = 1)
      : lasts_(lasts), how_(how), stride_(stride) {}

  std::string_view name() const override { return "fault loop"; }
  bool BeginRun() override;
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;
  std::string Progress() const override;

 private:
  const Lasts lasts_;
  const How how_;
  const uint64_t stride_;
  uint64_t n_ = 0;
  uint64_t chances_ = 0;  // in this run
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_FAULTS_H_
