// BufferPool: reused memory for I/O; one per engine.
//
// Memory comes in slabs of 1 MiB, cut into blocks of one size class (powers of two from 4 KiB to
// 1 MiB). A slab whose blocks are all free serves any class again. Slabs are made when needed, up
// to a bound, kept until the pool is destroyed, and registered with the backend, which may then
// skip pinning pages for every request. What does not fit (larger buffers, a full pool) comes from
// the heap and goes back to it at once.
//
// Home thread; nothing here suspends. Costs nothing until first used.
#ifndef MILLRACE_ENGINE_IO_BUFFER_POOL_H_
#define MILLRACE_ENGINE_IO_BUFFER_POOL_H_

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/io/io_buffer.h"

namespace millrace {

class IoBackend;
class Scheduler;

class BufferPool {
 public:
  static constexpr size_t kSlabBytes = size_t{1} << 20;
  static constexpr size_t kBlockBytesMin = 4096;
  struct Limits {
    // Memory kept for reuse, in slabs; 0: everything comes from the heap (simulations, whose
    // engines live for microseconds).
    size_t slabs_max = 64;
    // Memory out at any time; beyond it TryTake() is ResourceExhausted.
    size_t bytes_max = size_t{1} << 30;
  };

  // `backend` and `scheduler` must outlive the pool's last TryTake().
  BufferPool(Scheduler& scheduler, IoBackend& backend, const Limits& limits);
  // Every buffer must be back (checked).
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // `bytes` of memory aligned to IoBuffer::kAlignment. ResourceExhausted if there is none; `label`
  // says for what, in the error text and in fault choices.
  absl::StatusOr<IoBuffer> TryTake(size_t bytes, std::string_view label);

  size_t bytes_out() const { return bytes_out_; }

  // Memory that somebody is about to take, for those who ask what is left before they begin: others
  // may have begun as well and not yet taken theirs. A promise is taken back in the step in which
  // the memory is taken, or when it is not needed. It keeps nobody from taking anything.
  void Promise(size_t bytes) { bytes_promised_ += bytes; }
  void TakeBackPromise(size_t bytes) { bytes_promised_ -= bytes; }
  size_t bytes_out_or_promised() const { return bytes_out_ + bytes_promised_; }
  size_t bytes_kept() const { return slabs_.size() * kSlabBytes; }

 private:
  friend class IoBuffer;
  static constexpr size_t kBlocksPerSlabMax = kSlabBytes / kBlockBytesMin;
  static constexpr size_t kClasses = 9;
  static constexpr uint32_t kNone = UINT32_MAX;

  // In the chain of its class while some blocks are free and some are out, in the chain of the
  // empty ones when all are free, in none when all are out.
  struct Slab {
    std::bitset<kBlocksPerSlabMax> is_free;
    size_t block_class = 0;
    uint32_t next = kNone;
    uint32_t previous = kNone;
  };

  static size_t ClassOf(size_t bytes);
  static size_t BlockBytes(size_t block_class) { return kBlockBytesMin << block_class; }
  static size_t Blocks(size_t block_class) { return kBlocksPerSlabMax >> block_class; }
  bool IsInArena(const char* memory) const {
    return arena_ != nullptr && memory >= arena_ &&
           memory < arena_ + limits_.slabs_max * kSlabBytes;
  }
  char* TakeBlock(size_t block_class);
  uint32_t SlabFor(size_t block_class);
  uint32_t NewSlab();
  void Link(uint32_t& head, uint32_t slab);
  void Unlink(uint32_t& head, uint32_t slab);
  void Return(char* memory, size_t bytes);

  Scheduler& scheduler_;
  IoBackend& backend_;
  const Limits limits_;
  char* arena_ = nullptr;  // address space for all slabs, reserved at first use
  bool is_arena_refused_ = false;
  std::vector<Slab> slabs_;
  std::array<uint32_t, kClasses> partial_;  // head of each class's chain
  uint32_t empty_ = kNone;
  size_t bytes_out_ = 0;
  size_t bytes_promised_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_BUFFER_POOL_H_
