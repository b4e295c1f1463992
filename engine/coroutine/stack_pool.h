// StackPool: coroutine stacks, mapped in slabs with guard pages below each, and reused.
//
// A stack overflow faults on its guard instead of corrupting a neighbour; the guard is as wide as
// 16 pages, so that one large frame does not step over it. Sizes: 64 KiB unless the creator says
// otherwise, and four times that under sanitizers (their frames are larger). Stacks are returned to
// a free list, hot one first, and unmapped when the pool goes. Mapping a slab can fail; Take() then
// returns an empty stack, and the caller reports ResourceExhausted.
//
// One pool serves any number of schedulers of one thread, one after another or together: whoever
// creates an engine per explored schedule shares a pool among them and so maps no memory.
#ifndef MILLRACE_ENGINE_COROUTINE_STACK_POOL_H_
#define MILLRACE_ENGINE_COROUTINE_STACK_POOL_H_

#include <cstddef>
#include <vector>

namespace millrace {

// Usable bytes [bottom, bottom + bytes); the stack grows downwards from the end.
struct Stack {
  void* bottom = nullptr;
  size_t bytes = 0;

  bool is_valid() const { return bottom != nullptr; }
  char* top() const { return static_cast<char*>(bottom) + bytes; }
};

class StackPool {
 public:
  static constexpr size_t kDefaultStackBytes = 64 << 10;

  // `stack_bytes` is a multiple of the page size. Pages that are never touched cost nothing.
  explicit StackPool(size_t stack_bytes = kDefaultStackBytes);
  ~StackPool();  // all stacks must be back (checked)
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  Stack Take() {
    if (free_count_ == 0 && !MapSlab()) return {};
    return {free_[--free_count_], stack_bytes_};
  }
  void Return(Stack stack) { free_[free_count_++] = static_cast<char*>(stack.bottom); }

  size_t in_use() const { return free_.size() - free_count_; }
  size_t stack_bytes() const { return stack_bytes_; }

 private:
  struct Slab {
    void* address;
    size_t bytes;
  };
  bool MapSlab();

  size_t guard_bytes_;
  size_t stack_bytes_;
  // The bottoms of the free stacks are the first `free_count_` elements; there is room for all.
  std::vector<char*> free_;
  size_t free_count_ = 0;
  std::vector<Slab> slabs_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_COROUTINE_STACK_POOL_H_
