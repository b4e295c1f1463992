// IoVector: memory scattered over several pieces, as one sequence of bytes. It owns nothing.
//
// Copying one copies the list of pieces, not the bytes; the memory belongs to whoever issued the
// request and must outlive it. Units are bytes.
#ifndef MILLRACE_GRAPH_IO_IO_VECTOR_H_
#define MILLRACE_GRAPH_IO_IO_VECTOR_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <type_traits>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"

namespace millrace {

// A std::vector, std::array, absl::Span … of bytes that may be written to.
template <typename T>
concept ByteMemory = requires(T& memory) {
  {std::size(memory)};
  requires sizeof(*std::data(memory)) == 1;
  requires !std::is_const_v<std::remove_pointer_t<decltype(std::data(memory))>>;
};

class IoVector {
 public:
  IoVector() = default;
  IoVector(void* data, size_t bytes) { Append(data, bytes); }
  template <ByteMemory Memory>  // no temporary: it owns nothing
  explicit IoVector(Memory& memory) : IoVector(std::data(memory), std::size(memory)) {}
  explicit IoVector(absl::Span<uint8_t> memory) : IoVector(memory.data(), memory.size()) {}
  explicit IoVector(absl::Span<const iovec> pieces);
  // For writes only: the memory is not written to.
  static IoVector OfConst(const void* data, size_t bytes) {
    return IoVector(const_cast<void*>(data), bytes);
  }

  void Append(void* data, size_t bytes);
  void Append(const IoVector& other);

  uint64_t bytes() const { return bytes_; }
  absl::Span<const iovec> pieces() const { return pieces_; }

  // The part [offset, offset + bytes); the range must lie inside (checked).
  IoVector Slice(uint64_t offset, uint64_t bytes) const;
  // Whether every piece's address and length is a multiple of `alignment`.
  bool IsAligned(uint64_t alignment) const;
  // Whether all bytes are zero. Reads the memory.
  bool IsZero() const;
  void FillZero() const { Fill(0, 0, bytes_); }
  void Fill(uint64_t offset, uint8_t value, uint64_t bytes) const;
  // Copies between a part of this and flat memory.
  void CopyFrom(uint64_t offset, const void* source, uint64_t bytes) const;
  void CopyTo(uint64_t offset, void* target, uint64_t bytes) const;

 private:
  absl::InlinedVector<iovec, 2> pieces_;
  uint64_t bytes_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_IO_VECTOR_H_
