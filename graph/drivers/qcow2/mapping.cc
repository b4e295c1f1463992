#include "millrace/graph/drivers/qcow2/mapping.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"

namespace millrace::qcow2 {
namespace {

// What one subcluster says.
Extent SubclusterExtent(const L2Entry& entry, uint32_t subcluster, uint64_t offset_in_cluster) {
  Extent extent;
  const uint32_t bit = uint32_t{1} << subcluster;
  if (entry.is_compressed) {
    extent.kind = ExtentKind::kEncoded;
  } else if ((entry.allocated & bit) != 0) {
    extent.kind = ExtentKind::kData;
    extent.host = entry.host + offset_in_cluster;
  } else if ((entry.zero & bit) != 0) {
    extent.kind = ExtentKind::kZero;
  }
  return extent;
}

// Appends the part of one cluster from `guest` on to `extent` (empty at first); false where the
// extent ends. A compressed cluster is an extent of its own: while one is read, others may be
// overwritten.
bool ExtendBy(const L2Entry& entry, const Geometry& geometry, uint64_t guest, Extent& extent) {
  const uint64_t start = geometry.OffsetInCluster(guest);
  for (uint64_t offset = start; offset < geometry.cluster_bytes();) {
    const auto subcluster = static_cast<uint32_t>(offset >> geometry.subcluster_bits());
    const uint64_t end =
        AlignDown(offset, geometry.subcluster_bytes()) + geometry.subcluster_bytes();
    const Extent next = SubclusterExtent(entry, subcluster, offset);
    if (extent.bytes == 0) {
      extent = next;
    } else if (extent.kind == ExtentKind::kEncoded && offset == 0) {
      return false;
    } else if (next.kind != extent.kind ||
               (next.kind == ExtentKind::kData && next.host != extent.host + extent.bytes)) {
      return false;
    }
    extent.bytes += end - offset;
    offset = end;
  }
  return true;
}

}  // namespace

L2Window::L2Window(Image& image, TableCache::SliceRef slice, HostOffset first_entry,
                   uint64_t first_guest)
    : image_(&image),
      slice_(std::move(slice)),
      first_entry_(first_entry),
      guest_begin_(AlignDown(first_guest, image.geometry().cluster_bytes())) {
  const Geometry& geometry = image.geometry();
  const uint64_t entries = slice_.BytesFrom(first_entry) >> geometry.l2_entry_bits();
  guest_end_ = guest_begin_ + (entries << geometry.cluster_bits);
}

HostOffset L2Window::Place(uint64_t guest) const {
  const Geometry& geometry = image_->geometry();
  const uint64_t index = (guest - guest_begin_) >> geometry.cluster_bits;
  return first_entry_ + (index << geometry.l2_entry_bits());
}

absl::StatusOr<L2Entry> L2Window::Load(uint64_t guest) const {
  return DecodeL2Entry(LoadL2Entry(slice_.At(Place(guest)), image_->geometry()),
                       image_->geometry());
}

absl::Status L2Window::CoReportBroken(uint64_t guest, Access access) const {
  const Geometry& geometry = image_->geometry();
  const RawL2Entry raw = LoadL2Entry(slice_.At(Place(guest)), geometry);
  Qcow2Corruption found = KindOfBroken(raw, geometry);
  found.table = AlignDown(Place(guest).value(), geometry.cluster_bytes());
  found.index = geometry.L2IndexOf(guest);
  if (access == Access::kWrite) found.guest_written = guest;
  const absl::StatusOr<L2Entry> entry = DecodeL2Entry(raw, geometry);
  return image_->CoCorrupt(StrCat("guest offset ", guest, ": ", FromAbsl(entry.status().message())),
                           std::move(found));
}

uint64_t L2Window::SkipUnallocated(uint64_t guest, uint64_t end) const {
  const Geometry& geometry = image_->geometry();
  const uint64_t stop = std::min(end, guest_end_);
  if (geometry.extended_l2 || guest >= stop) return guest;
  const uint8_t* entry = slice_.At(Place(guest));
  for (; guest < stop && LoadBig<uint64_t>(entry) == 0; entry += sizeof(uint64_t)) {
    guest += geometry.cluster_bytes();
  }
  return guest;
}

void L2Window::Store(uint64_t guest, const L2Entry& entry) {
  const Geometry& geometry = image_->geometry();
  uint8_t* target =
      image_->cache().Change(slice_, Place(guest), uint64_t{1} << geometry.l2_entry_bits());
  StoreL2Entry(target, EncodeL2Entry(entry, geometry), geometry);
}

absl::StatusOr<L1Entry> Mapping::CoLoadL1Entry(uint64_t index, Access access) {
  const HostOffset place = L1Place(index);  // the table may move while we wait
  MILLRACE_ASSIGN_OR_RETURN(const TableCache::SliceRef slice,
                            image_.CoGetEntry(TableKind::kL1, place, access));
  const uint64_t raw = LoadBig<uint64_t>(slice.At(place));
  absl::StatusOr<L1Entry> entry = DecodeL1Entry(raw, image_.geometry());
  if (!entry.ok()) {
    return image_.CoCorrupt(StrCat("L1 index ", index, ": ", FromAbsl(entry.status().message())),
                            KindOfBrokenL1(raw, index, image_.geometry()));
  }
  const uint64_t table = entry->l2_table.value();
  if (table != 0 && table + image_.geometry().cluster_bytes() > image_.file().bytes()) {
    return image_.CoBehindEnd(StrCat("L1 index ", index, ": the L2 table at ", table, " ends"),
                              access);
  }
  return entry;
}

absl::StatusOr<L2Window> Mapping::CoOpenWindow(HostOffset table, uint64_t guest) {
  const Geometry& geometry = image_.geometry();
  const HostOffset place = table + (geometry.L2IndexOf(guest) << geometry.l2_entry_bits());
  MILLRACE_ASSIGN_OR_RETURN(TableCache::SliceRef slice,
                            image_.cache().CoGet(TableKind::kL2, place));
  return L2Window(image_, std::move(slice), place, guest);
}

absl::StatusOr<std::optional<L2Window>> Mapping::CoLookUp(uint64_t guest, Access access) {
  MILLRACE_ASSIGN_OR_RETURN(const L1Entry entry,
                            CoLoadL1Entry(image_.geometry().L1IndexOf(guest), access));
  if (entry.l2_table.value() == 0) return std::optional<L2Window>();
  MILLRACE_ASSIGN_OR_RETURN(L2Window window, CoOpenWindow(entry.l2_table, guest));
  return std::optional<L2Window>(std::move(window));
}

absl::StatusOr<L2Window> Mapping::CoLookUpForChange(uint64_t guest) {
  const uint64_t index = image_.geometry().L1IndexOf(guest);
  MILLRACE_ASSIGN_OR_RETURN(L1Entry entry, CoLoadL1Entry(index, Access::kWrite));
  if (entry.l2_table.value() == 0 || !entry.is_copied) {
    MILLRACE_RETURN_IF_ERROR(CoMakeL2Table(index));
    MILLRACE_ASSIGN_OR_RETURN(entry, CoLoadL1Entry(index, Access::kWrite));
  }
  return CoOpenWindow(entry.l2_table, guest);
}

absl::StatusOr<uint64_t> Mapping::CoMeasureGap(ByteRange range) {
  const Geometry& geometry = image_.geometry();
  const uint64_t first = geometry.L1IndexOf(range.offset);
  const uint64_t last = geometry.L1IndexOf(range.end() - 1);
  const HostOffset place = L1Place(first);
  MILLRACE_ASSIGN_OR_RETURN(const TableCache::SliceRef slice,
                            image_.CoGetEntry(TableKind::kL1, place, Access::kRead));
  const uint64_t stop = std::min(last + 1, first + slice.BytesFrom(place) / 8);
  uint64_t index = first;
  const auto has_table = [&](uint64_t i) {  // flags alone, in a damaged image, make none
    return (LoadBig<uint64_t>(slice.At(place + 8 * (i - first))) & kEntryOffsetMask) != 0;
  };
  while (index < stop && !has_table(index)) ++index;
  const uint64_t end = std::min(range.end(), index << geometry.l2_table_bits());
  return end > range.offset ? end - range.offset : 0;
}

absl::StatusOr<Extent> Mapping::CoMap(ByteRange range) {
  const Geometry& geometry = image_.geometry();
  MILLRACE_ASSIGN_OR_RETURN(std::optional<L2Window> window, CoLookUp(range.offset, Access::kRead));
  if (!window.has_value()) {
    Extent gap;
    MILLRACE_ASSIGN_OR_RETURN(gap.bytes, CoMeasureGap(range));
    // A table may have appeared while we waited; the answer of a moment ago is as good.
    if (gap.bytes == 0) gap.bytes = 1;
    return gap;
  }
  const uint64_t table_end =
      AlignDown(range.offset, geometry.l2_table_guest_bytes()) + geometry.l2_table_guest_bytes();
  const uint64_t end = std::min(range.end(), table_end);
  Extent extent;
  bool goes_on = true;
  for (uint64_t guest = range.offset; goes_on && guest < end;) {
    if (guest >= window->guest_end()) {
      MILLRACE_ASSIGN_OR_RETURN(window, CoLookUp(guest, Access::kRead));
      if (!window.has_value()) break;
    }
    if (extent.bytes > 0 && extent.kind == ExtentKind::kUnallocated) {
      // Layers of a long chain hold little: most of their tables is passed here.
      const uint64_t next = window->SkipUnallocated(guest, end);
      extent.bytes += next - guest;
      if (std::exchange(guest, next) != next) continue;
    }
    const absl::StatusOr<L2Entry> entry = window->Load(guest);
    // What lies before a broken entry can still be told.
    if (!entry.ok() && extent.bytes > 0) break;
    if (!entry.ok()) return window->CoReportBroken(guest, Access::kRead);
    goes_on = ExtendBy(*entry, geometry, guest, extent);
    guest = AlignDown(guest, geometry.cluster_bytes()) + geometry.cluster_bytes();
  }
  extent.bytes = std::min(extent.bytes, end - range.offset);
  if (extent.kind == ExtentKind::kData) {
    const uint64_t file_end = AlignUp(image_.file().bytes(), geometry.cluster_bytes());
    // The end of a window may cut off data whose place is good: they read as zeroes, as in QEMU.
    if (extent.host.value() >= file_end && image_.file().is_window()) return extent;
    if (extent.host.value() >= file_end) {
      return image_.CoBehindEnd(
          StrCat("guest offset ", range.offset, ": data at ", extent.host.value(), " lies"),
          Access::kRead);
    }
    extent.bytes = std::min(extent.bytes, file_end - extent.host.value());
  }
  return extent;
}

absl::Status Mapping::CoCheckDataPlace(HostOffset host, uint64_t bytes) {
  const Geometry& geometry = image_.geometry();
  const HostCluster first = geometry.ClusterOf(host);
  const ClusterRun run{first, geometry.ClusterOf(host + (bytes - 1)).value() - first.value() + 1};
  MILLRACE_RETURN_IF_ERROR(image_.CoCheckNoMetadata(run, kGuestData));
  const uint64_t file_end = AlignUp(image_.file().bytes(), geometry.cluster_bytes());
  if (host.value() + bytes <= file_end) return absl::OkStatus();
  return image_.CoBehindEnd(StrCat("guest data at ", host.value(), " lies"), Access::kWrite);
}

absl::Status Mapping::CoFillL2Table(HostOffset target, HostOffset source) {
  const uint64_t bytes = image_.geometry().cluster_bytes();
  if (source.value() == 0) {
    image_.file().CoEvent("l2_alloc_write");
    return image_.file().CoWriteZeroes(ByteRange(target.value(), bytes));
  }
  // The shared table has no unwritten changes: it is copied before it is changed.
  std::vector<uint8_t> table(bytes);
  image_.file().CoEvent("l2_alloc_cow_read");
  MILLRACE_RETURN_IF_ERROR(image_.file().CoReadBytes(source.value(), absl::MakeSpan(table)));
  image_.file().CoEvent("l2_alloc_write");
  return image_.file().CoWriteBytes(target.value(), table);
}

absl::Status Mapping::CoMakeL2Table(uint64_t index) {
  RangeLock::Hold hold;
  making_tables_.CoAcquire(ByteRange(index, 1), LockMode::kExclusive, hold);
  MILLRACE_ASSIGN_OR_RETURN(const L1Entry old, CoLoadL1Entry(index, Access::kWrite));
  if (old.l2_table.value() != 0 && old.is_copied) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(const ClusterRun run, refcounts_.CoAllocate(1));
  const Geometry& geometry = image_.geometry();
  const HostOffset table = geometry.OffsetOf(run.first);
  image_.cache().Forget(table, geometry.cluster_bytes());
  absl::Status status = CoFillL2Table(table, old.l2_table);
  absl::StatusOr<TableCache::SliceRef> slice = absl::UnknownError("");
  if (status.ok()) {
    slice = image_.CoGetEntry(TableKind::kL1, L1Place(index), Access::kWrite);
    status = slice.status();
  }
  if (!status.ok()) {
    // Nothing refers to the new table yet.
    (void)refcounts_.CoRelease(run, false);
    return status;
  }
  StoreBig<uint64_t>(image_.cache().Change(*slice, L1Place(index), 8),
                     EncodeL1Entry({table, true}));
  writeback_.OnL2TableWritten();
  image_.metadata().Add(run, MetadataKind::kL2Table);
  if (old.l2_table.value() != 0) {
    frees_.AddL2Table(geometry.ClusterOf(old.l2_table));
  }
  return absl::OkStatus();
}

absl::Status Mapping::CoWriteGrownL1(ClusterRun run, uint64_t entries) {
  const Geometry& geometry = image_.geometry();
  std::vector<uint8_t> table(run.count << geometry.cluster_bits);
  for (uint64_t index = 0; index < image_.header().l1_entries; ++index) {
    MILLRACE_ASSIGN_OR_RETURN(const TableCache::SliceRef slice,
                              image_.CoGetEntry(TableKind::kL1, L1Place(index), Access::kWrite));
    std::copy_n(slice.At(L1Place(index)), 8, &table[8 * index]);
  }
  image_.file().CoEvent("l1_grow_write_table");
  const HostOffset place = geometry.OffsetOf(run.first);
  MILLRACE_RETURN_IF_ERROR(image_.file().CoWriteBytes(place.value(), table));
  image_.file().CoEvent("l1_grow_activate_table");
  return image_.CoEditHeader([&](Header& header) {
    header.l1_offset = place.value();
    header.l1_entries = static_cast<uint32_t>(entries);
  });
}

absl::Status Mapping::CoGrowL1(uint64_t entries) {
  RangeLock::Hold hold;
  making_tables_.CoAcquire(ByteRange(0, kBytesMax), LockMode::kExclusive, hold);
  if (entries <= image_.header().l1_entries) return absl::OkStatus();  // another has grown it
  const Geometry& geometry = image_.geometry();
  const ClusterRun old{geometry.ClusterOf(HostOffset(image_.header().l1_offset)),
                       geometry.ClustersFor(uint64_t{image_.header().l1_entries} * 8)};
  image_.file().CoEvent("l1_grow_alloc_table");
  MILLRACE_ASSIGN_OR_RETURN(const ClusterRun run,
                            refcounts_.CoAllocateExactly(geometry.ClustersFor(entries * 8)));
  image_.cache().Forget(geometry.OffsetOf(run.first), run.count << geometry.cluster_bits);
  // L2 tables and refcounts first: the new table is pointed at by the header at once. With nobody
  // making tables, no entry of the old table changes any more.
  absl::Status status = writeback_.CoRun(/*with_refcounts=*/true);
  if (status.ok()) status = CoWriteGrownL1(run, entries);
  if (!status.ok()) {
    // A header that is perhaps in the file still must keep its table.
    if (!image_.is_start_unknown()) (void)refcounts_.CoRelease(run, false);
    return status;
  }
  image_.cache().Forget(geometry.OffsetOf(old.first), old.count << geometry.cluster_bits);
  image_.metadata().Add(run, MetadataKind::kL1Table);
  // The place of a table without entries means nothing: anything may lie there.
  if (old.count == 0) return absl::OkStatus();
  image_.metadata().Remove(old.first, MetadataKind::kL1Table);
  frees_.Add(old, false);
  return absl::OkStatus();
}

}  // namespace millrace::qcow2
