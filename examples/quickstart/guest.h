// A guest: reads and writes its disk at random until it is told to stop, and checks every byte that
// it reads against its model.
#ifndef MILLRACE_EXAMPLES_QUICKSTART_GUEST_H_
#define MILLRACE_EXAMPLES_QUICKSTART_GUEST_H_

#include <cstdint>

#include "absl/status/status.h"
#include "examples/quickstart/disk_model.h"
#include "examples/quickstart/witness.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/graph/attachment.h"

namespace millrace {

class Guest {
 public:
  struct Counts {
    uint64_t reads = 0;   // and as expected
    uint64_t writes = 0;  // zero writes too
    uint64_t flushes = 0;
    uint64_t bytes = 0;
  };

  // All must outlive the guest; nobody else writes to the disk.
  Guest(Attachment& disk, DiskModel& model, Witness& witness, uint64_t seed)
      : disk_(disk), model_(model), witness_(witness), seed_(seed) {}

  // Runs until Stop(). DataLoss: a read showed something else than the model.
  absl::Status CoRun() MILLRACE_MAY_SUSPEND;
  void Stop() { is_stopped_ = true; }
  const Counts& counts() const { return counts_; }

 private:
  struct Worker;
  absl::Status CoWork(uint64_t number) MILLRACE_MAY_SUSPEND;
  absl::Status CoStep(Worker& worker) MILLRACE_MAY_SUSPEND;
  absl::Status CoReadAndCheck(ByteRange range, uint8_t* memory) MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteTagged(ByteRange range, uint8_t* memory) MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range) MILLRACE_MAY_SUSPEND;

  Attachment& disk_;
  DiskModel& model_;
  Witness& witness_;
  const uint64_t seed_;
  bool is_stopped_ = false;
  Counts counts_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_QUICKSTART_GUEST_H_
