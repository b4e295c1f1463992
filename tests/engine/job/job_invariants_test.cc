// J2, J4 and J5 (graph/INVARIANTS.md): each way to break them is caught where it happens, and by
// whoever looks afterwards.
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/job/job_manager.h"
#include "tests/support/job_harness.h"

namespace millrace::job_invariants_test {
namespace {

ScriptedJob::Script Endless() {
  ScriptedJob::Script script;
  script.pieces = 1000;
  return script;
}

TEST(JobInvariantsDeathTest, AJobThatPausesWithARequestUnderWayIsCaught) {  // J2
  EXPECT_DEATH(
      {
        BareJobWorld world;
        ScriptedJob::Script script = Endless();
        script.forgets_io = true;
        world.Start("a", script);
        world.Step(20);
        (void)world.jobs().Pause("a");
        world.Settle();
      },
      "J2: scripted job 'a' pauses with 1 requests in flight");
}

TEST(JobInvariantsDeathTest, AJobThatEndsWithALeaseIsCaught) {  // J4
  EXPECT_DEATH(
      {
        BareJobWorld world;
        world.trace(world.Start("a", {})).leftovers = "a lease on 'top'";
        world.Settle();
      },
      "J4: job 'a' concludes with a lease on 'top'");
}

// Lets others run in the middle of telling, which no observer may.
class Dawdler final : public EngineObserver {
 public:
  void OnJobEvent(const JobEvent& event) override {
    if (event.kind == JobEventKind::kCancelled) Dawdle();
  }

 private:
  static void Dawdle() MILLRACE_NO_ANALYSIS { CoYield("dawdling"); }
};

TEST(JobInvariantsDeathTest, WhoeverSuspendsBetweenAJobsEndAndItsDismissalIsCaught) {  // J5
  EXPECT_DEATH(
      {
        Dawdler observer;
        PlainCommitter committer;
        auto engine = Engine::Create({.simulated = true}).value();
        JobManager manager(engine->scheduler(), observer, committer);
        (void)engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          const absl::StatusOr<JobNumber> job = manager.CoCreate(
              {.id = "a"},
              std::make_unique<ScriptedJob>(ScriptedJob::Script{}, std::make_shared<JobTrace>()));
          absl::Status status = manager.CoStart(*job);
          manager.CoShutdown();
          return status;
        });
      },
      "J5: somebody suspended");
}

TEST(JobInvariants, WhatAPausedJobHasUnderWayIsFound) {  // J2
  BareJobWorld world;
  const JobNumber job = world.Start("a", Endless());
  world.Step(20);
  EXPECT_TRUE(world.jobs().Pause("a").ok());
  world.Settle();
  ASSERT_EQ(world.StateOf("a"), JobState::kPaused);
  EXPECT_TRUE(world.engine().scheduler().CheckInvariants().ok());
  world.trace(job).has_io_in_flight = true;
  EXPECT_EQ(world.engine().scheduler().CheckInvariants().message(),
            "J2: scripted job 'a' is paused and has 1 requests in flight");
  world.trace(job).has_io_in_flight = false;
}

TEST(JobInvariants, WhatAJobHoldsThatIsOverIsFound) {  // J4
  BareJobWorld world;
  JobSpec spec;
  spec.dismisses_automatically = false;
  const JobNumber job = world.Start("a", {}, spec);
  world.Settle();
  ASSERT_EQ(world.StateOf("a"), JobState::kConcluded);
  EXPECT_TRUE(world.engine().scheduler().CheckInvariants().ok());
  world.trace(job).leftovers = "a lease";
  EXPECT_EQ(world.engine().scheduler().CheckInvariants().message(),
            "J4: scripted job 'a' is over and holds a lease");
  world.trace(job).leftovers.clear();
}

}  // namespace
}  // namespace millrace::job_invariants_test
