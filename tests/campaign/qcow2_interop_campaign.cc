// QEMU and us writing to one qcow2 image in turns, over all options of the format: after every turn
// both see the same disk and the same map, and both checks are clean.
#include <cstdio>

#include "tests/campaign/campaign.h"
#include "tests/support/qcow2_interop.h"
#include "tests/support/qemu_tools.h"

int main(int argc, char** argv) {
  if (!millrace::HasQemuTools()) {
    std::fprintf(stderr, "qemu-utils is not installed: nothing to compare with\n");
    return 2;
  }
  return millrace::RunCampaign(argc, argv, [](uint64_t seed, millrace::CampaignCounts& counts) {
    millrace::InteropCounts done;
    const absl::Status status = millrace::RunQcow2Interop(seed, done);
    counts["images"] += done.images;
    counts["operations"] += done.operations;
    counts["guest turns"] += done.guest_turns;
    counts["qemu checks"] += done.qemu_checks;
    return status;
  });
}
