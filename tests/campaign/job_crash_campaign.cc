// Power fails while a block job works on a chain of qcow2 images: see
// tests/support/job_crash_story.h. A seed is one run of one job; all it could leave after a crash
// is looked at. "crash images" counts disks no two of which are alike within their run.
#include <array>
#include <cstdint>

#include "tests/campaign/campaign.h"
#include "tests/support/job_crash_story.h"

namespace millrace {
namespace {

absl::Status RunSeed(uint64_t seed, CampaignCounts& counts) {
  constexpr std::array<uint64_t, 8> kClusters = {512, 512, 512, 512, 1024, 4096, 16384, 65536};
  constexpr size_t kJobs = std::size(kCrashJobs);
  const CrashJob job = kCrashJobs[seed % kJobs];
  const uint64_t cluster_bytes = kClusters[seed / kJobs % kClusters.size()];
  const CrashCase crash_case = CrashCase::Random(job, cluster_bytes, seed);
  JobCrashOptions options;
  options.restart_one_in = 50;
  options.restarts_each_content = true;
  return RunJobCrashStory(crash_case, seed, options, counts);
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) { return millrace::RunCampaign(argc, argv, millrace::RunSeed); }
