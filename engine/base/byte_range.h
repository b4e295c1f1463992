// ByteRange: `bytes` bytes from `offset`, half open: [offset, offset + bytes).
//
// Units are bytes. A range never wraps: offset + bytes is at most 2^63 - 1, which is also the
// largest file size of the host. The constructor checks; what comes from outside is asked by
// IsRepresentable() first.
#ifndef MILLRACE_ENGINE_BASE_BYTE_RANGE_H_
#define MILLRACE_ENGINE_BASE_BYTE_RANGE_H_

#include <algorithm>
#include <cstdint>
#include <string>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {

// The largest end of a range: what off_t holds.
inline constexpr uint64_t kBytesMax = (uint64_t{1} << 63) - 1;

struct ByteRange {
  uint64_t offset = 0;
  uint64_t bytes = 0;

  constexpr ByteRange() = default;
  ByteRange(uint64_t range_offset, uint64_t range_bytes)
      : offset(range_offset), bytes(range_bytes) {
    MILLRACE_CHECK(IsRepresentable(range_offset, range_bytes),
                   StrCat("a byte range wraps: ", range_bytes, " bytes from ", range_offset));
  }

  // Whether [offset, offset + bytes) is a range at all; test input with this first.
  static constexpr bool IsRepresentable(uint64_t offset, uint64_t bytes) {
    return offset <= kBytesMax && bytes <= kBytesMax - offset;
  }

  constexpr uint64_t end() const { return offset + bytes; }
  constexpr bool empty() const { return bytes == 0; }
  constexpr bool Contains(uint64_t position) const {
    return position >= offset && position < end();
  }
  constexpr bool Contains(const ByteRange& other) const {
    return other.offset >= offset && other.end() <= end();
  }
  // Whether some byte is in both; never true of an empty range, wherever it lies.
  constexpr bool Overlaps(const ByteRange& other) const {
    return std::max(offset, other.offset) < std::min(end(), other.end());
  }
  // What is in both; empty (at the larger offset) if there is none.
  ByteRange Intersect(const ByteRange& other) const {
    const uint64_t from = std::max(offset, other.offset);
    const uint64_t to = std::min(end(), other.end());
    return ByteRange(from, to > from ? to - from : 0);
  }
  std::string ToString() const { return StrCat("[", offset, ", ", end(), ")"); }

  friend constexpr bool operator==(const ByteRange&, const ByteRange&) = default;
};

// To the next multiple of `alignment`, a power of two, at or below `value`.
constexpr uint64_t AlignDown(uint64_t value, uint64_t alignment) {
  return value & ~(alignment - 1);
}
// At or above it. Wraps where there is none below 2^64: ask about values up to kBytesMax.
constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return AlignDown(value + alignment - 1, alignment);
}
constexpr bool IsAligned(uint64_t value, uint64_t alignment) {
  return (value & (alignment - 1)) == 0;
}
constexpr bool IsPowerOfTwo(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_BYTE_RANGE_H_
