// Storms of jobs on one chain, with a guest at work (tests/support/job_storm.h): a seed is one
// storm under one random schedule, and one in sixteen is looked at after every step.
#include <cstdint>
#include <memory>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/decider.h"
#include "tests/campaign/campaign.h"
#include "tests/support/counting_observer.h"
#include "tests/support/job_storm.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

constexpr uint64_t kSeedsPerSeedWithChecks = 16;

// What the support code expects and does not get.
bool HasFailedExpectation() {
  return ::testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed();
}

absl::Status RunSeed(uint64_t seed, CampaignCounts& counts) {
  static StackPool stacks;
  RandomDecider decider(seed, {}, RandomDecider::Recording::kOff);
  CountingObserver observer;
  const std::unique_ptr<Engine> engine =
      SimulatedEngine({.observer = &observer, .decider = &decider, .stacks = &stacks});
  Scheduler& scheduler = engine->scheduler();
  absl::Status broken;
  const bool checks_every_step = seed % kSeedsPerSeedWithChecks == 0;
  scheduler.SetStepCheck([&] {
    if (checks_every_step) broken.Update(scheduler.CheckInvariants());
  });
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    return CoTellChainStory(*engine, JobStormOptions(/*is_owned=*/seed % 2 == 1), seed,
                            [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
                              return CoRunJobStorm(story);
                            });
  });
  status.Update(broken);
  if (stacks.in_use() > 0) status.Update(absl::InternalError("stacks are in use at the end"));
  if (HasFailedExpectation()) status.Update(absl::InternalError("see what was expected above"));
  counts["storms"] += 1;
  counts["steps"] += scheduler.steps();
  counts["jobs"] += observer.Of(Counter::kJobsStarted);
  counts["edits"] += observer.Of(Counter::kGraphEdits);
  counts["drains"] += observer.Of(Counter::kDrainsGranted);
  counts["guest requests"] += observer.Of(Counter::kGuestRequests);
  return status;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) { return millrace::RunCampaign(argc, argv, millrace::RunSeed); }
