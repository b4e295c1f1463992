// Opens one node of a tree with everything below it but its backing image: the file, a filter's
// child, the children of a quorum. Internal; not installed.
#ifndef MILLRACE_GRAPH_OPEN_LAYER_OPENER_H_
#define MILLRACE_GRAPH_OPEN_LAYER_OPENER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/io/open_gate.h"
#include "millrace/graph/node_tree.h"
#include "millrace/graph/open/chain_rules.h"
#include "millrace/graph/open/driver_maker.h"
#include "millrace/graph/open/tree_names.h"

namespace millrace {

// Opens a child with what stands below it, its backing images included.
class SubtreeOpener {
 public:
  virtual absl::StatusOr<Attachment> CoOpenSubtree(NodeTree tree, const Inherited& inherited,
                                                   ChainGuard guard) MILLRACE_MAY_SUSPEND = 0;

 protected:
  ~SubtreeOpener() = default;
};

class LayerOpener {
 public:
  struct Layer {
    Attachment hold;  // of the layer's uppermost node
    Inherited own;
  };

  // All must outlive it.
  LayerOpener(Graph& graph, const DriverRegistry& registry, const ChainRules& rules,
              SubtreeOpener& subtrees)
      : graph_(graph),
        rules_(rules),
        subtrees_(subtrees),
        names_(registry, rules),
        drivers_(graph, registry, rules) {}

  // `guard` has seen what is above in the chain, and sees this layer. What was opened is closed
  // again on error.
  absl::StatusOr<Layer> CoOpen(NodeTree& tree, const Inherited& inherited, ChainGuard& guard)
      MILLRACE_MAY_SUSPEND;

  // Holds the node, or the device's node, that has this name.
  absl::StatusOr<Attachment> AttachTo(const std::string& reference) MILLRACE_OPENS_VIEW;

  // All nodes that were added, also those that are gone again.
  const std::vector<NodeId>& added() const { return added_; }

 private:
  struct OpenedChild {
    std::string name;
    Role role = Role::kPrimary;
    Attachment hold;
  };
  using OpenedChildren = std::vector<OpenedChild>;

  absl::StatusOr<Attachment> CoOpenOnChildren(NodeTree& tree, Inherited& own, ChainGuard& guard,
                                              OpenedChildren& children) MILLRACE_MAY_SUSPEND;
  absl::Status CoOpenChildren(NodeTree& tree, const Driver* driver, const Inherited& own,
                              const ChainGuard& guard, OpenedChildren& opened) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<OpenedChild> CoOpenChild(const NodeTree& tree, const Driver* driver,
                                          ChildTree& child, const Inherited& own,
                                          const ChainGuard& guard) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<Attachment> CoOpenNodeItself(const NodeTree& tree, std::unique_ptr<Driver> driver,
                                              Inherited& own, const OpenedChildren& children,
                                              const std::string& path) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<Attachment> CoTryOpen(const NodeTree& tree, std::unique_ptr<Driver> driver,
                                       const Inherited& own, const OpenedChildren& children,
                                       const std::string& path) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<Attachment> AddNode(const NodeTree& tree, std::unique_ptr<Driver> driver,
                                     const Inherited& own, const OpenedChildren& children,
                                     const std::string& path) MILLRACE_OPENS_VIEW;
  std::optional<FileIdentity> IdentityBelow(NodeId id) const;

  Graph& graph_;
  const ChainRules& rules_;
  SubtreeOpener& subtrees_;
  const TreeNames names_;
  DriverMaker drivers_;
  std::vector<NodeId> added_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_LAYER_OPENER_H_
