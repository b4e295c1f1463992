// What a Graph owns, for the files of graph/ that implement it. Internal; not installed.
#ifndef MILLRACE_GRAPH_GRAPH_INTERNALS_H_
#define MILLRACE_GRAPH_GRAPH_INTERNALS_H_

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/graph/drain_core.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/node.h"

namespace millrace {

// What is remembered of a node that is gone: who removed it and when.
struct Tombstone {
  std::string name;
  HolderRef removed_by;  // null: an edit that named nobody
  uint64_t revision = 0;
  Nanoseconds when = 0;
};

struct GraphInternals {
  struct Slot {
    uint32_t generation = 0;
    Node* node = nullptr;
    std::shared_ptr<const Tombstone> last;  // the latest node that lived here
  };

  explicit GraphInternals(Graph& owner);

  static GraphInternals& Of(const Graph& graph) { return *graph.internals_; }

  // Null if the id is stale.
  Node* Resolve(NodeId id) const;
  absl::Status StaleError(NodeId id) const;
  // Of a node that is gone: what it was called, or its id where nobody remembers.
  std::string LastNameOf(NodeId id) const;
  // Every attachment: "'disk' by guest device 'drive0'".
  std::string DescribeUsers() const;
  std::string DescribeNodes() const;  // the names of some; of those being closed, how many
  Node* FindByName(std::string_view name) const;
  // These are whole now: views find them by their names. Those that are gone do not matter.
  void Publish(const std::vector<NodeId>& nodes);
  // Gives a node its slot, its id and its place in the tables.
  void Enter(std::unique_ptr<Node> node);
  // A slot and id for a node that a transaction plans; given back by ReleaseId if it is dropped.
  NodeId ReserveId();
  void ReleaseId(NodeId id);
  // Of a node that was never there, as if the id had not been reserved.
  void GiveBackId(NodeId id);
  // Takes an unreferenced node out of the tables; the caller owns it.
  std::unique_ptr<Node> Remove(Node* node, const HolderRef& removed_by);
  // The same, and starts a coroutine that closes it.
  void Bury(Node* node, const HolderRef& removed_by);
  void CoReap(std::unique_ptr<Node> node) MILLRACE_MAY_SUSPEND;
  // Closes the nodes for whose coroutine there was no memory; whoever waits for nodes does that.
  void CoReapLeftOvers() MILLRACE_MAY_SUSPEND;
  void CoCloseDropped(std::unique_ptr<Node> node) MILLRACE_MAY_SUSPEND;
  // Dropped, and about to be closed.
  bool IsDropped(const Node& node) const { return Resolve(node.id) != &node; }
  // Waits until nodes that are being closed have let go of this file of the host; false: there were
  // none. Not for what a drained section holds up: its owner may be the one who waits.
  bool CoWaitWhileLettingGoOf(const FileIdentity& file) MILLRACE_MAY_SUSPEND;
  bool IsSomebodyLettingGoOf(const FileIdentity& file) const;
  bool IsLettingGoOf(const Node& node, const FileIdentity& file) const;
  // Whether all that it is held by, and all that those are held by, is being closed.
  bool GoesWithDropped(const Node& node) const;
  // A drained section was granted: who waits for a node to be closed may have to give up.
  void NoteGranted();
  // Lets go of what a closed node still holds; returns what nobody else holds.
  std::vector<NodeId> ReleaseChildren(Node& dead) MILLRACE_OPENS_VIEW;
  // G1-G5 of these nodes only, as an edit has left them.
  absl::Status CheckEdited(absl::Span<Node* const> edited) const;
  void BumpRevision() { ++graph.revision_; }
  void CountGuestRequest() { ++graph.guest_requests_; }
  // These nodes have other children than before, or show other parts of them;
  // GraphTransaction::ShowsTheSame().
  static void NoteLinks(absl::Span<Node* const> nodes, bool shows_the_same);

  Graph& graph;
  std::vector<Slot> slots;
  std::vector<uint32_t> free_slots;
  absl::flat_hash_map<std::string, Node*> by_name;            // look-ups only, never iterated
  absl::flat_hash_map<std::string, AttachmentCore*> devices;  // look-ups only
  IntrusiveList<Node, &Node::all_link> nodes;                 // in order of creation
  uint64_t next_auto_name = 0;
  uint64_t next_ordinal = 1;  // of claims and links
  SectionTable sections;

  // The reaper: dropped nodes whose CoClose has not ended, each with what it alone still holds.
  // Null: it is closed itself, and waits for what it held.
  absl::btree_map<NodeId, const Node*> closing;
  std::deque<std::unique_ptr<Node>> unclosed;  // those of them that have no coroutine
  Condition closed;
  TaskScope reaper_scope;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GRAPH_INTERNALS_H_
