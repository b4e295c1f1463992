// MetadataMap: which host clusters hold metadata, as far as is known. Internal; not installed.
//
// The last line of defence against images whose refcounts or tables lie: what is allocated, and
// what is written in place, must not overlap anything in here. Home thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_METADATA_MAP_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_METADATA_MAP_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/container/btree_map.h"
#include "millrace/graph/drivers/qcow2/geometry.h"

namespace millrace::qcow2 {

enum class MetadataKind : uint8_t {
  kHeader,
  kL1Table,
  kL2Table,
  kRefcountTable,
  kRefcountBlock,
  kSnapshotTable,
  kSnapshotL1Table,
  kBitmapDirectory,
};
std::string_view MetadataKindName(MetadataKind kind);  // "L2 table"
// What else may lie in a cluster, in words.
inline constexpr std::string_view kGuestData = "guest data";

// Consecutive host clusters.
struct ClusterRun {
  HostCluster first;
  uint64_t count = 0;

  uint64_t end() const { return first.value() + count; }
};

class MetadataMap {
 public:
  // Nothing, or the kind of what is there already; then nothing is added.
  std::optional<MetadataKind> Add(ClusterRun run, MetadataKind kind);
  // What the run overlaps, if anything.
  std::optional<MetadataKind> Find(ClusterRun run) const;
  // One L1 entry more for the L2 table at `cluster`, which has one from Add() on.
  void AddUser(HostCluster cluster);
  // One L1 entry less; how many are left. 0 if there is no such table.
  uint64_t DropUser(HostCluster cluster);
  // Forgets the table of this kind that starts at `cluster`, if there is one: only who owned it
  // may, and the header nobody.
  void Remove(HostCluster cluster, MetadataKind kind);
  void Clear() { runs_.clear(); }

 private:
  struct Entry {
    uint64_t count = 0;
    MetadataKind kind = MetadataKind::kHeader;
    uint64_t users = 1;  // of an L2 table: entries of the active L1 table
  };
  Entry* FindTable(HostCluster cluster, MetadataKind kind);

  absl::btree_map<uint64_t, Entry> runs_;  // by first cluster; they do not overlap
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_METADATA_MAP_H_
