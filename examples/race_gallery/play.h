// Scenes, and how the explorer plays them.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_PLAY_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_PLAY_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/race_gallery/stage.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/scenario.h"
#include "millrace/engine/explore/strategy.h"

namespace millrace::gallery {

struct Scene {
  std::string_view name;  // "stream-above-commit"
  StageOptions options;
  absl::Status (*play)(Stage& stage) = nullptr;
  bool judges_progress = false;  // then only a random walk is fair enough
  // After Stage::CutPower(): a new machine on the disk that is left, with the model of the old one.
  absl::Status (*after_power_cut)(Stage& stage) = nullptr;
  // Every schedule is played a second time, and must lead to the same steps.
  bool is_played_twice = false;
};

// The scene as a story for the explorer, played by an engine with this bug.
Scenario ScenarioOf(const Scene& scene, Mutant mutant);

// A schedule in words: what is put off for as long as anything else can happen, and what comes
// first. Each pattern is "name@detail" as the choices are labelled; '*' at the end of either part
// stands for the rest: "s@drain.begin", "c@*", "*@memory". What comes first may name the second,
// third
// ... of those that match: "t@memory#1". The order of `first` counts.
struct Script {
  std::vector<std::string_view> last;
  std::vector<std::string_view> first;
  // Instead of both: a shrunk recording, as `run` prints it after --replay=. Where it does not fit
  // any more it says so, and shows nothing.
  std::string_view recorded = {};
};

// Production's order, but for the script: one run.
class Scripted final : public Strategy {
 public:
  explicit Scripted(const Script& script) : script_(script) {}
  std::string_view name() const override { return "script"; }
  bool BeginRun() override { return std::exchange(has_run_, true) == false; }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;

 private:
  const Script& script_;
  bool has_run_ = false;
};

// What comes of one play by the script.
ExploreReport PlayScript(const Scene& scene, Mutant mutant, const Script& script);

// What a search may spend. The schedules decide; who is in a hurry may limit the time as well, and
// then it is the machine that decides.
struct Budget {
  uint64_t schedules = 2000;
  double seconds = 0;  // no limit
  uint64_t seed = 1;
};

// Many plays under strategies that know nothing of the scene: the explorer's portfolio, but PCT and
// POS as those that starve nobody, because scenes wait for what others do, and a play without end
// is a failure.
ExploreReport Search(const Scene& scene, Mutant mutant, const Budget& budget);

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_PLAY_H_
