#include "millrace/engine/sync/semaphore.h"

#include "millrace/engine/base/text.h"

namespace millrace {

bool Semaphore::TryAcquire(uint64_t permits) {
  if (!requests_.empty() || available_ < permits) return false;
  available_ -= permits;
  return true;
}

void Semaphore::CoAcquire(uint64_t permits) {
  if (TryAcquire(permits)) return;
  Request request{.permits = permits, .granted = false, .queue = {}, .link = {}};
  requests_.PushBack(request);
  request.queue.CoWait("semaphore.acquire", this);
}

absl::Status Semaphore::CoAcquireCancellable(uint64_t permits) {
  if (TryAcquire(permits)) return absl::OkStatus();
  Request request{.permits = permits, .granted = false, .queue = {}, .link = {}};
  requests_.PushBack(request);
  absl::Status status = request.queue.CoWaitCancellable("semaphore.acquire", this);
  if (request.granted) return absl::OkStatus();
  requests_.Remove(request);
  Grant();  // whoever was behind this request may fit now
  return status;
}

void Semaphore::Release(uint64_t permits) {
  available_ += permits;
  Grant();
}

void Semaphore::Grant() {
  while (Request* request = requests_.front()) {
    if (available_ < request->permits) return;
    available_ -= request->permits;
    requests_.Remove(*request);
    request->granted = true;
    request->queue.WakeOne();
  }
}

void Semaphore::DescribeWait(WaitDescription& description) const {
  description.object = StrCat("semaphore '", name_, "' (", available_, " permits left)");
}

}  // namespace millrace
