// The fault loop over every scenario: in production's order, the N-th operation that could fail
// does, for every N, once or from there on for ever: I/O, allocations and the stacks of coroutines.
// Scenarios are written for the case that all goes well, so what they expect may fail; but errors
// must be clean. No check fails, nobody waits for ever, nothing is left behind, and the guest reads
// what it wrote.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/regression_test.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/scenario_names.h"

namespace millrace {
namespace {

enum class Lasts : uint8_t { kOnce, kForEver };

// Production's order; in the n-th run the n-th chance to fail is taken.
class FaultLoop final : public Strategy {
 public:
  explicit FaultLoop(Lasts lasts) : lasts_(lasts) {}

  std::string_view name() const override { return "fault loop"; }
  bool BeginRun() override {
    if (n_ > 0 && chances_ < n_) return false;  // the latest run had no n-th
    ++n_;
    chances_ = 0;
    return true;
  }
  size_t Pick(ChoiceKind kind, absl::Span<const Option>) override {
    if (kind != ChoiceKind::kFault && kind != ChoiceKind::kOutcome) return 0;
    ++chances_;
    // Option 1 is the failure without an effect.
    return chances_ == n_ || (lasts_ == Lasts::kForEver && chances_ > n_) ? 1 : 0;
  }
  std::string Progress() const override { return StrCat(n_, " chances"); }

 private:
  const Lasts lasts_;
  uint64_t n_ = 0;
  uint64_t chances_ = 0;  // in this run
};

bool IsCleanError(const Failure& failure) {
  // What layers show and headers name (O2, O4) the stories tell of jobs that end as they should.
  constexpr std::string_view kUnclean[] = {"O10",          "O11",          "O12",
                                           "DATA_LOSS I2", "DATA_LOSS O8", "not determ"};
  return std::none_of(std::begin(kUnclean), std::end(kUnclean), [&](std::string_view each) {
    return std::string_view(failure.signature).substr(0, each.size()) == each;
  });
}

Scenario WithFaults(Scenario scenario) {
  scenario.explored = ChoiceKinds::Schedule().With(ChoiceKind::kFault).With(ChoiceKind::kOutcome);
  scenario.body = [body = std::move(scenario.body)](ScenarioRun& run) {
    run.SetTolerance(&IsCleanError);
    return body(run);
  };
  return scenario;
}

class Faults : public testing::TestWithParam<Scenario> {
 protected:
  static void Loop(Lasts lasts) {
    const Scenario scenario = WithFaults(GetParam());
    FaultLoop strategy(lasts);
    const ExploreReport report =
        Explore(scenario, strategy, {.budget = {.schedules = 20'000}, .hang_seconds = 20});
    RecordProperty("chances", static_cast<int>(report.schedules));
    if (report.finding) {
      ADD_FAILURE() << report.finding->failure.signature << "\n"
                    << report.finding->failure.text << "\nschedule "
                    << report.finding->schedule.ToText();
      return;
    }
    EXPECT_TRUE(report.is_complete) << report.proof;
    // A first run without a chance would have proven nothing.
    if (scenario.name.rfind("micro: ", 0) == 0) return;
    EXPECT_GT(report.schedules, 5u);
  }
};

TEST_P(Faults, OnceLeadToCleanErrors) { Loop(Lasts::kOnce); }
TEST_P(Faults, ForEverLeadToCleanErrors) { Loop(Lasts::kForEver); }

INSTANTIATE_TEST_SUITE_P(All, Faults, testing::ValuesIn(AllScenarios()), ScenarioTestName);

}  // namespace
}  // namespace millrace
