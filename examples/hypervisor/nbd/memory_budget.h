// NbdMemoryBudget: how much memory all clients together may make the server hold in buffers.
//
// Every session may hold a small share whatever the others do, so that clients who do not read
// their replies starve nobody; what is larger waits until others give back. Home thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_MEMORY_BUDGET_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_MEMORY_BUDGET_H_

#include <cstdint>
#include <utility>

namespace millrace {

class NbdMemoryBudget {
 public:
  static constexpr uint64_t kShareBytes = 1 << 20;

  explicit NbdMemoryBudget(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  // False: ask again when somebody gave back. `held` is what the session holds already.
  bool TryTake(uint64_t bytes, uint64_t held) {
    if (held + bytes > kShareBytes && taken_ + bytes > bytes_max_) {
      is_awaited_ = true;
      return false;
    }
    taken_ += bytes;
    return true;
  }
  // Whether somebody was refused since the last time: he may ask again.
  bool Give(uint64_t bytes) {
    taken_ -= bytes;
    return std::exchange(is_awaited_, false);
  }
  uint64_t taken() const { return taken_; }

 private:
  const uint64_t bytes_max_;
  uint64_t taken_ = 0;
  bool is_awaited_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_MEMORY_BUDGET_H_
