#include "millrace/graph/drivers/qcow2/pending_frees.h"

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/text.h"

namespace millrace::qcow2 {

void PendingFrees::Add(ClusterRun run, bool discard) {
  Add(PendingFree{.run = run, .discard = discard});
}

void PendingFrees::AddL2Table(HostCluster cluster) {
  Add(PendingFree{.run = {cluster, 1}, .is_l2_table = true});
}

void PendingFrees::Add(PendingFree pending) {
  pending.request = image_.context().NewestRequest();
  pending.round = writeback_.next_round();
  clusters_ += pending.run.count;
  if (!frees_.empty() && !pending.is_l2_table) {
    PendingFree& last = frees_.back();
    if (last.run.end() == pending.run.first.value() && !last.is_l2_table &&
        last.discard == pending.discard && last.request == pending.request &&
        last.round == pending.round) {
      last.run.count += pending.run.count;
      return;
    }
  }
  frees_.push_back(pending);
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
    const absl::Status status = pending.is_l2_table
                                    ? refcounts_.CoReleaseL2Table(pending.run.first)
                                    : refcounts_.CoRelease(pending.run, pending.discard);
    if (!status.ok()) {
      image_.context().LogWarning(StrCat("leaked ", pending.run.count, " clusters from cluster ",
                                         pending.run.first.value(),
                                         " on: ", FromAbsl(status.message())));
    }
  }
}

}  // namespace millrace::qcow2
