// IoBuffer: aligned memory for I/O, whose allocation may fail with a status instead of an abort.
//
// From a BufferPool (engine.buffers()) where buffers come and go: reused memory is already faulted
// in, and known to io_uring. Move-only; the memory is given back by the destructor, on the home
// thread, before the engine is destroyed. Its content is not initialised.
//
//   MILLRACE_ASSIGN_OR_RETURN(IoBuffer buffer, engine.buffers().TryTake(65536, "copy"));
//   const iovec iov = buffer.iov();
#ifndef MILLRACE_ENGINE_IO_IO_BUFFER_H_
#define MILLRACE_ENGINE_IO_IO_BUFFER_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace millrace {

class BufferPool;
class Scheduler;

class IoBuffer {
 public:
  // Enough for direct I/O on every host.
  static constexpr size_t kAlignment = 4096;

  IoBuffer() = default;
  ~IoBuffer() { Release(); }
  IoBuffer(IoBuffer&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  IoBuffer& operator=(IoBuffer&& other) noexcept {
    if (this != &other) {
      Release();
      pool_ = std::exchange(other.pool_, nullptr);
      data_ = std::exchange(other.data_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }

  // Outside the pool: for memory that is kept long. `alignment` is a power of two.
  // ResourceExhausted if there is no memory; `label` says for what, in the error text and in fault
  // choices.
  static absl::StatusOr<IoBuffer> TryAllocate(Scheduler& scheduler, size_t bytes,
                                              std::string_view label,
                                              size_t alignment = kAlignment);

  char* data() { return data_; }
  const char* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }
  absl::Span<char> span() { return {data_, bytes_}; }
  absl::Span<const char> span() const { return {data_, bytes_}; }
  iovec iov() const { return {data_, bytes_}; }

 private:
  friend class BufferPool;
  IoBuffer(BufferPool* pool, char* data, size_t bytes) : pool_(pool), data_(data), bytes_(bytes) {}
  void Release();

  BufferPool* pool_ = nullptr;  // null: from the heap
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_IO_BUFFER_H_
