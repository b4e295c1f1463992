#include "millrace/graph/drivers/qcow2/image.h"

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_context.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/l2_entry.h"
#include "millrace/graph/drivers/qcow2/snapshot_table.h"

namespace millrace::qcow2 {
namespace {

constexpr uint64_t kLearnBytes = 65536;  // of a table, read at once

}  // namespace

Qcow2Corruption OverlapWith(MetadataKind metadata, ByteRange file_range) {
  return {.kind = Qcow2Corruption::Kind::kOverlap,
          .file_range = file_range,
          .metadata = std::string(MetadataKindName(metadata))};
}

Image::Image(DriverContext& context, ImageFile& file, Header header, uint64_t cache_bytes_max,
             OnCorruption on_corruption)
    : context_(context),
      file_(file),
      on_corruption_(std::move(on_corruption)),
      header_(std::move(header)),
      cache_(file, header_.geometry, cache_bytes_max) {}

absl::Status Image::Named(const absl::Status& status) const {
  return WithContext(status, StrCat("image '", file_.name(), "': "));
}

void Image::Report(std::string_view what, Qcow2Corruption found) const {
  if (!on_corruption_) return;
  found.node = context_.node_name();
  found.words = what;
  found.is_fatal = !context_.is_read_only();
  on_corruption_(found);
}

absl::Status Image::CoCorrupt(std::string_view what, Qcow2Corruption found) {
  absl::Status error = Named(absl::DataLossError(
      ToAbsl(StrCat(what, "; check and repair the image before writing to it again"))));
  if (!write_error_.ok()) return error;
  write_error_ = Named(absl::DataLossError(
      ToAbsl(StrCat("takes no writes since its metadata was found to be corrupt: ", what,
                    "; check and repair it"))));
  context_.LogWarning(FromAbsl(write_error_.message()));
  Report(what, std::move(found));
  if (context_.is_read_only() || geometry().version < 3) return error;
  const absl::Status marked =
      CoEditHeader([](Header& header) { header.incompatible_features |= kIncompatibleCorrupt; });
  if (!marked.ok()) context_.LogWarning("the corrupt bit could not be written");
  return error;
}

absl::Status Image::CoCheckNoMetadata(ClusterRun run, std::string_view what) {
  const std::optional<MetadataKind> there = metadata_.Find(run);
  if (!there.has_value()) return absl::OkStatus();
  const uint64_t place = geometry().OffsetOf(run.first).value();
  return CoCorrupt(StrCat(what, " at ", place, " overlaps the ", MetadataKindName(*there)),
                   OverlapWith(*there, ByteRange(place, run.count << geometry().cluster_bits)));
}

absl::Status Image::CoBehindEnd(std::string_view what, Access access) {
  const std::string text = StrCat(what, " beyond the end of the file at ", file_.bytes());
  if (!file_.is_window()) return CoCorrupt(text);
  return Named(ErrnoStatus(
      access == Access::kRead ? EIO : ENOSPC,
      StrCat(text, ", which is a window; open the image without it, or with one that is longer")));
}

absl::StatusOr<TableCache::SliceRef> Image::CoGetEntry(TableKind kind, HostOffset place,
                                                       Access access) {
  const bool is_l1 = kind == TableKind::kL1;
  const uint64_t table_end = is_l1 ? header_.l1_offset + uint64_t{header_.l1_entries} * 8
                                   : header_.refcount_table_offset + header_.refcount_table_bytes();
  const uint64_t slice_end = AlignDown(place.value(), cache_.slice_bytes()) + cache_.slice_bytes();
  if (std::min(table_end, slice_end) > file_.bytes() && file_.is_window()) {
    return CoBehindEnd(StrCat("the ", is_l1 ? "L1 table" : "refcount table", " ends"), access);
  }
  return cache_.CoGet(kind, place);
}

absl::Status Image::CoNoteCorruption(absl::Status status) {
  if (!absl::IsDataLoss(status)) return status;
  return CoCorrupt(FromAbsl(status.message()), std::exchange(learned_, {}));
}

absl::Status Image::CoStoreHeader(Header changed) {
  MILLRACE_RETURN_IF_ERROR(CoWriteOldStart());
  MILLRACE_RETURN_IF_ERROR(file_.CoFlush());
  const absl::Status status = CoWriteStart(SerialiseHeaderFields(changed));
  if (!status.ok()) {
    // Of a corrupt image, which takes no more writes, the mark is better than what was there.
    if (write_error_.ok()) old_start_ = SerialiseHeaderFields(header_);
    CoWriteOldStart().IgnoreError();  // else before the next flush
    return status;
  }
  header_ = std::move(changed);
  return absl::OkStatus();
}

absl::Status Image::CoStoreWholeHeader(Header changed) {
  MILLRACE_RETURN_IF_ERROR(CoWriteOldStart());
  const ByteRange old_name(header_.backing_name_offset, header_.backing.filename.size());
  MILLRACE_ASSIGN_OR_RETURN(const SerialisedHeader content,
                            SerialiseHeader(changed, {ExtensionsEnd(header_), old_name}));
  const uint64_t name_end = changed.backing_name_offset + changed.backing.filename.size();
  std::vector<uint8_t> old(std::max<uint64_t>(content.start.size(), name_end));
  MILLRACE_RETURN_IF_ERROR(file_.CoReadBytes(0, absl::MakeSpan(old)));
  const absl::Status status = CoWriteNameAndStart(changed, content.start, old);
  if (!status.ok()) {
    old_start_ = std::move(old);
    CoWriteOldStart().IgnoreError();
    return status;
  }
  header_ = std::move(changed);
  return absl::OkStatus();
}

absl::Status Image::CoWriteStart(absl::Span<const uint8_t> start) {
  MILLRACE_RETURN_IF_ERROR(file_.CoWriteBytes(0, start));
  return file_.CoFlush();
}

// The new name first, where nothing refers to it yet; then the sectors that do. What lies between
// may be the old name, and stays. `old` is what stands there now.
absl::Status Image::CoWriteNameAndStart(const Header& changed, absl::Span<const uint8_t> start,
                                        absl::Span<const uint8_t> old) {
  const std::string& name = changed.backing.filename;
  if (!name.empty()) {
    MILLRACE_RETURN_IF_ERROR(
        file_.CoWrite(changed.backing_name_offset, IoVector::OfConst(name.data(), name.size())));
  }
  MILLRACE_RETURN_IF_ERROR(file_.CoFlush());
  const absl::Span<const uint8_t> rest =
      start.subspan(std::min<size_t>(start.size(), kSectorBytes));
  const auto old_rest = old.begin() + static_cast<ptrdiff_t>(start.size() - rest.size());
  if (!std::equal(rest.begin(), rest.end(), old_rest)) {
    // Extensions that reach behind the first sector could be torn. On the way there are none.
    if (const auto between = SerialiseWithinSector(changed)) {
      MILLRACE_RETURN_IF_ERROR(CoWriteStart(*between));
      MILLRACE_RETURN_IF_ERROR(file_.CoWriteBytes(kSectorBytes, rest));
      MILLRACE_RETURN_IF_ERROR(file_.CoFlush());
    }
  }
  return CoWriteStart(start);
}

absl::Status Image::CoWriteOldStart() {
  if (!old_start_.has_value()) return absl::OkStatus();
  MILLRACE_RETURN_IF_ERROR(CoWriteStart(*old_start_));
  old_start_.reset();
  return absl::OkStatus();
}

absl::Status Image::LearnPlace(uint64_t offset, uint64_t bytes, MetadataKind kind) {
  const ClusterRun run{geometry().ClusterOf(HostOffset(offset)), geometry().ClustersFor(bytes)};
  if (std::optional<MetadataKind> there = metadata_.Add(run, kind)) {
    learned_ = OverlapWith(*there, ByteRange(offset, bytes));
    return absl::DataLossError(StrCat("the ", MetadataKindName(kind), " at ", offset,
                                      " overlaps the ", MetadataKindName(*there)));
  }
  return absl::OkStatus();
}

absl::Status Image::LearnEntry(uint64_t index, uint64_t raw, MetadataKind pointed_to) {
  const uint64_t offset = raw & kEntryOffsetMask;
  if (offset == 0) return absl::OkStatus();
  if (!geometry().IsClusterAligned(offset)) {
    using Kind = Qcow2Corruption::Kind;
    const bool is_l2 = pointed_to == MetadataKind::kL2Table;
    learned_ = {
        .kind = is_l2 ? Kind::kL2Table : Kind::kRefcountBlock, .host = offset, .index = index};
    return absl::DataLossError(StrCat("the ", MetadataKindName(pointed_to), " at ", offset,
                                      " is not aligned to clusters"));
  }
  const ClusterRun run{geometry().ClusterOf(HostOffset(offset)), 1};
  const std::optional<MetadataKind> there = metadata_.Find(run);
  // Entries may share an L2 table that is copied before it is written.
  if (there == MetadataKind::kL2Table && pointed_to == MetadataKind::kL2Table &&
      (raw & kEntryCopied) == 0) {
    metadata_.AddUser(run.first);
    return absl::OkStatus();
  }
  return LearnPlace(offset, geometry().cluster_bytes(), pointed_to);
}

absl::Status Image::CoLearnTable(uint64_t offset, uint64_t entries, MetadataKind pointed_to) {
  if (offset + entries * 8 > file_.bytes() && file_.is_window()) {
    return CoBehindEnd(StrCat("the table at ", offset, " ends"), Access::kWrite);
  }
  std::vector<uint8_t> buffer(std::min(entries * 8, kLearnBytes));
  for (uint64_t done = 0; done < entries * 8;) {
    const uint64_t bytes = std::min<uint64_t>(entries * 8 - done, buffer.size());
    MILLRACE_RETURN_IF_ERROR(file_.CoReadBytes(offset + done, absl::MakeSpan(buffer).first(bytes)));
    for (uint64_t i = 0; i < bytes; i += 8) {
      MILLRACE_RETURN_IF_ERROR(
          LearnEntry((done + i) / 8, LoadBig<uint64_t>(&buffer[i]), pointed_to));
    }
    done += bytes;
  }
  return absl::OkStatus();
}

absl::Status Image::CoLearnSnapshots() {
  if (header_.snapshot_count == 0) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(const SnapshotTable table, CoReadSnapshotTable(file_, header_));
  MILLRACE_RETURN_IF_ERROR(
      LearnPlace(header_.snapshots_offset, table.bytes, MetadataKind::kSnapshotTable));
  for (const Snapshot& snapshot : table.snapshots) {
    // A snapshot with a broken L1 table is unusable by itself; it protects nothing.
    if (!geometry().IsClusterAligned(snapshot.l1_offset) || snapshot.l1_offset == 0 ||
        snapshot.l1_offset >= file_.bytes()) {
      continue;
    }
    MILLRACE_RETURN_IF_ERROR(LearnPlace(snapshot.l1_offset, uint64_t{snapshot.l1_entries} * 8,
                                        MetadataKind::kSnapshotL1Table));
  }
  return absl::OkStatus();
}

absl::Status Image::CoLearnMetadata() {
  metadata_.Clear();
  learned_ = {};
  MILLRACE_RETURN_IF_ERROR(LearnPlace(0, geometry().cluster_bytes(), MetadataKind::kHeader));
  MILLRACE_RETURN_IF_ERROR(
      LearnPlace(header_.l1_offset, uint64_t{header_.l1_entries} * 8, MetadataKind::kL1Table));
  MILLRACE_RETURN_IF_ERROR(LearnPlace(header_.refcount_table_offset, header_.refcount_table_bytes(),
                                      MetadataKind::kRefcountTable));
  MILLRACE_RETURN_IF_ERROR(CoLearnSnapshots());
  // Without its autoclear bit the extension is stale and means nothing.
  if ((header_.autoclear_features & kAutoclearBitmaps) != 0) {
    MILLRACE_ASSIGN_OR_RETURN(
        const std::optional<BitmapsExtension> bitmaps,
        FindBitmaps(header_.extensions, geometry().cluster_bytes(), file_.bytes()));
    if (bitmaps.has_value()) {
      MILLRACE_RETURN_IF_ERROR(LearnPlace(bitmaps->directory_offset, bitmaps->directory_bytes,
                                          MetadataKind::kBitmapDirectory));
    }
  }
  MILLRACE_RETURN_IF_ERROR(
      CoLearnTable(header_.l1_offset, header_.l1_entries, MetadataKind::kL2Table));
  return CoLearnTable(header_.refcount_table_offset, header_.refcount_table_bytes() / 8,
                      MetadataKind::kRefcountBlock);
}

}  // namespace millrace::qcow2
