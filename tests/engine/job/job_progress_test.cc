// Progress: what clients see of it is never inconsistent, whatever a job says.
#include "millrace/engine/job/job_progress.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/scheduler/decider.h"
#include "tests/support/job_harness.h"

namespace millrace::job_progress_test {
namespace {

TEST(JobProgress, WorkMovesFromRemainingToCurrentAndWorkUnforeseenAddsToTheTotal) {
  JobProgress progress;
  progress.SetRemaining(10);
  progress.Advance(4);
  EXPECT_EQ(progress.current(), 4u);
  EXPECT_EQ(progress.total(), 10u);
  progress.AddRemaining(5);
  EXPECT_EQ(progress.current(), 4u);
  EXPECT_EQ(progress.total(), 15u);
  progress.Advance(20);
  EXPECT_EQ(progress.current(), 24u);
  EXPECT_EQ(progress.total(), 24u);
  progress.SetRemaining(1);
  EXPECT_EQ(progress.total(), 25u);
}

TEST(JobProgress, NonsenseNeverShowsATotalBelowCurrent) {
  JobProgress progress;
  progress.Advance(10);
  progress.SetRemaining(UINT64_MAX);
  EXPECT_EQ(progress.total(), UINT64_MAX);
  progress.AddRemaining(5);
  EXPECT_EQ(progress.total(), UINT64_MAX);
  progress.Advance(UINT64_MAX);
  EXPECT_EQ(progress.current(), UINT64_MAX);
  EXPECT_EQ(progress.total(), UINT64_MAX);
}

// Says random things about its progress, by its context, and keeps a model of them.
class Talker final : public JobBody {
 public:
  explicit Talker(uint64_t seed) : random_(seed, "talker") {}
  std::string_view type() const override { return "talker"; }
  absl::Status CoRun(JobContext& context) override MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < 200; ++i) {
      const uint64_t amount = random_.Below(1000);
      switch (random_.Below(3)) {
        case 0:
          context.SetRemaining(amount);
          remaining_ = amount;
          break;
        case 1:
          context.AddRemaining(amount);
          remaining_ += amount;
          break;
        default:
          context.Advance(amount);
          done_ += amount;
          remaining_ -= std::min(remaining_, amount);
      }
      expected = {done_, done_ + remaining_};
      context.CoSleep(0);
    }
    return absl::OkStatus();
  }

  std::pair<uint64_t, uint64_t> expected;

 private:
  RandomStream random_;
  uint64_t done_ = 0;
  uint64_t remaining_ = 0;
};

TEST(JobProgress, AQueryAtAnyMomentShowsWhatWasSaidAndCurrentNeverFalls) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    BareJobWorld world;
    auto body = std::make_unique<Talker>(seed);
    Talker& talker = *body;
    world.Run([&]() MILLRACE_NO_ANALYSIS {
      JobSpec spec{.id = "t"};
      spec.dismisses_automatically = false;
      const absl::StatusOr<JobNumber> job = world.jobs().CoCreate(std::move(spec), std::move(body));
      EXPECT_TRUE(world.jobs().CoStart(*job).ok());
    });
    uint64_t last = 0;
    int looks = 0;
    while (world.StateOf("t") == JobState::kRunning) {
      const absl::StatusOr<JobInfo> info = world.jobs().Query("t");
      ASSERT_TRUE(info.ok());
      EXPECT_EQ(std::pair(info->current, info->total), talker.expected);
      EXPECT_GE(info->current, last);
      last = info->current;
      ++looks;
      if (!world.Step()) break;
    }
    EXPECT_GT(looks, 100);
    for (const JobEvent& event : world.events().events()) EXPECT_LE(event.current, event.total);
  }
}

}  // namespace
}  // namespace millrace::job_progress_test
