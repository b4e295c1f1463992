#include "millrace/graph/open/layer_opener.h"

#include <string_view>
#include <utility>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open/child_roles.h"
#include "millrace/graph/open_node.h"

namespace millrace {
absl::StatusOr<LayerOpener::Layer> LayerOpener::CoOpen(NodeTree& tree, const Inherited& inherited,
                                                       ChainGuard& guard) {
  OpenedChildren children;
  Layer layer;
  MILLRACE_RETURN_IF_ERROR(names_.Resolve(tree, inherited.is_file));
  MILLRACE_ASSIGN_OR_RETURN(layer.own, inherited.With(tree));
  absl::StatusOr<Attachment> hold = CoOpenOnChildren(tree, layer.own, guard, children);
  // The node keeps them now, or nothing does.
  for (OpenedChild& child : children) child.hold.CoDetach();
  MILLRACE_RETURN_IF_ERROR(hold.status());
  layer.hold = *std::move(hold);
  return layer;
}

absl::StatusOr<Attachment> LayerOpener::CoOpenOnChildren(NodeTree& tree, Inherited& own,
                                                         ChainGuard& guard,
                                                         OpenedChildren& children) {
  // Now, while the tree still has its children.
  const std::string path = NameOfTree(tree);
  std::unique_ptr<Driver> driver;
  if (!tree.driver.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(driver, drivers_.CoMake(tree, own, path));
  }
  // An image is one, with what its header names, also where a file is wanted.
  if (driver != nullptr && driver->kind() == NodeKind::kProtocol) own.is_file = true;
  if (driver != nullptr && driver->kind() == NodeKind::kFormat) own.is_file = false;
  if (!own.is_file) MILLRACE_RETURN_IF_ERROR(guard.BeforeOpen(path));
  MILLRACE_RETURN_IF_ERROR(CoOpenChildren(tree, driver.get(), own, guard, children));
  if (driver == nullptr) {
    MILLRACE_ASSIGN_OR_RETURN(driver, drivers_.CoGuess(tree, own, children.front().hold, path));
  }
  MILLRACE_ASSIGN_OR_RETURN(Attachment hold,
                            CoOpenNodeItself(tree, std::move(driver), own, children, path));
  if (own.is_file) return hold;
  absl::Status status = guard.AfterOpen(path, IdentityBelow(hold.node()));
  if (status.ok()) return hold;
  hold.CoDetach();
  return status;
}

// ---- Children -----------------------------------------------------------------------------------

absl::Status LayerOpener::CoOpenChildren(NodeTree& tree, const Driver* driver, const Inherited& own,
                                         const ChainGuard& guard, OpenedChildren& opened) {
  size_t stood_on = 0;
  for (ChildTree& child : tree.children) {
    if (child.name == "backing") continue;
    MILLRACE_ASSIGN_OR_RETURN(OpenedChild each, CoOpenChild(tree, driver, child, own, guard));
    if (each.role == Role::kPrimary || each.role == Role::kFiltered) ++stood_on;
    opened.push_back(std::move(each));
  }
  return CheckStandsOn(tree, driver, stood_on);
}

absl::StatusOr<LayerOpener::OpenedChild> LayerOpener::CoOpenChild(const NodeTree& tree,
                                                                  const Driver* driver,
                                                                  ChildTree& child,
                                                                  const Inherited& own,
                                                                  const ChainGuard& guard) {
  OpenedChild opened;
  opened.name = child.name;
  MILLRACE_ASSIGN_OR_RETURN(opened.role, RoleOfChild(tree, driver, child));
  if (child.tree == nullptr) {
    MILLRACE_ASSIGN_OR_RETURN(opened.hold, AttachTo(child.reference));
  } else {
    MILLRACE_ASSIGN_OR_RETURN(
        opened.hold,
        subtrees_.CoOpenSubtree(std::move(*child.tree), own.ForChild(opened.role), guard));
  }
  return opened;
}

absl::StatusOr<Attachment> LayerOpener::AttachTo(const std::string& reference) {
  NodeId id;
  {
    GraphView view(graph_);
    MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.FindDeviceOrNode(reference));
    id = node.id();
  }
  return Attachment::Attach(graph_, id, ToHoldImage(rules_.holder));
}

// ---- The node itself ----------------------------------------------------------------------------

absl::StatusOr<Attachment> LayerOpener::CoOpenNodeItself(const NodeTree& tree,
                                                         std::unique_ptr<Driver> driver,
                                                         Inherited& own,
                                                         const OpenedChildren& children,
                                                         const std::string& path) {
  const bool may_fall_back =
      driver->kind() == NodeKind::kProtocol && own.falls_back_to_read_only && !own.is_read_only;
  absl::StatusOr<Attachment> hold = CoTryOpen(tree, std::move(driver), own, children, path);
  if (hold.ok() || !may_fall_back || !absl::IsPermissionDenied(hold.status())) return hold;
  own.is_read_only = true;
  MILLRACE_ASSIGN_OR_RETURN(driver, drivers_.CoMake(tree, own, path));
  return CoTryOpen(tree, std::move(driver), own, children, path);
}

absl::StatusOr<Attachment> LayerOpener::CoTryOpen(const NodeTree& tree,
                                                  std::unique_ptr<Driver> driver,
                                                  const Inherited& own,
                                                  const OpenedChildren& children,
                                                  const std::string& path) {
  MILLRACE_ASSIGN_OR_RETURN(Attachment hold, AddNode(tree, std::move(driver), own, children, path));
  absl::Status status = CoOpenNode(graph_, hold.node());
  if (status.ok()) return hold;
  hold.CoDetach();
  return status;
}

absl::StatusOr<Attachment> LayerOpener::AddNode(const NodeTree& tree,
                                                std::unique_ptr<Driver> driver,
                                                const Inherited& own,
                                                const OpenedChildren& children,
                                                const std::string& path) {
  GraphTransaction change(graph_);
  change.OnBehalfOf(rules_.holder);
  NodeOptions options = NodeOptionsOf(tree, own);
  if (options.name.empty() && !own.is_file && rules_.name_image) {
    options.name = rules_.name_image(change, own.depth, path);
  }
  options.is_half_open = true;
  const NodeId id = change.AddNode(std::move(driver), std::move(options));
  for (const OpenedChild& child : children) {
    change.AddChild(id, child.role, child.hold.node(), child.name);
  }
  Attachment hold = change.Attach(id, ToHoldImage(rules_.holder));
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  added_.push_back(id);
  return hold;
}

std::optional<FileIdentity> LayerOpener::IdentityBelow(NodeId id) const {
  const Node* node = GraphInternals::Of(graph_).Resolve(id);
  while (node != nullptr && node->driver->kind() != NodeKind::kProtocol) {
    const Edge* edge = node->FindChild(node->is_filter() ? Role::kFiltered : Role::kPrimary);
    node = edge == nullptr ? nullptr : edge->child;
  }
  if (node == nullptr) return std::nullopt;
  return static_cast<const ProtocolDriver&>(*node->driver).identity();
}

}  // namespace millrace
