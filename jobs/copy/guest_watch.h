// GuestWatch: whether guests are using the disk just now, so that a job can step back.
#ifndef MILLRACE_JOBS_COPY_GUEST_WATCH_H_
#define MILLRACE_JOBS_COPY_GUEST_WATCH_H_

#include <cstdint>

#include "millrace/engine/engine.h"
#include "millrace/graph/graph.h"

namespace millrace {

// Home thread; nothing suspends. Costs a look at a counter and the clock.
class GuestWatch {
 public:
  explicit GuestWatch(Graph& graph) : graph_(graph), seen_(graph.guest_requests()) {}

  // Whether a guest has asked for anything within the last kMemory.
  bool IsGuestActive() {
    const Nanoseconds now = graph_.engine().clock().Now();
    if (graph_.guest_requests() != seen_) {
      seen_ = graph_.guest_requests();
      quiet_from_ = now + kMemory;
    }
    return now < quiet_from_;
  }

 private:
  // Longer than a guest with one request at a time needs to ask again, shorter than what a user
  // would notice of a job that still steps back.
  static constexpr Nanoseconds kMemory = 50 * kMillisecond;

  Graph& graph_;
  uint64_t seen_;
  Nanoseconds quiet_from_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_COPY_GUEST_WATCH_H_
