#include "examples/race_gallery/play.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "examples/race_gallery/active_mutant.h"
#include "examples/race_gallery/verdict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/guided.h"
#include "millrace/engine/explore/pct.h"
#include "millrace/engine/explore/portfolio.h"
#include "millrace/engine/explore/pos.h"
#include "millrace/engine/explore/random.h"

namespace millrace::gallery {
namespace {

bool Matches(std::string_view pattern, std::string_view text) {
  if (!pattern.ends_with('*')) return pattern == text;
  return text.starts_with(pattern.substr(0, pattern.size() - 1));
}

bool IsMatch(std::string_view pattern, const Option& option) {
  const size_t at = pattern.find('@');
  return Matches(pattern.substr(0, at), option.name) &&
         Matches(pattern.substr(at + 1), option.detail);
}

bool MatchesAny(const std::vector<std::string_view>& patterns, const Option& option) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](std::string_view pattern) { return IsMatch(pattern, option); });
}

// The option that a pattern of Script::first asks for: of those that match, the one that as many
// precede as its "#N" says.
std::optional<size_t> Wanted(std::string_view pattern, absl::Span<const Option> options) {
  size_t others = 0;
  if (const size_t mark = pattern.find('#'); mark != std::string_view::npos) {
    others = static_cast<size_t>(std::atoi(pattern.data() + mark + 1));
    pattern = pattern.substr(0, mark);
  }
  for (size_t i = 0; i < options.size(); ++i) {
    if (IsMatch(pattern, options[i]) && others-- == 0) return i;
  }
  return std::nullopt;
}

// `name` is the lane of whoever gives commands.
absl::Status PlayOn(Engine& engine, Stage& stage, std::string_view name,
                    absl::Status (*play)(Stage&), ScenarioRun& run) {
  // Nothing that has failed can be taken down: its coroutines are suspended somewhere.
  stage.SetFailureListener([&run](std::string_view invariant, const std::string& text) {
    run.Abandon(std::string(invariant), text);
  });
  TaskScope scope(engine.scheduler(), "play");
  scope.Spawn(name, [&]() MILLRACE_MAY_SUSPEND { stage.CoPlay(play); });
  const uint64_t steps_max = stage.options().steps_max;
  const bool is_over = engine.RunUntil([&]() MILLRACE_OPENS_VIEW {
    if (scope.live() == 0) return true;
    stage.LookAtGraph();
    if (engine.scheduler().steps() > steps_max) stage.FailAsEndless();
    return false;
  });
  if (!is_over) {
    const Scheduler& scheduler = engine.scheduler();
    stage.Fail("I10", scheduler.FindDeadlock().value_or(
                          StrCat("nothing can happen any more\n", scheduler.DescribeWaits())));
  }
  return scope.Finish();
}

// Once a step, for the recording: "the restored bug acts", what it does, and where in the code.
void NoteWhereItActs(ActiveMutant& bug, Mutant mutant, ScenarioRun& run) {
  if (run.engine().scheduler().observer() == nullptr) return;
  bug.SetListener(
      [&run, mutant, last = UINT64_MAX](std::string_view function, std::string_view file) mutable {
        if (std::exchange(last, run.steps()) == run.steps()) return;
        run.Note("bug", "the restored bug acts",
                 StrCat(PlainWordsOf(mutant), " (in ", function, "() of ", file, ")"));
      });
}

// `left`: what a power cut leaves; outlives the engines of the run.
absl::Status Play(const Scene& scene, Mutant mutant, ScenarioRun& run,
                  std::unique_ptr<SimulatedDisk>& left) {
  ActiveMutant bug(mutant);
  EventLog events;
  Engine& engine = run.NewEngine(nullptr, &events);
  NoteWhereItActs(bug, mutant, run);
  TaggedDisk model(0);
  {
    Stage stage(engine, events, scene.options);
    MILLRACE_RETURN_IF_ERROR(PlayOn(engine, stage, "scene", scene.play, run));
    left = stage.TakeDiskLeft();
    model = stage.disk();
  }
  if (left == nullptr || scene.after_power_cut == nullptr) return absl::OkStatus();
  EventLog later_events;
  Engine& later = run.NewEngine(left.get(), &later_events);
  Stage stage(later, later_events, scene.options);
  stage.disk() = model;
  return PlayOn(later, stage, "after the power cut", scene.after_power_cut, run);
}

}  // namespace

Scenario ScenarioOf(const Scene& scene, Mutant mutant) {
  Scenario scenario;
  scenario.name = std::string(scene.name);
  const auto left = std::make_shared<std::unique_ptr<SimulatedDisk>>();
  scenario.body = [scene, mutant, left](ScenarioRun& run) {
    return Play(scene, mutant, run, *left);
  };
  scenario.choices_max = 2 * scene.options.steps_max;
  // A mutant is shown by what goes wrong for people, not by what is wrong inside before that.
  scenario.checks_invariants = false;
  return scenario;
}

size_t Scripted::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  const bool is_data = kind == ChoiceKind::kData;
  if (kind != ChoiceKind::kStep && kind != ChoiceKind::kWake && !is_data) return 0;
  for (std::string_view pattern : script_.first) {
    if (const std::optional<size_t> wanted = Wanted(pattern, options)) return *wanted;
  }
  for (size_t i = 0; i < options.size() && !is_data; ++i) {
    if (!MatchesAny(script_.last, options[i])) return i;
  }
  return 0;
}

namespace {

ExploreReport PlayRecorded(const Scenario& scenario, std::string_view text) {
  ExploreReport report;
  report.strategy = "script";
  report.schedules = 1;
  const absl::StatusOr<Schedule> schedule = Schedule::FromText(text);
  if (!schedule.ok()) {
    report.proof = std::string(schedule.status().message());
    return report;
  }
  ReplayReport replay = Replay(scenario, *schedule);
  if (!replay.stale.ok()) {
    report.proof = std::string(replay.stale.message());
  } else if (replay.has_failed()) {
    report.finding = Finding{replay.recording.failure, *schedule, std::move(replay.recording), 1};
  }
  return report;
}

}  // namespace

ExploreReport PlayScript(const Scene& scene, Mutant mutant, const Script& script) {
  if (!script.recorded.empty()) return PlayRecorded(ScenarioOf(scene, mutant), script.recorded);
  Scripted strategy(script);
  ExploreOptions options;
  options.budget.schedules = 1;
  options.run_twice_one_in = scene.is_played_twice ? 1 : 0;
  return Explore(ScenarioOf(scene, mutant), strategy, options);
}

ExploreReport Search(const Scene& scene, Mutant mutant, const Budget& budget) {
  const uint64_t seed = budget.seed;
  Portfolio strategy;
  strategy.Add(std::make_unique<RandomWalk>(seed), 20);
  if (!scene.judges_progress) {
    strategy.Add(std::make_unique<Pct>(Pct::Options{.seed = seed, .is_fair = true}), 30);
    strategy.Add(std::make_unique<Pos>(seed, FaultRates(), Pos::Fairness::kFair), 20);
    strategy.Add(std::make_unique<Guided>(seed), 10);
    strategy.Add(std::make_unique<DelayBounded>(2), 20);
  }
  ExploreOptions options;
  options.budget.schedules = budget.schedules;
  options.run_twice_one_in = scene.is_played_twice ? 1 : 0;
  if (budget.seconds > 0) {
    options.budget.time = static_cast<Nanoseconds>(budget.seconds * static_cast<double>(kSecond));
  }
  return Explore(ScenarioOf(scene, mutant), strategy, options);
}

}  // namespace millrace::gallery
