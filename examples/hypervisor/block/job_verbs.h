// What the commands for verbs of jobs answer, for those who ask without doing it.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_VERBS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_VERBS_H_

#include <string>

#include "absl/status/status.h"

namespace millrace {

class BlockLayer;

// Whether the command (`is_legacy`: block-job-*) knows a job of that id: the older ones know block
// jobs only.
absl::Status CheckKnowsJob(BlockLayer& layer, const std::string& id, bool is_legacy);

// An unknown job in QEMU's words, which depend on the family of the command (`is_legacy`:
// block-job-*); every other status as it is.
absl::Status InVerbWords(absl::Status status, const std::string& id, bool is_legacy);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_VERBS_H_
