// Power fails while a block job works on real qcow2 images: at every point of the run, with any of
// what was not flushed on the disk or not. tests/campaign/job_crash_campaign.cc does the same for
// hours, and with all subsets instead of some.
#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "tests/support/job_crash_story.h"
#include "tests/support/seeds.h"

namespace millrace::job_crash_test {
namespace {

class JobCrash : public testing::TestWithParam<CrashJob> {
 protected:
  void Crash(uint64_t cluster_bytes, uint64_t cost, uint64_t subsets_max) {
    JobCrashOptions options;
    options.images = {.samples = 16, .subsets_max = subsets_max};
    options.restart_one_in = 100;
    JobCrashCounts counts;
    for (uint64_t seed : Seeds(cost)) {
      const CrashCase crash_case = CrashCase::Random(GetParam(), cluster_bytes, seed);
      const absl::Status status = RunJobCrashStory(crash_case, seed, options, counts);
      ASSERT_TRUE(status.ok()) << "seed " << seed << ": " << status;
    }
    EXPECT_GT(counts["crash images"], 20u);
    for (const auto& [name, count] : counts) RecordProperty(name, std::to_string(count));
  }
};

TEST_P(JobCrash, LeavesSoundImagesOfTheSmallestClustersAndEveryFlushedSector) {
  Crash(512, 80, 64);
}
TEST_P(JobCrash, LeavesSoundImagesOfTheUsualClustersAndEveryFlushedSector) {
  Crash(65536, 400, 24);
}

INSTANTIATE_TEST_SUITE_P(Jobs, JobCrash, testing::ValuesIn(kCrashJobs), [](const auto& each) {
  std::string name(CrashJobName(each.param));
  std::erase(name, ' ');
  return name;
});

}  // namespace
}  // namespace millrace::job_crash_test
