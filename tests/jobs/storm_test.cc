// Storms of jobs (tests/support/job_storm.h): a few here; by day and night more in
// tests/campaign/job_storm_campaign.cc.
#include <gtest/gtest.h>

#include "tests/support/job_storm.h"
#include "tests/support/seeds.h"

namespace millrace::storm_test {
namespace {

TEST(JobStorm, WhateverIsAcceptedEndsWellInWhateverOrder) {
  for (bool is_owned : {false, true}) {
    ChainStoryOptions options = JobStormOptions(is_owned);
    options.cost = 10;
    JobStormCounts counts;
    TellChainStory(options, [&](ChainStory& story)
                                MILLRACE_MAY_SUSPEND { return CoRunJobStorm(story, &counts); });
    EXPECT_GT(counts.started, SeedCount() / options.cost);
    EXPECT_GT(counts.succeeded, counts.started / 2);
    EXPECT_GT(counts.cancelled, 0u);
  }
}

}  // namespace
}  // namespace millrace::storm_test
