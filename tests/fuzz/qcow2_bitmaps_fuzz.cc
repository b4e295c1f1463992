// Any bytes as a qcow2 bitmap directory: parsing ends in an error or in entries that fill the
// directory; marking them as in use changes their flags and nothing else. The first two bytes say
// how many bitmaps the header claims.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "millrace/engine/base/check.h"
#include "millrace/graph/drivers/qcow2/bitmap_directory.h"

namespace millrace {
namespace {

using qcow2::BitmapEntry;

constexpr size_t kDirectoryBytesMax = 1 << 16;
constexpr uint64_t kFlagsInEntry = 12;

void CheckDirectory(const std::vector<uint8_t>& directory, uint32_t count) {
  const absl::StatusOr<std::vector<BitmapEntry>> entries =
      qcow2::ParseBitmapDirectory(directory, count);
  if (!entries.ok()) return;
  MILLRACE_CHECK(entries->size() == count, "bitmaps were made up, or lost");
  std::vector<uint8_t> marked = directory;
  const bool has_changed = qcow2::MarkBitmapsInUse(absl::MakeSpan(marked), *entries, true);
  MILLRACE_CHECK(has_changed == (marked != directory), "a change that is none");
  const absl::StatusOr<std::vector<BitmapEntry>> again = qcow2::ParseBitmapDirectory(marked, count);
  MILLRACE_CHECK(again.ok() && again->size() == count, "marking broke the directory");
  for (size_t i = 0; i < again->size(); ++i) {
    MILLRACE_CHECK(((*again)[i].flags & qcow2::kBitmapInUse) != 0, "a bitmap was not marked");
    const size_t flags = (*entries)[i].directory_position + kFlagsInEntry;
    std::copy_n(directory.begin() + static_cast<ptrdiff_t>(flags), sizeof(uint32_t),
                marked.begin() + static_cast<ptrdiff_t>(flags));
  }
  MILLRACE_CHECK(marked == directory, "marking changed more than flags");
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > millrace::kDirectoryBytesMax) return 0;
  const uint32_t count = uint32_t{data[0]} << 8 | data[1];
  millrace::CheckDirectory(std::vector<uint8_t>(data + 2, data + size), count);
  return 0;
}
