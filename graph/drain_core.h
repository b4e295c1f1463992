// The graph's side of drained sections. Internal; not installed.
//
// A section covers its nodes and all their ancestors, and the attachments that point at those. When
// an edit changes what lies above a section's nodes, the section's cover is computed again: what is
// new is quiesced before what is gone is released, so that nothing slips through in between (race
// R18).
#ifndef MILLRACE_GRAPH_DRAIN_CORE_H_
#define MILLRACE_GRAPH_DRAIN_CORE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/base/quiescable.h"
#include "millrace/engine/scheduler/wait.h"
#include "millrace/engine/sync/wait_queue.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/node_id.h"

namespace millrace {

class Graph;
struct AttachmentCore;
struct Edge;
struct GraphInternals;
struct Node;

struct SectionCore final : Waitable, QuietListener {
  explicit SectionCore(Graph& owner_graph) : graph(owner_graph) {}

  bool IsOwner(const HolderRef& holder) const;
  // Whether this and a granted `other` may not cover the same node.
  bool Excludes(const SectionCore& other) const;
  // Nothing in flight, every job quiet (owners excepted), and no other owner's section here.
  bool IsAtRest() const;
  // The first thing that is not at rest, for wait reports.
  std::string DescribeObstacle() const;
  void DescribeWait(WaitDescription& description) const override;
  void OnQuiet() override;

  Graph& graph;
  std::vector<NodeId> roots;
  std::vector<HolderRef> owners;
  std::vector<Node*> covered;
  std::vector<AttachmentCore*> attachments;  // that point at covered nodes, owners' excepted
  bool is_granted = false;
  bool is_ended = false;
  WaitQueue waiter;
  ListLink link;  // in SectionTable::pending
};

class SectionTable {
 public:
  void Begin(SectionCore& section);
  void End(SectionCore& section);
  // Grants whatever is at rest, oldest first.
  void GrantWhatIsAtRest(Graph& graph);
  // After an edit: `children` are the old and new lower ends of the changed edges.
  void Recompute(Graph& graph, absl::Span<Node* const> children);
  // A node or an attachment is about to go.
  static void Forget(Node& node);
  static void Forget(AttachmentCore& attachment);
  bool has_pending() const { return !pending_.empty(); }

 private:
  static void ComputeCover(SectionCore& section, std::vector<Node*>* covered,
                           std::vector<AttachmentCore*>* attachments);

  IntrusiveList<SectionCore, &SectionCore::link> pending_;  // oldest first
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRAIN_CORE_H_
