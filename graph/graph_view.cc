#include "millrace/graph/graph_view.h"

#include <algorithm>

#include "absl/container/btree_set.h"
#include "absl/strings/match.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/file_name.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_reader_access.h"
#include "millrace/graph/proposed_graph.h"

namespace millrace {

using Access = GraphReaderAccess;

// ---- NodeView ----------------------------------------------------------------------------------

NodeId NodeView::id() const { return node_->id; }
const std::string& NodeView::name() const { return node_->name; }
std::string_view NodeView::driver_name() const { return node_->driver->driver_name(); }
NodeKind NodeView::kind() const { return node_->driver->kind(); }
bool NodeView::is_read_only() const {
  const ProposedGraph* plan = Access::Plan(*reader_);
  return plan != nullptr ? plan->IsReadOnly(*node_) : node_->is_read_only;
}
bool NodeView::is_implicit() const { return node_->is_implicit; }
uint64_t NodeView::bytes() const { return node_->driver->bytes(); }
bool NodeView::is_quiesced() const { return node_->is_quiesced(); }

std::string NodeView::filename() const { return FileNames(*reader_).Of(*this).shown; }
std::string NodeView::driver_filename() const { return node_->driver->filename(); }
const std::vector<ToldOption>& NodeView::told() const { return node_->told; }

uint64_t NodeView::cluster_bytes() const {
  if (kind() != NodeKind::kFormat) return 0;
  return static_cast<const FormatDriver&>(*node_->driver).cluster_bytes();
}

std::vector<FormatFact> NodeView::facts() const {
  if (kind() != NodeKind::kFormat) return {};
  return static_cast<const FormatDriver&>(*node_->driver).facts();
}

bool NodeView::is_marked_dirty() const {
  return kind() == NodeKind::kFormat &&
         static_cast<const FormatDriver&>(*node_->driver).is_marked_dirty();
}

DiscardCounts NodeView::discard_counts() const {
  if (kind() != NodeKind::kProtocol) return {};
  return static_cast<const ProtocolDriver&>(*node_->driver).discard_counts();
}

uint64_t NodeView::highest_write_end() const { return node_->highest_write_end; }
uint64_t NodeView::write_threshold() const { return node_->write_threshold; }

bool NodeView::data_children_show_the_same() const {
  return node_->driver->data_children_show_the_same();
}

bool NodeView::supports_backing() const {
  return kind() == NodeKind::kFormat &&
         static_cast<const FormatDriver&>(*node_->driver).supports_backing();
}

BackingReference NodeView::backing_reference() const {
  if (kind() != NodeKind::kFormat) return {};
  if (node_->wanted_reference) return *node_->wanted_reference;
  return static_cast<const FormatDriver&>(*node_->driver).backing_reference();
}
absl::Status NodeView::CheckBackingReference(const BackingReference& reference) const {
  if (kind() != NodeKind::kFormat || !node_->is_open) return absl::OkStatus();
  return static_cast<const FormatDriver&>(*node_->driver).CheckBackingReference(reference);
}

bool NodeView::follows_parent_access() const { return node_->follows_parent_access; }
bool NodeView::is_unleasable() const {
  return is_filter() && static_cast<const FilterDriver&>(*node_->driver).is_unleasable();
}

Permissions NodeView::cumulative_permissions() const {
  Permissions all;
  for (const Edge* edge : Access::ParentsOf(*reader_, *node_)) {
    const Permissions each = Access::PermissionsOf(*reader_, *edge);
    all.used = all.used | each.used;
    all.shared = all.shared & each.shared;
  }
  return all;
}

bool NodeView::is_used_besides(NodeId parent, PermissionSet any_of) const {
  const std::vector<Edge*> edges = Access::ParentsOf(*reader_, *node_);
  return std::any_of(edges.begin(), edges.end(), [&](const Edge* edge) {
    const bool is_excepted = edge->parent != nullptr && edge->parent->id == parent;
    return !is_excepted && Access::PermissionsOf(*reader_, *edge).used.Intersects(any_of);
  });
}

bool NodeView::has_parents() const { return !Access::ParentsOf(*reader_, *node_).empty(); }

std::vector<NodeId> NodeView::parents() const {
  std::vector<NodeId> ids;
  for (const Edge* edge : Access::ParentsOf(*reader_, *node_)) {
    if (edge->parent != nullptr) ids.push_back(edge->parent->id);
  }
  return ids;
}

bool NodeView::IsShownOnlyBy(const NodeView& parent) const {
  size_t links = 0;
  for (const Edge* edge : Access::ParentsOf(*reader_, *node_)) {
    if (edge->parent == parent.node_) {
      ++links;
    } else if (!Access::PermissionsOf(*reader_, *edge).used.empty()) {
      return false;
    }
  }
  return links == 1;
}

bool NodeView::has_attachment() const {
  const std::vector<Edge*> edges = Access::ParentsOf(*reader_, *node_);
  return std::any_of(edges.begin(), edges.end(),
                     [](const Edge* edge) { return edge->parent == nullptr; });
}

bool NodeView::has_followers() const {
  const std::vector<Edge*> edges = Access::ParentsOf(*reader_, *node_);
  return std::any_of(edges.begin(), edges.end(), [](const Edge* edge) {
    return edge->attachment == nullptr || !edge->attachment->options.stays_at_node;
  });
}

size_t NodeView::user_count() const {
  const std::vector<Edge*> edges = Access::ParentsOf(*reader_, *node_);
  return static_cast<size_t>(std::count_if(
      edges.begin(), edges.end(), [](const Edge* edge) { return edge->parent == nullptr; }));
}

std::vector<NodeView::JobUse> NodeView::job_uses() const {
  std::vector<JobUse> uses;
  for (const Edge* edge : Access::ParentsOf(*reader_, *node_)) {
    if (edge->attachment == nullptr) continue;
    const AttachmentOptions& options = edge->attachment->options;
    if (!absl::EndsWith(options.holder->type, " job")) continue;
    uses.push_back({options.purpose, Access::PermissionsOf(*reader_, *edge).used});
  }
  return uses;
}

namespace {

// Holders in the order in which a refusal names them, each once.
class UserList {
 public:
  explicit UserList(const Holder* besides) : told_{besides} {}

  void Add(const Holder& holder) {
    if (std::find(told_.begin(), told_.end(), &holder) != told_.end()) return;
    told_.push_back(&holder);
    (holder.type.ends_with(" job") ? jobs_ : others_).push_back(holder.AsConflictHolder());
  }
  void AddClaimsOn(const Node& node) {
    for (auto claim = node.claims.rbegin(); claim != node.claims.rend(); ++claim) {
      Add(*claim->holder);
    }
  }
  void AddParent(const Edge& edge) {
    const Node& parent = *edge.parent;
    if (parent.is_filter()) AddClaimsOn(parent);
    // A filter that a job has put there is known by its job.
    const bool is_of_job =
        std::any_of(parent.claims.begin(), parent.claims.end(),
                    [](const auto& claim) { return claim.holder->type.ends_with(" job"); });
    if (parent.is_filter() && parent.is_implicit && is_of_job) return;
    parents_.push_back({.id = edge.parent->name, .type = "node", .as = edge.name});
  }
  std::vector<ConflictHolder> Take(bool with_others) {
    std::vector<ConflictHolder> all = std::move(jobs_);
    if (with_others) all.insert(all.end(), others_.begin(), others_.end());
    all.insert(all.end(), parents_.begin(), parents_.end());
    return all;
  }

 private:
  std::vector<const Holder*> told_;
  std::vector<ConflictHolder> jobs_;
  std::vector<ConflictHolder> others_;
  std::vector<ConflictHolder> parents_;
};

UserList ListUsers(const std::vector<Edge*>& edges, const Node& node, const Holder* besides) {
  UserList users(besides);
  users.AddClaimsOn(node);
  for (const Edge* edge : edges) {
    if (edge->attachment != nullptr) {
      users.Add(*edge->attachment->options.holder);
    } else {
      users.AddParent(*edge);
    }
  }
  return users;
}

}  // namespace

std::vector<ConflictHolder> NodeView::users(const HolderRef& besides) const {
  return ListUsers(Access::ParentsOf(*reader_, *node_), *node_, besides.get()).Take(true);
}

std::vector<ConflictHolder> NodeView::jobs_and_parents() const {
  return ListUsers(Access::ParentsOf(*reader_, *node_), *node_, nullptr).Take(false);
}

const NodeIoOptions& NodeView::io_options() const { return node_->io; }

std::string NodeView::device_name() const {
  std::string name;
  for (const Edge* edge : Access::ParentsOf(*reader_, *node_)) {
    if (edge->attachment == nullptr || edge->attachment->options.device_name.empty()) continue;
    name = edge->attachment->options.device_name;
  }
  return name;
}

bool NodeView::has_backing_link_since(Operation claimed) const {
  uint64_t newest_claim = 0;
  for (const OperationClaimRecord& claim : node_->claims) {
    if (claim.operations.Contains(claimed)) newest_claim = claim.ordinal;
  }
  const std::vector<Edge*> edges = Access::ParentsOf(*reader_, *node_);
  return std::any_of(edges.begin(), edges.end(), [&](const Edge* edge) {
    return edge->role == Role::kBacking && edge->ordinal > newest_claim;
  });
}

std::optional<NodeView> NodeView::Child(Role role) const {
  const Node* child = Access::ChildOf(*reader_, *node_, role);
  if (child == nullptr) return std::nullopt;
  return NodeView(*reader_, *child);
}

std::optional<NodeView> NodeView::FilteredOrBacking() const {
  return Child(is_filter() ? Role::kFiltered : Role::kBacking);
}

// ---- GraphReader -------------------------------------------------------------------------------

absl::StatusOr<NodeView> GraphReader::Resolve(NodeId id) const {
  const GraphInternals& internals = GraphInternals::Of(graph_);
  const Node* node = proposed_ != nullptr ? proposed_->Resolve(id) : internals.Resolve(id);
  if (node == nullptr) return internals.StaleError(id);
  return NodeView(*this, *node);
}

absl::StatusOr<NodeView> GraphReader::Find(std::string_view node_name) const {
  const Node* node = proposed_ != nullptr ? proposed_->FindByName(node_name)
                                          : GraphInternals::Of(graph_).FindByName(node_name);
  // A plan must know all names that are taken.
  const bool is_hidden = node != nullptr && proposed_ == nullptr && node->is_half_open;
  if (node != nullptr && !is_hidden) return NodeView(*this, *node);
  Conflict conflict;
  conflict.reason = ConflictReason::kUnknownNode;
  conflict.object = std::string(node_name);
  conflict.next_step = "list the nodes and use one of their names";
  return ConflictStatus(absl::StatusCode::kNotFound, conflict,
                        StrCat("no node is named '", node_name, "'; list the nodes"));
}

absl::StatusOr<NodeView> GraphReader::FindDeviceOrNode(std::string_view name) const {
  const GraphInternals& internals = GraphInternals::Of(graph_);
  auto device = internals.devices.find(std::string(name));
  if (device != internals.devices.end()) {
    const Edge& edge = device->second->edge;
    const Node* node = proposed_ != nullptr ? proposed_->ChildOf(edge) : edge.child;
    if (node != nullptr) return NodeView(*this, *node);
  }
  if (proposed_ != nullptr) {
    for (const Edge* edge : proposed_->new_root_edges) {
      if (edge->child != nullptr && edge->attachment->options.device_name == name) {
        return NodeView(*this, *edge->child);
      }
    }
  }
  return Find(name);
}

namespace {

// In a plan, what nothing would point at any more would be gone, and with it what only that stands
// on.
absl::btree_set<const Node*> NodesGoneIn(const ProposedGraph& plan,
                                         const GraphInternals& internals) {
  absl::btree_set<const Node*> gone;  // membership only; order does not show
  std::vector<const Node*> work;
  const auto look_at = [&](const Node* node) {
    const std::vector<Edge*> parents = plan.ParentsOf(*node);
    const bool is_gone = std::all_of(parents.begin(), parents.end(), [&](const Edge* edge) {
      return edge->parent != nullptr && gone.contains(edge->parent);
    });
    if (is_gone && gone.insert(node).second) work.push_back(node);
  };
  for (const Node* node = internals.nodes.front(); node != nullptr;
       node = internals.nodes.After(*node)) {
    look_at(node);
  }
  for (size_t i = 0; i < plan.rehearsed_nodes; ++i) look_at(plan.new_nodes[i].get());
  while (!work.empty()) {
    const Node* const above = work.back();
    work.pop_back();
    for (const Edge* edge : plan.ChildrenOf(*above)) look_at(plan.ChildOf(*edge));
  }
  return gone;
}

}  // namespace

std::vector<NodeId> GraphReader::Nodes() const {
  std::vector<NodeId> ids;
  const GraphInternals& internals = GraphInternals::Of(graph_);
  absl::btree_set<const Node*> gone;
  if (proposed_ != nullptr) gone = NodesGoneIn(*proposed_, internals);
  for (const Node* node = internals.nodes.front(); node != nullptr;
       node = internals.nodes.After(*node)) {
    if (!gone.contains(node)) ids.push_back(node->id);
  }
  if (proposed_ != nullptr) {
    for (const std::unique_ptr<Node>& node : proposed_->new_nodes) {
      if (!gone.contains(node.get())) ids.push_back(node->id);
    }
  }
  return ids;
}

// ---- GraphView ---------------------------------------------------------------------------------

GraphView::GraphView(Graph& graph) : GraphReader(graph, nullptr) {
  graph.engine().scheduler().CheckIsHomeOf("a graph");
  graph.engine().scheduler().OnViewOpened();
  internal::TouchHere("graph", {}, StepAccess::kRead);
}

GraphView::~GraphView() { graph().engine().scheduler().OnViewClosed(); }

}  // namespace millrace
