// Drains and jobs: when a job is quiet, and what a drain holds back.
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/quiescable.h"
#include "millrace/engine/sync/event.h"
#include "tests/support/job_harness.h"

namespace millrace::job_quiesce_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A drained section, as far as a job can tell.
class Drain final : public QuietListener {
 public:
  explicit Drain(Quiescable& job) : job_(job) {
    job_.AddQuietListener(this);
    job_.BeginQuiesce();
  }
  ~Drain() { End(); }
  void End() {
    if (is_over_) return;
    is_over_ = true;
    job_.RemoveQuietListener(this);
    job_.EndQuiesce();
  }
  void OnQuiet() override { ++told; }
  int told = 0;

 private:
  Quiescable& job_;
  bool is_over_ = false;
};

TEST(JobQuiesce, ACreatedJobIsQuiet) {
  BareJobWorld world;
  const JobNumber job = world.Create("a", {});
  Drain drain(*world.trace(job).quiescable);
  EXPECT_TRUE(world.trace(job).quiescable->is_quiet());
  EXPECT_EQ(drain.told, 0);
  EXPECT_EQ(world.trace(job).quiescable->DescribeQuiescable(), "scripted job 'a'");
}

TEST(JobQuiesce, AJobStartedUnderADrainParksBeforeItsFirstStep) {
  BareJobWorld world;
  const JobNumber job = world.Create("a", {});
  Drain drain(*world.trace(job).quiescable);
  world.Run([&]() MILLRACE_NO_ANALYSIS { EXPECT_TRUE(world.jobs().CoStart("a").ok()); });
  EXPECT_TRUE(world.trace(job).quiescable->is_quiet());
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status created", "a: status running", "a: status paused"));
  EXPECT_THAT(world.trace(job).calls, ElementsAre("created"));
  drain.End();
  world.Settle();
  EXPECT_EQ(world.trace(job).pieces_done, 2u);
}

TEST(JobQuiesce, AWorkingJobIsQuietFromItsPausePointOn) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.pieces = 100, .yields = 3});
  JobTrace& trace = world.trace(job);
  world.engine().RunUntil([&] { return trace.has_io_in_flight; });
  Drain drain(*trace.quiescable);
  EXPECT_FALSE(trace.quiescable->is_quiet());
  world.engine().RunUntil([&] { return drain.told > 0; });
  EXPECT_TRUE(trace.quiescable->is_quiet());
  EXPECT_FALSE(trace.has_io_in_flight);
  const uint64_t pieces = trace.pieces_done;
  world.Settle();
  EXPECT_EQ(trace.pieces_done, pieces);
  EXPECT_EQ(world.StateOf("a"), JobState::kPaused);
  EXPECT_EQ(trace.Count("stop-io"), 1u);
  drain.End();
  world.Settle();
  EXPECT_EQ(trace.pieces_done, 100u);
  EXPECT_EQ(trace.Count("restart-io"), 1u);
}

TEST(JobQuiesce, NestedDrainsHoldUntilTheLastEnds) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.idles = true});
  world.Settle();
  Drain first(*world.trace(job).quiescable);
  Drain second(*world.trace(job).quiescable);
  world.Settle();
  EXPECT_EQ(world.jobs().Query("a")->quiesce_count, 2);
  first.End();
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kPaused);
  second.End();
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kRunning);
}

TEST(JobQuiesce, AnIdleJobIsWokenToPark) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.idles = true});
  world.Settle();
  EXPECT_FALSE(world.trace(job).quiescable->is_quiet());
  Drain drain(*world.trace(job).quiescable);
  world.Settle();
  EXPECT_EQ(drain.told, 1);
}

// Between the end of a drain and the job's next step another drain begins: it never went on.
TEST(JobQuiesce, AJobCaughtAgainBeforeItRanStaysParked) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.idles = true});
  world.Settle();
  Drain first(*world.trace(job).quiescable);
  world.Settle();
  world.events().Clear();
  first.End();
  Drain second(*world.trace(job).quiescable);
  EXPECT_TRUE(world.trace(job).quiescable->is_quiet());
  world.Settle();
  EXPECT_THAT(world.log(), IsEmpty());
}

TEST(JobQuiesce, TheUsersPauseOutlivesTheDrainAndTheOtherWayRound) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.idles = true});
  world.Settle();
  Drain drain(*world.trace(job).quiescable);
  ASSERT_TRUE(world.jobs().Pause("a").ok());
  world.Settle();
  drain.End();
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kPaused);
  Drain again(*world.trace(job).quiescable);
  ASSERT_TRUE(world.jobs().Resume("a").ok());
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kPaused);
  again.End();
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kRunning);
}

// Races R09, R16: completing is a step. A drain that begins in any hook holds back the next one,
// and while it lasts neither the state changes nor a client hears anything.
TEST(JobQuiesce, ADrainHoldsBackTheNextHook) {
  for (const std::string_view hook : {"run", "prepare", "follow-up", "clean"}) {
    SCOPED_TRACE(hook);
    BareJobWorld world;
    const JobNumber job = world.Start("a", {.pieces = 0, .yields = 3});
    JobTrace& trace = world.trace(job);
    world.engine().RunUntil([&] { return trace.Count(hook) == 1; });
    Drain drain(*trace.quiescable);
    EXPECT_FALSE(trace.quiescable->is_quiet());
    world.engine().RunUntil([&] { return drain.told > 0; });
    if (hook == "clean") {
      // Its last step: it ends with the job.
      EXPECT_EQ(world.StateOf("a"), JobState::kNull);
      drain.End();
      continue;
    }
    EXPECT_TRUE(trace.quiescable->is_quiet());
    const JobState state = world.StateOf("a");
    EXPECT_EQ(state, hook == "run" ? JobState::kRunning : JobState::kPending);
    const size_t calls = trace.calls.size();
    world.events().Clear();
    world.Settle();
    EXPECT_EQ(trace.calls.size(), calls);
    EXPECT_THAT(world.log(), IsEmpty());
    EXPECT_EQ(world.StateOf("a"), state);
    drain.End();
    world.Settle();
    EXPECT_EQ(world.StateOf("a"), JobState::kNull);
    EXPECT_EQ(trace.Count("clean"), 1u);
  }
}

TEST(JobQuiesce, ADrainHoldsBackTheEndOfAFailedJob) {
  BareJobWorld world;
  const JobNumber job =
      world.Start("a", {.pieces = 0, .yields = 3, .run = absl::InternalError("broken")});
  JobTrace& trace = world.trace(job);
  world.engine().RunUntil([&] { return trace.Count("run") == 1; });
  Drain drain(*trace.quiescable);
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kRunning);
  EXPECT_EQ(trace.Count("abort"), 0u);
  drain.End();
  world.Settle();
  EXPECT_EQ(trace.Count("abort"), 1u);
}

// It ends when the drain has; a cancel must not walk through a drain.
TEST(JobQuiesce, ACancelWaitsForTheDrain) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.idles = true});
  world.Settle();
  Drain drain(*world.trace(job).quiescable);
  world.Settle();
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_THAT(world.log(), IsEmpty());
  EXPECT_TRUE(world.trace(job).quiescable->is_quiet());
  drain.End();
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: status running", "a: status aborting",
                                       "a: cancelled 'Operation canceled' 2/2",
                                       "a: status concluded", "a: status null"));
}

// A cancelled job that is caught by a drain on its way out parks without a word.
TEST(JobQuiesce, ACancelledJobParksSilently) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.pieces = 100, .yields = 3});
  JobTrace& trace = world.trace(job);
  world.engine().RunUntil([&] { return trace.has_io_in_flight; });
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  Drain drain(*trace.quiescable);
  world.events().Clear();
  world.Settle();
  EXPECT_TRUE(trace.quiescable->is_quiet());
  EXPECT_THAT(world.log(), IsEmpty());
  EXPECT_EQ(world.StateOf("a"), JobState::kRunning);
  drain.End();
  world.Settle();
  EXPECT_EQ(trace.Count("abort"), 1u);
}

TEST(JobQuiesce, ACreatedJobIsNotCleanedUpUnderADrain) {
  BareJobWorld world;
  const JobNumber job = world.Create("a", {});
  Drain drain(*world.trace(job).quiescable);
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kCreated);
  EXPECT_EQ(world.trace(job).Count("abort"), 0u);
  drain.End();
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kNull);
}

// What DrainedSection::CoBegin does for its owner, in the middle of CoPrepare().
class SectionOwner {
 public:
  ScriptedJob::Script Script() {
    return {.pieces = 0,
            .yields = 1,
            .in_hook = [this](std::string_view hook, JobContext& context) MILLRACE_NO_ANALYSIS {
              if (hook == "prepare") CoOpenSection(context.quiescable());
            }};
  }
  void Grant() { granted_.Set(); }
  bool is_waiting() const { return granted_.has_waiters(); }
  bool is_inside = false;
  bool is_granted_first = true;

 private:
  void CoOpenSection(Quiescable& owner) MILLRACE_MAY_SUSPEND {
    owner.EnterQuietWait();
    granted_.CoWait();
    if (is_granted_first) owner.OnSectionGranted();
    owner.CoLeaveQuietWait();
    is_inside = true;
    for (int i = 0; i < 5; ++i) CoYield();
    is_inside = false;
    if (is_granted_first) owner.OnSectionEnded();
  }
  Event granted_{"grant"};
};

TEST(JobQuiesce, AnOwnerWaitingForItsSectionIsQuiet) {
  BareJobWorld world;
  SectionOwner section;
  const JobNumber job = world.Start("a", section.Script());
  world.engine().RunUntil([&] { return section.is_waiting(); });
  Drain drain(*world.trace(job).quiescable);
  EXPECT_TRUE(world.trace(job).quiescable->is_quiet());
  section.Grant();
  // Its section is granted: it goes on in spite of the drain, and that one has to wait.
  world.engine().RunUntil([&] { return section.is_inside; });
  EXPECT_FALSE(world.trace(job).quiescable->is_quiet());
  world.Settle();
  // The section is over, and so is the hook; now the drain holds it.
  EXPECT_FALSE(section.is_inside);
  EXPECT_TRUE(world.trace(job).quiescable->is_quiet());
  EXPECT_EQ(drain.told, 1);
  EXPECT_EQ(world.trace(job).Count("stage"), 0u);
  drain.End();
  world.Settle();
  EXPECT_EQ(world.trace(job).Count("stage"), 1u);
}

// A drain came first and was granted while ours waited: leaving the wait means waiting for it.
TEST(JobQuiesce, AnOwnerWithoutAGrantParksWhenItLeavesTheWait) {
  BareJobWorld world;
  SectionOwner section;
  section.is_granted_first = false;
  const JobNumber job = world.Start("a", section.Script());
  world.engine().RunUntil([&] { return section.is_waiting(); });
  Drain drain(*world.trace(job).quiescable);
  section.Grant();
  world.Settle();
  EXPECT_FALSE(section.is_inside);
  EXPECT_TRUE(world.trace(job).quiescable->is_quiet());
  EXPECT_EQ(world.trace(job).Count("stage"), 0u);
  drain.End();
  world.Settle();
  EXPECT_EQ(world.trace(job).Count("stage"), 1u);
}

TEST(JobQuiesce, EnteringTheWaitTellsTheDrain) {
  BareJobWorld world;
  SectionOwner section;
  const JobNumber job = world.Start("a", section.Script());
  world.engine().RunUntil([&] { return world.trace(job).Count("prepare") == 1; });
  Drain drain(*world.trace(job).quiescable);
  EXPECT_FALSE(world.trace(job).quiescable->is_quiet());
  world.engine().RunUntil([&] { return section.is_waiting(); });
  EXPECT_EQ(drain.told, 1);
  section.Grant();
  world.Settle();
  drain.End();
}

}  // namespace
}  // namespace millrace::job_quiesce_test
