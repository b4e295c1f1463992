// What a qcow2 image says about itself: for `info`, without opening it as a node. Reads only the
// header, the snapshot table and the bitmap directory; never a backing or data file.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_INFO_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_INFO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/qcow2/image_file.h"
#include "millrace/graph/drivers/qcow2/qcow2_create.h"

namespace millrace {

struct Qcow2SnapshotInfo {
  std::string id;
  std::string name;
  uint64_t vm_state_bytes = 0;
  uint64_t disk_bytes = 0;    // virtual size when it was taken
  uint64_t date_seconds = 0;  // since 1970, UTC
  uint32_t date_nanoseconds = 0;
  uint64_t vm_clock_nanoseconds = 0;
};

struct Qcow2BitmapInfo {
  std::string name;
  uint64_t granularity_bytes = 0;
  bool is_in_use = false;     // inconsistent: not closed properly, or written past
  bool is_recording = false;  // the flag "auto"
};

struct Qcow2Info {
  uint64_t bytes = 0;  // virtual size
  uint32_t version = 0;
  uint64_t cluster_bytes = 0;
  uint32_t refcount_bits = 0;
  bool has_extended_l2 = false;
  bool has_lazy_refcounts = false;
  bool is_dirty = false;
  bool is_corrupt = false;
  bool is_encrypted = false;
  Qcow2Compression compression = Qcow2Compression::kZlib;
  BackingReference backing;
  std::string data_file;  // as in the header; such images can be described, not opened
  std::vector<Qcow2SnapshotInfo> snapshots;
  std::vector<Qcow2BitmapInfo> bitmaps;
  // Names of set feature bits we do not know, from the image's own table, or "bit 17".
  std::vector<std::string> unknown_features;
};

absl::StatusOr<Qcow2Info> CoReadQcow2Info(ImageFile& file) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_INFO_H_
