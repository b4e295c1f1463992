#include "millrace/engine/coroutine/stack_pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include "millrace/engine/base/check.h"
#include "millrace/engine/coroutine/sanitizer.h"

namespace millrace {
namespace {

constexpr size_t kStacksPerSlab = 16;
constexpr size_t kStackBytes = (MILLRACE_ASAN || MILLRACE_TSAN) ? 256 * 1024 : 64 * 1024;

}  // namespace

StackPool::StackPool()
    : page_bytes_(static_cast<size_t>(sysconf(_SC_PAGESIZE))), stack_bytes_(kStackBytes) {}

StackPool::~StackPool() {
  MILLRACE_CHECK(in_use_ == 0, "stack pool destroyed while a coroutine lives");
  for (const Slab& slab : slabs_) munmap(slab.address, slab.bytes);
}

bool StackPool::MapSlab() {
  const size_t stride = page_bytes_ + stack_bytes_;
  const size_t bytes = stride * kStacksPerSlab;
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (address == MAP_FAILED) return false;
  char* base = static_cast<char*>(address);
  for (size_t i = 0; i < kStacksPerSlab; ++i) {
    if (mprotect(base + i * stride, page_bytes_, PROT_NONE) != 0) {
      munmap(address, bytes);
      return false;
    }
  }
  slabs_.push_back({address, bytes});
  // Lowest address last, so that it is taken first.
  for (size_t i = kStacksPerSlab; i-- > 0;) {
    free_.push_back({base + i * stride + page_bytes_, stack_bytes_});
  }
  return true;
}

}  // namespace millrace
