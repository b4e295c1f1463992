// Storms of jobs (tests/support/job_storm.h): a few here; by day and night more in
// tests/campaign/job_storm_campaign.cc.
#include <gtest/gtest.h>

#include "tests/support/job_storm.h"

namespace millrace {
namespace {

TEST(JobStorm, WhateverIsAcceptedEndsWellInWhateverOrder) {
  for (bool is_owned : {false, true}) {
    ChainStoryOptions options = JobStormOptions(is_owned);
    options.cost = 10;
    TellChainStory(options, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
      return CoRunJobStorm(story);
    });
  }
}

}  // namespace
}  // namespace millrace
