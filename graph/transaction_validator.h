// TransactionValidator: whether a plan may be applied. Internal; not installed.
//
// Looks only at what the plan touches, and at what follows from it: the cost of an edit does not
// depend on the size of the graph.
#ifndef MILLRACE_GRAPH_TRANSACTION_VALIDATOR_H_
#define MILLRACE_GRAPH_TRANSACTION_VALIDATOR_H_

#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "millrace/graph/graph_transaction_plan.h"

namespace millrace {

class TransactionValidator {
 public:
  explicit TransactionValidator(GraphTransaction::Plan& plan)
      : plan_(plan), proposed_(plan.proposed) {}

  absl::Status Run();
  // What drivers would refuse before a real edit is staged, when they prepare to be read-only or
  // writable: they are asked from the file up, as those who prepare them do.
  absl::Status RehearseReopens() const;

  // Whether `to` can be reached from `from` by going down (or is it).
  static bool Reaches(const ProposedGraph& proposed, const Node& from, const Node& to);
  // What drivers reserved while permissions were validated.
  static void DropReservations(GraphTransaction::Plan& plan);
  static void KeepReservations(GraphTransaction::Plan& plan);

 private:
  absl::Status CheckLeases() const;   // G4
  absl::Status CheckDrained() const;  // G6
  absl::Status CheckRoles() const;    // G1
  absl::Status CheckChildrenOf(const Node& node) const;
  absl::Status CheckAcyclic() const;  // G1
  absl::Status DropOrphans();         // G3
  absl::Status CheckOptions() const;
  absl::Status DerivePermissions();  // G5
  absl::Status CheckPermissions(Node& node);
  using WhichDemands = Permissions ProposedGraph::Demands::*;
  absl::Status CheckConflicts(const Node& node, WhichDemands which) const;
  void AppendJobsBehind(const Edge& edge, const Permissions& cause, WhichDemands which,
                        std::vector<ConflictHolder>* holders) const;
  absl::Status ReserveInDriver(Node& node);
  // What of a node that is not drained: "the 'file' link".
  absl::Status RefuseUndrained(const Node& node, std::string_view what,
                               std::string_view detail) const;
  absl::Status RefuseUndrained(const Edge& edge) const;
  std::string DescribeUser(const Edge& edge) const;
  static absl::Status RefuseBusy(const AttachmentCore& attachment);
  bool IsFresh(const Node& node) const;
  bool IsCovered(const Node& node) const;
  // Of all edges that lead to the node.
  ProposedGraph::Demands CumulativeOf(const Node& node) const;
  // What follows for a child edge.
  ProposedGraph::Demands DemandsOn(const Edge& edge) const;

  GraphTransaction::Plan& plan_;
  ProposedGraph& proposed_;
  std::vector<Node*> touched_;  // whose users' permissions changed, in order of discovery
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_TRANSACTION_VALIDATOR_H_
