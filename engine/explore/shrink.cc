#include "millrace/engine/explore/shrink.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "millrace/engine/explore/delay_bounded.h"

namespace millrace {
namespace {

using Deviations = std::vector<Decision>;

bool HasLabel(const Option& option, std::string_view label) {
  return label.size() == option.name.size() + 1 + option.detail.size() &&
         label.substr(0, option.name.size()) == option.name && label[option.name.size()] == '@' &&
         label.substr(option.name.size() + 1) == option.detail;
}

// Replays shortened schedules, one after the other. Where a deviation does not fit, because an
// earlier one is gone, production's order is kept instead.
class Candidates final : public Strategy {
 public:
  explicit Candidates(absl::Span<const Deviations> candidates) : candidates_(candidates) {}

  std::string_view name() const override { return "shrink"; }
  bool repeats() const override { return true; }
  bool BeginRun() override {
    if (next_candidate_ == candidates_.size()) return false;
    current_ = candidates_[next_candidate_++];
    ordinal_ = 0;
    return true;
  }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    const uint64_t ordinal = ordinal_++;
    while (!current_.empty() && current_.front().ordinal < ordinal) current_.remove_prefix(1);
    if (current_.empty() || current_.front().ordinal != ordinal) return 0;
    const Decision& wanted = current_.front();
    if (wanted.kind != kind) return 0;
    uint32_t equals = 0;
    size_t last = 0;
    for (size_t i = 0; i < options.size(); ++i) {
      if (!HasLabel(options[i], wanted.label)) continue;
      last = i;
      if (equals++ == wanted.equals_before) break;
    }
    return last;
  }

 private:
  const absl::Span<const Deviations> candidates_;
  size_t next_candidate_ = 0;
  absl::Span<const Decision> current_;
  uint64_t ordinal_ = 0;
};

class Shrinker {
 public:
  Shrinker(const Scenario& scenario, const Finding& finding, const ShrinkOptions& options)
      : scenario_(scenario), options_(options), best_(finding), start_(clock_.Now()) {}

  void ShrinkAll() {
    FindWithFewDelays();
    CutTheEnd();
    TakeOutParts();
  }

  const Finding& best() const { return best_; }
  uint64_t replays() const { return replays_; }
  Nanoseconds time() const { return clock_.Now() - start_; }

 private:
  const Deviations& deviations() const { return best_.schedule.deviations; }

  ExploreOptions Budget(uint64_t schedules) const {
    ExploreOptions options;
    options.isolation = options_.isolation;
    const uint64_t left = options_.replays_max - std::min(options_.replays_max, replays_);
    options.budget.schedules = std::min(schedules, left);
    options.budget.time = std::max<Nanoseconds>(options_.time_max - time(), 0);
    return options;
  }
  bool IsSpent() const { return replays_ >= options_.replays_max || time() >= options_.time_max; }

  // Whether a run went wrong in the same way with fewer deviations; then it is the best.
  bool IsBetter(const ExploreReport& report) {
    if (!report.finding || report.finding->failure.signature != best_.failure.signature ||
        report.finding->recording.failure.signature != best_.failure.signature ||
        report.finding->schedule.deviations.size() >= deviations().size()) {
      return false;
    }
    const uint64_t at_schedule = best_.at_schedule;
    best_ = *report.finding;
    best_.at_schedule = at_schedule;
    return true;
  }

  void FindWithFewDelays() {
    const bool is_schedule_only =
        std::all_of(deviations().begin(), deviations().end(), [](const Decision& each) {
          return each.kind == ChoiceKind::kStep || each.kind == ChoiceKind::kWake;
        });
    if (!is_schedule_only) return;
    Scenario orders = scenario_;
    orders.explored = ChoiceKinds({ChoiceKind::kStep, ChoiceKind::kWake});
    for (uint32_t bound = 0; bound <= 2 && deviations().size() > bound; ++bound) {
      ExploreOptions options = Budget(options_.replays_max / 4);
      options.budget.time = std::min(options.budget.time, options_.time_max / 4);
      DelayBounded strategy(bound);
      const ExploreReport report = Explore(orders, strategy, options);
      replays_ += report.schedules;
      if (report.finding) {
        IsBetter(report);
        return;
      }
    }
  }

  // Tries candidates until one is better.
  bool TryAll(absl::Span<const Deviations> candidates) {
    while (!candidates.empty() && !IsSpent()) {
      Candidates strategy(candidates);
      const ExploreReport report = Explore(scenario_, strategy, Budget(candidates.size()));
      replays_ += report.schedules;
      if (IsBetter(report)) return true;
      if (!report.finding) return false;
      candidates.remove_prefix(report.schedules);  // it went wrong in another way
    }
    return false;
  }

  void CutTheEnd() {
    std::vector<Deviations> prefixes;
    for (size_t length = 0; length < deviations().size(); ++length) {
      prefixes.emplace_back(deviations().begin(),
                            deviations().begin() + static_cast<ptrdiff_t>(length));
    }
    TryAll(prefixes);
  }

  void TakeOutParts() {
    for (size_t part = std::max<size_t>(deviations().size() / 2, 1); part > 0 && !IsSpent();) {
      if (TryAll(WithoutEachPart(part))) {
        part = std::min(part, std::max<size_t>(deviations().size() / 2, 1));
        if (deviations().empty()) return;
      } else {
        part /= 2;
      }
    }
  }

  // From the end: what comes late is less likely to move the rest.
  std::vector<Deviations> WithoutEachPart(size_t part) const {
    std::vector<Deviations> candidates;
    const size_t count = deviations().size();
    for (size_t end = count; end > 0; end -= std::min(part, end)) {
      Deviations shorter = deviations();
      const size_t begin = end - std::min(part, end);
      shorter.erase(shorter.begin() + static_cast<ptrdiff_t>(begin),
                    shorter.begin() + static_cast<ptrdiff_t>(end));
      candidates.push_back(std::move(shorter));
    }
    return candidates;
  }

  const Scenario& scenario_;
  const ShrinkOptions& options_;
  Finding best_;
  const RealClock clock_;
  const Nanoseconds start_;
  uint64_t replays_ = 0;
};

}  // namespace

ShrinkReport Shrink(const Scenario& scenario, const Finding& finding,
                    const ShrinkOptions& options) {
  Shrinker shrinker(scenario, finding, options);
  shrinker.ShrinkAll();
  ShrinkReport report;
  report.finding = shrinker.best();
  report.deviations_before = finding.schedule.deviations.size();
  report.replays = shrinker.replays();
  report.time = shrinker.time();
  return report;
}

}  // namespace millrace
