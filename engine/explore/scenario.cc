#include "millrace/engine/explore/scenario.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string>

#include "absl/container/inlined_vector.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/explore/party.h"
#include "millrace/engine/io/simulated_io.h"

namespace millrace {
namespace {

constexpr std::string_view kDeadlockSignature = "O10 deadlock";
constexpr std::string_view kNoEndSignature = "O11 no end";
// A wait cycle stays, unless a timer breaks it: so it is enough to look for one whenever time has
// passed, when nobody could run, and now and then where nobody lets it pass.
constexpr uint64_t kStepsPerLook = 64;

// Those in it wait for ever, whoever else can run; beside a party that polls, the engine never
// comes to the halt by which other deadlocks are known.
void LookForAWaitCycle(ScenarioRun& run, Engine& engine) {
  if (const std::optional<std::string> cycle = engine.scheduler().FindWaitCycle()) {
    run.Abandon(std::string(kDeadlockSignature),
                StrCat(*cycle, "\n", engine.scheduler().DescribeWaits()));
  }
}

}  // namespace

ScenarioRun::~ScenarioRun() {
  while (!engines_.empty()) engines_.pop_back();
}

Engine& ScenarioRun::NewEngine(SimulatedDisk* disk, EngineObserver* observer) {
  Engine::Options options;
  options.simulated = true;
  options.decider = &decider_;
  options.stacks = &stacks_;
  options.disk = disk;
  options.observer = observer;
  engines_.push_back(*Engine::Create(options));
  Engine& engine = *engines_.back();
  engine.scheduler().SetChecksEdits(checks_edits_);
  engine.scheduler().SetStepCheck([this, &engine, steps = uint64_t{0}, time = engine.clock().Now(),
                                   fair = FairSince{}]() mutable {
    LookForAnEnd(engine, fair);
    const bool has_time_passed = engine.clock().Now() != time;
    time = engine.clock().Now();
    if (checks_every_step_ || has_time_passed || ++steps % kStepsPerLook == 0) {
      LookForAWaitCycle(*this, engine);
    }
    if (checks_every_step_) CheckInvariants(engine);
  });
  if (setup_) setup_(engine);
  return engine;
}

// Nothing can be relied upon afterwards, so the run does not go on.
void ScenarioRun::CheckInvariants(Engine& engine) {
  const absl::Status status = engine.scheduler().CheckInvariants();
  if (!status.ok()) Abandon(SignatureOf(status), status.ToString());
}

// What an adversary has set up, a fair scheduler brings to its end: production's is fair, and
// plants no faults.
void ScenarioRun::LookForAnEnd(Engine& engine, FairSince& since) {
  if (++steps_ > limits_.steps) {
    AbandonWithoutEnd(engine, StrCat("the run has taken ", limits_.steps, " steps"));
  }
  if (limits_.deviations == nullptr) return;
  const Nanoseconds now = engine.clock().Now();
  if (since.steps == 0 || since.deviations != *limits_.deviations) {
    since = {*limits_.deviations, steps_, now};
    return;
  }
  const uint64_t steps = steps_ - since.steps;
  if (steps <= limits_.fair_steps && now - since.time <= limits_.fair_time) return;
  AbandonWithoutEnd(engine, StrCat("for ", steps, " steps and ", (now - since.time) / kMillisecond,
                                   " ms the run has gone in production's order"));
}

void ScenarioRun::AbandonWithoutEnd(Engine& engine, std::string text) {
  Abandon(std::string(kNoEndSignature),
          StrCat(text, " and is not over: ", engine.scheduler().DescribeWaits()));
}

size_t ScenarioRun::Choose(std::string_view what, absl::Span<const std::string_view> options) {
  if (options.size() < 2) return 0;
  absl::InlinedVector<Option, 8> labelled;
  for (std::string_view each : options) labelled.push_back({0, what, each});
  return decider_.Pick(ChoiceKind::kData, labelled);
}

void ScenarioRun::Fail(std::string signature, std::string text) {
  Failure failure{std::move(signature), std::move(text)};
  const bool is_tolerated = !has_failed() && tolerance_ && tolerance_(failure);
  Report(std::move(failure), is_tolerated);
}

void ScenarioRun::Report(Failure failure, bool is_tolerated) {
  if (has_failed()) return;
  Note("failure", failure.signature, failure.text);
  if (!is_tolerated) failure_ = std::move(failure);
}

void ScenarioRun::Outcome(std::string_view text) { outcome_ = HashText(text, outcome_); }

void ScenarioRun::Abandon(std::string signature, std::string text) {
  Report({std::move(signature), std::move(text)}, false);
  if (abandoner_ != nullptr) abandoner_(abandoner_context_, failure_);
  MILLRACE_CHECK(false, StrCat("exploration: ", failure_.signature, ": ", failure_.text));
  __builtin_unreachable();
}

void ScenarioRun::AbandonInDeadlock(Engine& engine) {
  Abandon(std::string(kDeadlockSignature),
          engine.scheduler().FindDeadlock().value_or("the simulation ended early"));
}

void ScenarioRun::Note(std::string_view kind, std::string_view object, std::string_view text) {
  if (StepObserver* observer = decider_.observer()) observer->OnNote(kind, object, text);
}

void ScenarioRun::Finish(const absl::Status& status) {
  if (!status.ok()) Fail(SignatureOf(status), status.ToString());
  for (const std::unique_ptr<Engine>& engine : engines_) {
    const size_t live = engine->scheduler().live_coroutines();
    // An engine must not be destroyed with coroutines alive, so there is no way on.
    if (live > 0) {
      Abandon(
          "O12 coroutines left",
          StrCat(live, " coroutines are left at the end: ", engine->scheduler().DescribeWaits()));
    }
  }
  for (const std::unique_ptr<Engine>& engine : engines_) {
    const size_t open = engine->simulated_io()->open_files();
    if (open > 0) Report({"O12 files left", StrCat(open, " files are open at the end")}, false);
  }
  if (stacks_.in_use() > 0) {
    Report({"O12 stacks left", StrCat(stacks_.in_use(), " stacks are in use at the end")}, false);
  }
}

uint64_t ScenarioRun::steps() const {
  uint64_t steps = 0;
  for (const std::unique_ptr<Engine>& engine : engines_) steps += engine->scheduler().steps();
  return steps;
}

Nanoseconds ScenarioRun::time() const {
  Nanoseconds time = 0;
  for (const std::unique_ptr<Engine>& engine : engines_) {
    time = std::max(time, engine->clock().Now());
  }
  return time;
}

uint64_t ScenarioRun::trace_hash() const {
  uint64_t hash = 0;
  for (const std::unique_ptr<Engine>& engine : engines_) {
    hash = hash * 0x9e3779b97f4a7c15u + engine->scheduler().trace_hash();
  }
  return hash;
}

std::string SignatureOf(const absl::Status& status) {
  const std::string_view message = FromAbsl(status.message());
  std::string signature = StrCat(absl::StatusCodeToString(status.code()), " ");
  bool is_in_number = false;
  for (char c : message.substr(0, message.find(':'))) {
    const bool is_digit = std::isdigit(static_cast<unsigned char>(c)) != 0;
    if (!is_digit) {
      signature.push_back(c);
    } else if (!is_in_number) {
      signature.push_back(signature.back() == ' ' ? 'N' : c);
    }
    is_in_number = is_digit;
  }
  return signature;
}

}  // namespace millrace
