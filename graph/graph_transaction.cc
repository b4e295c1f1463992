#include "millrace/graph/graph_transaction.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_transaction_plan.h"
#include "millrace/graph/io/node_context.h"
#include "millrace/graph/transaction_validator.h"

namespace millrace {
namespace {

constexpr size_t kNameBytesMax = 31;

absl::Status NameError(ConflictReason reason, std::string_view name, std::string_view text,
                       std::string_view next_step, std::vector<ConflictHolder> holders = {}) {
  Conflict conflict;
  conflict.reason = reason;
  conflict.object = std::string(name);
  if (reason == ConflictReason::kNodeNameTooLong) conflict.detail = std::to_string(kNameBytesMax);
  conflict.next_step = std::string(next_step);
  conflict.holders = std::move(holders);
  return ConflictStatus(absl::StatusCode::kInvalidArgument, conflict,
                        StrCat("cannot name a node '", name, "': ", text, "; ", next_step));
}

absl::Status DeviceNameTaken(std::string_view name, const ConflictHolder& owner) {
  return RefusalStatus(absl::StatusCode::kInvalidArgument,
                       {.reason = ConflictReason::kDuplicateDeviceName,
                        .object = std::string(name),
                        .holders = {owner},
                        .next_step = "choose another device name"},
                       StrCat("cannot attach a device '", name, "': ", owner.type, " '", owner.id,
                              "' has this name"));
}

absl::Status CheckNodeName(const ProposedGraph& proposed, const GraphInternals& internals,
                           const std::string& name) {
  const bool is_well_formed = !name.empty() &&
                              absl::ascii_isalpha(static_cast<unsigned char>(name[0])) &&
                              std::all_of(name.begin(), name.end(), [](unsigned char c) {
                                return absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_';
                              });
  if (!is_well_formed) {
    return NameError(ConflictReason::kMalformedNodeName, name, "it is not well formed",
                     "start with a letter and use letters, digits, '-', '.' and '_'");
  }
  if (name.size() > kNameBytesMax) {
    return NameError(ConflictReason::kNodeNameTooLong, name, "it is too long",
                     StrCat("use at most ", kNameBytesMax, " characters"));
  }
  if (const auto device = internals.devices.find(name); device != internals.devices.end()) {
    return NameError(ConflictReason::kNodeNameIsDevice, name, "a device has this name",
                     "choose another name", {device->second->options.holder->AsConflictHolder()});
  }
  if (proposed.FindByName(name) != nullptr) {
    return NameError(ConflictReason::kDuplicateNodeName, name, "another node has this name",
                     "choose another name", {{.id = name, .type = "node"}});
  }
  return absl::OkStatus();
}

}  // namespace

bool GraphTransaction::Plan::IsShown(const SectionCore& section) const {
  return std::find(sections.begin(), sections.end(), &section) != sections.end();
}
bool GraphTransaction::Plan::IsShown(const FrozenChainCore& lease) const {
  return std::find(leases.begin(), leases.end(), &lease) != leases.end();
}

GraphTransaction::GraphTransaction(Graph& graph)
    : GraphTransaction(graph, std::make_unique<Plan>(graph)) {}

GraphTransaction::GraphTransaction(Graph& graph, std::unique_ptr<Plan> plan)
    : GraphReader(graph, &plan->proposed), plan_(std::move(plan)) {
  graph.engine().scheduler().CheckIsHomeOf("a graph");
  graph.engine().scheduler().OnViewOpened();
}

GraphTransaction::~GraphTransaction() {
  graph().engine().scheduler().OnViewClosed();
  if (plan_ == nullptr) return;
  TransactionValidator::DropReservations(*plan_);
  for (AttachmentCore* attachment : plan_->attached) {
    attachment->edge.child = nullptr;
    attachment->planned_in = nullptr;
  }
  GraphInternals& internals = GraphInternals::Of(graph());
  // Of what was only looked at nothing is to be seen afterwards. Nobody has come between.
  if (plan_->is_rehearsal || !plan_->is_closed) {
    internals.next_auto_name -= plan_->generated_names;
  }
  // A planned node was never opened, so there is nothing to close. The id that was reserved last is
  // the next to be reserved, so they go back from there.
  auto& planned = plan_->proposed.new_nodes;
  for (auto node = planned.rbegin(); node != planned.rend(); ++node) {
    plan_->is_rehearsal ? internals.GiveBackId((*node)->id) : internals.ReleaseId((*node)->id);
  }
}

GraphTransaction& GraphTransaction::Show(const DrainedSection& section) {
  if (section.core_ != nullptr) plan_->sections.push_back(section.core_.get());
  return *this;
}

GraphTransaction& GraphTransaction::Show(const FrozenChain& lease) {
  if (lease.core_ != nullptr) plan_->leases.push_back(lease.core_.get());
  return *this;
}

GraphTransaction& GraphTransaction::OnBehalfOf(HolderRef holder) {
  plan_->requester = std::move(holder);
  return *this;
}

GraphTransaction& GraphTransaction::ShowsTheSame() {
  plan_->shows_the_same = true;
  return *this;
}

void GraphTransaction::Fail(absl::Status status) {
  if (plan_->status.ok()) plan_->status = std::move(status);
}

GraphTransaction::Plan& GraphTransaction::Staging() {
  MILLRACE_CHECK(plan_ != nullptr && (!plan_->is_closed || plan_->is_rehearsal),
                 "an edit was staged after the transaction had been validated or committed");
  return *plan_;
}

Node* GraphTransaction::Need(NodeId id) {
  Node* node = Staging().proposed.Resolve(id);
  if (node == nullptr) Fail(GraphInternals::Of(graph()).StaleError(id));
  return node;
}

namespace {

// Of several children that are alike the names are numbered.
std::string DataEdgeName(const ProposedGraph& proposed, const Node& parent) {
  if (!parent.driver->data_children_show_the_same()) return "data-file";
  size_t before = 0;
  for (const Edge* edge : proposed.ChildrenOf(parent)) before += edge->role == Role::kData ? 1 : 0;
  return StrCat("children.", before);
}

std::string DefaultEdgeName(const ProposedGraph& proposed, const Node& parent, Role role) {
  if (role == Role::kBacking) return "backing";
  if (role == Role::kData) return DataEdgeName(proposed, parent);
  if (role != Role::kFiltered || !parent.is_filter()) return "file";
  return std::string(static_cast<const FilterDriver&>(*parent.driver).filtered_edge_name());
}

}  // namespace

// ---- Edits -------------------------------------------------------------------------------------

NodeId GraphTransaction::AddNode(std::unique_ptr<Driver> driver, NodeOptions options) {
  GraphInternals& internals = GraphInternals::Of(graph());
  Staging();
  if (options.name.empty()) {
    options.name = StrCat("#block", internals.next_auto_name++);
    ++plan_->generated_names;
  } else if (absl::Status status = CheckNodeName(plan_->proposed, internals, options.name);
             !status.ok()) {
    Fail(std::move(status));
  }
  auto node = std::make_unique<Node>(graph());
  node->id = internals.ReserveId();
  node->name = std::move(options.name);
  node->driver = std::move(driver);
  node->is_read_only = options.is_read_only;
  node->is_implicit = options.is_implicit;
  node->told = std::move(options.told);
  node->follows_parent_access = options.follows_parent_access;
  node->is_half_open = options.is_half_open;
  node->io = options.io;
  node->context = std::make_unique<NodeContext>(*node);
  const NodeId id = node->id;
  plan_->words.push_back(StrCat("add ", node->driver->driver_name(), " node '", node->name, "'"));
  plan_->proposed.AddNode(std::move(node));
  return id;
}

void GraphTransaction::PassGeneratedName() {
  Staging();
  ++GraphInternals::Of(graph()).next_auto_name;
  ++plan_->generated_names;
}

void GraphTransaction::AddChild(NodeId parent_id, Role role, NodeId child_id,
                                std::string edge_name) {
  Node* parent = Need(parent_id);
  Node* child = Need(child_id);
  if (parent == nullptr || child == nullptr) return;
  auto edge = std::make_unique<Edge>();
  edge->parent = parent;
  edge->child = child;
  edge->role = role;
  if (edge_name.empty()) edge_name = DefaultEdgeName(plan_->proposed, *parent, role);
  edge->name = std::move(edge_name);
  plan_->words.push_back(
      StrCat("link '", parent->name, "' -", edge->name, "-> '", child->name, "'"));
  plan_->proposed.AddEdge(std::move(edge));
}

void GraphTransaction::RemoveChild(NodeId parent_id, Role role) {
  Node* parent = Need(parent_id);
  if (parent == nullptr) return;
  Edge* edge = plan_->proposed.FindChild(*parent, role);
  if (edge == nullptr) return;
  plan_->words.push_back(StrCat("unlink '", parent->name, "' -", edge->name, "-> '",
                                plan_->proposed.ChildOf(*edge)->name, "'"));
  plan_->proposed.Retarget(edge, nullptr);
}

void GraphTransaction::SetBacking(NodeId overlay_id, std::optional<NodeId> base,
                                  std::optional<BackingReference> header) {
  Node* overlay = Need(overlay_id);
  if (overlay == nullptr) return;
  Edge* edge = plan_->proposed.FindChild(*overlay, Role::kBacking);
  if (!base) {
    RemoveChild(overlay_id, Role::kBacking);
  } else if (edge == nullptr) {
    AddChild(overlay_id, Role::kBacking, *base);
  } else if (Node* child = Need(*base)) {
    plan_->words.push_back(StrCat("link '", overlay->name, "' -backing-> '", child->name,
                                  "' instead of '", plan_->proposed.ChildOf(*edge)->name, "'"));
    plan_->proposed.Retarget(edge, child);
  }
  if (header) SetHeader(overlay_id, *std::move(header));
}

void GraphTransaction::SetHeader(NodeId overlay_id, BackingReference header) {
  Node* overlay = Need(overlay_id);
  if (overlay == nullptr) return;
  std::erase_if(plan_->headers, [&](const Plan::HeaderPlan& h) { return h.overlay == overlay; });
  plan_->headers.push_back({overlay, std::move(header)});
}

void GraphTransaction::InsertFilter(NodeId filter_id, NodeId below_id) {
  Node* filter = Need(filter_id);
  Node* below = Need(below_id);
  if (filter == nullptr || below == nullptr) return;
  for (Edge* edge : plan_->proposed.ParentsOf(*below)) {
    if (edge->parent == filter) continue;
    if (edge->attachment != nullptr && edge->attachment->options.stays_at_node) continue;
    plan_->proposed.Retarget(edge, filter);
  }
  AddChild(filter_id, Role::kFiltered, below_id);
  plan_->words.push_back(StrCat("put '", filter->name, "' above '", below->name, "'"));
}

void GraphTransaction::RemoveFilter(NodeId filter_id) {
  Node* filter = Need(filter_id);
  if (filter == nullptr) return;
  Edge* down = plan_->proposed.FindChild(*filter, Role::kFiltered);
  if (down == nullptr) {
    Fail(absl::InvalidArgumentError(
        StrCat("cannot remove '", filter->name, "': it is not a filter above another node")));
    return;
  }
  const NodeId child = plan_->proposed.ChildOf(*down)->id;
  ReplaceNode(filter_id, child);
  // A filter that somebody still holds keeps its child (G1); it goes when they let go.
  if (plan_->proposed.ParentsOf(*filter).empty()) plan_->proposed.Retarget(down, nullptr);
  plan_->words.push_back(StrCat("remove filter '", filter->name, "'"));
}

void GraphTransaction::ReplaceNode(NodeId from_id, NodeId to_id) {
  Node* from = Need(from_id);
  Node* to = Need(to_id);
  if (from == nullptr || to == nullptr) return;
  for (Edge* edge : plan_->proposed.ParentsOf(*from)) {
    if (edge->attachment != nullptr && edge->attachment->options.stays_at_node) continue;
    if (edge->parent != nullptr &&
        TransactionValidator::Reaches(plan_->proposed, *to, *edge->parent)) {
      continue;
    }
    plan_->words.push_back(StrCat("move ",
                                  edge->parent != nullptr
                                      ? StrCat("'", edge->parent->name, "'")
                                      : edge->attachment->options.holder->Describe(),
                                  " from '", from->name, "' to '", to->name, "'"));
    plan_->proposed.Retarget(edge, to);
  }
}

// Who has a name that a device is to get.
std::optional<ConflictHolder> GraphTransaction::OwnerOfName(const std::string& name) {
  const auto planned =
      std::find_if(plan_->attached.begin(), plan_->attached.end(),
                   [&](const AttachmentCore* core) { return core->options.device_name == name; });
  if (planned != plan_->attached.end()) return (*planned)->options.holder->AsConflictHolder();
  const GraphInternals& internals = GraphInternals::Of(graph());
  const auto device = internals.devices.find(name);
  if (device != internals.devices.end() &&
      plan_->proposed.ChildOf(device->second->edge) != nullptr) {  // not detached by this plan
    return device->second->options.holder->AsConflictHolder();
  }
  if (plan_->proposed.FindByName(name) == nullptr) return std::nullopt;
  return ConflictHolder{.id = name, .type = "node"};
}

namespace {

std::string WordOf(const AttachmentCore& attachment, const Node& node) {
  return StrCat("attach ", attachment.options.holder->Describe(), " to '", node.name, "'");
}

}  // namespace

Attachment GraphTransaction::Attach(NodeId node_id, AttachmentOptions options) {
  auto core = std::make_unique<AttachmentCore>(graph());
  Staging();
  if (options.holder == nullptr) options.holder = MakeHolder("", "block device");
  if (!options.device_name.empty()) {
    if (const std::optional<ConflictHolder> owner = OwnerOfName(options.device_name)) {
      Fail(DeviceNameTaken(options.device_name, *owner));
    }
  }
  core->options = std::move(options);
  core->edge.attachment = core.get();
  core->edge.role = Role::kRoot;
  core->edge.name = core->options.purpose.empty() ? "root" : core->options.purpose;
  if (Node* node = Need(node_id)) {
    core->edge.child = node;
    core->planned_in = plan_.get();
    plan_->proposed.AddRootEdge(&core->edge);
    SetDemands(*core, core->options.permissions);
    plan_->attached.push_back(core.get());
    plan_->words.push_back(WordOf(*core, *node));
  }
  return Attachment(std::move(core));
}

void GraphTransaction::ForgetAttachment(Plan& plan, AttachmentCore& attachment) {
  std::erase(plan.attached, &attachment);
  std::erase(plan.proposed.new_root_edges, &attachment.edge);
  plan.proposed.demands.erase(&attachment.edge);
  if (attachment.edge.child == nullptr) return;
  const auto word =
      std::find(plan.words.begin(), plan.words.end(), WordOf(attachment, *attachment.edge.child));
  if (word != plan.words.end()) plan.words.erase(word);
}

void GraphTransaction::Detach(Attachment& attachment) {
  AttachmentCore* core = attachment.core_.get();
  Staging();
  if (core == nullptr || core->edge.child == nullptr) return;
  plan_->words.push_back(StrCat("detach ", core->options.holder->Describe(), " from '",
                                plan_->proposed.ChildOf(core->edge)->name, "'"));
  plan_->proposed.Retarget(&core->edge, nullptr);
}

void GraphTransaction::SetDemands(AttachmentCore& attachment, Permissions permissions) {
  Staging().proposed.SetDemands(&attachment.edge,
                                {permissions, attachment.options.reserved.value_or(permissions)});
}

void GraphTransaction::SetPermissions(const Attachment& attachment, Permissions permissions) {
  if (attachment.core_ == nullptr || attachment.core_->edge.child == nullptr) {
    Fail(absl::FailedPreconditionError(
        "cannot change the permissions of an attachment that is not attached; attach it first"));
    return;
  }
  SetDemands(*attachment.core_, permissions);
  plan_->words.push_back(
      StrCat("change the permissions of ", attachment.core_->options.holder->Describe()));
}

void GraphTransaction::SetReadOnly(NodeId node_id, bool is_read_only) {
  Node* node = Need(node_id);
  if (node == nullptr) return;
  plan_->proposed.SetReadOnly(node, is_read_only);
  plan_->words.push_back(
      StrCat("make '", node->name, "' ", is_read_only ? "read-only" : "writable"));
}

void GraphTransaction::ChangeOptions(NodeId node_id, OptionsChange change) {
  Node* node = Need(node_id);
  if (node == nullptr) return;
  const auto& staged = plan_->proposed.options;
  if (std::any_of(staged.begin(), staged.end(),
                  [&](const auto& each) { return each.first == node; })) {
    Fail(absl::InvalidArgumentError(StrCat("cannot change the options of '", node->name,
                                           "' twice in one step; say once what is to hold")));
    return;
  }
  plan_->proposed.SetOptions(node, std::move(change));
  plan_->words.push_back(StrCat("set the options of '", node->name, "'"));
}

void GraphTransaction::ExtendLease(FrozenChain& lease, NodeId filter_id) {
  Node* filter = Need(filter_id);
  if (filter == nullptr) return;
  MILLRACE_CHECK(lease.is_held(), "extended a lease that is not held");
  plan_->extensions.push_back({lease.core_.get(), filter});
}

void GraphTransaction::ReleaseChildrenOf(Node& closed) {
  for (std::unique_ptr<Edge>& edge : closed.children) {
    Staging().proposed.Retarget(edge.get(), nullptr);
  }
}

absl::Status GraphTransaction::CheckNewName(const std::string& name) const {
  if (name.empty()) return absl::OkStatus();
  return CheckNodeName(plan_->proposed, GraphInternals::Of(graph()), name);
}

std::string GraphTransaction::DescribePlan() const {
  return plan_ == nullptr ? std::string() : absl::StrJoin(plan_->words, "\n");
}

// ---- End ---------------------------------------------------------------------------------------

absl::Status GraphTransaction::Validate() {
  MILLRACE_CHECK(plan_ != nullptr, "a transaction was used after it had been applied");
  internal::TouchHere("graph", {}, StepAccess::kRead);  // also if it is refused
  plan_->is_closed = true;
  TransactionValidator::DropReservations(*plan_);
  plan_->is_validated = false;
  if (plan_->is_rehearsal) {
    MILLRACE_RETURN_IF_ERROR(TransactionValidator(*plan_).RehearseReopens());
  }
  MILLRACE_RETURN_IF_ERROR(plan_->status);
  MILLRACE_RETURN_IF_ERROR(TransactionValidator(*plan_).Run());
  plan_->is_validated = true;
  return absl::OkStatus();
}

GraphTransaction& GraphTransaction::ToRehearse() {
  Staging().is_rehearsal = true;
  return *this;
}

absl::Status GraphTransaction::Rehearse() {
  MILLRACE_CHECK(plan_ != nullptr, "a transaction was used after it had been applied");
  plan_->is_rehearsal = true;
  MILLRACE_RETURN_IF_ERROR(Validate());
  plan_->proposed.rehearsed_nodes = plan_->proposed.new_nodes.size();
  return absl::OkStatus();
}

absl::StatusOr<AppliedEdit> GraphTransaction::Commit() {
  MILLRACE_RETURN_IF_ERROR(Validate());
  return Apply();
}

AppliedEdit GraphTransaction::Apply() {
  MILLRACE_CHECK(plan_->is_validated, "applied a plan that was not validated");
  MILLRACE_CHECK(!plan_->is_rehearsal, "applied a plan that was only rehearsed");
  GraphInternals& internals = GraphInternals::Of(graph());
  internals.BumpRevision();  // G8
  graph().engine().scheduler().Count(Counter::kGraphEdits);
  internal::TouchHere("graph", {}, StepAccess::kWrite);
  AppliedEdit edit;
  edit.revision = graph().revision();
  ProposedGraph& proposed = plan_->proposed;

  std::vector<Node*> lower_ends;  // of changed edges, for the sections above them
  std::vector<Node*> upper_ends;  // for who listens to what they show
  std::vector<std::unique_ptr<Edge>> removed;
  for (std::unique_ptr<Node>& node : proposed.new_nodes) internals.Enter(std::move(node));
  proposed.new_nodes.clear();
  for (auto& [edge, child] : proposed.retargeted) {
    lower_ends.push_back(edge->child);
    if (edge->parent != nullptr) upper_ends.push_back(edge->parent);
    if (edge->lease != nullptr) edge->lease->Drop(*edge, IsOrphan(edge->parent));
    edge->child->parents.Remove(*edge);
    edge->child = child;
    if (child != nullptr) {
      child->parents.PushBack(*edge);
      edge->ordinal = internals.next_ordinal++;
      lower_ends.push_back(child);
    } else if (edge->parent != nullptr) {
      auto& siblings = edge->parent->children;
      auto self = std::find_if(siblings.begin(), siblings.end(),
                               [e = edge](const auto& sibling) { return sibling.get() == e; });
      removed.push_back(std::move(*self));
      siblings.erase(self);
    } else {
      internals.sections.Forget(*edge->attachment);
      if (!edge->attachment->options.device_name.empty()) {
        internals.devices.erase(edge->attachment->options.device_name);
      }
      edge->attachment->is_applied = false;
    }
  }
  for (const auto& [edge, demands] : proposed.demands) {
    edge->permissions = demands.now;
    edge->reserved = demands.reserved;
  }
  for (const auto& [node, is_read_only] : proposed.read_only) node->is_read_only = is_read_only;
  ApplyNewEdges(&lower_ends, &upper_ends);
  const std::vector<Node*> changed = ApplyOptions();
  TransactionValidator::KeepReservations(*plan_);
  for (Plan::HeaderPlan& header : plan_->headers) {
    header.overlay->wanted_reference = std::move(header.reference);
    header.overlay->backing_revision = edit.revision;
    header.overlay->backing_name.reset();
    edit.headers.push_back({header.overlay->id, edit.revision});
  }
  internals.sections.Recompute(lower_ends);
  lower_ends.insert(lower_ends.end(), changed.begin(), changed.end());
  CheckEdited(lower_ends);
  upper_ends.insert(upper_ends.end(), changed.begin(), changed.end());
  internals.NoteLinks(upper_ends, plan_->shows_the_same);
  for (Node* node : changed) node->NoteResize();
  for (Node* orphan : plan_->orphans) {
    edit.dropped.push_back(orphan->id);
    internals.Bury(orphan, plan_->requester);
  }
  plan_.reset();
  proposed_ = nullptr;
  return edit;
}

// What was touched is as it must be, where somebody wants to know. Nodes that are dropped, by this
// edit or by one before it, still hold their files: nobody points at them, and they are left out.
void GraphTransaction::CheckEdited(std::vector<Node*> lower_ends) const {
  if (__builtin_expect(!graph().engine().scheduler().checks_edits(), 1)) return;
  const GraphInternals& internals = GraphInternals::Of(graph());
  const auto is_dropped = [&](const Node* node) {
    return IsOrphan(node) || internals.Resolve(node->id) == nullptr;
  };
  std::erase_if(lower_ends, is_dropped);
  const size_t ends = lower_ends.size();
  for (size_t i = 0; i < ends; ++i) {
    IntrusiveList<Edge, &Edge::child_side>& parents = lower_ends[i]->parents;
    for (Edge* edge = parents.front(); edge != nullptr; edge = parents.After(*edge)) {
      if (edge->parent != nullptr && !is_dropped(edge->parent)) lower_ends.push_back(edge->parent);
    }
  }
  const absl::Status status = internals.CheckEdited(lower_ends);
  MILLRACE_CHECK(status.ok(), StrCat("an edit has left a broken graph: ", status.ToString()));
}

bool GraphTransaction::IsOrphan(const Node* node) const {
  return std::find(plan_->orphans.begin(), plan_->orphans.end(), node) != plan_->orphans.end();
}

std::vector<Node*> GraphTransaction::ApplyOptions() {
  std::vector<Node*> changed;
  for (auto& [node, change] : plan_->proposed.options) {
    if (IsOrphan(node)) continue;
    MILLRACE_MUTANT(kR23) MutantYield();  // others run between one node and the next
    if (change.io) node->io = *change.io;
    if (change.told) node->told = *std::move(change.told);
    if (change.fresh == nullptr) continue;
    node->driver->TakeOptionsOf(*change.fresh);
    changed.push_back(node);
  }
  return changed;
}

void GraphTransaction::ApplyNewEdges(std::vector<Node*>* lower_ends,
                                     std::vector<Node*>* upper_ends) {
  GraphInternals& internals = GraphInternals::Of(graph());
  for (std::unique_ptr<Edge>& edge : plan_->proposed.new_edges) {
    if (edge->child == nullptr) continue;  // staged and taken back
    lower_ends->push_back(edge->child);
    upper_ends->push_back(edge->parent);
    edge->child->parents.PushBack(*edge);
    edge->ordinal = internals.next_ordinal++;
    edge->parent->children.push_back(std::move(edge));
  }
  for (AttachmentCore* attachment : plan_->attached) {
    attachment->planned_in = nullptr;
    if (attachment->edge.child == nullptr) continue;
    lower_ends->push_back(attachment->edge.child);
    attachment->edge.child->parents.PushBack(attachment->edge);
    attachment->is_applied = true;
    if (!attachment->options.device_name.empty()) {
      internals.devices[attachment->options.device_name] = attachment;
    }
  }
  for (const Plan::LeaseExtension& extension : plan_->extensions) {
    Edge* edge = extension.filter->FilteredOrBacking();
    edge->lease = extension.lease;
    extension.lease->edges.insert(extension.lease->edges.begin(), edge);
    extension.lease->top = extension.filter->id;
  }
}

}  // namespace millrace
