#include "millrace/graph/drivers/qcow2/driver.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/bitmap_directory.h"
#include "millrace/graph/drivers/qcow2/decompress.h"
#include "millrace/graph/drivers/qcow2/qcow2_check.h"
#include "millrace/graph/drivers/qcow2/read_header.h"
#include "millrace/graph/drivers/qcow2/snapshot_table.h"

namespace millrace {

std::unique_ptr<FormatDriver> MakeQcow2Driver(const Qcow2OpenOptions& options) {
  return std::make_unique<qcow2::Qcow2Driver>(options);
}

namespace qcow2 {
namespace {

// Clusters that wait to be given back before we flush on our own to get at them.
constexpr uint64_t kPendingBytesMax = uint64_t{64} << 20;

}  // namespace

Qcow2Driver::Parts::Parts(DriverContext& context, Header header, const Qcow2OpenOptions& options)
    : file(context),
      image(context, file, std::move(header), options.cache_bytes_max, options.on_corruption),
      writeback(image),
      refcounts(image, writeback),
      frees(image, refcounts, writeback),
      mapping(image, refcounts, writeback, frees),
      writer(image, mapping, refcounts, writeback, frees),
      batches(image, mapping, refcounts, writeback, writer) {}

// ---- Opening and closing ----------------------------------------------------------------------

absl::Status Qcow2Driver::CoOpen(DriverContext& context) {
  context_ = &context;
  ChildFile file(context);
  MILLRACE_ASSIGN_OR_RETURN(Header header, CoReadValidHeader(file));
  if (!context.is_read_only()) {
    MILLRACE_RETURN_IF_ERROR(CoReadyForWriting(file, header));
  }
  parts_ = std::make_unique<Parts>(context, std::move(header), options_);
  return absl::OkStatus();
}

absl::StatusOr<Header> Qcow2Driver::CoReadValidHeader(ImageFile& file) {
  MILLRACE_ASSIGN_OR_RETURN(Header header, CoReadHeader(file, HeaderUse::kOpen));
  auto named = [&file](const absl::Status& status) {
    return absl::Status(status.code(), ToAbsl(StrCat("open image '", file.name(),
                                                     "': ", FromAbsl(status.message()))));
  };
  if (header.snapshot_count > 0) {
    const absl::Status snapshots = CoReadSnapshotTable(file, header).status();
    if (!snapshots.ok()) return named(snapshots);
  }
  if ((header.autoclear_features & kAutoclearBitmaps) != 0) {
    const absl::Status bitmaps =
        FindBitmaps(header.extensions, header.geometry.cluster_bytes(), file.bytes()).status();
    if (!bitmaps.ok()) return named(bitmaps);
  }
  return header;
}

absl::Status Qcow2Driver::CoReadyForWriting(ImageFile& file, Header& header) {
  if (header.is_corrupt()) {
    return absl::FailedPreconditionError(StrCat("open image '", file.name(),
                                                "' for writing: it is marked corrupt; check and "
                                                "repair it, or open it read-only"));
  }
  if (!header.is_dirty()) return absl::OkStatus();
  context_->LogWarning("the image was not closed properly; repairing it");
  MILLRACE_ASSIGN_OR_RETURN(const Qcow2CheckResult result,
                            CoCheckQcow2(file, {.repair = Qcow2Repair::kAll}));
  if (!result.is_clean_now()) {
    return absl::DataLossError(
        StrCat("open image '", file.name(), "' for writing: it was not closed properly, and ",
               result.corruptions - result.corruptions_fixed + result.errors,
               " errors could not be repaired; open it read-only and copy what is readable"));
  }
  MILLRACE_ASSIGN_OR_RETURN(header, CoReadValidHeader(file));
  return absl::OkStatus();
}

absl::Status Qcow2Driver::CoSettle() {
  if (!is_activated_) return absl::OkStatus();
  Parts& parts = *parts_;
  for (int round = 0; round < 4; ++round) {
    MILLRACE_RETURN_IF_ERROR(parts.writeback.CoRun(/*with_refcounts=*/true));
    if (parts.frees.empty()) break;
    MILLRACE_RETURN_IF_ERROR(parts.writeback.CoBarrier());
    parts.frees.CoRelease();
  }
  parts.refcounts.CoTrimFile();
  if (!parts.image.header().is_dirty()) return parts.writeback.CoBarrier();
  return parts.image.CoEditHeader(
      [](Header& header) { header.incompatible_features &= ~kIncompatibleDirty; });
}

void Qcow2Driver::CoClose() {
  if (parts_ == nullptr) return;
  // A corrupt image takes no writes; there is nothing to save.
  if (parts_->image.write_error().ok()) {
    const absl::Status status = CoSettle();
    if (!status.ok()) {
      context_->LogWarning(StrCat("metadata was lost while closing: ", FromAbsl(status.message())));
    }
  }
  parts_.reset();
}

uint64_t Qcow2Driver::bytes() const { return parts_ == nullptr ? 0 : parts_->image.header().bytes; }

absl::Status Qcow2Driver::CoPrepareReopen(bool writable) {
  if (!writable) {
    if (!parts_->image.write_error().ok()) return absl::OkStatus();
    MILLRACE_RETURN_IF_ERROR(CoSettle());
    is_activated_ = false;
    return absl::OkStatus();
  }
  MILLRACE_RETURN_IF_ERROR(parts_->image.write_error());
  ChildFile file(*context_);
  // Somebody else may have written the image while we only read it.
  MILLRACE_ASSIGN_OR_RETURN(Header header, CoReadValidHeader(file));
  MILLRACE_RETURN_IF_ERROR(CoReadyForWriting(file, header));
  parts_ = std::make_unique<Parts>(*context_, std::move(header), options_);
  return absl::OkStatus();
}

absl::Status Qcow2Driver::RehearseReopen(bool writable) {
  return writable && parts_ != nullptr ? parts_->image.write_error() : absl::OkStatus();
}

void Qcow2Driver::CommitReopen(bool) { is_activated_ = false; }

// ---- Before changes -----------------------------------------------------------------------------

absl::Status Qcow2Driver::CoBeforeChange() {
  Parts& parts = *parts_;
  MILLRACE_RETURN_IF_ERROR(parts.image.write_error());
  if (context_->is_read_only()) {
    return parts.image.Named(absl::FailedPreconditionError("it is open read-only"));
  }
  if (!is_activated_) {
    MutexLock lock(CoHold(activation_));
    if (!is_activated_) {
      MILLRACE_RETURN_IF_ERROR(parts.image.CoNoteCorruption(CoActivate()));
      is_activated_ = true;
    }
  }
  const TableCache& cache = parts.image.cache();
  if (cache.dirty_bytes() > cache.bytes_max() / 2) {
    MILLRACE_RETURN_IF_ERROR(parts.writeback.CoRun(/*with_refcounts=*/true));
  }
  const uint64_t pending = parts.frees.clusters() << parts.image.geometry().cluster_bits;
  if (pending > kPendingBytesMax) {
    MILLRACE_RETURN_IF_ERROR(parts.writeback.CoRun());
    MILLRACE_RETURN_IF_ERROR(parts.writeback.CoBarrier());
  }
  parts.frees.CoRelease();
  return absl::OkStatus();
}

absl::Status Qcow2Driver::CoActivate() {
  Image& image = parts_->image;
  MILLRACE_RETURN_IF_ERROR(image.CoLearnMetadata());
  MILLRACE_RETURN_IF_ERROR(CoMarkBitmaps(/*all=*/false));
  const Header& header = image.header();
  const bool lazy = (header.compatible_features & kCompatibleLazyRefcounts) != 0;
  parts_->writeback.SetLazyRefcounts(lazy);
  const bool has_unknown_autoclear = (header.autoclear_features & ~kAutoclearKnown) != 0;
  if (!lazy && !has_unknown_autoclear) return absl::OkStatus();
  return image.CoEditHeader([lazy](Header& changed) {
    changed.autoclear_features &= kAutoclearKnown;
    if (lazy) changed.incompatible_features |= kIncompatibleDirty;
  });
}

absl::Status Qcow2Driver::CoMarkBitmaps(bool all) {
  Image& image = parts_->image;
  if ((image.header().autoclear_features & kAutoclearBitmaps) == 0) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(
      const std::optional<BitmapsExtension> where,
      FindBitmaps(image.header().extensions, cluster_bytes(), image.file().bytes()));
  auto clear = [](Header& header) { header.autoclear_features &= ~kAutoclearBitmaps; };
  if (!where.has_value()) return image.CoEditHeader(clear);
  MILLRACE_ASSIGN_OR_RETURN(std::vector<uint8_t> directory,
                            CoReadBitmapDirectory(image.file(), *where));
  const absl::StatusOr<std::vector<BitmapEntry>> entries =
      ParseBitmapDirectory(directory, where->bitmap_count);
  // A directory that nobody can read keeps nothing; without the bit everybody ignores it.
  if (!entries.ok()) return image.CoEditHeader(clear);
  if (!MarkBitmapsInUse(absl::MakeSpan(directory), *entries, all)) return absl::OkStatus();
  // While the directory is being rewritten it does not count.
  MILLRACE_RETURN_IF_ERROR(image.CoEditHeader(clear));
  MILLRACE_RETURN_IF_ERROR(image.file().CoWriteBytes(where->directory_offset, directory));
  return image.CoEditHeader([](Header& header) { header.autoclear_features |= kAutoclearBitmaps; });
}

// ---- Requests -----------------------------------------------------------------------------------

absl::StatusOr<Extent> Qcow2Driver::CoMap(ByteRange range) { return parts_->mapping.CoMap(range); }

absl::StatusOr<std::unique_ptr<Allocation>> Qcow2Driver::CoAllocate(ByteRange range,
                                                                    WriteFlags flags) {
  MILLRACE_RETURN_IF_ERROR(CoBeforeChange());
  return parts_->writer.CoAllocate(range, flags);
}

absl::Status Qcow2Driver::CoLink(Allocation& allocation) {
  return parts_->writer.CoLink(static_cast<ClusterAllocation&>(allocation));
}

void Qcow2Driver::CoAbandon(Allocation& allocation) {
  parts_->writer.CoAbandon(static_cast<ClusterAllocation&>(allocation));
}

absl::StatusOr<std::unique_ptr<BatchAllocation>> Qcow2Driver::CoAllocateBatch(
    absl::Span<const ByteRange> ranges, WriteFlags flags) {
  MILLRACE_RETURN_IF_ERROR(CoBeforeChange());
  return parts_->batches.CoAllocate(ranges, flags);
}

absl::Status Qcow2Driver::CoLinkBatch(BatchAllocation& batch) {
  return parts_->batches.CoLink(static_cast<ClusterBatch&>(batch));
}

void Qcow2Driver::CoAbandonBatch(BatchAllocation& batch) {
  parts_->batches.CoAbandon(static_cast<ClusterBatch&>(batch));
}

absl::Status Qcow2Driver::CoWriteZeroes(ByteRange range, ZeroFlags flags) {
  MILLRACE_RETURN_IF_ERROR(CoBeforeChange());
  return parts_->writer.CoZero(range, flags, options_.pass_discards);
}

absl::Status Qcow2Driver::CoDiscard(ByteRange range) {
  MILLRACE_RETURN_IF_ERROR(CoBeforeChange());
  return parts_->writer.CoDiscard(range, options_.pass_discards);
}

absl::Status Qcow2Driver::CoForget(ByteRange range) {
  MILLRACE_RETURN_IF_ERROR(CoBeforeChange());
  return parts_->writer.CoForget(range);
}

uint64_t Qcow2Driver::zero_granularity() const {
  return parts_ == nullptr ? 1 : parts_->image.geometry().subcluster_bytes();
}
uint64_t Qcow2Driver::cluster_bytes() const {
  return parts_ == nullptr ? 1 : parts_->image.geometry().cluster_bytes();
}

absl::Status Qcow2Driver::CoReadEncoded(ByteRange range, const IoVector& target) {
  const Geometry& geometry = parts_->image.geometry();
  for (uint64_t guest = range.offset; guest < range.end();) {
    MILLRACE_ASSIGN_OR_RETURN(const std::optional<L2Window> window,
                              parts_->mapping.CoLookUp(guest, Access::kRead));
    absl::StatusOr<L2Entry> entry = L2Entry();
    if (window.has_value()) entry = window->Load(guest);
    if (!entry.ok()) return window->CoReportBroken(guest, Access::kRead);
    if (!entry->is_compressed) {
      return absl::AbortedError(
          StrCat("guest offset ", guest, " is no longer compressed; map it again"));
    }
    const uint64_t offset = geometry.OffsetInCluster(guest);
    const uint64_t bytes = std::min(geometry.cluster_bytes() - offset, range.end() - guest);
    MILLRACE_RETURN_IF_ERROR(
        CoReadCompressed(*entry, offset, target.Slice(guest - range.offset, bytes)));
    guest += bytes;
  }
  return absl::OkStatus();
}

absl::Status Qcow2Driver::CoReadCompressed(const L2Entry& entry, uint64_t offset_in_cluster,
                                           const IoVector& target) {
  Image& image = parts_->image;
  const uint64_t place = entry.compressed.offset.value();
  const uint64_t file_bytes = image.file().bytes();
  const bool is_window = image.file().is_window();
  if (place >= file_bytes && !is_window) {
    return image.Named(absl::DataLossError(
        StrCat("compressed data at ", place, " lies beyond the end of the file at ", file_bytes)));
  }
  // The last sector may be cut off by the end of the file.
  const uint64_t bytes = std::min(entry.compressed.bytes, file_bytes - std::min(place, file_bytes));
  std::vector<uint8_t> packed(bytes);
  image.file().CoEvent("read_compressed");
  MILLRACE_RETURN_IF_ERROR(image.file().CoReadBytes(place, absl::MakeSpan(packed)));
  std::vector<uint8_t> cluster(image.geometry().cluster_bytes());
  const absl::Status status =
      Decompress(image.header().compression_type, packed, absl::MakeSpan(cluster));
  if (!status.ok() && is_window && bytes < entry.compressed.bytes) {
    return image.CoBehindEnd(StrCat("compressed data at ", place, " ends"), Access::kRead);
  }
  if (!status.ok()) {
    return image.Named(absl::Status(
        status.code(), ToAbsl(StrCat("data at ", place, ": ", FromAbsl(status.message())))));
  }
  target.CopyFrom(0, cluster.data() + offset_in_cluster, target.bytes());
  return absl::OkStatus();
}

absl::Status Qcow2Driver::CoFlushMetadata() {
  if (!is_activated_) return absl::OkStatus();
  MILLRACE_RETURN_IF_ERROR(parts_->image.CoRestoreStart());
  MILLRACE_RETURN_IF_ERROR(parts_->writeback.CoRun());
  MILLRACE_MUTANT(kR47) {  // rounds, then the allocator; growing takes the two in the other order
    const MutexLock rounds(CoHold(parts_->writeback.mutex()));
    parts_->refcounts.CoRelease(ClusterRun(), false).IgnoreError();
  }
  parts_->frees.CoRelease();
  return absl::OkStatus();
}

// ---- Header changes -----------------------------------------------------------------------------

absl::Status Qcow2Driver::CoResize(uint64_t bytes, ResizeFlags flags) {
  MILLRACE_RETURN_IF_ERROR(CoBeforeChange());
  Image& image = parts_->image;
  const Header& header = image.header();
  const uint64_t old_bytes = header.bytes;
  if (bytes == old_bytes) return absl::OkStatus();
  if (header.snapshot_count > 0 && header.geometry.version < 3) {
    return image.Named(absl::FailedPreconditionError(
        "a version 2 image with snapshots cannot be resized; delete the snapshots first"));
  }
  const uint64_t entries = header.geometry.L1EntriesFor(std::min(bytes, kBytesMax));
  if (bytes > kBytesMax || entries > kL1BytesMax / 8) {
    return image.Named(absl::InvalidArgumentError(
        StrCat("size ", bytes, " needs an L1 table of ", entries, " entries (limit ",
               kL1BytesMax / 8, "); use larger clusters")));
  }
  MILLRACE_RETURN_IF_ERROR(CoMarkBitmaps(/*all=*/true));
  if (bytes < old_bytes) return CoShrink(old_bytes, bytes);
  MILLRACE_RETURN_IF_ERROR(CoZeroLastCluster(old_bytes));
  if (entries > header.l1_entries) {
    MILLRACE_RETURN_IF_ERROR(parts_->mapping.CoGrowL1(entries));
  }
  if (flags.zero_new_part) MILLRACE_RETURN_IF_ERROR(CoZeroBehind(old_bytes, bytes));
  return image.CoEditHeader([bytes](Header& changed) { changed.bytes = bytes; });
}

// The L1 table stays as long as it is.
absl::Status Qcow2Driver::CoShrink(uint64_t old_bytes, uint64_t bytes) {
  Image& image = parts_->image;
  const uint64_t cluster = image.geometry().cluster_bytes();
  const uint64_t begin = AlignUp(bytes, cluster);
  const uint64_t end = AlignUp(old_bytes, cluster);
  MILLRACE_MUTANT(kM20) {  // the size comes first
    MILLRACE_RETURN_IF_ERROR(
        image.CoEditHeader([bytes](Header& changed) { changed.bytes = bytes; }));
  }
  if (begin < end) {
    MILLRACE_RETURN_IF_ERROR(parts_->writer.CoForget(ByteRange(begin, end - begin)));
    // What the header no longer covers must not be mapped any more: growing would show it again.
    MILLRACE_RETURN_IF_ERROR(CoFlushMetadata());
  }
  return image.CoEditHeader([bytes](Header& changed) { changed.bytes = bytes; });
}

// Makes what lies behind the image's end read as zeroes once the image has grown over it.
absl::Status Qcow2Driver::CoZeroBehind(uint64_t old_bytes, uint64_t bytes) {
  const Geometry& geometry = parts_->image.geometry();
  const uint64_t unit_end = AlignUp(old_bytes, geometry.subcluster_bytes());
  const uint64_t cluster_end = AlignUp(old_bytes, geometry.cluster_bytes());
  const uint64_t end = AlignUp(bytes, geometry.cluster_bytes());
  // The last cluster's other subclusters: data in them are zeroes already.
  ZeroFlags fill;
  fill.only_if_unallocated = true;
  ZeroFlags all;
  all.may_unmap = false;
  absl::Status status =
      parts_->writer.CoZero(ByteRange(unit_end, cluster_end - unit_end), fill, false);
  if (status.ok() && cluster_end < end) {
    status = parts_->writer.CoZero(ByteRange(cluster_end, end - cluster_end), all, false);
  }
  if (absl::IsUnimplemented(status)) {
    return parts_->image.Named(absl::UnimplementedError(
        StrCat("a version 2 image cannot grow from ", old_bytes, " to ", bytes,
               " bytes over a longer backing: it has no zero clusters to hide that with; use a "
               "version 3 image")));
  }
  MILLRACE_RETURN_IF_ERROR(status);
  // The header that shows the new size must not be on disk before the tables.
  return parts_->writeback.CoRun();
}

// The same for the rest of the cluster that the image's end is in.
absl::Status Qcow2Driver::CoZeroLastCluster(uint64_t old_bytes) {
  const ByteRange cluster(AlignDown(old_bytes, cluster_bytes()), cluster_bytes());
  if (cluster.offset == old_bytes) return absl::OkStatus();
  RangeLock::Hold hold;
  parts_->writer.guest_ranges().CoAcquire(cluster, LockMode::kExclusive, hold);
  MILLRACE_ASSIGN_OR_RETURN(const std::optional<L2Window> window,
                            parts_->mapping.CoLookUp(cluster.offset, Access::kWrite));
  if (!window.has_value()) return absl::OkStatus();
  const absl::StatusOr<L2Entry> entry = window->Load(cluster.offset);
  if (!entry.ok()) return window->CoReportBroken(cluster.offset, Access::kWrite);
  if (!entry->is_compressed && entry->allocated == 0) return absl::OkStatus();
  if (entry->is_compressed || !entry->is_copied) return CoReplaceLastCluster(old_bytes, *entry);
  const HostOffset tail = entry->host + (old_bytes - cluster.offset);
  const ByteRange range(tail.value(), cluster.end() - old_bytes);
  MILLRACE_RETURN_IF_ERROR(parts_->mapping.CoCheckDataPlace(tail, range.bytes));
  return parts_->file.CoWriteZeroes(range);
}

// Of what is compressed, or shared with a snapshot, a copy is made that is zero behind the end. The
// guest range is held.
absl::Status Qcow2Driver::CoReplaceLastCluster(uint64_t old_bytes, const L2Entry& old) {
  const uint64_t guest = AlignDown(old_bytes, cluster_bytes());
  std::vector<uint8_t> content(cluster_bytes());
  if (old.is_compressed) {
    MILLRACE_RETURN_IF_ERROR(CoReadCompressed(old, 0, IoVector(absl::MakeSpan(content))));
  } else {
    MILLRACE_RETURN_IF_ERROR(parts_->file.CoReadBytes(old.host.value(), absl::MakeSpan(content)));
  }
  const auto tail = content.begin() + static_cast<ptrdiff_t>(old_bytes - guest);
  const auto is_zero = [](uint8_t byte) { return byte == 0; };
  if (std::all_of(tail, content.end(), is_zero)) return absl::OkStatus();
  std::fill(tail, content.end(), uint8_t{0});
  MILLRACE_RETURN_IF_ERROR(parts_->writer.CoReplace(guest, content));
  // As in CoZeroBehind().
  return parts_->writeback.CoRun();
}

std::vector<FormatFact> Qcow2Driver::facts() const {
  if (parts_ == nullptr) return {};
  const Header& header = parts_->image.header();
  const bool is_old = header.geometry.version == 2;
  std::vector<FormatFact> facts = {
      {"compat", std::string(is_old ? "0.10" : "1.1")},
      {"compression-type", std::string(header.compression_type == 0 ? "zlib" : "zstd")},
      {"refcount-bits", uint64_t{header.geometry.refcount_bits()}}};
  if (is_old) return facts;
  facts.push_back({"lazy-refcounts", (header.compatible_features & kCompatibleLazyRefcounts) != 0});
  facts.push_back({"corrupt", header.is_corrupt()});
  facts.push_back({"extended-l2", (header.incompatible_features & kIncompatibleExtendedL2) != 0});
  return facts;
}

bool Qcow2Driver::is_marked_dirty() const {
  return parts_ != nullptr && parts_->image.header().is_dirty();
}

BackingReference Qcow2Driver::backing_reference() const {
  return parts_ == nullptr ? BackingReference() : parts_->image.header().backing;
}

absl::Status Qcow2Driver::CheckBackingReference(const BackingReference& reference) const {
  const Image& image = parts_->image;
  if (reference.filename.empty() && !reference.format.empty()) {
    return image.Named(
        absl::InvalidArgumentError("a backing format needs a backing file name with it"));
  }
  if (reference.filename.size() > kBackingNameBytesMax ||
      reference.filename.find('\0') != std::string::npos ||
      reference.format.find('\0') != std::string::npos) {
    return image.Named(absl::InvalidArgumentError(
        StrCat("a backing file name has at most ", kBackingNameBytesMax,
               " bytes, none of them zero; this one has ", reference.filename.size())));
  }
  return absl::OkStatus();
}

absl::Status Qcow2Driver::CoWriteBackingReference(const BackingReference& reference) {
  Image& image = parts_->image;
  MILLRACE_RETURN_IF_ERROR(CheckBackingReference(reference));
  MILLRACE_RETURN_IF_ERROR(CoBeforeChange());
  const absl::Status status =
      image.CoRewriteHeader([&](Header& header) { header.backing = reference; });
  return absl::IsInvalidArgument(status) ? image.Named(status) : status;
}

}  // namespace qcow2
}  // namespace millrace
