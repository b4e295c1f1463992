#include "examples/race_gallery/play.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "examples/race_gallery/active_mutant.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/pct.h"
#include "millrace/engine/explore/portfolio.h"
#include "millrace/engine/explore/random.h"

namespace millrace::gallery {
namespace {

bool Matches(std::string_view pattern, std::string_view text) {
  if (!pattern.ends_with('*')) return pattern == text;
  return text.starts_with(pattern.substr(0, pattern.size() - 1));
}

bool Matches(std::string_view pattern, const Option& option) {
  const size_t at = pattern.find('@');
  return Matches(pattern.substr(0, at), option.name) &&
         Matches(pattern.substr(at + 1), option.detail);
}

bool MatchesAny(const std::vector<std::string_view>& patterns, const Option& option) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](std::string_view pattern) { return Matches(pattern, option); });
}

absl::Status Play(const Scene& scene, Mutant mutant, ScenarioRun& run) {
  const ActiveMutant bug(mutant);
  EventLog events;
  Engine& engine = run.NewEngine(nullptr, &events);
  Stage stage(engine, events, scene.options);
  // Nothing that has failed can be taken down: its coroutines are suspended somewhere.
  stage.SetFailureListener([&run](std::string_view invariant, const std::string& text) {
    run.Abandon(std::string(invariant), text);
  });
  TaskScope scope(engine.scheduler(), "play");
  scope.Spawn("scene", [&]() MILLRACE_MAY_SUSPEND { stage.CoPlay(scene.play); });
  const bool is_over = engine.RunUntil([&]() MILLRACE_OPENS_VIEW {
    if (scope.live() == 0) return true;
    stage.LookAtGraph();
    if (engine.scheduler().steps() > scene.options.steps_max) {
      stage.Fail("I11", StrCat("no end after ", scene.options.steps_max, " steps"));
    }
    return false;
  });
  if (!is_over) {
    const Scheduler& scheduler = engine.scheduler();
    stage.Fail("I10", scheduler.FindDeadlock().value_or(
                          StrCat("nothing can happen any more\n", scheduler.DescribeWaits())));
  }
  return scope.Finish();
}

}  // namespace

Scenario ScenarioOf(const Scene& scene, Mutant mutant) {
  Scenario scenario;
  scenario.name = std::string(scene.name);
  scenario.body = [scene, mutant](ScenarioRun& run) { return Play(scene, mutant, run); };
  scenario.choices_max = 2 * scene.options.steps_max;
  return scenario;
}

size_t Scripted::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  if (kind != ChoiceKind::kStep && kind != ChoiceKind::kWake) return 0;
  std::optional<size_t> other;
  for (size_t i = 0; i < options.size(); ++i) {
    if (MatchesAny(script_.first, options[i])) return i;
    if (!other && !MatchesAny(script_.last, options[i])) other = i;
  }
  return other.value_or(0);
}

ExploreReport PlayScript(const Scene& scene, Mutant mutant, const Script& script) {
  Scripted strategy(script);
  return Explore(ScenarioOf(scene, mutant), strategy, {.budget = {.schedules = 1}});
}

ExploreReport Search(const Scene& scene, Mutant mutant, const Budget& budget) {
  Portfolio strategy;
  strategy.Add(std::make_unique<RandomWalk>(budget.seed), 40);
  if (!scene.judges_progress) {
    strategy.Add(std::make_unique<Pct>(Pct::Options{.seed = budget.seed, .is_fair = true}), 40);
    strategy.Add(std::make_unique<DelayBounded>(2), 20);
  }
  ExploreOptions options;
  options.budget.schedules = budget.schedules;
  options.budget.time = static_cast<Nanoseconds>(budget.seconds * static_cast<double>(kSecond));
  return Explore(ScenarioOf(scene, mutant), strategy, options);
}

}  // namespace millrace::gallery
