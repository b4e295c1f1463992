// The directory of persistent dirty bitmaps. We keep bitmaps; we do not maintain them.
// Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_BITMAP_DIRECTORY_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_BITMAP_DIRECTORY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/image_file.h"

namespace millrace::qcow2 {

inline constexpr uint32_t kBitmapInUse = 1 << 0;
inline constexpr uint32_t kBitmapRecording = 1 << 1;

struct BitmapEntry {
  uint64_t table_offset = 0;
  uint32_t table_entries = 0;
  uint32_t flags = 0;
  uint8_t granularity_bits = 0;
  std::string name;
  uint64_t directory_position = 0;  // of the entry, in bytes from the directory's start
};

// InvalidArgument if the entries do not fill the directory exactly or a field is out of range.
absl::StatusOr<std::vector<BitmapEntry>> ParseBitmapDirectory(absl::Span<const uint8_t> directory,
                                                              uint32_t bitmap_count);
// The directory's bytes; `where` was checked by FindBitmaps.
absl::StatusOr<std::vector<uint8_t>> CoReadBitmapDirectory(ImageFile& file,
                                                           const BitmapsExtension& where)
    MILLRACE_MAY_SUSPEND;

// An entry of a bitmap's table: 0 if there is no data cluster (all zeroes or all ones).
absl::StatusOr<uint64_t> DecodeBitmapTableEntry(uint64_t raw, const Geometry& geometry);

// Sets the flag "in use" of every bitmap that records writes (`all`: of every bitmap). Returns
// whether anything changed.
bool MarkBitmapsInUse(absl::Span<uint8_t> directory, absl::Span<const BitmapEntry> entries,
                      bool all);

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_BITMAP_DIRECTORY_H_
