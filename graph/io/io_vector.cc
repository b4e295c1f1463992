#include "millrace/graph/io/io_vector.h"

#include <algorithm>
#include <cstring>

#include "millrace/engine/base/check.h"

namespace millrace {
namespace {

bool IsZeroMemory(const char* data, size_t bytes) {
  // A zero first byte, and every byte equal to the one before it.
  return bytes == 0 || (data[0] == 0 && std::memcmp(data, data + 1, bytes - 1) == 0);
}

}  // namespace

IoVector::IoVector(absl::Span<const iovec> pieces) {
  for (const iovec& piece : pieces) Append(piece.iov_base, piece.iov_len);
}

void IoVector::Append(void* data, size_t bytes) {
  if (bytes == 0) return;
  bytes_ += bytes;
  if (!pieces_.empty()) {
    // Memory that goes on where the last piece ends: one piece is cheaper for the host.
    iovec& last = pieces_.back();
    if (static_cast<char*>(last.iov_base) + last.iov_len == data) {
      last.iov_len += bytes;
      return;
    }
  }
  pieces_.push_back({data, bytes});
}

void IoVector::Append(const IoVector& other) {
  for (const iovec& piece : other.pieces_) Append(piece.iov_base, piece.iov_len);
}

IoVector IoVector::Slice(uint64_t offset, uint64_t bytes) const {
  MILLRACE_CHECK(offset <= bytes_ && bytes <= bytes_ - offset, "slice outside the vector");
  IoVector slice;
  for (const iovec& piece : pieces_) {
    if (bytes == 0) break;
    if (offset >= piece.iov_len) {
      offset -= piece.iov_len;
      continue;
    }
    const uint64_t take = std::min<uint64_t>(piece.iov_len - offset, bytes);
    slice.Append(static_cast<char*>(piece.iov_base) + offset, take);
    offset = 0;
    bytes -= take;
  }
  return slice;
}

bool IoVector::IsAligned(uint64_t alignment) const {
  return std::all_of(pieces_.begin(), pieces_.end(), [&](const iovec& piece) {
    return reinterpret_cast<uintptr_t>(piece.iov_base) % alignment == 0 &&
           piece.iov_len % alignment == 0;
  });
}

bool IoVector::IsZero() const {
  return std::all_of(pieces_.begin(), pieces_.end(), [](const iovec& piece) {
    return IsZeroMemory(static_cast<const char*>(piece.iov_base), piece.iov_len);
  });
}

void IoVector::Fill(uint64_t offset, uint8_t value, uint64_t bytes) const {
  const IoVector part = Slice(offset, bytes);
  for (const iovec& piece : part.pieces_) std::memset(piece.iov_base, value, piece.iov_len);
}

void IoVector::CopyFrom(uint64_t offset, const void* source, uint64_t bytes) const {
  const char* from = static_cast<const char*>(source);
  const IoVector part = Slice(offset, bytes);
  for (const iovec& piece : part.pieces_) {
    std::memcpy(piece.iov_base, from, piece.iov_len);
    from += piece.iov_len;
  }
}

void IoVector::CopyTo(uint64_t offset, void* target, uint64_t bytes) const {
  char* to = static_cast<char*>(target);
  const IoVector part = Slice(offset, bytes);
  for (const iovec& piece : part.pieces_) {
    std::memcpy(to, piece.iov_base, piece.iov_len);
    to += piece.iov_len;
  }
}

}  // namespace millrace
