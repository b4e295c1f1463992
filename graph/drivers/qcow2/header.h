// The qcow2 header: the fields at the start of the file, the extensions and the backing file's
// name, all inside the first cluster. Internal; not installed.
//
//   MILLRACE_ASSIGN_OR_RETURN(Header header, ParseHeader(first_cluster));
//   MILLRACE_RETURN_IF_ERROR(ValidateHeader(header, file_bytes, HeaderUse::kOpen));
//
// Pure functions over bytes; any thread. Errors name the field, its value and the limit; the caller
// adds which image it is.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_HEADER_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_HEADER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/qcow2/geometry.h"
#include "millrace/graph/drivers/qcow2/header_extension.h"

namespace millrace::qcow2 {

inline constexpr uint32_t kMagic = 0x514649fb;  // "QFI\xfb"
inline constexpr uint32_t kHeaderBytesVersion2 = 72;
inline constexpr uint32_t kHeaderBytesVersion3 = 104;
inline constexpr uint32_t kHeaderBytesWithCompression = 112;

inline constexpr uint64_t kIncompatibleDirty = 1 << 0;
inline constexpr uint64_t kIncompatibleCorrupt = 1 << 1;
inline constexpr uint64_t kIncompatibleDataFile = 1 << 2;
inline constexpr uint64_t kIncompatibleCompression = 1 << 3;
inline constexpr uint64_t kIncompatibleExtendedL2 = 1 << 4;
inline constexpr uint64_t kIncompatibleKnown = 0x1f;
inline constexpr uint64_t kCompatibleLazyRefcounts = 1 << 0;
inline constexpr uint64_t kAutoclearBitmaps = 1 << 0;
inline constexpr uint64_t kAutoclearRawDataFile = 1 << 1;
inline constexpr uint64_t kAutoclearKnown = kAutoclearBitmaps;

struct Header {
  Geometry geometry;
  uint64_t bytes = 0;  // virtual size; any number of bytes
  uint32_t encryption_method = 0;
  uint32_t l1_entries = 0;
  uint64_t l1_offset = 0;
  uint64_t refcount_table_offset = 0;
  uint32_t refcount_table_clusters = 0;
  uint32_t snapshot_count = 0;
  uint64_t snapshots_offset = 0;
  uint64_t incompatible_features = 0;
  uint64_t compatible_features = 0;
  uint64_t autoclear_features = 0;
  uint32_t header_bytes = kHeaderBytesVersion3;
  uint8_t compression_type = 0;
  // Fields behind those we know, up to header_bytes.
  std::vector<uint8_t> unknown_fields;
  // In the order they stand in, the backing format excepted.
  std::vector<HeaderExtension> extensions;
  BackingReference backing;
  uint64_t backing_name_offset = 0;  // 0: none

  bool is_dirty() const { return (incompatible_features & kIncompatibleDirty) != 0; }
  bool is_corrupt() const { return (incompatible_features & kIncompatibleCorrupt) != 0; }
  uint64_t refcount_table_bytes() const {
    return uint64_t{refcount_table_clusters} << geometry.cluster_bits;
  }
};

// The size of the cluster that ParseHeader wants, told by the first 72 bytes or more of the file.
// InvalidArgument if this is no qcow2 image or the size is out of range; Unimplemented for an
// unknown version.
absl::StatusOr<uint64_t> HeaderClusterBytes(absl::Span<const uint8_t> start);

// Whether ParseHeader finds all it looks at in `start`, the first bytes of the first cluster, so
// that the rest need not be read. False whenever that is in doubt, and for a header that is wrong.
bool HoldsWholeHeader(absl::Span<const uint8_t> start);

// Parses what stands in the first cluster (less of it if the file is shorter).
absl::StatusOr<Header> ParseHeader(absl::Span<const uint8_t> first_cluster);

enum class HeaderUse : uint8_t {
  kOpen,      // everything must be right
  kCheck,     // refcount structures and snapshots may be broken: a repair can mend them
  kDescribe,  // unsupported features may be set
};

// Whether the fields make sense together and for a file of this size. Unimplemented with a
// Conflict (kUnsupportedFeature) names the features that we do not support.
absl::Status ValidateHeader(const Header& header, uint64_t file_bytes, HeaderUse use);

// The fields only: header_bytes bytes, always inside the first sector, so that writing them is
// atomic.
std::vector<uint8_t> SerialiseHeaderFields(const Header& header);

// Fields and extensions: what is to stand at the start of the file. The backing file's name goes
// to header.backing_name_offset.
struct SerialisedHeader {
  std::vector<uint8_t> start;
};
// Where the name must not be, so that a torn update leaves one header whole, the old one or the
// new: on the old extensions, or on the old name.
struct OldHeaderPlaces {
  uint64_t extensions_end = 0;
  ByteRange name{};
};
// The end of the extensions, as they are written, from the start of the file.
uint64_t ExtensionsEnd(const Header& header);
// Sets header.backing_name_offset; it heeds `old` where there is room for that. InvalidArgument if
// it does not all fit into the first cluster.
absl::StatusOr<SerialisedHeader> SerialiseHeader(Header& header, const OldHeaderPlaces& old = {});
// The same, with header.backing_name_offset as it is and without the table of feature names, which
// nobody needs; nothing if that is more than the first sector, so that it could be torn.
std::optional<std::vector<uint8_t>> SerialiseWithinSector(const Header& header);

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_HEADER_H_
