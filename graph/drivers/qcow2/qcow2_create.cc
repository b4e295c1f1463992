#include "millrace/graph/drivers/qcow2/qcow2_create.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/l2_entry.h"
#include "millrace/graph/drivers/qcow2/refcount_codec.h"

namespace millrace {
namespace {

using qcow2::Geometry;
using qcow2::Header;
using qcow2::kSectorBytes;
using qcow2::StoreBig;

// Where everything of a new image goes, in clusters: header, refcount table, refcount blocks, L1
// table, then per L2 table (preallocation only) the table and the data it maps.
struct Layout {
  uint64_t refcount_table = 1;
  uint64_t refcount_table_clusters = 0;
  uint64_t blocks = 0;  // first of them
  uint64_t block_count = 0;
  uint64_t l1 = 0;
  uint64_t l1_clusters = 0;
  uint64_t guest = 0;  // first L2 table
  uint64_t guest_clusters = 0;
  uint64_t l2_tables = 0;

  uint64_t end() const { return guest + l2_tables + guest_clusters; }
};

// `why` says what would do.
absl::Status RefuseOption(std::string_view option, std::string_view why) {
  return ConflictStatus(absl::StatusCode::kInvalidArgument,
                        {.reason = ConflictReason::kInvalidOption,
                         .object = "qcow2",
                         .next_step = "correct the option",
                         .detail = StrCat(option, " ", why)},
                        StrCat("create qcow2 image: ", why));
}

absl::Status CheckCreateOptions(const Qcow2CreateOptions& options) {
  if (options.version != 2 && options.version != 3) {
    return RefuseOption("version",
                        StrCat("version ", options.version, " does not exist; use 2 or 3"));
  }
  if (!IsPowerOfTwo(options.cluster_bytes) || options.cluster_bytes < 512 ||
      options.cluster_bytes > uint64_t{2} << 20) {
    return RefuseOption("cluster-size", StrCat("cluster size ", options.cluster_bytes,
                                               " is not a power of two between 512 and 2097152"));
  }
  if (!IsPowerOfTwo(options.refcount_bits) || options.refcount_bits > 64) {
    return RefuseOption("refcount-bits", StrCat("refcount width ", options.refcount_bits,
                                                " is not a power of two between 1 and 64"));
  }
  if (options.version == 2 &&
      (options.refcount_bits != 16 || options.extended_l2 || options.lazy_refcounts ||
       options.compression != Qcow2Compression::kZlib)) {
    return RefuseOption(
        "version",
        "refcount widths other than 16, extended L2 entries, lazy refcounts and zstd need version "
        "3");
  }
  if (options.extended_l2 && options.cluster_bytes < 16384) {
    return RefuseOption("extended-l2",
                        StrCat("extended L2 entries need clusters of at least 16384 bytes, not ",
                               options.cluster_bytes));
  }
  if (options.backing_filename.empty() && !options.backing_format.empty()) {
    return RefuseOption("backing-format", "a backing format needs a backing file name with it");
  }
  if (options.backing_filename.size() > qcow2::kBackingNameBytesMax ||
      options.backing_filename.find('\0') != std::string::npos) {
    return RefuseOption(
        "backing-file",
        StrCat("a backing file name has at most ", qcow2::kBackingNameBytesMax,
               " bytes, none of them zero; this one has ", options.backing_filename.size()));
  }
  if (options.preallocation == Qcow2Preallocation::kMetadata && !options.backing_filename.empty()) {
    return RefuseOption("preallocation", "preallocation and a backing file do not go together");
  }
  return absl::OkStatus();
}

Header MakeHeader(const Qcow2CreateOptions& options) {
  Header header;
  Geometry& geometry = header.geometry;
  geometry.version = options.version;
  geometry.cluster_bits = static_cast<uint32_t>(std::countr_zero(options.cluster_bytes));
  geometry.refcount_order = static_cast<uint32_t>(std::countr_zero(options.refcount_bits));
  geometry.extended_l2 = options.extended_l2;
  header.bytes = AlignUp(std::min(options.bytes, kBytesMax - 511), 512);
  header.backing = {options.backing_filename, options.backing_format};
  if (options.version == 2) {
    header.header_bytes = qcow2::kHeaderBytesVersion2;
    return header;
  }
  header.header_bytes = qcow2::kHeaderBytesWithCompression;
  header.unknown_fields.resize(7);  // padding behind the compression type
  if (options.extended_l2) header.incompatible_features |= qcow2::kIncompatibleExtendedL2;
  if (options.lazy_refcounts) header.compatible_features |= qcow2::kCompatibleLazyRefcounts;
  if (options.compression == Qcow2Compression::kZstd) {
    header.compression_type = 1;
    header.incompatible_features |= qcow2::kIncompatibleCompression;
  }
  // The table is a courtesy to other programs; in tiny clusters the backing name goes first.
  const uint64_t others = header.header_bytes + 16 + options.backing_format.size() + 8 + 8 +
                          options.backing_filename.size();
  qcow2::HeaderExtension names = qcow2::OurFeatureNames();
  if (others + 8 + names.data.size() <= options.cluster_bytes) {
    header.extensions.push_back(std::move(names));
  }
  return header;
}

absl::StatusOr<Layout> PlanLayout(const Header& header, Qcow2Preallocation preallocation) {
  const Geometry& geometry = header.geometry;
  const uint64_t l1_entries = geometry.L1EntriesFor(header.bytes);
  if (l1_entries * 8 > qcow2::kL1BytesMax) {
    return RefuseOption(
        "size", StrCat("size ", header.bytes, " needs an L1 table of ", l1_entries,
                       " entries (limit ", qcow2::kL1BytesMax / 8, "); use larger clusters"));
  }
  Layout layout;
  layout.l1_clusters = std::max<uint64_t>(geometry.ClustersFor(l1_entries * 8), 1);
  if (preallocation == Qcow2Preallocation::kMetadata) {
    layout.l2_tables = l1_entries;
    layout.guest_clusters = geometry.ClustersFor(header.bytes);
  }
  // The blocks cover everything, themselves and their table included.
  for (uint64_t before = ~uint64_t{0}; before != layout.end();) {
    before = layout.end();
    layout.block_count =
        std::max<uint64_t>((before >> geometry.refcount_block_bits()) + 1, layout.block_count);
    layout.refcount_table_clusters = geometry.ClustersFor(layout.block_count * 8);
    layout.blocks = layout.refcount_table + layout.refcount_table_clusters;
    layout.l1 = layout.blocks + layout.block_count;
    layout.guest = layout.l1 + layout.l1_clusters;
  }
  if (layout.refcount_table_clusters << geometry.cluster_bits > qcow2::kRefcountTableBytesMax ||
      layout.end() >= qcow2::kHostOffsetEnd >> geometry.cluster_bits) {
    return RefuseOption(
        "preallocation",
        StrCat("preallocating ", header.bytes,
               " bytes needs more refcounts than the format allows; use larger clusters"));
  }
  return layout;
}

// Between two tables: metadata of a large image take their time.
absl::Status StopIfCancelled(const ImageFile& file) {
  if (!Coroutine::Current()->is_cancelled()) return absl::OkStatus();
  return absl::CancelledError(
      StrCat("create '", file.name(),
             "': cancelled; what the file held is gone, and it is no image yet; make it again, or "
             "remove it"));
}

absl::Status CoWriteRefcounts(ImageFile& file, const Header& header, const Layout& layout)
    MILLRACE_MAY_SUSPEND {
  const Geometry& geometry = header.geometry;
  std::vector<uint8_t> table(layout.refcount_table_clusters << geometry.cluster_bits);
  for (uint64_t block = 0; block < layout.block_count; ++block) {
    MILLRACE_RETURN_IF_ERROR(StopIfCancelled(file));
    const uint64_t place = (layout.blocks + block) << geometry.cluster_bits;
    StoreBig<uint64_t>(&table[8 * block], place);
    std::vector<uint8_t> counts(geometry.cluster_bytes());
    const uint64_t first = block << geometry.refcount_block_bits();
    const uint64_t used =
        std::min(layout.end() - std::min(first, layout.end()), geometry.refcounts_per_block());
    for (uint64_t i = 0; i < used; ++i) {
      qcow2::StoreRefcount(counts.data(), i, geometry.refcount_order, 1);
    }
    MILLRACE_RETURN_IF_ERROR(file.CoWriteBytes(place, counts));
  }
  return file.CoWriteBytes(layout.refcount_table << geometry.cluster_bits, table);
}

absl::Status CoWriteMappings(ImageFile& file, const Header& header, const Layout& layout)
    MILLRACE_MAY_SUSPEND {
  if (layout.l2_tables == 0) return absl::OkStatus();  // the file is new: all zeroes
  const Geometry& geometry = header.geometry;
  std::vector<uint8_t> l1(layout.l1_clusters << geometry.cluster_bits);
  uint64_t next = layout.guest;
  uint64_t left = layout.guest_clusters;
  for (uint64_t index = 0; index < layout.l2_tables; ++index) {
    MILLRACE_RETURN_IF_ERROR(StopIfCancelled(file));
    const uint64_t table_place = next++ << geometry.cluster_bits;
    StoreBig<uint64_t>(&l1[8 * index], qcow2::EncodeL1Entry({HostOffset(table_place), true}));
    std::vector<uint8_t> table(geometry.cluster_bytes());
    for (uint64_t i = 0; i < geometry.l2_entries() && left > 0; ++i, --left) {
      qcow2::L2Entry entry;
      entry.host = HostOffset(next++ << geometry.cluster_bits);
      entry.is_copied = true;
      entry.allocated = geometry.all_subclusters();
      qcow2::StoreL2Entry(&table[i << geometry.l2_entry_bits()],
                          qcow2::EncodeL2Entry(entry, geometry), geometry);
    }
    MILLRACE_RETURN_IF_ERROR(file.CoWriteBytes(table_place, table));
  }
  return file.CoWriteBytes(layout.l1 << geometry.cluster_bits, l1);
}

// The start of the file, in two steps: only its first sector, which is on disk as a whole or not at
// all, makes the file an image.
absl::Status CoWriteStart(ImageFile& file, const Header& header, absl::Span<const uint8_t> start)
    MILLRACE_MAY_SUSPEND {
  if (!header.backing.filename.empty()) {
    const std::string& name = header.backing.filename;
    MILLRACE_RETURN_IF_ERROR(
        file.CoWrite(header.backing_name_offset, IoVector::OfConst(name.data(), name.size())));
  }
  const absl::Span<const uint8_t> first_sector = start.subspan(0, kSectorBytes);
  if (start.size() > kSectorBytes) {
    MILLRACE_RETURN_IF_ERROR(file.CoWriteBytes(kSectorBytes, start.subspan(kSectorBytes)));
  }
  MILLRACE_RETURN_IF_ERROR(file.CoFlush());
  MILLRACE_RETURN_IF_ERROR(file.CoWriteBytes(0, first_sector));
  return file.CoFlush();
}

// An image that was there is gone for good before anything is written where its tables are.
absl::Status CoEmpty(ImageFile& file) MILLRACE_MAY_SUSPEND {
  const bool is_empty = file.bytes() == 0;
  MILLRACE_RETURN_IF_ERROR(file.CoResize(0));
  return is_empty ? absl::OkStatus() : file.CoFlush();
}

}  // namespace

absl::Status CoCreateQcow2(ImageFile& file, const Qcow2CreateOptions& options) {
  MILLRACE_RETURN_IF_ERROR(CheckCreateOptions(options));
  Header header = MakeHeader(options);
  MILLRACE_ASSIGN_OR_RETURN(const Layout layout, PlanLayout(header, options.preallocation));
  const uint32_t cluster_bits = header.geometry.cluster_bits;
  header.l1_entries = static_cast<uint32_t>(header.geometry.L1EntriesFor(header.bytes));
  header.l1_offset = layout.l1 << cluster_bits;
  header.refcount_table_offset = layout.refcount_table << cluster_bits;
  header.refcount_table_clusters = static_cast<uint32_t>(layout.refcount_table_clusters);
  MILLRACE_ASSIGN_OR_RETURN(const qcow2::SerialisedHeader content, SerialiseHeader(header));
  MILLRACE_RETURN_IF_ERROR(CoEmpty(file));
  MILLRACE_RETURN_IF_ERROR(file.CoResize(layout.end() << cluster_bits));
  MILLRACE_RETURN_IF_ERROR(CoWriteRefcounts(file, header, layout));
  MILLRACE_RETURN_IF_ERROR(CoWriteMappings(file, header, layout));
  // The header comes last: until then the file is no image, rather than a broken one.
  return CoWriteStart(file, header, content.start);
}

}  // namespace millrace
