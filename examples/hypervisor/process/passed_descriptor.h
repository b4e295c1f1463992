// PassedDescriptor: a descriptor that a client has passed along with a request (SCM_RIGHTS), until
// a command takes it. Closed if none does. Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_PASSED_DESCRIPTOR_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_PASSED_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace millrace {

class PassedDescriptor {
 public:
  PassedDescriptor() = default;
  explicit PassedDescriptor(int fd) : fd_(fd) {}
  ~PassedDescriptor() { Close(); }
  PassedDescriptor(PassedDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  PassedDescriptor& operator=(PassedDescriptor&& other) noexcept {
    if (this == &other) return *this;
    Close();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }

  bool is_valid() const { return fd_ >= 0; }
  int get() const { return fd_; }
  // The caller owns it from now on; -1 if there is none.
  int Take() { return std::exchange(fd_, -1); }

 private:
  void Close() {
    if (fd_ >= 0) close(fd_);
  }

  int fd_ = -1;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_PASSED_DESCRIPTOR_H_
