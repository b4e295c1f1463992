// The graph's side of an attachment. Internal; not installed.
#ifndef MILLRACE_GRAPH_ATTACHMENT_CORE_H_
#define MILLRACE_GRAPH_ATTACHMENT_CORE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/scheduler/wait.h"
#include "millrace/engine/sync/wait_queue.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/guest_server.h"
#include "millrace/graph/io/io_vector.h"
#include "millrace/graph/node.h"

namespace millrace {

// A request that waits for the end of a drained section. It lives on the stack of its coroutine.
// Whoever ends the section begins `request` before it wakes the coroutine (race R20).
struct QueuedRequest {
  InFlightRequest* request = nullptr;
  bool can_be_turned_away = false;
  WaitQueue waiter;
  ListLink link;
};

struct AttachmentCore final : Waitable {
  explicit AttachmentCore(Graph& owner) : graph(owner) {}
  ~AttachmentCore();

  bool is_live() const { return edge.child != nullptr && is_applied; }
  // Begins `request` on the node now, or after the drain that covers it.
  void CoEnter(InFlightRequest& request) MILLRACE_MAY_SUSPEND;
  // The same for a guest port's requests: false if TurnAwayQueued() came first.
  bool CoEnterUnlessTurnedAway(InFlightRequest& request) MILLRACE_MAY_SUSPEND;
  // Wakes the guest port's requests that wait for the end of a drain, without admitting them.
  void TurnAwayQueued();

  // ---- Operations of a request that has entered -------------------------------------------------
  absl::Status CoRead(const InFlightRequest& entered, uint64_t offset, const IoVector& target)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(const InFlightRequest& entered, uint64_t offset, const IoVector& source,
                       WriteFlags flags) MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(const InFlightRequest& entered, uint64_t offset, uint64_t bytes,
                             ZeroFlags flags) MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(const InFlightRequest& entered, uint64_t offset, uint64_t bytes)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoFlush(const InFlightRequest& entered) MILLRACE_MAY_SUSPEND;

  // Called by the section table; counted.
  void BeginQuiesce();
  void EndQuiesce();
  void DescribeWait(WaitDescription& description) const override;
  // Operations that have begun on the node.
  size_t in_flight() const { return static_cast<size_t>(uses - idle_uses) - queue.size(); }

  Graph& graph;
  AttachmentOptions options;
  Edge edge;
  bool is_applied = false;
  GraphTransaction::Plan* planned_in = nullptr;  // while staged
  int quiesce_count = 0;
  std::vector<SectionCore*> sections;  // that count one unit of quiesce_count each
  uint64_t cover_mark = 0;             // for the section table
  int uses = 0;                        // operations under way, queued ones included
  int idle_uses = 0;                   // of them, those without a request on the node
  WaitQueue unused;                    // woken when uses comes back to 0
  IntrusiveList<QueuedRequest, &QueuedRequest::link> queue;
  std::unique_ptr<GuestServer> guest_server;  // once its port was asked for

 private:
  // False: turned away.
  bool CoEnterOrQueue(InFlightRequest& request, bool can_be_turned_away) MILLRACE_MAY_SUSPEND;
};

// One operation of an attachment, from its first look at it to its last.
class AttachmentUse {
 public:
  explicit AttachmentUse(AttachmentCore& core) : core_(core) { ++core_.uses; }
  ~AttachmentUse() {
    if (--core_.uses == 0) core_.unused.WakeAll();
  }
  AttachmentUse(const AttachmentUse&) = delete;
  AttachmentUse& operator=(const AttachmentUse&) = delete;

 private:
  AttachmentCore& core_;
};

// Lets tests and the transaction reach the core.
struct AttachmentAccess {
  static AttachmentCore* Core(const Attachment& attachment) { return attachment.core_.get(); }
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_ATTACHMENT_CORE_H_
