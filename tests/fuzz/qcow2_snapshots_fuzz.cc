// Any bytes as a qcow2 snapshot table: reading it ends in an error or in snapshots that are inside
// the table, with memory in proportion to what is there. The first two bytes say how many snapshots
// the header claims.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "millrace/graph/drivers/qcow2/snapshot_table.h"
#include "tests/support/qcow2_images.h"

namespace millrace {
namespace {

constexpr uint64_t kTableOffset = 4096;
constexpr uint64_t kTableBytesMax = 1 << 16;

void CoFuzz(const std::vector<uint8_t>& table, uint32_t count) MILLRACE_MAY_SUSPEND {
  CrashDisk disk;
  disk.Write(kTableOffset, table);
  DiskFile file(disk);
  qcow2::Header header;
  header.geometry.cluster_bits = 12;
  header.bytes = 1 << 20;
  header.snapshot_count = count;
  header.snapshots_offset = kTableOffset;
  const absl::StatusOr<qcow2::SnapshotTable> read = CoReadSnapshotTable(file, header);
  if (!read.ok()) return;
  MILLRACE_CHECK(read->snapshots.size() == count, "snapshots were made up, or lost");
  MILLRACE_CHECK(read->bytes <= table.size() + 8, "the table is longer than what is there");
  uint64_t bytes = 0;
  for (const qcow2::Snapshot& snapshot : read->snapshots) {
    bytes += snapshot.id.size() + snapshot.name.size();
    (void)snapshot.has_usable_l1(header.geometry, file.bytes());
  }
  MILLRACE_CHECK(bytes <= table.size(), "names are longer than the table");
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > millrace::kTableBytesMax) return 0;
  const uint32_t count = uint32_t{data[0]} << 8 | data[1];
  const std::vector<uint8_t> table(data + 2, data + size);
  auto engine = millrace::SimulatedEngine();
  (void)engine->Run([&]() MILLRACE_MAY_SUSPEND { millrace::CoFuzz(table, count); });
  return 0;
}
