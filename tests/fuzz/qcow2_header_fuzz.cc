// Any bytes as the extensions of a qcow2 header: parsing them ends in an error or in something that
// is written and parsed again as it was; the names of features can be printed; what the bitmaps'
// extension says lies inside the file.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "millrace/engine/base/check.h"
#include "millrace/graph/drivers/qcow2/bitmap_directory.h"
#include "millrace/graph/drivers/qcow2/header_extension.h"

namespace millrace {
namespace {

constexpr uint64_t kClusterBytes = 65536;
constexpr uint64_t kFileBytes = 1 << 20;

void CheckNames(absl::Span<const qcow2::HeaderExtension> extensions) {
  for (const auto kind : {qcow2::FeatureKind::kIncompatible, qcow2::FeatureKind::kCompatible,
                          qcow2::FeatureKind::kAutoclear}) {
    for (int bit = 0; bit < 64; ++bit) {
      const std::string name = qcow2::FeatureName(extensions, kind, bit);
      MILLRACE_CHECK(!name.empty() && name.size() < 200, "a feature without a usable name");
      for (char c : name) {
        MILLRACE_CHECK(static_cast<uint8_t>(c) >= 0x20 && c != 0x7f, "a name to garble a terminal");
      }
    }
  }
}

void CheckExtensions(absl::Span<const uint8_t> area) {
  std::vector<qcow2::HeaderExtension> extensions;
  const bool is_whole = qcow2::ParseExtensions(area, extensions).ok();
  CheckNames(extensions);
  const auto bitmaps = qcow2::FindBitmaps(extensions, kClusterBytes, kFileBytes);
  if (bitmaps.ok() && bitmaps->has_value()) {
    MILLRACE_CHECK((*bitmaps)->directory_offset <= kFileBytes &&
                       (*bitmaps)->directory_bytes <= kFileBytes - (*bitmaps)->directory_offset,
                   "a bitmap directory outside the file");
  }
  if (!is_whole) return;
  const std::vector<uint8_t> written = qcow2::SerialiseExtensions(extensions);
  std::vector<qcow2::HeaderExtension> again;
  MILLRACE_CHECK(qcow2::ParseExtensions(written, again).ok() && again == extensions,
                 "extensions change when they are written");
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > millrace::kClusterBytes) return 0;
  millrace::CheckExtensions(absl::MakeConstSpan(data, size));
  return 0;
}
