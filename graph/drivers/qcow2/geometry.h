// The sizes that follow from a qcow2 header, the format's limits, and a type per address space.
//
// Source: the qcow2 specification. Limits on table sizes are QEMU's, so that an image either of us
// opens is opened by the other.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_GEOMETRY_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_GEOMETRY_H_

#include <cstdint>

#include "millrace/engine/base/strong_int.h"
#include "millrace/graph/driver.h"

namespace millrace::qcow2 {

// Number of a cluster of the image file: HostOffset / cluster size.
struct HostClusterTag;
using HostCluster = StrongInt<HostClusterTag, uint64_t>;

inline constexpr uint32_t kClusterBitsMin = 9;
inline constexpr uint32_t kClusterBitsMax = 21;
inline constexpr uint32_t kExtendedL2ClusterBitsMin = 14;
inline constexpr uint32_t kRefcountOrderMax = 6;
inline constexpr uint64_t kL1BytesMax = uint64_t{32} << 20;
inline constexpr uint64_t kRefcountTableBytesMax = uint64_t{8} << 20;
inline constexpr uint32_t kSnapshotCountMax = 65536;
inline constexpr uint64_t kSnapshotTableBytesMax = uint64_t{64} << 20;
inline constexpr uint32_t kSnapshotExtraBytesMax = 1024;
inline constexpr uint32_t kBitmapCountMax = 65535;
inline constexpr uint64_t kBitmapDirectoryBytesMax = uint64_t{64} << 20;
inline constexpr uint32_t kBackingNameBytesMax = 1023;
// What a device writes as a whole or not at all.
inline constexpr uint32_t kSectorBytes = 512;
// Host offsets have 56 bits.
inline constexpr uint64_t kHostOffsetEnd = uint64_t{1} << 56;
// Bits 9 to 55 of a table entry: where something lies.
inline constexpr uint64_t kEntryOffsetMask = 0x00fffffffffffe00u;
inline constexpr uint64_t kEntryCopied = uint64_t{1} << 63;

// Plain data, cheap to copy.
struct Geometry {
  uint32_t cluster_bits = 16;
  uint32_t refcount_order = 4;
  uint32_t version = 3;
  bool extended_l2 = false;

  uint64_t cluster_bytes() const { return uint64_t{1} << cluster_bits; }
  uint64_t OffsetInCluster(uint64_t offset) const { return offset & (cluster_bytes() - 1); }
  bool IsClusterAligned(uint64_t offset) const { return OffsetInCluster(offset) == 0; }
  uint64_t ClustersFor(uint64_t bytes) const {
    return (bytes >> cluster_bits) + (OffsetInCluster(bytes) != 0 ? 1 : 0);
  }
  HostCluster ClusterOf(HostOffset offset) const {
    return HostCluster(offset.value() >> cluster_bits);
  }
  HostOffset OffsetOf(HostCluster cluster) const {
    return HostOffset(cluster.value() << cluster_bits);
  }

  uint32_t subcluster_bits() const { return extended_l2 ? cluster_bits - 5 : cluster_bits; }
  uint64_t subcluster_bytes() const { return uint64_t{1} << subcluster_bits(); }
  // A mask with a bit for every subcluster.
  uint32_t all_subclusters() const { return extended_l2 ? ~uint32_t{0} : 1; }

  uint32_t l2_entry_bits() const { return extended_l2 ? 4 : 3; }  // log2 of the bytes per entry
  uint64_t l2_entries() const { return cluster_bytes() >> l2_entry_bits(); }
  uint32_t l2_table_bits() const { return cluster_bits + cluster_bits - l2_entry_bits(); }
  // Guest bytes that one L2 table maps.
  uint64_t l2_table_guest_bytes() const { return uint64_t{1} << l2_table_bits(); }
  uint64_t L1IndexOf(uint64_t guest) const { return guest >> l2_table_bits(); }
  uint64_t L2IndexOf(uint64_t guest) const { return (guest >> cluster_bits) & (l2_entries() - 1); }
  // L1 entries that a disk of `bytes` needs.
  uint64_t L1EntriesFor(uint64_t bytes) const {
    return (bytes >> l2_table_bits()) + ((bytes & (l2_table_guest_bytes() - 1)) != 0 ? 1 : 0);
  }

  uint32_t refcount_bits() const { return uint32_t{1} << refcount_order; }
  uint64_t refcount_max() const {
    return refcount_order == 6 ? ~uint64_t{0} : (uint64_t{1} << refcount_bits()) - 1;
  }
  // log2 of the refcounts in one refcount block.
  uint32_t refcount_block_bits() const { return cluster_bits + 3 - refcount_order; }
  uint64_t refcounts_per_block() const { return uint64_t{1} << refcount_block_bits(); }
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_GEOMETRY_H_
