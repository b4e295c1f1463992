#include "millrace/engine/explore/strategy.h"

#include "millrace/engine/explore/party.h"

namespace millrace {

uint64_t SeedOfRun(std::string_view strategy, uint64_t seed, uint64_t run) {
  return Mix(HashText(strategy, seed), run);
}

void RandomChoices::BeginRun(uint64_t run_seed) {
  run_seed_ = run_seed;
  wakes_ = RandomStream(run_seed, "wakes");
  faults_ = RandomStream(run_seed, "faults");
  data_ = RandomStream(run_seed, "data");
}

bool RandomChoices::BuggifyFires(const Option& site) {
  if (rates_.buggify_one_in == 0) return false;
  RandomStream of_site(run_seed_, site.name);
  return of_site.OneIn(rates_.buggify_one_in) && faults_.OneIn(rates_.buggify_one_in);
}

uint32_t RandomChoices::RateOf(ChoiceKind kind) const {
  switch (kind) {
    case ChoiceKind::kStep:
    case ChoiceKind::kWake:
    case ChoiceKind::kData:
      return 1;
    case ChoiceKind::kBuggify:
      return rates_.buggify_one_in;
    case ChoiceKind::kOutcome:
      return rates_.outcome_one_in;
    case ChoiceKind::kFault:
      return rates_.fault_one_in;
    case ChoiceKind::kCrash:
      return rates_.crash_one_in;
    case ChoiceKind::kLatency:
      return rates_.latency_one_in;
  }
  return 0;
}

bool RandomChoices::MayDeviate(ChoiceKind kind) const { return RateOf(kind) != 0; }

size_t RandomChoices::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  switch (kind) {
    case ChoiceKind::kStep:
    case ChoiceKind::kWake:
      return wakes_.Below(options.size());
    case ChoiceKind::kData:
      return data_.Below(options.size());
    case ChoiceKind::kBuggify:
      return BuggifyFires(options[0]) ? 1 : 0;
    default:
      break;
  }
  const uint32_t one_in = RateOf(kind);
  if (one_in == 0 || !faults_.OneIn(one_in)) return 0;
  return 1 + faults_.Below(options.size() - 1);
}

}  // namespace millrace
