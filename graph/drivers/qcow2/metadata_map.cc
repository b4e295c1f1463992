#include "millrace/graph/drivers/qcow2/metadata_map.h"

#include <iterator>

namespace millrace::qcow2 {

std::string_view MetadataKindName(MetadataKind kind) {
  switch (kind) {
    case MetadataKind::kHeader:
      return "header";
    case MetadataKind::kL1Table:
      return "L1 table";
    case MetadataKind::kL2Table:
      return "L2 table";
    case MetadataKind::kRefcountTable:
      return "refcount table";
    case MetadataKind::kRefcountBlock:
      return "refcount block";
    case MetadataKind::kSnapshotTable:
      return "snapshot table";
    case MetadataKind::kSnapshotL1Table:
      return "L1 table of a snapshot";
    case MetadataKind::kBitmapDirectory:
      return "bitmap directory";
  }
  return "metadata";
}

std::optional<MetadataKind> MetadataMap::Add(ClusterRun run, MetadataKind kind) {
  if (run.count == 0) return std::nullopt;
  if (std::optional<MetadataKind> found = Find(run)) return found;
  runs_.emplace(run.first.value(), Entry{run.count, kind});
  return std::nullopt;
}

std::optional<MetadataKind> MetadataMap::Find(ClusterRun run) const {
  auto after = runs_.lower_bound(run.end());
  if (after == runs_.begin()) return std::nullopt;
  const auto& [first, entry] = *std::prev(after);
  if (first + entry.count > run.first.value()) return entry.kind;
  return std::nullopt;
}

MetadataMap::Entry* MetadataMap::FindTable(HostCluster cluster, MetadataKind kind) {
  const auto found = runs_.find(cluster.value());
  return found != runs_.end() && found->second.kind == kind ? &found->second : nullptr;
}

void MetadataMap::AddUser(HostCluster cluster) {
  if (Entry* table = FindTable(cluster, MetadataKind::kL2Table)) ++table->users;
}

uint64_t MetadataMap::DropUser(HostCluster cluster) {
  Entry* const table = FindTable(cluster, MetadataKind::kL2Table);
  if (table == nullptr || table->users == 0) return 0;
  return --table->users;
}

void MetadataMap::Remove(HostCluster cluster, MetadataKind kind) {
  if (FindTable(cluster, kind) != nullptr) runs_.erase(cluster.value());
}

}  // namespace millrace::qcow2
