// GraphTransaction: the only way to change the graph. Stage edits, validate, apply: all or none.
//
//   GraphTransaction change(graph);
//   change.Show(drained).Show(lease);
//   change.RemoveFilter(reader);
//   change.SetBacking(overlay, base, header);
//   MILLRACE_ASSIGN_OR_RETURN(AppliedEdit edit, change.Commit());
//
// Edits are data: staging changes nothing, and reads through the transaction (it is a GraphReader)
// show the graph as it would be. Commit() validates and then applies, which cannot fail; dropping
// the transaction drops the plan. Nothing suspends while one is open. The first staging error is
// kept and returned by Validate().
//
// What validation refuses, each with a Conflict that names the object and every holder: a stale
// node, a duplicate or malformed name, a cycle (G1), two backings, a link leased by somebody whose
// lease was not shown (G4), an edge whose parent is not drained by a section that was shown (G6),
// or options of such a node, permissions that exclude each other (G5), a write on a read-only node.
#ifndef MILLRACE_GRAPH_GRAPH_TRANSACTION_H_
#define MILLRACE_GRAPH_GRAPH_TRANSACTION_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/freeze.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/node_io_options.h"

namespace millrace {

struct NodeOptions {
  std::string name{};  // empty: a generated one ("#block12")
  bool is_read_only = false;
  bool is_implicit = false;
  // Whether it becomes writable, and read-only again, with the node that stands on it
  // (CoSetReadOnly). Off: it is as its user said, and who wants it otherwise is refused.
  bool follows_parent_access = true;
  // It and what is to stand below are still being opened, by whoever opens an image or a tree of
  // nodes: until they are all open (GraphInternals::Publish ends it for all of them at once,
  // without suspending) a view does not find the node by its name, so that nobody uses half a
  // chain. Its name is taken nevertheless, in every plan; its id resolves; pictures and listings
  // show it. If opening fails, the nodes go as they came: nobody ever found them.
  bool is_half_open = false;
  NodeIoOptions io{};
  std::vector<ToldOption> told{};
};

// What is to hold of an open node from now on. What is absent stays as it is.
struct OptionsChange {
  std::optional<NodeIoOptions> io{};
  std::optional<std::vector<ToldOption>> told{};
  // A driver of the same kind, made with the options that are to hold, never opened. It must
  // outlive the transaction.
  Driver* fresh = nullptr;
};

// A header that must follow an edit; see CoSyncBackingHeaders in graph/open_node.h.
struct HeaderUpdate {
  NodeId overlay;
  uint64_t revision = 0;  // of the edit
};

// What a transaction did.
struct AppliedEdit {
  uint64_t revision = 0;
  std::vector<HeaderUpdate> headers;
  std::vector<NodeId> dropped;  // nodes nobody holds any more; the reaper closes them
};

struct AttachmentCore;
struct Node;

class MILLRACE_SCOPED_CAPABILITY GraphTransaction final : public GraphReader {
 public:
  explicit GraphTransaction(Graph& graph) MILLRACE_RELEASE(kNoOpenView);
  ~GraphTransaction() MILLRACE_RELEASE();
  static void* operator new(size_t) = delete;

  // ---- Proofs -----------------------------------------------------------------------------------
  // Both must outlive the transaction.
  GraphTransaction& Show(const DrainedSection& section);
  GraphTransaction& Show(const FrozenChain& lease);
  // Who asks; named in tombstones.
  GraphTransaction& OnBehalfOf(HolderRef holder);
  // Whatever leaves a chain by this edit, the nodes above show what they showed: its bytes have
  // been copied, up or down. For jobs; without it, who listens to what a node shows (graph/
  // content_listener.h) is told that all may be another.
  GraphTransaction& ShowsTheSame();

  // ---- Edits ------------------------------------------------------------------------------------
  // A new node around an unopened driver. It needs an edge to live; open it with CoOpenNode.
  NodeId AddNode(std::unique_ptr<Driver> driver, NodeOptions options);
  // `edge_name` is what the link is called in texts; empty: as the role says, "file" or "backing".
  void AddChild(NodeId parent, Role role, NodeId child, std::string edge_name = {});
  void RemoveChild(NodeId parent, Role role);
  // Points the backing of `overlay` at `base`, or at nothing. With `header`, the image's header is
  // to follow (CoSyncBackingHeaders).
  void SetBacking(NodeId overlay, std::optional<NodeId> base,
                  std::optional<BackingReference> header);
  // The overlay's header is to say this once the edit is applied (CoSyncBackingHeaders).
  void SetHeader(NodeId overlay, BackingReference header);
  // Puts `filter` (which has no filtered child yet) above `below`: everything that points at
  // `below` points at the filter, except attachments that stay, and edges of the filter's own.
  void InsertFilter(NodeId filter, NodeId below);
  // Everything that points at `filter` points at its filtered child instead, staying attachments
  // excepted: as long as one of those holds it, the filter stands beside the chain, above its
  // child.
  void RemoveFilter(NodeId filter);
  // Everything that points at `from` points at `to`, staying attachments and edges that would make
  // a cycle excepted.
  void ReplaceNode(NodeId from, NodeId to);
  // The result is live once the transaction has been applied; it is inert if the plan is dropped.
  Attachment Attach(NodeId node, AttachmentOptions options);
  void Detach(Attachment& attachment);
  void SetPermissions(const Attachment& attachment, Permissions permissions);
  // After CoPrepareReopen on its driver; see CoSetReadOnly in graph/open_node.h.
  void SetReadOnly(NodeId node, bool is_read_only);
  // Of each node at most once (InvalidArgument). What its child edges carry follows from the new
  // options.
  void ChangeOptions(NodeId node, OptionsChange change);
  // When applied, the lease covers the link from `filter`, just put above its top, as well.
  void ExtendLease(FrozenChain& lease, NodeId filter);

  // ---- End -------------------------------------------------------------------------------------
  absl::Status Validate();
  // Validates as if all that has to be drained were: for a dry run, which must not stop anybody.
  // The plan cannot be applied afterwards (checked). Names that were generated and ids go back: the
  // next edit gets the same ones, and an id of the plan must not be kept.
  //
  // More can be staged afterwards, and rehearsed, for edits that would come one after another in
  // earnest: of several mistakes the first is told then. What one has put there may be let go of by
  // the next, and is gone.
  absl::Status Rehearse();
  // Says beforehand that the plan is only to be looked at: ids go back also if it is dropped as it
  // has been staged.
  GraphTransaction& ToRehearse();
  // Nothing can be staged after Validate() or Commit() (checked). Commit() validates and applies;
  // the transaction is over afterwards, either way, and if it was applied, reads through it show
  // the graph as it is.
  absl::StatusOr<AppliedEdit> Commit();
  // The plan in words, one edit per line, for a dry run.
  std::string DescribePlan() const;

  // The next generated name goes to nobody: in earnest somebody has it, who is gone again by then.
  void PassGeneratedName();
  // Whether AddNode() would refuse a node of this name; ok for an empty one.
  absl::Status CheckNewName(const std::string& name) const;

 private:
  struct Plan;
  friend class TransactionValidator;
  friend struct AttachmentCore;
  friend struct GraphInternals;
  GraphTransaction(Graph& graph, std::unique_ptr<Plan> plan) MILLRACE_RELEASE(kNoOpenView);
  void Fail(absl::Status status);
  Node* Need(NodeId id);
  std::optional<ConflictHolder> OwnerOfName(const std::string& name);
  Plan& Staging();
  void SetDemands(AttachmentCore& attachment, Permissions permissions);
  // A node that is closed lets go of its children.
  void ReleaseChildrenOf(Node& closed);
  AppliedEdit Apply();
  bool IsOrphan(const Node* node) const;
  void CheckEdited(std::vector<Node*> lower_ends) const;
  // The nodes that have other options of their driver's now.
  std::vector<Node*> ApplyOptions();
  void ApplyNewEdges(std::vector<Node*>* lower_ends, std::vector<Node*>* upper_ends);
  static void ForgetAttachment(Plan& plan, AttachmentCore& attachment);

  std::unique_ptr<Plan> plan_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GRAPH_TRANSACTION_H_
