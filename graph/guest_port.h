// GuestPort: how other threads do I/O through an attachment. What a hypervisor's device threads
// hold while the graph, its jobs and their drains live on the engine's home thread.
//
//   GuestPort port = attachment.guest_port();        // on the home thread
//
//   request.operation = GuestOperation::kWrite;      // on a device's thread, for each request
//   request.offset = sector * 512;
//   request.iov = {pieces, piece_count};             // guest memory, used in place
//   request.completion = [](GuestRequest& done) {    // called on the home thread; to be told on
//     ...                                            // the device's own, see GuestCompletions
//   };
//   if (!port.Submit(request)) ...                   // the attachment is gone
//
// Cost. Submit() takes no lock and allocates nothing; a burst of requests wakes the home thread
// once, so there is no call for batches.
//
// Order. Requests of one thread are started in the order in which it submitted them; up to
// kInFlightMax are under way at once, beside each other, and they complete in any order, as a
// disk's do. Who needs an order waits for the completion, or flushes.
//
// Drains. While the attachment's node is drained, requests queue as those of CoRead() and CoWrite()
// do: they are accepted, are not in flight, and start in order when the drain ends.
//
// The end. Attachment::CoDetach(), and its destruction, close the port. Every request whose
// Submit() returned true is completed, exactly once: what was under way with its own result, what
// had not started (arrived or queued at a drain) with Cancelled. From then on Submit() returns
// false and leaves the request as it was. A port may be kept and asked for ever: after the detach,
// and after the graph and the engine are gone.
#ifndef MILLRACE_GRAPH_GUEST_PORT_H_
#define MILLRACE_GRAPH_GUEST_PORT_H_

#include <cstddef>
#include <memory>
#include <utility>

#include "millrace/graph/guest_request.h"

namespace millrace {

// A handle; copies mean the same port. Copying and destroying: any thread.
class GuestPort {
 public:
  static constexpr size_t kInFlightMax = 256;

  // A port of nothing: refuses everything.
  GuestPort() = default;

  // Any thread, the home thread included, from coroutines, completions and outside of both. False:
  // the request was not taken and its completion will not be called. A request that is under way
  // must not be submitted again (checked).
  [[nodiscard]] bool Submit(GuestRequest& request) const;

 private:
  friend class GuestServer;
  using Queue = SubmissionQueue<GuestRequest>;
  explicit GuestPort(std::shared_ptr<Queue> queue) : queue_(std::move(queue)) {}

  std::shared_ptr<Queue> queue_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GUEST_PORT_H_
