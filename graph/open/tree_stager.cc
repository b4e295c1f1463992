#include "millrace/graph/open/tree_stager.h"

#include <optional>
#include <utility>

#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/status_context.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open/child_roles.h"

namespace millrace {
absl::StatusOr<TreeStager::Staged> TreeStager::Stage(NodeTree tree, const Inherited& inherited,
                                                     ChainGuard guard) {
  MILLRACE_ASSIGN_OR_RETURN(Layer layer, StageLayer(tree, inherited, guard));
  Staged staged = {layer.node, std::move(layer.hold)};
  while (layer.node.is_valid() && !layer.own.is_file) {
    MILLRACE_ASSIGN_OR_RETURN(layer, StageBacking(tree, layer, guard));
  }
  if (!is_known_) staged.top = NodeId();
  return staged;
}

// What would be an edit of its own in earnest has been staged.
absl::Status TreeStager::EndStep() { return step_by_step_ ? change_.Rehearse() : absl::OkStatus(); }

absl::StatusOr<TreeStager::Layer> TreeStager::StageLayer(NodeTree& tree, const Inherited& inherited,
                                                         ChainGuard& guard) {
  Layer layer;
  MILLRACE_RETURN_IF_ERROR(names_.Resolve(tree, inherited.is_file));
  MILLRACE_ASSIGN_OR_RETURN(layer.own, inherited.With(tree));
  // Now, while the tree still has its children.
  layer.path = PrintableName(NameOfTree(tree));
  layer.name = tree.node_name.empty() ? layer.path : PrintableName(tree.node_name);
  std::unique_ptr<Driver> driver;
  if (!tree.driver.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(driver, drivers_.MakeUnopened(tree, layer.own));
  }
  if (driver != nullptr && driver->kind() == NodeKind::kProtocol) layer.own.is_file = true;
  if (driver != nullptr && driver->kind() == NodeKind::kFormat) layer.own.is_file = false;
  if (!layer.own.is_file) MILLRACE_RETURN_IF_ERROR(guard.BeforeOpen(layer.path));
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<StagedChild> children,
                            StageChildren(tree, driver.get(), layer.own, guard));
  MILLRACE_RETURN_IF_ERROR(change_.CheckNewName(tree.node_name));
  if (driver == nullptr) {
    unknown_.push_back(StrCat("what format '", layer.path, "' has"));
    is_known_ = false;
  }
  if (!is_known_) return Layer();
  NoteUnknown(tree, *driver, layer.name);
  layer.supports_backing = driver->kind() == NodeKind::kFormat &&
                           static_cast<const FormatDriver&>(*driver).supports_backing();
  layer.node = change_.AddNode(std::move(driver), NodeOptionsOf(tree, layer.own));
  for (const StagedChild& child : children) {
    change_.AddChild(layer.node, child.role, child.node, child.name);
  }
  if (step_by_step_) layer.hold = change_.Attach(layer.node, ToHoldImage(rules_.holder));
  MILLRACE_RETURN_IF_ERROR(EndStep());
  return layer;
}

absl::StatusOr<std::vector<TreeStager::StagedChild>> TreeStager::StageChildren(
    NodeTree& tree, const Driver* driver, const Inherited& own, const ChainGuard& guard) {
  std::vector<StagedChild> staged;
  size_t stood_on = 0;
  for (ChildTree& child : tree.children) {
    if (child.name == "backing") continue;
    StagedChild each;
    each.name = child.name;
    MILLRACE_ASSIGN_OR_RETURN(each.role, RoleOfChild(tree, driver, child));
    if (child.tree == nullptr) {
      MILLRACE_ASSIGN_OR_RETURN(each.node, Referred(child.reference));
    } else {
      MILLRACE_ASSIGN_OR_RETURN(Staged below,
                                Stage(std::move(*child.tree), own.ForChild(each.role), guard));
      each.node = below.top;
      each.hold = std::move(below.hold);
    }
    if (each.role == Role::kPrimary || each.role == Role::kFiltered) ++stood_on;
    staged.push_back(std::move(each));
  }
  MILLRACE_RETURN_IF_ERROR(CheckStandsOn(tree, driver, stood_on));
  return staged;
}

absl::StatusOr<NodeId> TreeStager::Referred(const std::string& reference) const {
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, change_.FindDeviceOrNode(reference));
  return node.id();
}

absl::StatusOr<TreeStager::Layer> TreeStager::StageBacking(NodeTree& tree, const Layer& overlay,
                                                           ChainGuard& guard) {
  ChildTree* const asked = tree.FindChild("backing");
  const bool is_nothing = asked != nullptr && asked->is_nothing();
  if (!overlay.supports_backing && asked != nullptr && !is_nothing) {
    return NoSuchChild(tree, *asked);
  }
  if (!overlay.supports_backing || is_nothing) return Layer();
  if (asked != nullptr && asked->tree == nullptr) {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId backing, Referred(asked->reference));
    change_.SetBacking(overlay.node, backing, std::nullopt);
    MILLRACE_RETURN_IF_ERROR(EndStep());
    return Layer();
  }
  if (asked == nullptr || !names_.NamesImage(*asked->tree)) {
    unknown_.push_back(StrCat("which image the header of '", overlay.name,
                              "' names as its backing, and what that stands on"));
    return Layer();
  }
  NodeTree below = std::move(*asked->tree);
  absl::StatusOr<Layer> layer = StageAndLink(below, overlay, guard);
  if (!layer.ok()) {
    return WithContext(layer.status(), StrCat("backing file of '", overlay.path, "': "));
  }
  tree = std::move(below);
  return layer;
}

absl::StatusOr<TreeStager::Layer> TreeStager::StageAndLink(NodeTree& below, const Layer& overlay,
                                                           ChainGuard& guard) {
  MILLRACE_ASSIGN_OR_RETURN(Layer layer, StageLayer(below, overlay.own.ForBacking(rules_), guard));
  if (!layer.node.is_valid()) return layer;
  change_.SetBacking(overlay.node, layer.node, std::nullopt);
  MILLRACE_RETURN_IF_ERROR(EndStep());
  return layer;
}

void TreeStager::NoteUnknown(const NodeTree& tree, const Driver& driver, const std::string& name) {
  if (const auto file = tree.options.find("filename"); file != tree.options.end()) {
    unknown_.push_back(
        StrCat("whether '", PrintableName(file->second), "' can be opened and locked"));
  }
  if (const auto config = tree.options.find("config"); config != tree.options.end()) {
    unknown_.push_back(StrCat("what the configuration '", PrintableName(config->second), "' says"));
  }
  if (driver.driver_name() == "raw" &&
      (tree.options.contains("offset") || tree.options.contains("size"))) {
    unknown_.push_back(StrCat("whether what '", name, "' is a window of is long enough"));
  }
  if (driver.data_children_show_the_same()) {
    unknown_.push_back(StrCat("whether the children of '", name, "' have one length"));
  }
  if (driver.kind() == NodeKind::kFormat && driver.driver_name() != "raw") {
    unknown_.push_back(StrCat("whether '", name, "' is an image of format ", driver.driver_name()));
  }
}

}  // namespace millrace
