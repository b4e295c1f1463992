#include "millrace/engine/sync/semaphore.h"

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace {

bool Semaphore::TryAcquire(uint64_t permits) {
  internal::TouchHere("semaphore", name_, StepAccess::kWrite);
  Grant();  // lets go of cancelled requests that have not run yet
  if (!requests_.empty() || available_ < permits) return false;
  available_ -= permits;
  return true;
}

void Semaphore::CoAcquire(uint64_t permits) {
  if (TryAcquire(permits)) return;
  Request request(*this, permits);
  requests_.PushBack(request);
  request.queue.CoWait("semaphore.acquire", &request);
}

absl::Status Semaphore::CoAcquireCancellable(uint64_t permits) {
  if (TryAcquire(permits)) return absl::OkStatus();
  Request request(*this, permits);
  requests_.PushBack(request);
  absl::Status status = request.queue.CoWaitCancellable("semaphore.acquire", &request);
  if (request.granted) return absl::OkStatus();
  if (request.link.is_linked()) {
    internal::TouchHere("semaphore", name_, StepAccess::kWrite);
    requests_.Remove(request);
    MILLRACE_MUTANT(kR49) return status;
    Grant();  // whoever was behind this request may fit now
  }
  return status;
}

void Semaphore::Release(uint64_t permits) {
  internal::TouchHere("semaphore", name_, StepAccess::kWrite);
  available_ += permits;
  Grant();
}

void Semaphore::Grant() {
  while (Request* request = requests_.front()) {
    // A request that nobody waits for was cancelled and has not run yet: it must not take permits.
    const bool is_cancelled = request->queue.empty();
    if (!is_cancelled && available_ < request->permits) return;
    requests_.Remove(*request);
    MILLRACE_SOMETIMES(is_cancelled, "semaphore: a cancelled request is passed over");
    if (is_cancelled) continue;
    available_ -= request->permits;
    request->granted = true;
    request->queue.WakeOne();
  }
}

void Semaphore::Request::DescribeWait(WaitDescription& description) const {
  description.object =
      StrCat(permits, " of semaphore '", semaphore.name_, "' (", semaphore.available_, " left)");
}

}  // namespace millrace
