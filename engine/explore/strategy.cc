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

size_t RandomChoices::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  uint32_t one_in = 0;
  switch (kind) {
    case ChoiceKind::kStep:
    case ChoiceKind::kWake:
      return wakes_.Below(options.size());
    case ChoiceKind::kData:
      return data_.Below(options.size());
    case ChoiceKind::kBuggify:
      return BuggifyFires(options[0]) ? 1 : 0;
    case ChoiceKind::kOutcome:
      one_in = rates_.outcome_one_in;
      break;
    case ChoiceKind::kFault:
      one_in = rates_.fault_one_in;
      break;
    case ChoiceKind::kCrash:
      one_in = rates_.crash_one_in;
      break;
    case ChoiceKind::kLatency:
      one_in = rates_.latency_one_in;
      break;
  }
  if (one_in == 0 || !faults_.OneIn(one_in)) return 0;
  return 1 + faults_.Below(options.size() - 1);
}

}  // namespace millrace
