// Header extensions: typed records between the header's fields and the backing file's name.
// Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_HEADER_EXTENSION_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_HEADER_EXTENSION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace millrace::qcow2 {

inline constexpr uint32_t kExtensionEnd = 0;
inline constexpr uint32_t kExtensionBackingFormat = 0xe2792aca;
inline constexpr uint32_t kExtensionFeatureNames = 0x6803f857;
inline constexpr uint32_t kExtensionBitmaps = 0x23852875;
inline constexpr uint32_t kExtensionEncryption = 0x0537be77;
inline constexpr uint32_t kExtensionDataFile = 0x44415441;

// One record, its data without padding. Unknown types are kept as they are.
struct HeaderExtension {
  uint32_t type = kExtensionEnd;
  std::vector<uint8_t> data;
  friend bool operator==(const HeaderExtension&, const HeaderExtension&) = default;
};

// Parses the records in `area` up to the end marker or the end of `area`, appending to
// `extensions`. InvalidArgument for a record that does not fit; those before it are kept.
absl::Status ParseExtensions(absl::Span<const uint8_t> area,
                             std::vector<HeaderExtension>& extensions);
// Whether the end marker, and all before it, lies in `start`, the first bytes of an area.
bool HoldsWholeExtensions(absl::Span<const uint8_t> start);
// With the end marker; every record padded to 8 bytes.
std::vector<uint8_t> SerialiseExtensions(absl::Span<const HeaderExtension> extensions);

enum class FeatureKind : uint8_t { kIncompatible = 0, kCompatible = 1, kAutoclear = 2 };

// The name of a feature bit: from the image's own table if it is there and usable, else from ours,
// else "unknown incompatible feature bit 17". Control characters are replaced.
std::string FeatureName(absl::Span<const HeaderExtension> extensions, FeatureKind kind, int bit);
// The table that we write into new images.
HeaderExtension OurFeatureNames();

// Where the persistent bitmaps are.
struct BitmapsExtension {
  uint32_t bitmap_count = 0;
  uint64_t directory_bytes = 0;
  uint64_t directory_offset = 0;
};
// Nothing if there is no such extension; InvalidArgument if it cannot be right.
absl::StatusOr<std::optional<BitmapsExtension>> FindBitmaps(
    absl::Span<const HeaderExtension> extensions, uint64_t cluster_bytes, uint64_t file_bytes);

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_HEADER_EXTENSION_H_
