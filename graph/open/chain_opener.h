// Opens a chain of images from the top down: a layer, then what the tree and the layer's header say
// stands below it, and so on. The one way in which images are opened; CoOpenTree and CoOpenImage
// are what users call. Internal; not installed.
#ifndef MILLRACE_GRAPH_OPEN_CHAIN_OPENER_H_
#define MILLRACE_GRAPH_OPEN_CHAIN_OPENER_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/io/open_gate.h"
#include "millrace/graph/node_id.h"
#include "millrace/graph/node_tree.h"
#include "millrace/graph/open/chain_rules.h"
#include "millrace/graph/open/layer_opener.h"
#include "millrace/graph/open/tree_names.h"

namespace millrace {

struct OpenedChain {
  std::vector<NodeId> images;     // from the top down; references to other nodes are not among them
  std::vector<Attachment> holds;  // of the first, or of each (ChainRules::holds_every_image)
};

class ChainOpener final : private SubtreeOpener {
 public:
  // All must outlive it.
  ChainOpener(Graph& graph, const DriverRegistry& registry, const ChainRules& rules)
      : graph_(graph),
        rules_(rules),
        names_(registry, rules),
        layers_(graph, registry, rules, *this) {}

  // `guard` has seen what is above. Whatever fails, all that was opened is closed again. Nobody
  // finds a node of it by name before all of it is open.
  absl::StatusOr<OpenedChain> CoOpen(NodeTree tree, const Inherited& inherited, ChainGuard guard)
      MILLRACE_MAY_SUSPEND;

 private:
  using Layer = LayerOpener::Layer;

  absl::StatusOr<OpenedChain> CoOpenChain(NodeTree tree, const Inherited& inherited,
                                          ChainGuard guard) MILLRACE_MAY_SUSPEND;

  absl::StatusOr<Attachment> CoOpenSubtree(NodeTree tree, const Inherited& inherited,
                                           ChainGuard guard) override MILLRACE_MAY_SUSPEND;
  // Opens what stands below the overlay and links it. `tree` is the overlay's, and the backing's
  // afterwards. Nothing: nothing stands below, or a node that was there before.
  absl::StatusOr<std::optional<Layer>> CoOpenBacking(NodeTree& tree, NodeId overlay,
                                                     const Inherited& own, ChainGuard& guard)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoLinkReference(NodeId overlay, const std::string& reference) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<Layer> CoOpenAndLink(NodeTree& tree, NodeId overlay, const Inherited& theirs,
                                      ChainGuard& guard) MILLRACE_MAY_SUSPEND;
  absl::Status Link(NodeId overlay, NodeId backing) MILLRACE_OPENS_VIEW;

  struct Overlay {
    bool supports_backing = false;
    std::string path;
    BackingReference reference;
  };
  Overlay OverlayOf(NodeId id) const MILLRACE_OPENS_VIEW;
  absl::StatusOr<std::unique_ptr<NodeTree>> BackingTree(ChildTree* asked, const Overlay& overlay,
                                                        bool* is_from_header) const;

  Graph& graph_;
  const ChainRules& rules_;
  const TreeNames names_;
  LayerOpener layers_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_CHAIN_OPENER_H_
