#include "millrace/graph/drivers/qcow2/pending_frees.h"

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/text.h"

namespace millrace::qcow2 {

void PendingFrees::Add(ClusterRun run, bool discard) {
  const uint64_t request = image_.context().NewestRequest();
  const uint64_t round = writeback_.next_round();
  clusters_ += run.count;
  if (!frees_.empty()) {
    PendingFree& last = frees_.back();
    if (last.run.end() == run.first.value() && last.discard == discard && last.request == request &&
        last.round == round) {
      last.run.count += run.count;
      return;
    }
  }
  frees_.push_back({run, discard, request, round});
}

bool PendingFrees::IsDue(const PendingFree& pending) const {
  MILLRACE_MUTANT(kR83) return true;  // whoever still knows it
  // Whatever the tables on disk still say.
  MILLRACE_MUTANT(kR84b) return image_.context().OldestRequest() > pending.request;
  return writeback_.durable_round() >= pending.round &&
         image_.context().OldestRequest() > pending.request;
}

void PendingFrees::CoRelease() {
  while (!frees_.empty() && IsDue(frees_.front())) {
    // Taken out first: another coroutine may come here while this one waits.
    const PendingFree pending = frees_.front();
    frees_.pop_front();
    clusters_ -= pending.run.count;
    const absl::Status status = refcounts_.CoRelease(pending.run, pending.discard);
    if (!status.ok()) {
      image_.context().LogWarning(StrCat("leaked ", pending.run.count, " clusters from cluster ",
                                         pending.run.first.value(),
                                         " on: ", FromAbsl(status.message())));
    }
  }
}

}  // namespace millrace::qcow2
