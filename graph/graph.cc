#include "millrace/graph/graph.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/io/in_flight_request.h"
#include "millrace/graph/io/node_io.h"

namespace millrace {
namespace {

// "node 'top' (its backing), commit job 'c' (its base)".
std::string LinksAbove(const Node& node) {
  std::string text;
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    StrAppend(&text, text.empty() ? "" : ", ",
              edge->parent != nullptr ? StrCat("node '", edge->parent->name, "'")
                                      : edge->attachment->options.holder->Describe(),
              " (its ", edge->name, ")");
  }
  return text;
}

}  // namespace

Graph::Graph(Engine& engine)
    : engine_(engine),
      internals_(std::make_unique<GraphInternals>(*this)),
      guest_load_(engine.clock()) {
  engine_.scheduler().AddInvariantChecker(this);
}

Graph::~Graph() {
  engine_.scheduler().RemoveInvariantChecker(this);
  const std::string users = internals_->DescribeUsers();
  MILLRACE_CHECK(users.empty(), StrCat("graph destroyed while nodes are attached: ", users,
                                       "; detach first, on every path"));
  MILLRACE_CHECK(
      node_count_ == 0 && internals_->closing.empty(),
      StrCat("graph destroyed before its nodes were closed: ", internals_->DescribeNodes(),
             "; Graph::CoClose(), which BlockRuntime's CoRun() and CoEnd() call, comes "
             "first, on every path"));
}

void Graph::CoWaitForClosed(const std::vector<NodeId>& dropped) {
  internals_->CoReapLeftOvers();
  internals_->closed.CoWaitUntil([&] {
    return std::none_of(dropped.begin(), dropped.end(),
                        [&](NodeId id) { return internals_->closing.contains(id); });
  });
}

std::vector<NodeId> Graph::NodesBeingClosed() const {
  std::vector<NodeId> ids;
  for (const auto& [id, node] : internals_->closing) ids.push_back(id);
  return ids;
}

void Graph::CoWaitForReaper() {
  MILLRACE_SOMETIMES(!internals_->closing.empty(), "graph: somebody waits for a node to close");
  CoWaitForClosed(NodesBeingClosed());
}

void Graph::CoClose() {
  while (!internals_->closing.empty()) CoWaitForReaper();
}

// ---- GraphInternals ----------------------------------------------------------------------------

GraphInternals::GraphInternals(Graph& owner)
    : graph(owner),
      sections(owner),
      closed("nodes closed"),
      reaper_scope(owner.engine().scheduler(), "reaper") {}

namespace {

std::string DescribeRemover(const HolderRef& removed_by) {
  return removed_by == nullptr ? "the embedder" : removed_by->Describe();
}

}  // namespace

Node* GraphInternals::Resolve(NodeId id) const {
  if (id.slot >= slots.size() || slots[id.slot].generation != id.generation) return nullptr;
  return slots[id.slot].node;
}

std::string GraphInternals::LastNameOf(NodeId id) const {
  const bool is_known = id.slot < slots.size() && slots[id.slot].last != nullptr &&
                        slots[id.slot].generation == id.generation + 1;
  return is_known ? slots[id.slot].last->name : id.ToString();
}

absl::Status GraphInternals::StaleError(NodeId id) const {
  Conflict conflict;
  conflict.reason = ConflictReason::kStaleNode;
  conflict.object = id.ToString();
  if (!id.is_valid()) {
    conflict.next_step = "give the node's id";
    return ConflictStatus(absl::StatusCode::kFailedPrecondition, conflict,
                          StrCat("no node is given (its NodeId is empty); ", conflict.next_step));
  }
  std::string text = StrCat("node ", id.ToString(), " does not exist");
  if (id.slot < slots.size() && slots[id.slot].last != nullptr) {
    const Tombstone& tombstone = *slots[id.slot].last;
    conflict.object = tombstone.name;
    const HolderRef& by = tombstone.removed_by;
    if (by != nullptr) conflict.holders.push_back({by->id, by->type, tombstone.when});
    text = StrCat("node '", tombstone.name, "' is gone: removed by ", DescribeRemover(by),
                  " in edit ", tombstone.revision);
  }
  conflict.next_step = "look the node up again";
  return ConflictStatus(absl::StatusCode::kFailedPrecondition, conflict,
                        StrCat(text, "; look the node up again"));
}

std::string GraphInternals::DescribeUsers() const {
  std::string text;
  for (const Node* node = nodes.front(); node != nullptr; node = nodes.After(*node)) {
    for (const Edge* edge = node->parents.front(); edge != nullptr;
         edge = node->parents.After(*edge)) {
      if (edge->attachment == nullptr) continue;
      StrAppend(&text, text.empty() ? "" : ", ", "'", node->name, "' by ",
                edge->attachment->options.holder->Describe());
    }
  }
  return text;
}

std::string GraphInternals::DescribeNodes() const {
  static constexpr size_t kNamesMax = 5;
  std::string text;
  size_t count = 0;
  for (const Node* node = nodes.front(); node != nullptr; node = nodes.After(*node)) {
    if (++count <= kNamesMax) StrAppend(&text, text.empty() ? "'" : ", '", node->name, "'");
  }
  if (count > kNamesMax) StrAppend(&text, " and ", count - kNamesMax, " more");
  return count > 0 ? text : StrCat(closing.size(), " that are being closed");
}

Node* GraphInternals::FindByName(std::string_view name) const {
  auto found = by_name.find(std::string(name));
  return found == by_name.end() ? nullptr : found->second;
}

void GraphInternals::Publish(const std::vector<NodeId>& ids) {
  internal::TouchHere("graph", {}, StepAccess::kWrite);
  for (NodeId id : ids) {
    if (Node* node = Resolve(id)) node->is_half_open = false;
  }
}

NodeId GraphInternals::ReserveId() {
  if (free_slots.empty()) {
    slots.emplace_back();
    free_slots.push_back(static_cast<uint32_t>(slots.size() - 1));
  }
  const uint32_t slot = free_slots.back();
  free_slots.pop_back();
  return {slot, slots[slot].generation};
}

void GraphInternals::ReleaseId(NodeId id) {
  ++slots[id.slot].generation;
  free_slots.push_back(id.slot);
}

void GraphInternals::GiveBackId(NodeId id) { free_slots.push_back(id.slot); }

void GraphInternals::Enter(std::unique_ptr<Node> node) {
  Node* entered = node.release();  // owned by its slot from here on
  slots[entered->id.slot].node = entered;
  by_name[entered->name] = entered;
  nodes.PushBack(*entered);
  ++graph.node_count_;
}

std::unique_ptr<Node> GraphInternals::Remove(Node* node, const HolderRef& removed_by) {
  MILLRACE_CHECK(node->parents.empty(),
                 StrCat("G3: ", DescribeRemover(removed_by), " drops node '", node->name,
                        "', which is used by ", LinksAbove(*node)));
  MILLRACE_CHECK(node->requests.empty(), "a node was dropped with requests in flight");
  Slot& slot = slots[node->id.slot];
  slot.last = std::make_shared<Tombstone>(
      Tombstone{node->name, removed_by, graph.revision(), graph.engine().clock().Now()});
  slot.node = nullptr;
  by_name.erase(node->name);
  nodes.Remove(*node);
  --graph.node_count_;
  ReleaseId(node->id);
  return std::unique_ptr<Node>(node);
}

void GraphInternals::Bury(Node* node, const HolderRef& removed_by) {
  std::unique_ptr<Node> dead = Remove(node, removed_by);
  // Sections that were begun on it do not count on it any more; those on its files still do.
  Node* const gone[] = {node};
  sections.Recompute(gone);
  closing.insert({dead->id, dead.get()});
  const std::string name = StrCat("close/", dead->name);
  Node* raw = dead.release();
  const bool started = reaper_scope.Spawn(
      name, [this, raw]() MILLRACE_MAY_SUSPEND { CoReap(std::unique_ptr<Node>(raw)); });
  if (!started) unclosed.emplace_back(raw);  // no memory for a stack
}

void GraphInternals::CoReap(std::unique_ptr<Node> node) {
  const NodeId id = node->id;
  if (MILLRACE_BUGGIFY("graph: a dropped node is closed late")) CoYield("reaper.odd");
  CoCloseDropped(std::move(node));
  closing.erase(id);
  closed.Notify();
}

void GraphInternals::CoReapLeftOvers() {
  while (!unclosed.empty()) {
    std::unique_ptr<Node> node = std::move(unclosed.front());
    unclosed.pop_front();
    CoReap(std::move(node));
  }
}

// Closes a node while it still holds its files, then lets go of them, and waits for those that
// nobody else holds.
void GraphInternals::CoCloseDropped(std::unique_ptr<Node> node) {
  if (node->needs_close) {
    // A closing node is one more user of its files: it does nothing inside somebody's drained
    // section, and a drain that begins now waits for it (G7).
    sections.CoWaitWhileDrained(*node);
    InFlightRequest request(*node);
    try {
      node->driver->CoClose();
    } catch (...) {
      DriverThrew(*node);
    }
  }
  const std::vector<NodeId> released = ReleaseChildren(*node);
  closing[node->id] = nullptr;
  node.reset();
  closed.Notify();
  graph.CoWaitForClosed(released);
}

namespace {

// Whether its closing has to wait until a drained section has ended.
bool IsHeldUp(const Node& node) {
  return std::any_of(node.sections.begin(), node.sections.end(),
                     [](const SectionCore* section) { return section->is_granted; });
}

}  // namespace

bool GraphInternals::GoesWithDropped(const Node& node) const {
  if (node.parents.empty() || IsHeldUp(node)) return false;
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    if (edge->parent == nullptr || IsHeldUp(*edge->parent)) return false;
    if (!IsDropped(*edge->parent) && !GoesWithDropped(*edge->parent)) return false;
  }
  return true;
}

bool GraphInternals::IsLettingGoOf(const Node& node, const FileIdentity& file) const {
  if (node.driver->kind() != NodeKind::kProtocol) return false;
  if (static_cast<const ProtocolDriver&>(*node.driver).identity() != file) return false;
  return IsDropped(node) ? !IsHeldUp(node) : GoesWithDropped(node);
}

bool GraphInternals::IsSomebodyLettingGoOf(const FileIdentity& file) const {
  for (const auto& [id, node] : closing) {
    if (node != nullptr && IsLettingGoOf(*node, file)) return true;
  }
  for (const Node* node = nodes.front(); node != nullptr; node = nodes.After(*node)) {
    if (IsLettingGoOf(*node, file)) return true;
  }
  return false;
}

bool GraphInternals::CoWaitWhileLettingGoOf(const FileIdentity& file) {
  // Those without a coroutine are closed by whoever waits for all of them, and by nobody else.
  if (closing.empty() || !unclosed.empty() || !IsSomebodyLettingGoOf(file)) return false;
  // Cancelled, it is refused for the lock, as it would have been.
  closed.CoWaitUntilCancellable([&] { return !unclosed.empty() || !IsSomebodyLettingGoOf(file); })
      .IgnoreError();
  return true;
}

void GraphInternals::NoteGranted() {
  if (!closing.empty()) closed.Notify();
}

std::vector<NodeId> GraphInternals::ReleaseChildren(Node& dead) {
  if (dead.children.empty()) return {};
  GraphTransaction change(graph);
  change.OnBehalfOf(MakeHolder(dead.name, "the closing of node"));
  change.ReleaseChildrenOf(dead);
  absl::StatusOr<AppliedEdit> edit = change.Commit();
  MILLRACE_CHECK(edit.ok(), StrCat("G3: a closed node cannot let go: ", edit.status().ToString()));
  return std::move(edit->dropped);
}

Node::~Node() { LetGoOfChangeListeners(); }

Edge* Node::FindChild(Role role) const {
  for (const std::unique_ptr<Edge>& edge : children) {
    if (edge->role == role) return edge.get();
  }
  return nullptr;
}

std::string Node::InWords() const {
  return InWords([](const Node& node, Role role) -> const Node* {
    const Edge* const down = node.FindChild(role);
    return down == nullptr ? nullptr : down->child;
  });
}

std::string Node::InWords(absl::FunctionRef<const Node*(const Node&, Role)> child_of) const {
  if (!name.starts_with('#')) return name;
  const Node* file = this;
  while (file->driver->kind() != NodeKind::kProtocol) {
    const Node* down = child_of(*file, Role::kPrimary);
    if (down == nullptr) down = child_of(*file, Role::kFiltered);
    if (down == nullptr) break;
    file = down;
  }
  const std::string filename = file->driver->filename();
  if (filename.empty()) return name;
  const std::string what = is_filter() ? StrCat(driver->driver_name(), " above ") : std::string();
  return StrCat(name, " (", what, PrintableName(filename), ")");
}

Edge* Node::FilteredOrBacking() const {
  Edge* edge = FindChild(Role::kFiltered);
  return edge != nullptr ? edge : FindChild(Role::kBacking);
}

}  // namespace millrace
