// StackPool: coroutine stacks, mapped in slabs with a guard page below each, and reused.
//
// A stack overflow faults on its guard page instead of corrupting a neighbour. Sizes: 64 KiB, or
// 256 KiB under sanitizers (their frames are larger). Stacks are returned to a free list, hot one
// first, and unmapped when the pool goes. Home thread only. Mapping a slab can fail; Take() then
// returns an empty stack, and the caller reports ResourceExhausted.
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
  StackPool();
  ~StackPool();  // all stacks must be back (checked)
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  Stack Take() {
    if (free_.empty() && !MapSlab()) return {};
    Stack stack = free_.back();
    free_.pop_back();
    ++in_use_;
    return stack;
  }
  void Return(Stack stack) {
    free_.push_back(stack);
    --in_use_;
  }

  size_t in_use() const { return in_use_; }
  size_t stack_bytes() const { return stack_bytes_; }

 private:
  struct Slab {
    void* address;
    size_t bytes;
  };
  bool MapSlab();

  size_t page_bytes_;
  size_t stack_bytes_;
  std::vector<Stack> free_;
  std::vector<Slab> slabs_;
  size_t in_use_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_COROUTINE_STACK_POOL_H_
