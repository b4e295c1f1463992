// GuestServer: the home thread's side of a GuestPort. Internal; not installed.
//
// Each request is served by a coroutine: it enters the attachment like CoRead() and CoWrite() do,
// and so queues at drains and is counted in flight like theirs. A coroutine that is done takes the
// next request that waits, and ends when there is none: an idle port holds no stack.
#ifndef MILLRACE_GRAPH_GUEST_SERVER_H_
#define MILLRACE_GRAPH_GUEST_SERVER_H_

#include <cstddef>
#include <memory>

#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/guest_port.h"

namespace millrace {

struct AttachmentCore;
class InFlightRequest;

class GuestServer {
 public:
  // `core` owns the server.
  explicit GuestServer(AttachmentCore& core);
  // Closes. Nothing may be under way (checked by the scope).
  ~GuestServer();
  GuestServer(const GuestServer&) = delete;
  GuestServer& operator=(const GuestServer&) = delete;

  GuestPort port() const { return GuestPort(queue_); }
  // Refuses requests from here on, and cancels what has not started: what waits for a coroutine at
  // once, what queues at a drain as soon as its coroutine runs. Idempotent.
  void Close();
  bool is_closed() const { return queue_->is_closed(); }

 private:
  struct Worker;

  void Accept(GuestRequest& request);
  void StartWorkers();
  bool StartWorker();
  void CoWork() MILLRACE_MAY_SUSPEND;
  void CoServe(GuestRequest& request) MILLRACE_MAY_SUSPEND;
  absl::Status CoPerform(const GuestRequest& request, const InFlightRequest& entered)
      MILLRACE_MAY_SUSPEND;

  AttachmentCore& core_;
  TaskScope workers_;
  const std::shared_ptr<GuestPort::Queue> queue_;
  SubmissionFifo<GuestRequest> waiting_;  // accepted, and no coroutine has them yet
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GUEST_SERVER_H_
