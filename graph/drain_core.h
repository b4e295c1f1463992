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
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/base/quiescable.h"
#include "millrace/engine/scheduler/clock.h"
#include "millrace/engine/scheduler/wait.h"
#include "millrace/engine/sync/condition.h"
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
  // Nothing in flight, every job quiet (owners excepted), and no other owner's section here. Looks
  // first at what was busy last time, so that waiting for many things costs as much as each of them
  // once.
  bool IsAtRest();
  static bool IsAwake(const AttachmentCore& attachment);
  bool IsTaken(const Node& node) const;
  // The first thing that is not at rest, for wait reports.
  std::string DescribeObstacle() const;
  void DescribeWait(WaitDescription& description) const override;
  void OnQuiet() override;

  Graph& graph;
  std::vector<NodeId> roots;
  std::vector<HolderRef> owners;
  std::vector<Node*> covered;
  std::vector<AttachmentCore*> attachments;  // that point at covered nodes, owners' excepted
  uint64_t ordinal = 0;                      // by age
  Nanoseconds begun_at = 0;
  Nanoseconds granted_at = 0;
  bool is_granted = false;
  bool is_ended = false;
  size_t busy_node = 0;  // where IsAtRest() goes on looking
  size_t busy_attachment = 0;
  WaitQueue waiter;
  ListLink link;  // in SectionTable::pending
};

class SectionTable {
 public:
  explicit SectionTable(Graph& graph) : graph_(graph), released_("drained sections released") {}

  // Begins to count on what the section covers; from then on its owners count as quiet. Grants what
  // is at rest after that, perhaps this section.
  void Begin(SectionCore& section);
  void End(SectionCore& section);
  // Grants whatever is at rest, oldest first.
  void GrantWhatIsAtRest();
  // The last request in flight on the node has ended.
  void OnNodeAtRest(const Node& node);
  // After an edit: `children` are the old and new lower ends of the changed edges, and nodes that
  // went.
  void Recompute(absl::Span<Node* const> children);
  // An attachment is about to go.
  void Forget(AttachmentCore& attachment);
  // Waits until no granted section covers the node. For work that belongs to nobody whom a drain
  // could bring to rest. Pending sections do not count: they wait for the request that the caller
  // begins next.
  void CoWaitWhileDrained(const Node& node) MILLRACE_MAY_SUSPEND;

 private:
  struct Cover;
  class Hold;
  void ComputeCover(SectionCore& section, Cover* cover);
  void Grant(SectionCore& section);

  Graph& graph_;
  IntrusiveList<SectionCore, &SectionCore::link> pending_;  // oldest first
  Condition released_;
  uint64_t newest_ordinal_ = 0;
  uint64_t newest_mark_ = 0;
  // Covers are being changed: what comes to rest meanwhile is granted afterwards, when the covers
  // are right again.
  int held_ = 0;
  bool is_grant_due_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRAIN_CORE_H_
