// Graph: the nodes of one engine, the edges between them, and the rules for changing them.
//
// A node lives iff an edge points at it (G3). Users hold nodes by attachments (root edges); nodes
// hold each other by child edges. Everything is looked at through a GraphView and changed through a
// GraphTransaction; an edge changes only while its parent is drained (G6). Nodes that nobody points
// at any more are closed by the reaper, a coroutine of the graph, after the edit.
//
// Home thread only, and in coroutines of its own engine only (checked). The graph must outlive
// everything that refers to it; before it goes, all attachments must be gone and CoClose() must
// have run (checked).
#ifndef MILLRACE_GRAPH_GRAPH_H_
#define MILLRACE_GRAPH_GRAPH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/scheduler/invariant_checker.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/graph/guest_load.h"
#include "millrace/graph/node_id.h"

namespace millrace {

class Engine;
class GraphTransaction;
struct AttachmentCore;
struct GraphInternals;
struct Node;
struct SectionCore;

class Graph final : public InvariantChecker {
 public:
  explicit Graph(Engine& engine);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  Engine& engine() const { return engine_; }
  // Grows by one with every applied transaction, and by nothing else (G8).
  uint64_t revision() const { return revision_; }
  size_t node_count() const { return node_count_; }
  // Requests that guests (attachments that queue while they are drained) have begun so far. Jobs
  // look at it to see whether somebody is waiting.
  uint64_t guest_requests() const { return guest_requests_; }
  // How they fare.
  GuestLoad& guest_load() { return guest_load_; }

  // Waits until these dropped nodes (AppliedEdit::dropped) are closed, with what only they held:
  // files closed, locks gone. Not for others: one stuck device must not hold up everybody.
  void CoWaitForClosed(const std::vector<NodeId>& dropped) MILLRACE_MAY_SUSPEND;
  // The same for everything that has been dropped so far.
  void CoWaitForReaper() MILLRACE_MAY_SUSPEND;
  // Dropped and not closed yet, in order of their ids. What goes by itself (an attachment's
  // destructor) names no nodes: they are the difference.
  std::vector<NodeId> NodesBeingClosed() const;
  // Ends the graph: waits for the reaper. All attachments must be gone.
  void CoClose() MILLRACE_MAY_SUSPEND;

  // G1-G9 over the whole graph: OK, or Internal naming the first invariant that does not hold, the
  // node or edge, and what is wrong. Costs time proportional to the graph; for simulations, which
  // also look at what each edit touched.
  absl::Status CheckInvariants() override;

 private:
  friend struct GraphInternals;

  Engine& engine_;
  std::unique_ptr<GraphInternals> internals_;
  uint64_t revision_ = 0;
  size_t node_count_ = 0;
  uint64_t guest_requests_ = 0;
  GuestLoad guest_load_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GRAPH_H_
