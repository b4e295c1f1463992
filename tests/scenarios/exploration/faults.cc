#include "tests/scenarios/exploration/faults.h"

#include <utility>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/explorer.h"
#include "tests/support/oracle_names.h"

namespace millrace {
namespace {

// What was expected if all went well, and errors that somebody was told of; but no invariant that
// is broken.
bool IsCleanError(const Failure& failure) {
  return !SignatureNamesAnOracle(failure.signature) && failure.signature != kNotDeterministic;
}

// As SimulatedIo offers it.
std::string_view NameOf(FaultLoop::How how) {
  switch (how) {
    case FaultLoop::How::kNoEffect:
      return "error before effect";
    case FaultLoop::How::kAfterEffect:
      return "error after effect";
    case FaultLoop::How::kNoSpace:
      return "no space";
    case FaultLoop::How::kTorn:
      return "torn";
  }
  return "";
}

}  // namespace

Scenario WithFaults(Scenario scenario) {
  scenario.explored = scenario.explored.With(ChoiceKind::kFault).With(ChoiceKind::kOutcome);
  scenario.body = [body = std::move(scenario.body)](ScenarioRun& run) {
    run.SetTolerance(&IsCleanError);
    return body(run);
  };
  return scenario;
}

bool FaultLoop::BeginRun() {
  if (n_ > 0 && chances_ < n_) return false;  // the latest run had no n-th
  n_ += n_ == 0 ? 1 : stride_;
  chances_ = 0;
  return true;
}

size_t FaultLoop::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  size_t failure = 0;
  if (kind == ChoiceKind::kOutcome) {
    while (failure < options.size() && options[failure].detail != NameOf(how_)) ++failure;
    if (failure == options.size()) return 0;
  } else if (kind == ChoiceKind::kFault && how_ == How::kNoEffect) {
    failure = 1;
  } else {
    return 0;
  }
  ++chances_;
  return chances_ == n_ || (lasts_ == Lasts::kForEver && chances_ > n_) ? failure : 0;
}

std::string FaultLoop::Progress() const { return StrCat(n_, " chances of ", NameOf(how_)); }

}  // namespace millrace
