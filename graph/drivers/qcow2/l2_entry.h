// L1 and L2 entries: 64 bits each (128 for L2 entries with subclusters) as values with meaning.
// Internal; not installed.
//
// Both L2 layouts decode to one form: a cluster of S subclusters (32 with extended L2 entries, else
// 1), each of them allocated, zero or neither. Code that works on this form needs to know neither
// the layout nor the version. Pure; any thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_L2_ENTRY_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_L2_ENTRY_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "millrace/graph/drivers/qcow2/corruption.h"
#include "millrace/graph/drivers/qcow2/geometry.h"

namespace millrace::qcow2 {

// An entry of the active L1 table, or of a snapshot's.
struct L1Entry {
  HostOffset l2_table;     // 0: no table, nothing allocated
  bool is_copied = false;  // the table belongs to nobody else
};
// DataLoss for reserved bits and offsets that are not cluster-aligned.
absl::StatusOr<L1Entry> DecodeL1Entry(uint64_t raw, const Geometry& geometry);
inline uint64_t EncodeL1Entry(const L1Entry& entry) {
  return entry.l2_table.value() | (entry.is_copied ? kEntryCopied : 0);
}

// Where compressed data lies: any byte offset, and at most `bytes` bytes from there.
struct CompressedPlace {
  HostOffset offset;
  uint64_t bytes = 0;
};

struct L2Entry {
  bool is_compressed = false;
  bool is_copied = false;  // the host cluster belongs to nobody else
  HostOffset host;         // of the cluster, 0: none. Not for compressed clusters
  CompressedPlace compressed;
  // One bit per subcluster, the lowest for the first. A subcluster in neither is unallocated; none
  // is in both.
  uint32_t allocated = 0;
  uint32_t zero = 0;

  bool has_host() const { return host.value() != 0; }
  // Whether this layer says something about any byte of the cluster.
  bool is_unallocated() const { return !is_compressed && allocated == 0 && zero == 0; }
};

// As stored: `bitmap` only with extended L2 entries.
struct RawL2Entry {
  uint64_t descriptor = 0;
  uint64_t bitmap = 0;
  friend bool operator==(const RawL2Entry&, const RawL2Entry&) = default;
};

// What is to be told of an entry that does not decode; its table and index are the caller's to say.
Qcow2Corruption KindOfBrokenL1(uint64_t raw, uint64_t index, const Geometry& geometry);
Qcow2Corruption KindOfBroken(const RawL2Entry& raw, const Geometry& geometry);

// DataLoss for reserved bits, unaligned offsets, contradicting bitmaps, and zero flags in a version
// 2 image.
absl::StatusOr<L2Entry> DecodeL2Entry(const RawL2Entry& raw, const Geometry& geometry);
RawL2Entry EncodeL2Entry(const L2Entry& entry, const Geometry& geometry);

RawL2Entry LoadL2Entry(const uint8_t* source, const Geometry& geometry);
void StoreL2Entry(uint8_t* target, const RawL2Entry& raw, const Geometry& geometry);

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_L2_ENTRY_H_
