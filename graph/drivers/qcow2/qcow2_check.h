// Checking and repairing a qcow2 image that nobody has open for writing.
//
// The check walks every table, counts how often each host cluster is used, and compares that with
// the refcounts and with the "copied" flags. It reads; only a repair writes. Memory grows with what
// the tables refer to inside the file, not with the file's apparent size.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_CHECK_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_CHECK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/drivers/qcow2/image_file.h"

namespace millrace {

enum class Qcow2Repair : uint8_t {
  kNone,
  kLeaks,  // refcounts that are too high
  kAll,    // also refcounts that are too low, wrong flags and broken refcount structures
};

struct Qcow2CheckOptions {
  Qcow2Repair repair = Qcow2Repair::kNone;
  // How many findings are kept as text; all are counted.
  uint64_t findings_max = 100;
  // Whether it heeds that the coroutine's scope is cancelled: CancelledError then, at the next
  // table that it would read. What it began to write it writes to the end first, for half a repair
  // would be one more kind of damage; the text says whether there was something to write.
  bool is_cancellable = false;
};

struct Qcow2CheckResult {
  uint64_t corruptions = 0;  // before the repair
  uint64_t leaks = 0;        // clusters
  uint64_t corruptions_fixed = 0;
  uint64_t leaks_fixed = 0;
  // Places that could not be read; what they refer to was not seen.
  uint64_t errors = 0;

  uint64_t image_end_offset = 0;  // end of the last host cluster in use
  uint64_t total_clusters = 0;    // of the guest
  uint64_t allocated_clusters = 0;
  uint64_t fragmented_clusters = 0;
  uint64_t compressed_clusters = 0;
  // One line each: what is wrong, where. Not for programs.
  std::vector<std::string> findings;

  bool is_clean() const { return corruptions == 0 && leaks == 0 && errors == 0; }
  // Whether nothing is left to complain about after the repair.
  bool is_clean_now() const {
    return corruptions == corruptions_fixed && leaks == leaks_fixed && errors == 0;
  }
};

// A status means that the check could not be made: the header is not usable, or I/O failed. A
// repair that ends with everything fixed also clears the header's dirty and corrupt bits.
absl::StatusOr<Qcow2CheckResult> CoCheckQcow2(ImageFile& file, const Qcow2CheckOptions& options)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_CHECK_H_
