// The generic job core: completion against completion, cancel, pause and drain at every yield
// point.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/scenario.h"
#include "millrace/engine/scope/task_scope.h"
#include "tests/scenarios/exploration/micro_parts.h"
#include "tests/scenarios/exploration/story_scenario.h"
#include "tests/support/job_harness.h"

namespace millrace {
namespace {

ScriptedJob::Script ShortScript() {
  ScriptedJob::Script script;
  script.pieces = 1;
  return script;
}

void SayWhatCameOf(ScenarioRun& run, const absl::Status& over, const JobTrace& trace) {
  run.Outcome(over.ToString());
  for (const std::string& call : trace.calls) run.Outcome(call);
  run.Outcome(StrCat(trace.pieces_done));
}

// J3: committed or aborted, once, then cleaned up; I8: and it has left no request behind.
void DemandOneEnd(ScenarioRun& run, const JobTrace& trace, bool is_well) {
  const std::string text =
      StrCat(is_well ? "a job that ended well" : "a job that failed", " was committed ",
             trace.Count("stage"), ", aborted ", trace.Count("abort"), ", cleaned up ",
             trace.Count("clean"), " times");
  Demand(run, trace.Count("stage") == (is_well ? 1u : 0u), "J3 commit", text);
  Demand(run, trace.Count("abort") == (is_well ? 0u : 1u), "J3 abort", text);
  Demand(run, trace.Count("clean") == 1, "J3 clean", text);
  Demand(run, !trace.has_io_in_flight, "J2 end", "a job that is over has a request in flight");
}

// Starts job "a", does `other` beside it, and waits for the end of both. The job ends exactly once
// and cleans up; `other` may cancel it if `cancels`.
Scenario JobAnd(std::string what, ScriptedJob::Script script, bool cancels,
                std::function<void(ScenarioRun&, BareJobWorld&)> other) {
  return {StrCat("micro: a job and ", what),
          [script = std::move(script), cancels, other = std::move(other)](ScenarioRun& run) {
            return WithExpectations(run, [&]() -> absl::Status {
              BareJobWorld world(run.engine());
              return run.Drive([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                const JobNumber job = world.CoStart("a", script);
                TaskScope scope("other");
                CoSpawnOrDo(scope, "other", [&]() MILLRACE_MAY_SUSPEND { other(run, world); });
                const absl::Status over = world.jobs().CoWaitUntilOver(job);
                EXPECT_TRUE(over.ok() || (cancels && absl::IsCancelled(over))) << over;
                absl::Status status = scope.CoJoin();
                world.jobs().CoShutdown();
                JobTrace& trace = world.trace(job);
                DemandOneEnd(run, trace, over.ok());
                SayWhatCameOf(run, over, trace);
                return status;
              });
            });
          }};
}

void CoCancelOnce(BareJobWorld& world, bool force) MILLRACE_MAY_SUSPEND {
  CoYield("micro.cancel");
  world.jobs().Cancel("a", force).IgnoreError();
}

void CoPauseOnce(BareJobWorld& world) MILLRACE_MAY_SUSPEND {
  world.jobs().Pause("a").IgnoreError();
  CoYield("micro.paused");
  world.jobs().Resume("a").IgnoreError();
}

// A drain as the graph does it: quiet means that the job takes no step until the end.
void CoQuiesceOnce(ScenarioRun& run, BareJobWorld& world) MILLRACE_MAY_SUSPEND {
  const absl::StatusOr<JobInfo> info = world.jobs().Query("a");
  if (!info.ok()) return;
  JobTrace& trace = world.trace(info->number);
  Quiescable* job = trace.quiescable;
  if (job == nullptr || trace.is_destroyed) return;
  job->BeginQuiesce();
  CoYield("micro.quiescing");
  const bool is_quiet = !trace.is_destroyed && job->is_quiet();
  const uint64_t pieces_done = trace.pieces_done;
  const std::vector<std::string> calls = trace.calls;
  CoYield("micro.quiesced");
  if (is_quiet) {
    Demand(run, trace.pieces_done == pieces_done && trace.calls == calls, "G7 drain",
           "a job took a step inside a drained section");
  }
  if (!trace.is_destroyed) job->EndQuiesce();
}

ScriptedJob::Script ReadyScript() {
  ScriptedJob::Script script = ShortScript();
  script.has_ready_phase = true;
  return script;
}

// Two jobs of one transaction, or of none, complete together.
Scenario TwoCompletions(bool in_transaction, bool one_fails) {
  return {StrCat("micro: two completions", in_transaction ? " in a transaction" : "",
                 one_fails ? ", one fails" : ""),
          [=](ScenarioRun& run) {
            return WithExpectations(run, [&]() -> absl::Status {
              BareJobWorld world(run.engine());
              return run.Drive([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                ScriptedJob::Script script = ShortScript();
                script.yields = 0;
                JobSpec spec;
                if (in_transaction) spec.transaction = world.jobs().NewTransaction();
                const JobNumber one = world.CoCreate("a", script, spec);
                if (one_fails) script.prepare = absl::DataLossError("planned");
                const JobNumber two = world.CoCreate("b", script, spec);
                EXPECT_TRUE(world.jobs().CoStart(one).ok());
                EXPECT_TRUE(world.jobs().CoStart(two).ok());
                world.jobs().CoWaitUntilOver(one).IgnoreError();
                world.jobs().CoWaitUntilOver(two).IgnoreError();
                world.jobs().CoShutdown();
                // J3: all members commit, or none.
                const uint64_t aborted =
                    world.trace(one).Count("abort") + world.trace(two).Count("abort");
                for (const JobNumber each : {one, two}) {
                  SayWhatCameOf(run, absl::OkStatus(), world.trace(each));
                }
                const uint64_t wanted = !one_fails ? 0u : (in_transaction ? 2u : 1u);
                EXPECT_EQ(aborted, wanted);
                Demand(run, !in_transaction || aborted != 1, "I15 transaction",
                       "one member was aborted, and one was not");
                for (const JobNumber each : {one, two}) {
                  DemandOneEnd(run, world.trace(each), world.trace(each).Count("abort") == 0);
                }
                return absl::OkStatus();
              });
            });
          }};
}

}  // namespace

std::vector<Scenario> JobMicroScenarios() {
  ScriptedJob::Script failing = ShortScript();
  failing.io = [](uint64_t) { return absl::DataLossError("planned"); };
  failing.on_error = OnError::kIgnore;
  return {
      JobAnd("a forced cancel", ShortScript(), /*cancels=*/true,
             [](ScenarioRun&, BareJobWorld& world)
                 MILLRACE_MAY_SUSPEND { CoCancelOnce(world, true); }),
      JobAnd("a cancel", ShortScript(), /*cancels=*/true,
             [](ScenarioRun&, BareJobWorld& world)
                 MILLRACE_MAY_SUSPEND { CoCancelOnce(world, false); }),
      JobAnd("a pause", ShortScript(), /*cancels=*/false,
             [](ScenarioRun&, BareJobWorld& world) MILLRACE_MAY_SUSPEND { CoPauseOnce(world); }),
      JobAnd("a drain", ShortScript(), /*cancels=*/false,
             [](ScenarioRun& run, BareJobWorld& world)
                 MILLRACE_MAY_SUSPEND { CoQuiesceOnce(run, world); }),
      JobAnd("a pause and a forced cancel", ShortScript(), /*cancels=*/true,
             [](ScenarioRun&, BareJobWorld& world) MILLRACE_MAY_SUSPEND {
               CoPauseOnce(world);
               CoCancelOnce(world, true);
             }),
      JobAnd("attempts to complete it, then a forced cancel", ReadyScript(), /*cancels=*/true,
             [](ScenarioRun&, BareJobWorld& world) MILLRACE_MAY_SUSPEND {
               for (int attempt = 0; attempt < 3; ++attempt) {
                 world.jobs().Complete("a").IgnoreError();
                 CoYield("micro.complete");
               }
               world.jobs().Cancel("a", true).IgnoreError();
             }),
      JobAnd("an ignored error", failing, /*cancels=*/false, [](ScenarioRun&, BareJobWorld&) {}),
      TwoCompletions(false, false),
      TwoCompletions(true, false),
      TwoCompletions(true, true),
  };
}

}  // namespace millrace
