// GraphView: a look at the graph, for as long as one block of code does not suspend.
//
//   GraphView view(graph);
//   MILLRACE_ASSIGN_OR_RETURN(NodeView top, view.Resolve(top_id));
//
// While a view is open nothing may suspend: clang rejects it, and Suspend() checks it (G9). A
// NodeView exists only inside a view and cannot be assigned, so it cannot outlive its block; what
// may be kept is NodeId. Functions that only read take `const GraphReader&` and work on the graph
// as it is (GraphView) and as it would be (GraphTransaction) alike.
#ifndef MILLRACE_GRAPH_GRAPH_VIEW_H_
#define MILLRACE_GRAPH_GRAPH_VIEW_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/node_id.h"
#include "millrace/graph/node_io_options.h"
#include "millrace/graph/operation_claim.h"
#include "millrace/graph/permission.h"
#include "millrace/graph/role.h"

namespace millrace {

class Graph;
class GraphReader;
class ProposedGraph;
struct Node;
struct Edge;

// A node as seen through one reader. What is asked of the graph is asked at once and costs what it
// touches; nothing here suspends or does I/O. Strings and vectors that are returned by reference
// live as long as the view.
class NodeView {
 public:
  NodeView(const NodeView&) = default;
  NodeView& operator=(const NodeView&) = delete;

  NodeId id() const;  // what may be kept; Resolve() leads back, if the node is still there
  const std::string& name() const;       // unique in the graph; "#block123" if no user gave one
  std::string_view driver_name() const;  // "qcow2": what it was registered by
  NodeKind kind() const;
  bool is_filter() const { return kind() == NodeKind::kFilter; }
  // Nobody may write, users and jobs alike. What jobs write to is writable for as long as they run.
  bool is_read_only() const;
  // Put there by a job for itself, under no name of the user's: clients that ask for "the node
  // below the disk" are shown what is below it.
  bool is_implicit() const;
  // What its users see of it: the length of the disk, in bytes.
  uint64_t bytes() const;
  // Granularity at which a format hands out space; 0 for other nodes.
  uint64_t cluster_bytes() const;
  // Driver::data_children_show_the_same().
  bool data_children_show_the_same() const;
  // As clients see it (graph/file_name.h). To name many nodes, use one FileNames.
  std::string filename() const;
  // What the driver itself says: a path for files, "" for most others.
  std::string driver_filename() const;
  // The options that the user gave its driver.
  const std::vector<ToldOption>& told() const;
  // Whether its driver can stand on a backing image, whether or not it does.
  bool supports_backing() const;
  // FormatDriver::facts() and is_marked_dirty(); nothing for other nodes.
  std::vector<FormatFact> facts() const;
  bool is_marked_dirty() const;
  // ProtocolDriver::discard_counts(); zeroes for other nodes.
  DiscardCounts discard_counts() const;
  // The end of the furthest write since the node was opened.
  uint64_t highest_write_end() const;
  uint64_t write_threshold() const;  // 0: none
  // What the image's header says about the image below; empty for nodes without one.
  BackingReference backing_reference() const;
  // FormatDriver::CheckBackingReference(); OK for nodes without a header.
  absl::Status CheckBackingReference(const BackingReference& reference) const;
  // Whether somebody has drained it: requests that come wait for the end of the section.
  bool is_quiesced() const;
  // Driver::is_unleasable(): a lease may not include a link to it.
  bool is_unleasable() const;
  // NodeOptions::follows_parent_access.
  bool follows_parent_access() const;
  // Union of what the users use, intersection of what they share.
  Permissions cumulative_permissions() const;
  // Whether somebody who points here uses any of these, links from node `parent` excepted (invalid:
  // from none).
  bool is_used_besides(NodeId parent, PermissionSet any_of) const;
  bool has_parents() const;
  // Parent nodes; users (attachments) are not nodes and do not show here.
  std::vector<NodeId> parents() const;
  // Whether one link of `parent` leads here, and nobody else sees what is here. Who asks for no
  // permissions, as a mere owner does, sees nothing.
  bool IsShownOnlyBy(const NodeView& parent) const;
  // Whether some attachment points here directly.
  bool has_attachment() const;
  // Whether somebody who points here would follow an edit above this node, as when a filter is put
  // there: a parent node, or an attachment that does not stay (AttachmentOptions::stays_at_node).
  bool has_followers() const;
  // How many attachments point here directly.
  size_t user_count() const;
  // How its I/O is treated before the driver sees it.
  const NodeIoOptions& io_options() const;
  // What jobs are attached here directly for ("main node", "target", "base" ...), and what each of
  // them uses: nothing where it only names the node.
  struct JobUse {
    std::string purpose;
    PermissionSet used;
  };
  std::vector<JobUse> job_uses() const;
  bool has_job_user() const { return !job_uses().empty(); }
  // Whether a backing link that leads here was made, or came to lead here, after the newest claim
  // of the operation was taken.
  bool has_backing_link_since(Operation claimed) const;
  // Who uses it, for refusals: jobs first, the newest claim before all, those that a filter right
  // above belongs to included; then other attachments, then parent nodes. Nobody is named twice.
  // `besides` is left out: a mere owner is in nobody's way.
  std::vector<ConflictHolder> users(const HolderRef& besides = nullptr) const;
  // The same of those only who stand on it: jobs and parent nodes.
  std::vector<ConflictHolder> jobs_and_parents() const;
  // What it is seen through.
  const GraphReader& reader() const { return *reader_; }
  // Name of the newest attachment that has one: "drive0"; empty if none.
  std::string device_name() const;

  // The child in a role of which a node has one at most; nothing if there is none.
  std::optional<NodeView> Child(Role role) const;
  std::optional<NodeView> Backing() const { return Child(Role::kBacking); }
  std::optional<NodeView> Filtered() const { return Child(Role::kFiltered); }
  // The one child that shows through: filtered for filters, backing for formats.
  std::optional<NodeView> FilteredOrBacking() const;

  friend bool operator==(const NodeView& a, const NodeView& b) { return a.node_ == b.node_; }

 private:
  friend class GraphReader;
  friend class GraphTransaction;
  friend class FileNames;
  NodeView(const GraphReader& reader, const Node& node) : reader_(&reader), node_(&node) {}

  const GraphReader* reader_;
  const Node* node_;
};

// What a look at the graph can ask, whether it is the graph as it is or as it would be after a
// plan. Not kept: it is a parameter, and lives as long as the view or the transaction behind it.
class GraphReader {
 public:
  GraphReader(const GraphReader&) = delete;
  GraphReader& operator=(const GraphReader&) = delete;

  // FailedPrecondition with a Conflict (kStaleNode) that says who removed the node and when.
  absl::StatusOr<NodeView> Resolve(NodeId id) const MILLRACE_LIFETIME_BOUND;
  // NotFound.
  absl::StatusOr<NodeView> Find(std::string_view node_name) const MILLRACE_LIFETIME_BOUND;
  // The node an attachment with this device name points at, else the node of this name.
  absl::StatusOr<NodeView> FindDeviceOrNode(std::string_view name) const MILLRACE_LIFETIME_BOUND;
  // All nodes in order of creation, planned ones last. Costs time proportional to the graph.
  std::vector<NodeId> Nodes() const;
  Graph& graph() const { return graph_; }

 protected:
  GraphReader(Graph& graph, const ProposedGraph* proposed) : graph_(graph), proposed_(proposed) {}
  ~GraphReader() = default;

 private:
  friend class NodeView;
  friend class GraphTransaction;
  friend class FrozenChain;
  friend class OperationClaim;
  friend struct GraphReaderAccess;

  Graph& graph_;
  const ProposedGraph* proposed_;  // null: the graph as it is
};

// The graph as it is. One may be open at a time; opening costs nothing.
class MILLRACE_SCOPED_CAPABILITY GraphView final : public GraphReader {
 public:
  explicit GraphView(Graph& graph) MILLRACE_RELEASE(kNoOpenView);
  ~GraphView() MILLRACE_RELEASE();

  // A view lives in a block: on the heap it would escape the analysis.
  static void* operator new(size_t) = delete;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GRAPH_VIEW_H_
