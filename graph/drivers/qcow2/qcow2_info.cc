#include "millrace/graph/drivers/qcow2/qcow2_info.h"

#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drivers/qcow2/bitmap_directory.h"
#include "millrace/graph/drivers/qcow2/read_header.h"
#include "millrace/graph/drivers/qcow2/snapshot_table.h"

namespace millrace {
namespace {

void DescribeFeatures(const qcow2::Header& header, Qcow2Info& info) {
  auto describe = [&](qcow2::FeatureKind kind, uint64_t unknown) {
    for (int bit = 0; bit < 64; ++bit) {
      if ((unknown >> bit & 1) == 0) continue;
      info.unknown_features.push_back(qcow2::FeatureName(header.extensions, kind, bit));
    }
  };
  describe(qcow2::FeatureKind::kIncompatible,
           header.incompatible_features & ~qcow2::kIncompatibleKnown);
  describe(qcow2::FeatureKind::kCompatible,
           header.compatible_features & ~qcow2::kCompatibleLazyRefcounts);
  describe(qcow2::FeatureKind::kAutoclear, header.autoclear_features & ~qcow2::kAutoclearKnown);
  for (const qcow2::HeaderExtension& extension : header.extensions) {
    if (extension.type == qcow2::kExtensionDataFile) {
      info.data_file.assign(extension.data.begin(), extension.data.end());
    }
  }
}

absl::Status CoDescribeSnapshots(ImageFile& file, const qcow2::Header& header, Qcow2Info& info)
    MILLRACE_MAY_SUSPEND {
  if (header.snapshot_count == 0) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(qcow2::SnapshotTable table, qcow2::CoReadSnapshotTable(file, header));
  for (qcow2::Snapshot& snapshot : table.snapshots) {
    Qcow2SnapshotInfo each;
    each.id = std::move(snapshot.id);
    each.name = std::move(snapshot.name);
    each.vm_state_bytes = snapshot.vm_state_bytes;
    each.disk_bytes = snapshot.disk_bytes;
    each.date_seconds = snapshot.date_seconds;
    each.date_nanoseconds = snapshot.date_nanoseconds;
    each.vm_clock_nanoseconds = snapshot.vm_clock_nanoseconds;
    info.snapshots.push_back(std::move(each));
  }
  return absl::OkStatus();
}

absl::Status CoDescribeBitmaps(ImageFile& file, const qcow2::Header& header, Qcow2Info& info)
    MILLRACE_MAY_SUSPEND {
  // Without the bit the bitmaps do not count.
  if ((header.autoclear_features & qcow2::kAutoclearBitmaps) == 0) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(
      const std::optional<qcow2::BitmapsExtension> where,
      qcow2::FindBitmaps(header.extensions, header.geometry.cluster_bytes(), file.bytes()));
  if (!where.has_value()) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> directory,
                            qcow2::CoReadBitmapDirectory(file, *where));
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<qcow2::BitmapEntry> entries,
                            qcow2::ParseBitmapDirectory(directory, where->bitmap_count));
  for (const qcow2::BitmapEntry& entry : entries) {
    Qcow2BitmapInfo each;
    each.name = entry.name;
    each.granularity_bytes = uint64_t{1} << entry.granularity_bits;
    each.is_in_use = (entry.flags & qcow2::kBitmapInUse) != 0;
    each.is_recording = (entry.flags & qcow2::kBitmapRecording) != 0;
    info.bitmaps.push_back(std::move(each));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Qcow2Info> CoReadQcow2Info(ImageFile& file) {
  MILLRACE_ASSIGN_OR_RETURN(const qcow2::Header header,
                            qcow2::CoReadHeader(file, qcow2::HeaderUse::kDescribe));
  Qcow2Info info;
  info.bytes = header.bytes;
  info.version = header.geometry.version;
  info.cluster_bytes = header.geometry.cluster_bytes();
  info.refcount_bits = header.geometry.refcount_bits();
  info.has_extended_l2 = header.geometry.extended_l2;
  info.has_lazy_refcounts = (header.compatible_features & qcow2::kCompatibleLazyRefcounts) != 0;
  info.is_dirty = header.is_dirty();
  info.is_corrupt = header.is_corrupt();
  info.is_encrypted = header.encryption_method != 0;
  info.compression =
      header.compression_type == 1 ? Qcow2Compression::kZstd : Qcow2Compression::kZlib;
  info.backing = header.backing;
  DescribeFeatures(header, info);
  MILLRACE_RETURN_IF_ERROR(CoDescribeSnapshots(file, header, info));
  MILLRACE_RETURN_IF_ERROR(CoDescribeBitmaps(file, header, info));
  return info;
}

}  // namespace millrace
