#include "millrace/engine/coroutine/stack_pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include "millrace/engine/base/check.h"
#include "millrace/engine/coroutine/sanitizer.h"

namespace millrace {
namespace {

constexpr size_t kStacksPerSlab = 16;
constexpr size_t kGuardPages = 16;
constexpr size_t kSanitizerFactor = (MILLRACE_ASAN || MILLRACE_TSAN) ? 4 : 1;

}  // namespace

StackPool::StackPool(size_t stack_bytes)
    : guard_bytes_(kGuardPages * static_cast<size_t>(sysconf(_SC_PAGESIZE))),
      stack_bytes_(stack_bytes * kSanitizerFactor) {}

StackPool::~StackPool() {
  MILLRACE_CHECK(in_use() == 0, "stack pool destroyed while a coroutine lives");
  for (const Slab& slab : slabs_) munmap(slab.address, slab.bytes);
}

bool StackPool::MapSlab() {
  const size_t stride = guard_bytes_ + stack_bytes_;
  const size_t bytes = stride * kStacksPerSlab;
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (address == MAP_FAILED) return false;
  char* base = static_cast<char*>(address);
  for (size_t i = 0; i < kStacksPerSlab; ++i) {
    if (mprotect(base + i * stride, guard_bytes_, PROT_NONE) != 0) {
      munmap(address, bytes);
      return false;
    }
  }
  slabs_.push_back({address, bytes});
  free_.resize(slabs_.size() * kStacksPerSlab);
  // Lowest address last, so that it is taken first.
  for (size_t i = kStacksPerSlab; i-- > 0;) free_[free_count_++] = base + i * stride + guard_bytes_;
  return true;
}

}  // namespace millrace
