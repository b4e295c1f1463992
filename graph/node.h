// Node and Edge: the graph's own records. Private to graph/; everybody else has NodeId and
// NodeView. Internal; not installed.
#ifndef MILLRACE_GRAPH_NODE_H_
#define MILLRACE_GRAPH_NODE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/io/in_flight_request.h"
#include "millrace/graph/node_id.h"
#include "millrace/graph/node_io_options.h"
#include "millrace/graph/operation_claim.h"
#include "millrace/graph/permission.h"
#include "millrace/graph/role.h"

namespace millrace {

class ChainIndex;
class Graph;
struct Node;
class ChangeListener;
struct AttachmentCore;
struct FrozenChainCore;
struct SectionCore;

// A parent's or a user's link to a node. G2: an edge is in its parent's list and its child's list.
struct Edge {
  Node* parent = nullptr;                // null: a root edge, and then
  AttachmentCore* attachment = nullptr;  // this is set
  Node* child = nullptr;
  Role role = Role::kRoot;
  std::string name;  // "file", "backing", "root"
  Permissions permissions;
  Permissions reserved;              // permission.h
  FrozenChainCore* lease = nullptr;  // who froze it
  uint64_t ordinal = 0;              // when it came to lead here, counted with the node's claims
  ListLink child_side;               // in child->parents
};

struct Node {
  explicit Node(Graph& owner) : graph(owner), header_mutex("backing header") {}
  ~Node();

  Edge* FindChild(Role role) const;
  Edge* FilteredOrBacking() const;
  bool is_filter() const { return driver->kind() == NodeKind::kFilter; }
  bool is_quiesced() const { return !sections.empty(); }
  // For texts: its name; one that was generated says nothing to people, so the file below is named
  // too: "#block6 (top.qcow2)".
  std::string InWords() const;
  // The same where somebody else knows the child in a role; null: none.
  std::string InWords(absl::FunctionRef<const Node*(const Node&, Role)> child_of) const;
  // Data are about to be written up to `end`.
  void NoteWrite(uint64_t end);
  // For the change listeners: a write has ended, the length is another one, the node goes.
  void NoteChange(ByteRange range) {
    if (!change_listeners.empty()) TellOfChange(range);
  }
  void TellOfChange(ByteRange range);
  void NoteResize();
  void LetGoOfChangeListeners();

  Graph& graph;
  NodeId id;
  std::string name;
  std::unique_ptr<Driver> driver;
  std::unique_ptr<DriverContext> context;
  bool is_read_only = false;
  bool is_implicit = false;           // put there by a job, not named by the user
  bool is_open = false;               // CoOpen succeeded
  bool is_half_open = false;          // see NodeOptions
  bool needs_close = false;           // CoOpen was called
  bool follows_parent_access = true;  // see NodeOptions
  NodeIoOptions io;
  uint64_t highest_write_end = 0;
  uint64_t write_threshold = 0;  // 0: none; see write_threshold.h
  std::function<void(uint64_t exceeded_by)> on_write_threshold;
  std::vector<ChangeListener*> change_listeners;
  std::vector<ToldOption> told;  // what a user said to the driver
  // What the image that the header leads to was called when it was opened.
  std::optional<std::string> backing_name;

  std::vector<std::unique_ptr<Edge>> children;
  IntrusiveList<Edge, &Edge::child_side> parents;

  // Requests in flight through this node, oldest first.
  IntrusiveList<InFlightRequest, &InFlightRequest::link_> requests;
  uint64_t newest_request = 0;
  // Grows whenever the format has changed where its bytes live, before the request that did it
  // ends.
  uint64_t mapping_revision = 0;
  // Of a long chain's top, once it was read; see io/chain_index.h.
  std::shared_ptr<ChainIndex> chain_index;
  // Drained sections that cover this node.
  std::vector<SectionCore*> sections;
  uint64_t cover_mark = 0;  // for the section table
  // Oldest first; the newest is reported.
  std::vector<OperationClaimRecord> claims;

  // What the header says or is to say, once a transaction changed the backing edge.
  std::optional<BackingReference> wanted_reference;
  uint64_t backing_revision = 0;  // graph revision of the last change of the backing edge
  Mutex header_mutex;
  // One resize at a time; made by the first.
  std::unique_ptr<Mutex> resize_mutex;
  // Serialises unaligned writes; only where the driver wants alignment.
  std::unique_ptr<RangeLock> alignment_lock;

  ListLink all_link;  // in Graph's list of live nodes
};

// Tells the change listeners of a node when the write that it stands for has ended. Declared after
// the write's InFlightRequest, so that no drain is granted in between.
class ChangeNote {
 public:
  enum class Effect : uint8_t { kVisible, kNone };
  ChangeNote(Node& node, ByteRange range, Effect effect = Effect::kVisible)
      : node_(node), range_(range), effect_(effect) {}
  ~ChangeNote() {
    if (effect_ == Effect::kVisible) node_.NoteChange(range_);
  }
  ChangeNote(const ChangeNote&) = delete;
  ChangeNote& operator=(const ChangeNote&) = delete;

 private:
  Node& node_;
  const ByteRange range_;
  const Effect effect_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_NODE_H_
