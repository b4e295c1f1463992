#include "millrace/graph/drivers/qcow2/header.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"

namespace millrace::qcow2 {
namespace {

absl::Status Invalid(std::string_view text) { return absl::InvalidArgumentError(ToAbsl(text)); }

absl::Status NotQcow2(std::string_view why) {
  Conflict conflict;
  conflict.reason = ConflictReason::kOtherFormat;
  conflict.object = "qcow2";
  conflict.next_step = "name the format that the image has";
  return ConflictStatus(absl::StatusCode::kInvalidArgument, conflict, why);
}

absl::Status UnsupportedFeature(std::string_view feature) {
  Conflict conflict;
  conflict.reason = ConflictReason::kUnsupportedFeature;
  conflict.detail = std::string(feature);
  conflict.next_step = "use a program that supports it, or convert the image";
  return ConflictStatus(absl::StatusCode::kUnimplemented, conflict,
                        StrCat("the qcow2 feature '", feature, "' is not supported"));
}

// [offset, offset + bytes) lies inside a file of `file_bytes`; `what` names it in the error.
absl::Status CheckTablePlace(std::string_view what, uint64_t offset, uint64_t bytes,
                             const Geometry& geometry, uint64_t file_bytes) {
  if (!geometry.IsClusterAligned(offset)) {
    return Invalid(StrCat("the ", what, " at ", offset, " is not aligned to clusters of ",
                          geometry.cluster_bytes(), " bytes"));
  }
  if (offset == 0) return Invalid(StrCat("the ", what, " is at offset 0, where the header is"));
  if (offset > file_bytes || bytes > file_bytes - offset) {
    return Invalid(StrCat("the ", what, " at ", offset, " with ", bytes,
                          " bytes ends beyond the end of the file at ", file_bytes));
  }
  return absl::OkStatus();
}

void ParseCommonFields(const uint8_t* field, Header& header) {
  header.backing_name_offset = LoadBig<uint64_t>(field + 8);
  header.bytes = LoadBig<uint64_t>(field + 24);
  header.encryption_method = LoadBig<uint32_t>(field + 32);
  header.l1_entries = LoadBig<uint32_t>(field + 36);
  header.l1_offset = LoadBig<uint64_t>(field + 40);
  header.refcount_table_offset = LoadBig<uint64_t>(field + 48);
  header.refcount_table_clusters = LoadBig<uint32_t>(field + 56);
  header.snapshot_count = LoadBig<uint32_t>(field + 60);
  header.snapshots_offset = LoadBig<uint64_t>(field + 64);
}

absl::Status ParseVersion3Fields(absl::Span<const uint8_t> cluster, uint64_t cluster_bytes,
                                 Header& header) {
  if (cluster.size() < kHeaderBytesVersion3) {
    return Invalid(StrCat("the file has ", cluster.size(), " bytes; a version 3 header has ",
                          kHeaderBytesVersion3));
  }
  const uint8_t* field = cluster.data();
  header.incompatible_features = LoadBig<uint64_t>(field + 72);
  header.compatible_features = LoadBig<uint64_t>(field + 80);
  header.autoclear_features = LoadBig<uint64_t>(field + 88);
  header.geometry.refcount_order = LoadBig<uint32_t>(field + 96);
  header.header_bytes = LoadBig<uint32_t>(field + 100);
  header.geometry.extended_l2 = (header.incompatible_features & kIncompatibleExtendedL2) != 0;
  if (header.header_bytes <= cluster_bytes && header.header_bytes > cluster.size()) {
    return Invalid(StrCat("the file has ", cluster.size(),
                          " bytes, less than its header, which has ", header.header_bytes));
  }
  if (header.header_bytes < kHeaderBytesVersion3 || header.header_bytes % 8 != 0 ||
      header.header_bytes > cluster_bytes) {
    return Invalid(StrCat("header length ", header.header_bytes, " is not a multiple of 8 between ",
                          kHeaderBytesVersion3, " and the cluster size ", cluster_bytes));
  }
  if (header.header_bytes >= kHeaderBytesWithCompression) {
    header.compression_type = field[104];
    header.unknown_fields.assign(field + 105, field + header.header_bytes);
  }
  return absl::OkStatus();
}

// Reads the name and returns where the extensions end.
absl::StatusOr<uint64_t> ParseBackingName(absl::Span<const uint8_t> cluster, uint64_t cluster_bytes,
                                          Header& header) {
  const uint32_t bytes = LoadBig<uint32_t>(cluster.data() + 16);
  const uint64_t offset = header.backing_name_offset;
  if (offset == 0 || bytes == 0) {
    // QEMU refuses such an offset, name or not; so nobody writes one.
    if (offset > cluster_bytes) {
      return Invalid(StrCat("the backing file name at ", offset,
                            " lies behind the end of cluster 0 at ", cluster_bytes));
    }
    header.backing_name_offset = 0;
    return cluster.size();
  }
  if (bytes > kBackingNameBytesMax) {
    return Invalid(
        StrCat("the backing file name has ", bytes, " bytes (limit ", kBackingNameBytesMax, ")"));
  }
  if (offset < header.header_bytes || offset > cluster_bytes || bytes > cluster_bytes - offset ||
      offset > cluster.size() || bytes > cluster.size() - offset) {
    return Invalid(StrCat("the backing file name at ", offset, " with ", bytes,
                          " bytes does not lie between the header and the end of cluster 0 at ",
                          std::min<uint64_t>(cluster_bytes, cluster.size())));
  }
  const char* name = reinterpret_cast<const char*>(cluster.data() + offset);
  header.backing.filename.assign(name, bytes);
  if (header.backing.filename.find('\0') != std::string::npos) {
    return Invalid("the backing file name contains a NUL byte");
  }
  return offset;
}

// Takes the backing format out of the extensions.
absl::Status TakeBackingFormat(Header& header) {
  auto& extensions = header.extensions;
  for (const HeaderExtension& extension : extensions) {
    if (extension.type != kExtensionBackingFormat) continue;
    header.backing.format.assign(extension.data.begin(), extension.data.end());
    if (header.backing.format.find('\0') != std::string::npos) {
      return Invalid("the backing file format contains a NUL byte");
    }
  }
  std::erase_if(extensions, [](const HeaderExtension& extension) {
    return extension.type == kExtensionBackingFormat;
  });
  return absl::OkStatus();
}

absl::Status RefuseUnknownFeatures(const Header& header) {
  const uint64_t unknown = header.incompatible_features & ~kIncompatibleKnown;
  if (unknown == 0) return absl::OkStatus();
  std::string names;
  for (int bit = 0; bit < 64; ++bit) {
    if ((unknown >> bit & 1) == 0) continue;
    if (!names.empty()) names += ", ";
    names += FeatureName(header.extensions, FeatureKind::kIncompatible, bit);
  }
  return UnsupportedFeature(names);
}

absl::Status RefuseUnsupportedFeatures(const Header& header) {
  MILLRACE_RETURN_IF_ERROR(RefuseUnknownFeatures(header));
  if (header.encryption_method == 1) return UnsupportedFeature("encryption (AES)");
  if (header.encryption_method == 2) return UnsupportedFeature("encryption (LUKS)");
  if (header.encryption_method != 0) {
    return UnsupportedFeature(StrCat("encryption method ", header.encryption_method));
  }
  if ((header.incompatible_features & kIncompatibleDataFile) != 0) {
    return UnsupportedFeature("external data file");
  }
  for (const HeaderExtension& extension : header.extensions) {
    if (extension.type == kExtensionEncryption) return UnsupportedFeature("encryption");
    if (extension.type == kExtensionDataFile) return UnsupportedFeature("external data file");
  }
  if ((header.autoclear_features & kAutoclearRawDataFile) != 0) {
    return Invalid(
        "autoclear feature bit 1 (raw external data) is set, but the external data file it is "
        "about is not");
  }
  return absl::OkStatus();
}

absl::Status CheckCompression(const Header& header) {
  const bool has_bit = (header.incompatible_features & kIncompatibleCompression) != 0;
  if (has_bit != (header.compression_type != 0)) {
    return Invalid(StrCat("compression type ", int{header.compression_type},
                          has_bit ? " needs no" : " needs the", " incompatible feature bit 3"));
  }
  if (header.compression_type > 1) {
    return UnsupportedFeature(StrCat("compression type ", int{header.compression_type}));
  }
  return absl::OkStatus();
}

absl::Status CheckSizeAndL1(const Header& header, uint64_t file_bytes) {
  const Geometry& geometry = header.geometry;
  if (header.bytes > kBytesMax) {
    return Invalid(StrCat("virtual size ", header.bytes, " is above the limit ", kBytesMax));
  }
  if (uint64_t{header.l1_entries} * 8 > kL1BytesMax) {
    return Invalid(
        StrCat("the L1 table has ", header.l1_entries, " entries (limit ", kL1BytesMax / 8, ")"));
  }
  const uint64_t needed = geometry.L1EntriesFor(header.bytes);
  if (needed > kL1BytesMax / 8) {
    return Invalid(StrCat("virtual size ", header.bytes, " needs ", needed,
                          " L1 entries with clusters of ", geometry.cluster_bytes(),
                          " bytes (limit ", kL1BytesMax / 8, ")"));
  }
  if (needed > header.l1_entries) {
    return Invalid(StrCat("the L1 table has ", header.l1_entries, " entries; virtual size ",
                          header.bytes, " needs ", needed));
  }
  if (header.l1_entries == 0) return absl::OkStatus();
  return CheckTablePlace("L1 table", header.l1_offset, uint64_t{header.l1_entries} * 8, geometry,
                         file_bytes);
}

absl::Status CheckRefcountTable(const Header& header, uint64_t file_bytes) {
  if (header.refcount_table_clusters == 0) return Invalid("the refcount table has no clusters");
  const uint64_t bytes = header.refcount_table_bytes();
  if (bytes > kRefcountTableBytesMax) {
    return Invalid(
        StrCat("the refcount table has ", bytes, " bytes (limit ", kRefcountTableBytesMax, ")"));
  }
  return CheckTablePlace("refcount table", header.refcount_table_offset, bytes, header.geometry,
                         file_bytes);
}

absl::Status CheckSnapshots(const Header& header, uint64_t file_bytes) {
  if (header.snapshot_count == 0) return absl::OkStatus();
  if (header.snapshot_count > kSnapshotCountMax) {
    return Invalid(StrCat("the image counts ", header.snapshot_count, " snapshots (limit ",
                          kSnapshotCountMax, ")"));
  }
  return CheckTablePlace("snapshot table", header.snapshots_offset,
                         uint64_t{header.snapshot_count} * 40, header.geometry, file_bytes);
}

// In the order they are written in.
std::vector<HeaderExtension> WrittenExtensions(const Header& header) {
  std::vector<HeaderExtension> extensions;
  const std::string& format = header.backing.format;
  // First, so that it shares the first sector with the fields.
  if (!format.empty()) {
    extensions.push_back({kExtensionBackingFormat, {format.begin(), format.end()}});
  }
  extensions.insert(extensions.end(), header.extensions.begin(), header.extensions.end());
  return extensions;
}

std::vector<uint8_t> Joined(std::vector<uint8_t> first, const std::vector<uint8_t>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace

absl::StatusOr<uint64_t> HeaderClusterBytes(absl::Span<const uint8_t> start) {
  // Also of a file that is too short: what another format needs is nobody's question.
  if (start.size() >= sizeof(uint32_t) && LoadBig<uint32_t>(start.data()) != kMagic) {
    return NotQcow2("this is not a qcow2 image: it does not start with 'QFI'");
  }
  if (start.size() < kHeaderBytesVersion2) {
    return Invalid(StrCat("the file has ", start.size(), " bytes; a qcow2 header has at least ",
                          kHeaderBytesVersion2));
  }
  const uint32_t version = LoadBig<uint32_t>(start.data() + 4);
  if (version != 2 && version != 3) return UnsupportedFeature(StrCat("version ", version));
  const uint32_t cluster_bits = LoadBig<uint32_t>(start.data() + 20);
  if (cluster_bits < kClusterBitsMin || cluster_bits > kClusterBitsMax) {
    return Invalid(StrCat("cluster bits ", cluster_bits, " are out of range (", kClusterBitsMin,
                          " to ", kClusterBitsMax, ")"));
  }
  return uint64_t{1} << cluster_bits;
}

bool HoldsWholeHeader(absl::Span<const uint8_t> start) {
  if (start.size() < kHeaderBytesVersion3) return false;
  const uint64_t header_bytes = LoadBig<uint32_t>(start.data() + 4) == 2
                                    ? kHeaderBytesVersion2
                                    : LoadBig<uint32_t>(start.data() + 100);
  const uint64_t name_offset = LoadBig<uint64_t>(start.data() + 8);
  const uint64_t name_bytes = LoadBig<uint32_t>(start.data() + 16);
  if (header_bytes > start.size() || name_offset > start.size() ||
      name_bytes > start.size() - name_offset) {
    return false;
  }
  // What is wrong with a header is said of the whole cluster, whose end its message names.
  return HoldsWholeExtensions(start.subspan(header_bytes)) && ParseHeader(start).ok();
}

absl::StatusOr<Header> ParseHeader(absl::Span<const uint8_t> first_cluster) {
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t cluster_bytes, HeaderClusterBytes(first_cluster));
  Header header;
  header.geometry.version = LoadBig<uint32_t>(first_cluster.data() + 4);
  header.geometry.cluster_bits = LoadBig<uint32_t>(first_cluster.data() + 20);
  ParseCommonFields(first_cluster.data(), header);
  if (header.geometry.version == 2) {
    header.header_bytes = kHeaderBytesVersion2;
  } else {
    MILLRACE_RETURN_IF_ERROR(ParseVersion3Fields(first_cluster, cluster_bytes, header));
  }
  const absl::StatusOr<uint64_t> extensions_end =
      ParseBackingName(first_cluster, cluster_bytes, header);
  const uint64_t end = extensions_end.value_or(first_cluster.size());
  const absl::Status extensions = ParseExtensions(
      first_cluster.subspan(header.header_bytes, end - header.header_bytes), header.extensions);
  // An image with features of a later time may break rules we know; its features say more.
  if (!extensions_end.ok() || !extensions.ok()) {
    MILLRACE_RETURN_IF_ERROR(RefuseUnknownFeatures(header));
  }
  MILLRACE_RETURN_IF_ERROR(extensions_end.status());
  MILLRACE_RETURN_IF_ERROR(extensions);
  MILLRACE_RETURN_IF_ERROR(TakeBackingFormat(header));
  return header;
}

absl::Status ValidateHeader(const Header& header, uint64_t file_bytes, HeaderUse use) {
  if (use == HeaderUse::kDescribe) {
    if (header.geometry.refcount_order > kRefcountOrderMax) {
      return Invalid(StrCat("refcount order ", header.geometry.refcount_order,
                            " is above the limit ", kRefcountOrderMax));
    }
    return CheckSnapshots(header, file_bytes);
  }
  MILLRACE_RETURN_IF_ERROR(RefuseUnsupportedFeatures(header));
  if (header.geometry.refcount_order > kRefcountOrderMax) {
    return Invalid(StrCat("refcount order ", header.geometry.refcount_order, " is above the limit ",
                          kRefcountOrderMax));
  }
  if (header.geometry.extended_l2 && header.geometry.cluster_bits < kExtendedL2ClusterBitsMin) {
    return Invalid(StrCat("extended L2 entries need clusters of at least ",
                          uint64_t{1} << kExtendedL2ClusterBitsMin, " bytes, not ",
                          header.geometry.cluster_bytes()));
  }
  MILLRACE_RETURN_IF_ERROR(CheckCompression(header));
  MILLRACE_RETURN_IF_ERROR(CheckSizeAndL1(header, file_bytes));
  if (use == HeaderUse::kCheck) return absl::OkStatus();
  MILLRACE_RETURN_IF_ERROR(CheckRefcountTable(header, file_bytes));
  return CheckSnapshots(header, file_bytes);
}

std::vector<uint8_t> SerialiseHeaderFields(const Header& header) {
  std::vector<uint8_t> fields(header.header_bytes);
  uint8_t* field = fields.data();
  StoreBig<uint32_t>(field, kMagic);
  StoreBig<uint32_t>(field + 4, header.geometry.version);
  StoreBig<uint64_t>(field + 8, header.backing_name_offset);
  StoreBig<uint32_t>(field + 16, static_cast<uint32_t>(header.backing.filename.size()));
  StoreBig<uint32_t>(field + 20, header.geometry.cluster_bits);
  StoreBig<uint64_t>(field + 24, header.bytes);
  StoreBig<uint32_t>(field + 32, header.encryption_method);
  StoreBig<uint32_t>(field + 36, header.l1_entries);
  StoreBig<uint64_t>(field + 40, header.l1_offset);
  StoreBig<uint64_t>(field + 48, header.refcount_table_offset);
  StoreBig<uint32_t>(field + 56, header.refcount_table_clusters);
  StoreBig<uint32_t>(field + 60, header.snapshot_count);
  StoreBig<uint64_t>(field + 64, header.snapshots_offset);
  if (header.geometry.version == 2) return fields;
  StoreBig<uint64_t>(field + 72, header.incompatible_features);
  StoreBig<uint64_t>(field + 80, header.compatible_features);
  StoreBig<uint64_t>(field + 88, header.autoclear_features);
  StoreBig<uint32_t>(field + 96, header.geometry.refcount_order);
  StoreBig<uint32_t>(field + 100, header.header_bytes);
  if (header.header_bytes >= kHeaderBytesWithCompression) {
    field[104] = header.compression_type;
    std::copy(header.unknown_fields.begin(), header.unknown_fields.end(), field + 105);
  }
  return fields;
}

uint64_t ExtensionsEnd(const Header& header) {
  return header.header_bytes + SerialiseExtensions(WrittenExtensions(header)).size();
}

absl::StatusOr<SerialisedHeader> SerialiseHeader(Header& header, const OldHeaderPlaces& old) {
  const std::vector<uint8_t> area = SerialiseExtensions(WrittenExtensions(header));
  const uint64_t name_bytes = header.backing.filename.size();
  const uint64_t cluster_bytes = header.geometry.cluster_bytes();
  const uint64_t area_end = header.header_bytes + area.size();
  uint64_t name_offset = std::max(area_end, old.extensions_end);
  if (ByteRange(name_offset, name_bytes).Overlaps(old.name)) name_offset = old.name.end();
  if (name_offset + name_bytes > cluster_bytes) name_offset = area_end;
  if (name_offset + name_bytes > cluster_bytes) {
    return Invalid(StrCat("header, extensions and a backing file name of ", name_bytes,
                          " bytes do not fit into a cluster of ", cluster_bytes,
                          " bytes; use a shorter name"));
  }
  header.backing_name_offset = name_bytes == 0 ? 0 : name_offset;
  return SerialisedHeader{Joined(SerialiseHeaderFields(header), area)};
}

std::optional<std::vector<uint8_t>> SerialiseWithinSector(const Header& header) {
  std::vector<HeaderExtension> extensions = WrittenExtensions(header);
  std::erase_if(extensions,
                [](const HeaderExtension& each) { return each.type == kExtensionFeatureNames; });
  std::vector<uint8_t> start =
      Joined(SerialiseHeaderFields(header), SerialiseExtensions(extensions));
  if (start.size() > kSectorBytes) return std::nullopt;
  return start;
}

}  // namespace millrace::qcow2
