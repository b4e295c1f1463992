// Stages the nodes of a tree without opening any: what ChainOpener would put into the graph, in the
// order in which it would, as far as the tree alone tells. Internal; not installed.
#ifndef MILLRACE_GRAPH_OPEN_TREE_STAGER_H_
#define MILLRACE_GRAPH_OPEN_TREE_STAGER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/io/open_gate.h"
#include "millrace/graph/node_id.h"
#include "millrace/graph/node_tree.h"
#include "millrace/graph/open/chain_rules.h"
#include "millrace/graph/open/driver_maker.h"
#include "millrace/graph/open/tree_names.h"

namespace millrace {

class TreeStager {
 public:
  // All must outlive it. `step_by_step`: what is staged is rehearsed after each node and each
  // backing link, where ChainOpener would have made an edit of its own.
  TreeStager(GraphTransaction& change, const DriverRegistry& registry, const ChainRules& rules,
             bool step_by_step)
      : change_(change),
        rules_(rules),
        step_by_step_(step_by_step),
        names_(registry, rules),
        drivers_(change.graph(), registry, rules) {}

  struct Staged {
    NodeId top;       // invalid if the tree does not tell what nodes there would be
    Attachment hold;  // of the top, step by step: until something stands on it
  };
  // `guard` has seen what is above.
  absl::StatusOr<Staged> Stage(NodeTree tree, const Inherited& inherited, ChainGuard guard);

  // What only opening would tell, in words.
  std::vector<std::string>& unknown() { return unknown_; }

 private:
  struct Layer {
    NodeId node;
    Attachment hold;  // as above
    Inherited own;
    std::string path;  // for texts, as is `name`
    std::string name;
    bool supports_backing = false;
  };
  struct StagedChild {
    std::string name;
    Role role = Role::kPrimary;
    NodeId node;
    Attachment hold;
  };

  absl::StatusOr<Layer> StageLayer(NodeTree& tree, const Inherited& inherited, ChainGuard& guard);
  absl::StatusOr<std::vector<StagedChild>> StageChildren(NodeTree& tree, const Driver* driver,
                                                         const Inherited& own,
                                                         const ChainGuard& guard);
  absl::StatusOr<NodeId> Referred(const std::string& reference) const;
  absl::Status EndStep();
  // Stages what stands below the layer, if it is known. `tree` is the layer's, and that of the
  // backing afterwards; whose layer is returned, or one without a node: that is all.
  absl::StatusOr<Layer> StageBacking(NodeTree& tree, const Layer& overlay, ChainGuard& guard);
  absl::StatusOr<Layer> StageAndLink(NodeTree& below, const Layer& overlay, ChainGuard& guard);
  void NoteUnknown(const NodeTree& tree, const Driver& driver, const std::string& name);

  GraphTransaction& change_;
  const ChainRules& rules_;
  const bool step_by_step_;
  const TreeNames names_;
  const DriverMaker drivers_;
  std::vector<std::string> unknown_;
  bool is_known_ = true;  // so far the tree tells all nodes but those that a header names
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_TREE_STAGER_H_
