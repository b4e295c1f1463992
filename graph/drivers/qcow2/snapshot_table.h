// The table of internal snapshots. We keep snapshots intact; we do not make, apply or delete them.
// Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_SNAPSHOT_TABLE_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_SNAPSHOT_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/image_file.h"

namespace millrace::qcow2 {

struct Snapshot {
  uint64_t l1_offset = 0;
  uint32_t l1_entries = 0;
  std::string id;
  std::string name;
  uint32_t date_seconds = 0;
  uint32_t date_nanoseconds = 0;
  uint64_t vm_clock_nanoseconds = 0;
  uint64_t vm_state_bytes = 0;
  uint64_t disk_bytes = 0;  // the header's size if the table does not say

  // Whether its L1 table can be used; else only this snapshot is lost.
  bool has_usable_l1(const Geometry& geometry, uint64_t file_bytes) const;
};

struct SnapshotTable {
  std::vector<Snapshot> snapshots;
  uint64_t bytes = 0;  // of the table in the file
};

// Reads the table piece by piece; memory grows with what is there, not with what is claimed.
// InvalidArgument if an entry cannot be right or a limit is exceeded.
absl::StatusOr<SnapshotTable> CoReadSnapshotTable(ImageFile& file, const Header& header)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_SNAPSHOT_TABLE_H_
