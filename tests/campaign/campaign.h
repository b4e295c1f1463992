// The frame of a campaign program: long randomised runs, in slices, whose sums are kept in
// tests/campaign/ledger.jsonl (tests/nightly.sh).
//
// A program is tests/campaign/<name>_campaign.cc; its main hands a body to RunCampaign, which calls
// it for one seed after the other until the time is up:
//
//   int main(int argc, char** argv) {
//     using namespace millrace;
//     return RunCampaign(argc, argv, [](uint64_t seed, CampaignCounts& counts) {
//       counts["steps"] += RunOnce(seed);
//       return absl::OkStatus();           // an error is a finding; so is a crash
//     });
//   }
//
// The command line is  --seconds S --seed-start N  (or  --seed N  to repeat one seed). The last
// line on stdout is one JSON object: seed_from, seed_to (the last seed run), failures, counts. A
// finding is printed to stderr with its seed; a crash leaves its seed in the file that the
// environment variable MILLRACE_CAMPAIGN_SEED_FILE names. The exit status is 0 only without
// findings. A program that is not built on this frame keeps the same contract.
#ifndef MILLRACE_TESTS_CAMPAIGN_CAMPAIGN_H_
#define MILLRACE_TESTS_CAMPAIGN_CAMPAIGN_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace millrace {

// What was done, by name: "schedules", "operations", "images checked".
using CampaignCounts = std::map<std::string, uint64_t>;

using CampaignBody = absl::FunctionRef<absl::Status(uint64_t seed, CampaignCounts& counts)>;

// Returns main's exit status: 0, 1 after a finding, 2 for a command line it does not understand.
// Stops after ten findings: the first ones are the ones to mend.
int RunCampaign(int argc, char** argv, CampaignBody body);

}  // namespace millrace

#endif  // MILLRACE_TESTS_CAMPAIGN_CAMPAIGN_H_
