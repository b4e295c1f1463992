// Creating, addressing, asking and ending jobs.
#include "millrace/engine/job/job_manager.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/support/job_harness.h"

namespace millrace::job_manager_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

// Creates a job that the manager refuses; returns why and, in `trace`, what the body went through.
absl::Status Refused(BareJobWorld& world, JobSpec spec, ScriptedJob::Script script,
                     std::shared_ptr<JobTrace> trace = std::make_shared<JobTrace>()) {
  absl::Status status;
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    status = world.jobs()
                 .CoCreate(std::move(spec), std::make_unique<ScriptedJob>(std::move(script), trace))
                 .status();
  });
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(trace->is_destroyed);
  return status;
}

TEST(JobManager, ChecksIds) {
  BareJobWorld world;
  for (const char* id : {"a", "Z9", "drive-0", "a.b_c-d", "x0123456789"}) {
    EXPECT_TRUE(world.jobs().CheckNewId(id, false).ok()) << id;
  }
  for (const char* id : {"", "0a", "-a", ".a", "_a", "a b", "a/b", "\xc3\xa4", "a\n", "a#"}) {
    const absl::Status status = world.jobs().CheckNewId(id, false);
    ASSERT_FALSE(status.ok()) << id;
    EXPECT_EQ(ConflictOf(status)->reason, ConflictReason::kMalformedJobId);
  }
  EXPECT_EQ(ConflictOf(world.jobs().CheckNewId(std::nullopt, false))->reason,
            ConflictReason::kMissingJobId);
  EXPECT_EQ(ConflictOf(world.jobs().CheckNewId("a", true))->reason, ConflictReason::kInternalJobId);
  EXPECT_TRUE(world.jobs().CheckNewId(std::nullopt, true).ok());
}

TEST(JobManager, RefusesABadIdWithoutATrace) {
  BareJobWorld world;
  auto trace = std::make_shared<JobTrace>();
  const absl::Status status = Refused(world, {.id = "0"}, {}, trace);
  EXPECT_EQ(ConflictOf(status)->reason, ConflictReason::kMalformedJobId);
  EXPECT_THAT(world.log(), IsEmpty());
  EXPECT_THAT(trace->calls, ElementsAre("abort", "clean"));
}

TEST(JobManager, AConcludedJobStillOwnsItsId) {
  BareJobWorld world;
  world.Start("a", {}, {.dismisses_automatically = false});
  world.Settle();
  const absl::Status status = Refused(world, {.id = "a"}, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  const std::optional<Conflict> conflict = ConflictOf(status);
  EXPECT_EQ(conflict->reason, ConflictReason::kDuplicateJobId);
  ASSERT_EQ(conflict->holders.size(), 1u);
  EXPECT_EQ(conflict->holders[0].id, "a");
  ASSERT_TRUE(world.jobs().Dismiss("a").ok());
  world.Start("a", {});
}

TEST(JobManager, AFailingSetUpLeavesNoTrace) {
  BareJobWorld world;
  auto trace = std::make_shared<JobTrace>();
  // Its own refusal comes before that of the id.
  const absl::Status status =
      Refused(world, {.id = "0"}, {.set_up = absl::FailedPreconditionError("busy")}, trace);
  EXPECT_EQ(status.message(), "busy");
  EXPECT_THAT(world.log(), IsEmpty());
  EXPECT_THAT(trace->calls, ElementsAre("abort", "clean"));
}

TEST(JobManager, AnEarlyFailureIsSeenAsCreatedAndNull) {
  BareJobWorld world;
  auto trace = std::make_shared<JobTrace>();
  const absl::Status status =
      Refused(world, {.id = "a"}, {.created = absl::FailedPreconditionError("no")}, trace);
  EXPECT_EQ(status.message(), "no");
  EXPECT_THAT(world.log(), ElementsAre("a: status created", "a: status null"));
  EXPECT_THAT(trace->calls, ElementsAre("created", "abort", "clean"));
  EXPECT_EQ(world.jobs().live_jobs(), 0u);
}

TEST(JobManager, ANegativeSpeedIsAnEarlyFailure) {
  BareJobWorld world;
  const absl::Status status = Refused(world, {.id = "a", .speed = -1}, {});
  EXPECT_EQ(ConflictOf(status)->reason, ConflictReason::kNegativeSpeed);
  EXPECT_THAT(world.log(), ElementsAre("a: status created", "a: status null"));
}

// Two creations race for one id; the second finds it taken after its set-up.
TEST(JobManager, AnIdIsCheckedAfterTheSetUp) {
  BareJobWorld world;
  std::vector<absl::StatusCode> codes;
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    TaskScope scope("creators");
    for (int i = 0; i < 2; ++i) {
      scope.Spawn("creator", [&]() MILLRACE_MAY_SUSPEND {
        auto trace = std::make_shared<JobTrace>();
        codes.push_back(world.jobs()
                            .CoCreate({.id = "a"}, std::make_unique<ScriptedJob>(
                                                       ScriptedJob::Script{.yields = 3}, trace))
                            .status()
                            .code());
      });
    }
    EXPECT_TRUE(scope.CoJoin().ok());
  });
  EXPECT_THAT(codes, ElementsAre(absl::StatusCode::kOk, absl::StatusCode::kAlreadyExists));
}

TEST(JobManager, StartsAJobOnce) {
  BareJobWorld world;
  world.Start("a", {.idles = true});
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    const absl::Status again = world.jobs().CoStart("a");
    EXPECT_EQ(ConflictOf(again)->reason, ConflictReason::kVerbNotAccepted);
    EXPECT_EQ(ConflictOf(again)->detail, "start running");
  });
}

TEST(JobManager, DoesNotStartACancelledJob) {
  BareJobWorld world;
  world.Create("a", {});
  world.trace(world.jobs().Query("a")->number).quiescable->BeginQuiesce();
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_EQ(ConflictOf(world.jobs().CoStart("a"))->reason, ConflictReason::kCancelledBefore);
  });
  world.trace(world.jobs().Query("a")->number).quiescable->EndQuiesce();
}

TEST(JobManager, WhatItsBodyHasAgainstACompletionIsToldBeforehand) {
  BareJobWorld world;
  const absl::Status busy = absl::FailedPreconditionError("busy");
  world.Start("a", {.has_ready_phase = true, .complete = busy});
  world.Start("b", {.has_ready_phase = true});
  EXPECT_EQ(ConflictOf(world.jobs().CheckVerb("a", JobVerb::kComplete))->reason,
            ConflictReason::kVerbNotAccepted);
  world.Settle();
  EXPECT_EQ(world.jobs().CheckVerb("a", JobVerb::kComplete), busy);
  EXPECT_TRUE(world.jobs().CheckVerb("b", JobVerb::kComplete).ok());
  EXPECT_EQ(world.jobs().Complete("a"), busy);
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kReady);
  EXPECT_EQ(world.StateOf("b"), JobState::kReady) << "only asked, and completed";
}

TEST(JobManager, AddressesByIdOrNumber) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.idles = true});
  EXPECT_EQ(world.jobs().Query("a")->number, job);
  EXPECT_EQ(world.jobs().Query(job)->id, "a");
  EXPECT_EQ(ConflictOf(world.jobs().Query("b").status())->reason, ConflictReason::kUnknownJob);
  EXPECT_EQ(ConflictOf(world.jobs().Query(JobNumber(99)).status())->reason,
            ConflictReason::kUnknownJob);
}

// A number is never reused, an id is.
TEST(JobManager, AnOldNumberDoesNotNameANewJob) {
  BareJobWorld world;
  const JobNumber old = world.Start("a", {});
  world.Settle();
  const JobNumber young = world.Start("a", {.idles = true});
  EXPECT_NE(old, young);
  EXPECT_FALSE(world.jobs().Query(old).ok());
}

TEST(JobManager, ShowsTheNewestJobFirst) {
  BareJobWorld world;
  for (const char* id : {"c", "a", "b"}) world.Start(id, {.idles = true});
  std::vector<std::string> ids;
  for (const JobInfo& info : world.jobs().QueryAll()) ids.push_back(info.id);
  EXPECT_THAT(ids, ElementsAre("b", "a", "c"));
}

TEST(JobManager, AQueryTellsTheJob) {
  BareJobWorld world;
  world.Create("a", {.type = "stream", .pieces = 4, .piece_bytes = 10, .idles = true},
               {.speed = 1000, .finalizes_automatically = false});
  JobInfo info = *world.jobs().Query("a");
  EXPECT_EQ(info.state, JobState::kCreated);
  EXPECT_TRUE(info.is_pause_requested);
  EXPECT_FALSE(info.is_busy);
  world.Run([&]() MILLRACE_NO_ANALYSIS { EXPECT_TRUE(world.jobs().CoStart("a").ok()); });
  world.Step();
  world.Settle();
  info = *world.jobs().Query("a");
  EXPECT_EQ(info.type, "stream");
  EXPECT_EQ(info.state, JobState::kRunning);
  EXPECT_EQ(info.current, 40u);
  EXPECT_EQ(info.total, 40u);
  EXPECT_EQ(info.speed, 1000);
  EXPECT_FALSE(info.is_busy);
  EXPECT_FALSE(info.is_pause_requested);
  EXPECT_FALSE(info.finalizes_automatically);
  EXPECT_TRUE(info.dismisses_automatically);
  EXPECT_EQ(info.io_status, JobIoStatus::kOk);
  EXPECT_EQ(info.error, "");
}

// `paused` says that a pause is wanted, `status` whether it has come.
TEST(JobManager, APauseShowsBeforeItIsTaken) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.pieces = 10, .yields = 3});
  world.engine().RunUntil([&] { return world.trace(job).has_io_in_flight; });
  ASSERT_TRUE(world.jobs().Pause("a").ok());
  const JobInfo info = *world.jobs().Query("a");
  EXPECT_TRUE(info.is_pause_requested);
  EXPECT_TRUE(info.is_busy);
  EXPECT_EQ(info.state, JobState::kRunning);
}

TEST(JobManager, WaitingForAJobTellsHowItEnded) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.run = absl::DataLossError("corrupt")});
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_EQ(world.jobs().CoWaitUntilOver(job).code(), absl::StatusCode::kDataLoss);
  });
}

TEST(JobManager, AJobTellsHowItEndedAfterItIsGone) {
  BareJobWorld world;
  const JobNumber first = world.Start("a", {.run = absl::DataLossError("corrupt")});
  world.Settle();
  const JobNumber second = world.Start("a", {});
  world.Settle();
  EXPECT_EQ(world.jobs().live_jobs(), 0u);
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_EQ(world.jobs().CoWaitUntilOver(first).code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(world.jobs().CoWaitUntilOver(second).ok());
    EXPECT_TRUE(world.jobs().CoWaitUntilOver("a").ok()) << "not the last job of that name";
    const absl::Status never = world.jobs().CoWaitUntilOver("b");
    EXPECT_EQ(never.code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(ConflictOf(never)->reason, ConflictReason::kUnknownJob);
    EXPECT_EQ(world.jobs().CoWaitUntilOver(JobNumber(99)).code(), absl::StatusCode::kNotFound);
  });
}

TEST(JobManager, AJobThatIsThereComesBeforeOneOfItsNameThatIsGone) {
  BareJobWorld world;
  world.Start("a", {});
  world.Settle();
  world.Start("a", {.pieces = 5, .run = absl::DataLossError("corrupt")});
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_EQ(world.jobs().CoWaitUntilOver("a").code(), absl::StatusCode::kDataLoss);
  });
}

TEST(JobManager, ACreationThatWasRefusedLeavesTheEarlierResult) {
  BareJobWorld world;
  world.Start("a", {.run = absl::DataLossError("corrupt")});
  world.Settle();
  EXPECT_FALSE(Refused(world, {.id = "a", .speed = -1}, {}).ok());
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_EQ(world.jobs().CoWaitUntilOver("a").code(), absl::StatusCode::kDataLoss);
  });
}

TEST(JobManager, ACancelledJobSaysWhichItWas) {
  BareJobWorld world;
  world.Start("a", {.idles = true});
  world.RunReady();
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    const absl::Status over = world.jobs().CoWaitUntilOver("a");
    EXPECT_TRUE(absl::IsCancelled(over));
    EXPECT_EQ(over.message(), "scripted job 'a' was cancelled");
  });
}

TEST(JobManager, ForgetsTheOldestResultsAndSaysSo) {
  BareJobWorld world;
  const JobNumber oldest = world.Start("oldest", {.run = absl::DataLossError("corrupt")});
  world.Settle();
  for (size_t i = 1; i < JobResults::kKept; ++i) world.Start(StrCat("j", i), {.pieces = 0});
  world.Settle();
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_EQ(world.jobs().CoWaitUntilOver("oldest").code(), absl::StatusCode::kDataLoss);
  });
  world.Start("last", {});
  world.Settle();
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_EQ(world.jobs().CoWaitUntilOver("oldest").code(), absl::StatusCode::kNotFound);
    const absl::Status forgotten = world.jobs().CoWaitUntilOver(oldest);
    EXPECT_EQ(forgotten.code(), absl::StatusCode::kNotFound);
    EXPECT_NE(forgotten.message().find("has ended"), std::string::npos) << forgotten;
    EXPECT_TRUE(world.jobs().CoWaitUntilOver("j1").ok());
    EXPECT_TRUE(world.jobs().CoWaitUntilOver("last").ok());
  });
}

TEST(JobManager, WaitingForAConcludedJobReturnsAtOnce) {
  BareJobWorld world;
  world.Start("a", {.run = absl::DataLossError("corrupt")}, {.dismisses_automatically = false});
  world.Settle();
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_EQ(world.jobs().CoWaitUntilOver("a").code(), absl::StatusCode::kDataLoss);
  });
  EXPECT_EQ(world.jobs().Query("a")->error, "corrupt");
}

// ---- Ending -------------------------------------------------------------------------------------

TEST(JobManager, ShutsDownJobsInEveryState) {
  BareJobWorld world;
  JobManager& jobs = world.jobs();
  world.Create("created", {});
  world.Start("running", {.idles = true});
  world.Start("paused", {.idles = true});
  world.Start("ready", {.has_ready_phase = true});
  world.Start("standby", {.has_ready_phase = true});
  const auto transaction = jobs.NewTransaction();
  world.Create("waiting", {}, {.transaction = transaction});
  world.Create("never", {}, {.transaction = transaction});
  world.Start("pending", {}, {.finalizes_automatically = false});
  world.Start("kept", {}, {.finalizes_automatically = false, .dismisses_automatically = false});
  world.Start("concluded", {}, {.dismisses_automatically = false});
  world.Run([&]() MILLRACE_NO_ANALYSIS { EXPECT_TRUE(jobs.CoStart("waiting").ok()); });
  world.Settle();
  ASSERT_TRUE(jobs.Pause("paused").ok());
  ASSERT_TRUE(jobs.Pause("standby").ok());
  world.Settle();
  world.Start("busy", {.pieces = 1000, .yields = 10});
  world.Start("slow", {.pieces = 1000, .piece_bytes = 1 << 20}, {.speed = 1});
  world.Run([&]() MILLRACE_NO_ANALYSIS { jobs.CoShutdown(); });
  EXPECT_EQ(jobs.live_jobs(), 0u);
  EXPECT_EQ(world.engine().scheduler().live_coroutines(), 0u);
  const absl::Status late = Refused(world, {.id = "late"}, {});
  EXPECT_EQ(ConflictOf(late)->reason, ConflictReason::kShuttingDown);
  EXPECT_EQ(jobs.CheckNewJob({.id = "late"}), late);
}

TEST(JobManager, ShutdownLetsAFinalizingJobFinish) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.yields = 10});
  world.engine().RunUntil([&] { return world.trace(job).Count("prepare") == 1; });
  world.Run([&]() MILLRACE_NO_ANALYSIS { world.jobs().CoShutdown(); });
  EXPECT_THAT(world.log(), Contains("a: completed 2/2"));
}

TEST(JobManager, ShutdownWaitsForACreationUnderWay) {
  BareJobWorld world;
  auto trace = std::make_shared<JobTrace>();
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    TaskScope scope("creator");
    scope.Spawn("creator", [&]() MILLRACE_MAY_SUSPEND {
      const absl::Status status =
          world.jobs()
              .CoCreate({.id = "a"},
                        std::make_unique<ScriptedJob>(ScriptedJob::Script{.yields = 20}, trace))
              .status();
      EXPECT_EQ(ConflictOf(status)->reason, ConflictReason::kShuttingDown);
    });
    CoYield();
    world.jobs().CoShutdown();
    EXPECT_THAT(trace->calls, ElementsAre("abort", "clean"));
    EXPECT_TRUE(scope.CoJoin().ok());
  });
}

// Gives out no stack for coroutines of one name.
class NoStackFor final : public Decider {
 public:
  explicit NoStackFor(std::string name) : name_(std::move(name)) {}
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    return kind == ChoiceKind::kFault && options[0].name == name_ ? 1 : 0;
  }

 private:
  const std::string name_;
};

TEST(JobManager, AJobWithoutAStackIsUndoneAndHarmsNobody) {
  NoStackFor decider("a");
  BareJobWorld world(&decider);
  const JobNumber bystander = world.Start("b", {.pieces = 10});
  const JobNumber job = world.Create("a", {});
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_EQ(world.jobs().CoStart("a").code(), absl::StatusCode::kResourceExhausted);
  });
  EXPECT_THAT(world.events().Of("a"), ElementsAre("status created", "status null"));
  EXPECT_THAT(world.trace(job).calls, ElementsAre("created", "abort", "clean"));
  world.Settle();
  EXPECT_EQ(world.trace(bystander).pieces_done, 10u);
  EXPECT_THAT(world.events().Of("b"), Contains("completed 10/10"));
}

TEST(JobManager, WhoWaitsForAJobThatCannotStartIsToldSo) {
  NoStackFor decider("a");
  BareJobWorld world(&decider);
  const JobNumber job = world.Create("a", {});
  absl::Status result;
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    TaskScope scope("waiter");
    scope.Spawn("waiter",
                [&]() MILLRACE_MAY_SUSPEND { result = world.jobs().CoWaitUntilOver(job); });
    CoYield();
    EXPECT_FALSE(world.jobs().CoStart(job).ok());
    EXPECT_TRUE(scope.CoJoin().ok());
  });
  EXPECT_EQ(result.code(), absl::StatusCode::kResourceExhausted);
}

TEST(JobManager, AMemberWithoutAStackTakesItsTransactionWithIt) {
  NoStackFor decider("a");
  BareJobWorld world(&decider);
  const auto transaction = world.jobs().NewTransaction();
  world.Create("b", {.idles = true}, {.transaction = transaction});
  world.Create("a", {}, {.transaction = transaction});
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_TRUE(world.jobs().CoStart("b").ok());
    EXPECT_FALSE(world.jobs().CoStart("a").ok());
  });
  world.Settle();
  EXPECT_THAT(world.events().Of("b"), Contains("cancelled 'Operation canceled' 0/0"));
}

TEST(JobManager, CancellingAJobWithoutAStackCanBeTriedAgain) {
  NoStackFor decider("a");
  BareJobWorld world(&decider);
  world.Create("a", {});
  EXPECT_EQ(world.jobs().Cancel("a", true).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(world.StateOf("a"), JobState::kCreated);
  EXPECT_FALSE(world.jobs().Query("a")->is_cancel_requested);
  // Shutting down needs no stack of its own for it.
  world.Run([&]() MILLRACE_NO_ANALYSIS { world.jobs().CoShutdown(); });
  EXPECT_THAT(world.log(), ElementsAre("a: status created", "a: status null"));
}

TEST(JobManagerDeathTest, MustOutliveItsJobs) {
  EXPECT_DEATH(
      {
        JobEventLog events;
        PlainCommitter committer;
        auto engine = Engine::Create({.simulated = true}).value();
        auto manager = std::make_unique<JobManager>(engine->scheduler(), events, committer);
        (void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
          return manager
              ->CoCreate({.id = "a"}, std::make_unique<ScriptedJob>(ScriptedJob::Script{},
                                                                    std::make_shared<JobTrace>()))
              .status();
        });
        manager.reset();
      },
      "job manager destroyed with jobs: scripted job 'a' .created.");
}

}  // namespace
}  // namespace millrace::job_manager_test
