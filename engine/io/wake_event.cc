#include "millrace/engine/io/wake_event.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "millrace/engine/io/io_error.h"

namespace millrace {

WakeEvent::~WakeEvent() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::Status WakeEvent::Open() {
  descriptor_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor_ < 0) return ErrnoStatus(errno, "create an eventfd for the engine");
  return absl::OkStatus();
}

void WakeEvent::Ring() {
  if (is_rung_.exchange(true, std::memory_order_acq_rel)) return;
  // The counter cannot overflow: the flag lets one write through per clear.
  while (eventfd_write(descriptor_, 1) != 0 && errno == EINTR) {
  }
}

void WakeEvent::Clear() {
  if (is_rung_.load(std::memory_order_acquire)) ClearWithHost();
}

void WakeEvent::ClearWithHost() {
  eventfd_t count;
  // Nothing to read yet: the ringer is between flag and write. The flag stays, so that the bell is
  // cleared once that write has arrived and not left readable for ever.
  if (eventfd_read(descriptor_, &count) != 0) return;
  is_rung_.exchange(false, std::memory_order_acq_rel);
}

void WakeEvent::Wait(Nanoseconds timeout) const {
  pollfd wanted = {descriptor_, POLLIN, 0};
  timespec limit;
  limit.tv_sec = timeout / kSecond;
  limit.tv_nsec = timeout % kSecond;
  ppoll(&wanted, 1, timeout == kNever ? nullptr : &limit, nullptr);
}

}  // namespace millrace
