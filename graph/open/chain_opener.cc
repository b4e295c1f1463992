#include "millrace/graph/open/chain_opener.h"

#include <string>
#include <utility>

#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/status_context.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/file_name.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open/child_roles.h"

namespace millrace {

absl::StatusOr<OpenedChain> ChainOpener::CoOpen(NodeTree tree, const Inherited& inherited,
                                                ChainGuard guard) {
  MILLRACE_ASSIGN_OR_RETURN(OpenedChain chain,
                            CoOpenChain(std::move(tree), inherited, std::move(guard)));
  GraphInternals::Of(graph_).Publish(layers_.added());
  return chain;
}

absl::StatusOr<OpenedChain> ChainOpener::CoOpenChain(NodeTree tree, const Inherited& inherited,
                                                     ChainGuard guard) {
  OpenedChain chain;
  MILLRACE_ASSIGN_OR_RETURN(Layer top, layers_.CoOpen(tree, inherited, guard));
  chain.images.push_back(top.hold.node());
  chain.holds.push_back(std::move(top.hold));
  std::vector<NodeId> as_headers_say;
  for (Inherited own = top.own; !own.is_file;) {
    const bool is_asked_for = tree.FindChild("backing") != nullptr;
    const NodeId overlay = chain.images.back();
    absl::StatusOr<std::optional<Layer>> below = CoOpenBacking(tree, overlay, own, guard);
    if (!below.ok()) {
      // Uppermost first: each takes with it what only it holds.
      for (Attachment& hold : chain.holds) hold.CoDetach();
      return below.status();
    }
    if (!*below) break;
    if (!is_asked_for) as_headers_say.push_back(overlay);
    Layer& layer = **below;
    own = layer.own;
    chain.images.push_back(layer.hold.node());
    if (rules_.holds_every_image) {
      chain.holds.push_back(std::move(layer.hold));
    } else {
      layer.hold.CoDetach();  // its overlay keeps it
    }
  }
  RememberBackingNames(graph_, as_headers_say);
  return chain;
}

absl::StatusOr<Attachment> ChainOpener::CoOpenSubtree(NodeTree tree, const Inherited& inherited,
                                                      ChainGuard guard) {
  MILLRACE_ASSIGN_OR_RETURN(OpenedChain chain,
                            CoOpenChain(std::move(tree), inherited, std::move(guard)));
  return std::move(chain.holds.front());
}

absl::StatusOr<std::optional<LayerOpener::Layer>> ChainOpener::CoOpenBacking(NodeTree& tree,
                                                                             NodeId overlay_id,
                                                                             const Inherited& own,
                                                                             ChainGuard& guard) {
  ChildTree* asked = tree.FindChild("backing");
  const bool is_nothing = asked != nullptr && asked->is_nothing();
  const Overlay overlay = OverlayOf(overlay_id);
  if (!overlay.supports_backing && asked != nullptr && !is_nothing) {
    return NoSuchChild(tree, *asked);
  }
  if (!overlay.supports_backing || is_nothing) return std::nullopt;
  if (asked != nullptr && asked->tree == nullptr) {
    MILLRACE_RETURN_IF_ERROR(CoLinkReference(overlay_id, asked->reference));
    return std::nullopt;
  }
  bool is_from_header = false;
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<NodeTree> below,
                            BackingTree(asked, overlay, &is_from_header));
  if (below == nullptr) return std::nullopt;
  Inherited theirs = own.ForBacking(rules_);
  theirs.is_from_header = theirs.is_from_header || is_from_header;
  absl::StatusOr<Layer> layer = CoOpenAndLink(*below, overlay_id, theirs, guard);
  if (!layer.ok()) {
    return WithContext(layer.status(),
                       StrCat("backing file of '", PrintableName(overlay.path), "': "));
  }
  NodeTree next = std::move(*below);  // the old tree may own it
  tree = std::move(next);
  return *std::move(layer);
}

absl::Status ChainOpener::CoLinkReference(NodeId overlay, const std::string& reference) {
  MILLRACE_ASSIGN_OR_RETURN(Attachment backing, layers_.AttachTo(reference));
  absl::Status status = Link(overlay, backing.node());
  backing.CoDetach();
  return status;
}

absl::StatusOr<LayerOpener::Layer> ChainOpener::CoOpenAndLink(NodeTree& tree, NodeId overlay,
                                                              const Inherited& theirs,
                                                              ChainGuard& guard) {
  MILLRACE_ASSIGN_OR_RETURN(Layer layer, layers_.CoOpen(tree, theirs, guard));
  absl::Status status = Link(overlay, layer.hold.node());
  if (status.ok()) return layer;
  layer.hold.CoDetach();
  return status;
}

// Nobody else finds the overlay yet, so nothing needs to be drained.
absl::Status ChainOpener::Link(NodeId overlay, NodeId backing) {
  GraphTransaction change(graph_);
  change.OnBehalfOf(rules_.holder);
  change.SetBacking(overlay, backing, std::nullopt);
  return change.Commit().status();
}

ChainOpener::Overlay ChainOpener::OverlayOf(NodeId id) const {
  GraphView view(graph_);
  absl::StatusOr<NodeView> node = view.Resolve(id);
  if (!node.ok()) return {};
  return {node->supports_backing(), HostPath(*node), node->backing_reference()};
}

// What is to stand below: what the tree says, added to what the header says. Null: nothing.
absl::StatusOr<std::unique_ptr<NodeTree>> ChainOpener::BackingTree(ChildTree* asked,
                                                                   const Overlay& overlay,
                                                                   bool* is_from_header) const {
  std::unique_ptr<NodeTree> tree;
  if (asked != nullptr) tree = std::move(asked->tree);
  const bool is_named = tree != nullptr && names_.NamesImage(*tree);
  *is_from_header = !is_named;
  if (is_named || overlay.reference.filename.empty()) return tree;
  BackingReference reference = overlay.reference;
  if (tree != nullptr && !tree->driver.empty()) reference.format = tree->driver;
  MILLRACE_ASSIGN_OR_RETURN(GatedImage image,
                            ResolveBackingReference(rules_.gate, overlay.path, reference));
  NodeTree named;
  named.driver = std::move(image.format);
  named.filename = std::move(image.path);
  named.is_plain_path = !image.names_protocol;
  if (tree == nullptr) tree = std::make_unique<NodeTree>();
  AddMissing(*tree, std::move(named));
  return tree;
}

}  // namespace millrace
