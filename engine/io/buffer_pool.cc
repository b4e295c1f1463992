#include "millrace/engine/io/buffer_pool.h"

#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <cstdlib>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/io/try_allocate.h"

namespace millrace {
namespace {

// What the heap is asked for; aligned_alloc wants a multiple of the alignment.
size_t HeapBytes(size_t bytes, size_t alignment) { return AlignUp(bytes, alignment); }

char* HeapAllocate(size_t bytes, size_t alignment) {
  if (bytes > static_cast<size_t>(PTRDIFF_MAX)) return nullptr;
  return static_cast<char*>(std::aligned_alloc(alignment, HeapBytes(bytes, alignment)));
}

}  // namespace

// ---- IoBuffer ----------------------------------------------------------------------------------

absl::StatusOr<IoBuffer> IoBuffer::TryAllocate(Scheduler& scheduler, size_t bytes,
                                               std::string_view label, size_t alignment) {
  MILLRACE_RETURN_IF_ERROR(AskForMemory(scheduler, bytes, label));
  if (bytes == 0) return IoBuffer();
  char* memory = HeapAllocate(bytes, alignment);
  if (memory == nullptr) return OutOfMemory(bytes, label);
  return IoBuffer(nullptr, memory, bytes);
}

void IoBuffer::Release() {
  if (data_ == nullptr) return;
  if (pool_ == nullptr) {
    std::free(data_);
  } else {
    pool_->Return(data_, bytes_);
  }
  data_ = nullptr;
}

// ---- BufferPool --------------------------------------------------------------------------------

BufferPool::BufferPool(Scheduler& scheduler, IoBackend& backend, const Limits& limits)
    : scheduler_(scheduler), backend_(backend), limits_(limits) {
  partial_.fill(kNone);
}

BufferPool::~BufferPool() {
  MILLRACE_CHECK(bytes_out_ == 0, "buffer pool destroyed while buffers are out");
  MILLRACE_CHECK(bytes_promised_ == 0, "buffer pool destroyed while memory is promised");
  if (arena_ != nullptr) munmap(arena_, limits_.slabs_max * kSlabBytes);
}

absl::StatusOr<IoBuffer> BufferPool::TryTake(size_t bytes, std::string_view label) {
  MILLRACE_RETURN_IF_ERROR(AskForMemory(scheduler_, bytes, label));
  if (bytes == 0) return IoBuffer();
  if (bytes > limits_.bytes_max - bytes_out_) {
    return WithErrno(
        absl::ResourceExhaustedError(StrCat("take a buffer of ", bytes, " bytes for ", label, ": ",
                                            bytes_out_, " of at most ", limits_.bytes_max,
                                            " bytes are in use; let other I/O finish first")),
        ENOMEM);
  }
  char* memory = bytes <= kSlabBytes ? TakeBlock(ClassOf(bytes)) : nullptr;
  if (memory == nullptr) memory = HeapAllocate(bytes, IoBuffer::kAlignment);
  if (memory == nullptr) return OutOfMemory(bytes, label);
  bytes_out_ += bytes;
  return IoBuffer(this, memory, bytes);
}

size_t BufferPool::ClassOf(size_t bytes) {
  return bytes <= kBlockBytesMin ? 0 : std::bit_width((bytes - 1) / kBlockBytesMin);
}

char* BufferPool::TakeBlock(size_t block_class) {
  const uint32_t number = SlabFor(block_class);
  if (number == kNone) return nullptr;
  Slab& slab = slabs_[number];
  // The lowest free block: memory that was touched before, rather than a fresh page.
  const size_t block = slab.is_free._Find_first();
  slab.is_free.reset(block);
  if (slab.is_free.none()) Unlink(partial_[block_class], number);
  return arena_ + number * kSlabBytes + block * BlockBytes(block_class);
}

uint32_t BufferPool::SlabFor(size_t block_class) {
  if (partial_[block_class] != kNone) return partial_[block_class];
  uint32_t number = empty_;
  if (number != kNone) {
    Unlink(empty_, number);
  } else {
    number = NewSlab();
  }
  if (number == kNone) return kNone;
  Slab& slab = slabs_[number];
  slab.block_class = block_class;
  slab.is_free.reset();
  for (size_t i = 0; i < Blocks(block_class); ++i) slab.is_free.set(i);
  Link(partial_[block_class], number);
  return number;
}

uint32_t BufferPool::NewSlab() {
  if (slabs_.size() >= limits_.slabs_max || is_arena_refused_) return kNone;
  if (arena_ == nullptr) {
    void* const space = mmap(nullptr, limits_.slabs_max * kSlabBytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    is_arena_refused_ = space == MAP_FAILED;
    if (is_arena_refused_) return kNone;
    arena_ = static_cast<char*>(space);
  }
  const auto number = static_cast<uint32_t>(slabs_.size());
  slabs_.emplace_back();
  backend_.RegisterSlab(arena_, kSlabBytes, number);
  return number;
}

void BufferPool::Link(uint32_t& head, uint32_t number) {
  Slab& slab = slabs_[number];
  slab.previous = kNone;
  slab.next = head;
  if (head != kNone) slabs_[head].previous = number;
  head = number;
}

void BufferPool::Unlink(uint32_t& head, uint32_t number) {
  Slab& slab = slabs_[number];
  if (slab.next != kNone) slabs_[slab.next].previous = slab.previous;
  (slab.previous != kNone ? slabs_[slab.previous].next : head) = slab.next;
  slab.next = slab.previous = kNone;
}

void BufferPool::Return(char* memory, size_t bytes) {
  bytes_out_ -= bytes;
  if (!IsInArena(memory)) {
    std::free(memory);
    return;
  }
  const auto offset = static_cast<size_t>(memory - arena_);
  const auto number = static_cast<uint32_t>(offset / kSlabBytes);
  Slab& slab = slabs_[number];
  const bool was_full = slab.is_free.none();
  slab.is_free.set(offset % kSlabBytes / BlockBytes(slab.block_class));
  const bool is_empty = slab.is_free.count() == Blocks(slab.block_class);
  uint32_t& chain = partial_[slab.block_class];
  if (was_full && !is_empty) Link(chain, number);
  if (!was_full && is_empty) Unlink(chain, number);
  if (is_empty) Link(empty_, number);
}

}  // namespace millrace
