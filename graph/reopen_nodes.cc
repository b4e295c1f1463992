#include "millrace/graph/reopen_nodes.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/io/node_io.h"

namespace millrace {
namespace {

void Stage(GraphTransaction& edit, NodeId node, const ChildChange& child) {
  if (child.role == Role::kBacking) return edit.SetBacking(node, child.child, std::nullopt);
  edit.RemoveChild(node, child.role);
  if (child.child) edit.AddChild(node, child.role, *child.child, child.edge_name);
}

class Reopener {
 public:
  Reopener(Graph& graph, std::vector<NodeChange> changes, const HolderRef& holder)
      : graph_(graph), changes_(std::move(changes)), holder_(holder) {}

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    std::vector<NodeId> touched;
    for (const NodeChange& change : changes_) touched.push_back(change.node);
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(graph_, touched, {holder_}));
    MILLRACE_MUTANT(kM17) drained.End();  // it has been at rest
    absl::Status status = CoPrepare();
    absl::StatusOr<AppliedEdit> edit = AppliedEdit();
    if (status.ok()) {
      edit = Edit(drained);
      status = edit.status();
    }
    CoEnd(status.ok());
    drained.End();
    if (edit.ok()) graph_.CoWaitForClosed(edit->dropped);
    return status;
  }

 private:
  struct Prepared {
    Node* node;
    bool writable;
  };

  // The node of a change, if it changes whether it may be written.
  Node* Switching(const NodeChange& change) const {
    Node* node = GraphInternals::Of(graph_).Resolve(change.node);
    const bool switches = node != nullptr && change.is_read_only.has_value() &&
                          *change.is_read_only != node->is_read_only;
    return switches ? node : nullptr;
  }

  absl::Status CoPrepare() MILLRACE_MAY_SUSPEND {
    for (const NodeChange& change : changes_) {
      Node* node = GraphInternals::Of(graph_).Resolve(change.node);
      if (node == nullptr) return GraphInternals::Of(graph_).StaleError(change.node);
      // What is cached must be below before something else is.
      if (!node->is_read_only) MILLRACE_RETURN_IF_ERROR(CoFlushOwnChanges(*node));
    }
    // From the file up: changes name a node before what is below it.
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
      Node* node = Switching(*change);
      if (node == nullptr) continue;
      InFlightRequest request(*node);
      MILLRACE_RETURN_IF_ERROR(node->driver->CoPrepareReopen(!*change->is_read_only));
      prepared_.push_back({node, !*change->is_read_only});
    }
    return absl::OkStatus();
  }

  absl::StatusOr<AppliedEdit> Edit(const DrainedSection& drained) MILLRACE_OPENS_VIEW {
    GraphTransaction edit(graph_);
    edit.Show(drained).OnBehalfOf(holder_);
    StageReopen(edit, changes_);
    return edit.Commit();
  }

  void CoEnd(bool is_done) MILLRACE_MAY_SUSPEND {
    for (const Prepared& each : prepared_) {
      if (is_done) {
        each.node->driver->CommitReopen(each.writable);
        // Somebody else may have written the image while it was only read here.
        ++each.node->mapping_revision;
      } else {
        MILLRACE_MUTANT(kM18) continue;  // nothing has changed, so nothing is to be undone
        each.node->driver->CoAbortReopen(each.writable);
      }
    }
  }

  Graph& graph_;
  std::vector<NodeChange> changes_;
  const HolderRef holder_;
  std::vector<Prepared> prepared_;
};

// A driver prepares one change at a time.
absl::Status CheckEachOnce(Graph& graph, const std::vector<NodeChange>& changes) {
  std::vector<NodeId> seen;
  for (const NodeChange& change : changes) {
    if (std::find(seen.begin(), seen.end(), change.node) != seen.end()) {
      const Node* node = GraphInternals::Of(graph).Resolve(change.node);
      return absl::InvalidArgumentError(StrCat("cannot reopen '", node == nullptr ? "" : node->name,
                                               "': it stands twice in the list; say once all that "
                                               "is to change of it"));
    }
    seen.push_back(change.node);
  }
  return absl::OkStatus();
}

}  // namespace

void StageReopen(GraphTransaction& edit, const std::vector<NodeChange>& changes) {
  for (const NodeChange& change : changes) {
    if (change.is_read_only) edit.SetReadOnly(change.node, *change.is_read_only);
    for (const ChildChange& child : change.children) Stage(edit, change.node, child);
    if (change.io || change.told || change.fresh != nullptr) {
      edit.ChangeOptions(change.node, {change.io, change.told, change.fresh.get()});
    }
  }
}

absl::Status CoReopenNodes(Graph& graph, std::vector<NodeChange> changes, const HolderRef& holder) {
  if (changes.empty()) return absl::OkStatus();
  MILLRACE_RETURN_IF_ERROR(CheckEachOnce(graph, changes));
  return Reopener(graph, std::move(changes), holder).CoRun();
}

}  // namespace millrace
