// The checkers of G1-G9 (graph/INVARIANTS.md). G6 and G9 are checked where they could break, in
// the transaction's validation and in Suspend(); the rest is looked at here, over the whole graph.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/freeze_core.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_internals.h"

namespace millrace {
namespace {

absl::Status Broken(std::string_view invariant, const Node& node, std::string_view what) {
  return absl::InternalError(StrCat(invariant, ": node '", node.name, "': ", what));
}

// The edges from above, as their parents know them.
absl::Status CheckParents(const Node& node) {
  if (node.parents.empty()) return Broken("G3", node, "it lives although no edge points at it");
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    if (edge->child != &node) return Broken("G2", node, "a parent edge leads elsewhere");
    if (edge->parent == nullptr) continue;
    const auto& of_parent = edge->parent->children;
    const bool is_owned =
        std::any_of(of_parent.begin(), of_parent.end(),
                    [&](const std::unique_ptr<Edge>& each) { return each.get() == edge; });
    if (!is_owned) return Broken("G2", node, "a parent does not own the edge that leads here");
  }
  return absl::OkStatus();
}

absl::Status CheckShape(const Node& node) {
  size_t filtered = 0;
  size_t backing = 0;
  for (const std::unique_ptr<Edge>& edge : node.children) {
    filtered += edge->role == Role::kFiltered ? 1 : 0;
    backing += edge->role == Role::kBacking ? 1 : 0;
    if (edge->parent != &node) return Broken("G2", node, "a child edge has another parent");
    bool is_listed = false;
    for (Edge* up = edge->child->parents.front(); up != nullptr;
         up = edge->child->parents.After(*up)) {
      is_listed = is_listed || up == edge.get();
    }
    if (!is_listed) return Broken("G2", node, "its child does not list the edge");
  }
  if (node.is_filter() && (filtered != 1 || backing != 0)) {
    return Broken("G1", node, "a filter has exactly one filtered child and no backing");
  }
  if (!node.is_filter() && (filtered != 0 || backing > 1)) {
    return Broken("G1", node, "a format has at most one backing and no filtered child");
  }
  return CheckParents(node);
}

// G1: depth first, with the path in progress marked.
absl::Status CheckAcyclicFrom(const Node& node, absl::btree_map<const Node*, int>* state) {
  if ((*state)[&node] == 2) return absl::OkStatus();
  if ((*state)[&node] == 1) return Broken("G1", node, "it is its own descendant");
  (*state)[&node] = 1;
  for (const std::unique_ptr<Edge>& edge : node.children) {
    MILLRACE_RETURN_IF_ERROR(CheckAcyclicFrom(*edge->child, state));
  }
  (*state)[&node] = 2;
  return absl::OkStatus();
}

absl::Status CheckLeases(const Node& node) {
  for (const std::unique_ptr<Edge>& edge : node.children) {
    if (edge->lease == nullptr) continue;
    const std::vector<Edge*>& edges = edge->lease->edges;
    if (std::find(edges.begin(), edges.end(), edge.get()) == edges.end()) {
      return Broken("G4", node, "a link carries a lease that does not list it");
    }
    for (const Edge* listed : edges) {
      if (listed->lease != edge->lease) {
        return Broken("G4", node, "a lease lists a link that does not carry it");
      }
    }
    if (edge->lease->was_edited) continue;
    // The leased links of one chain hang together, and end where the lease does.
    if (edges.back() == edge.get()) {
      if (edge->child->id != edge->lease->last) {
        return Broken("G4", node, StrCat("a leased chain ends at '", edge->child->name, "'"));
      }
    } else {
      const auto next = std::find(edges.begin(), edges.end(), edge.get()) + 1;
      if ((*next)->parent != edge->child) {
        return Broken("G4", node, StrCat("a leased chain has a gap at '", edge->child->name, "'"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckDemands(const Node& node, Permissions Edge::*demands,
                          Permissions (Driver::*derive)(const PermissionContext&) const) {
  Permissions all;
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    for (const Edge* other = node.parents.front(); other != nullptr;
         other = node.parents.After(*other)) {
      if (edge != other && !(other->*demands).shared.Contains((edge->*demands).used)) {
        return Broken("G5", node, "two users' permissions exclude each other");
      }
    }
    all = Union(all, edge->*demands);
  }
  PermissionContext context;
  context.parents = all;
  context.node_is_read_only = node.is_read_only;
  context.node_has_parents = !node.parents.empty();
  for (const std::unique_ptr<Edge>& edge : node.children) {
    context.role = edge->role;
    Permissions derived = (node.driver.get()->*derive)(context);
    if (node.io.shares_by_force) derived.shared = kAllPermissions;
    if (derived != edge.get()->*demands) {
      return Broken("G5", node,
                    StrCat("the permissions of its '", edge->name,
                           "' link are not what follows from its parents"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPermissions(const Node& node) {
  MILLRACE_RETURN_IF_ERROR(CheckDemands(node, &Edge::permissions, &Driver::DerivePermissions));
  return CheckDemands(node, &Edge::reserved, &Driver::DeriveReserved);
}

template <typename Element>
bool Contains(const std::vector<Element*>& elements, const Element& element) {
  return std::find(elements.begin(), elements.end(), &element) != elements.end();
}

// A section covers everything above what it covers, pending or granted.
absl::Status CheckCover(const Node& node, const SectionCore& section) {
  if (!Contains(section.covered, node)) {
    return Broken("G7", node, "a drained section does not know that it covers the node");
  }
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    if (edge->parent != nullptr) {
      if (!Contains(edge->parent->sections, section)) {
        return Broken(
            "G7", node,
            StrCat("a drained section does not cover a parent, node '", edge->parent->name, "'"));
      }
      continue;
    }
    const AttachmentCore& user = *edge->attachment;
    if (section.IsOwner(user.options.holder)) continue;
    if (!Contains(user.sections, section) || !Contains(section.attachments, user)) {
      return Broken("G7", node, "a drained section does not cover an attachment");
    }
    if (user.quiesce_count != static_cast<int>(user.sections.size())) {
      return Broken("G7", node, "an attachment does not count the sections that cover it");
    }
  }
  return absl::OkStatus();
}

// Nothing happens inside a granted section but what its owners do.
absl::Status CheckAtRest(const Node& node, const SectionCore& section) {
  for (const SectionCore* other : node.sections) {
    if (other->is_granted && section.Excludes(*other)) {
      return Broken("G7", node, "it is drained for two owners at once");
    }
  }
  // A request does not say whose it is. Without owners there is none; else none of an outsider's.
  if (!node.requests.empty() && section.owners.empty()) {
    return Broken("G7", node, "a request is in flight through a drained node");
  }
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    if (edge->parent != nullptr || section.IsOwner(edge->attachment->options.holder)) continue;
    const AttachmentCore& user = *edge->attachment;
    if (user.in_flight() > 0) {
      return Broken("G7", node,
                    StrCat(user.options.holder->Describe(),
                           " has a request in flight inside somebody else's drained section"));
    }
    if (SectionCore::IsAwake(user)) {
      return Broken("G7", node,
                    StrCat(user.options.holder->Describe(),
                           " goes on inside somebody else's drained section"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckQuiet(const Node& node) {
  for (const SectionCore* section : node.sections) {
    MILLRACE_RETURN_IF_ERROR(CheckCover(node, *section));
    if (section->is_granted) MILLRACE_RETURN_IF_ERROR(CheckAtRest(node, *section));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status GraphInternals::CheckEdited(absl::Span<Node* const> edited) const {
  absl::btree_map<const Node*, int> state;  // looked up, not iterated
  for (const Node* node : edited) {
    MILLRACE_RETURN_IF_ERROR(CheckShape(*node));
    MILLRACE_RETURN_IF_ERROR(CheckAcyclicFrom(*node, &state));
    MILLRACE_RETURN_IF_ERROR(CheckLeases(*node));
    MILLRACE_RETURN_IF_ERROR(CheckPermissions(*node));
  }
  return absl::OkStatus();
}

absl::Status Graph::CheckInvariants() {
  absl::btree_map<const Node*, int> state;  // looked up, not iterated
  for (const Node* node = internals_->nodes.front(); node != nullptr;
       node = internals_->nodes.After(*node)) {
    MILLRACE_RETURN_IF_ERROR(CheckShape(*node));
    MILLRACE_RETURN_IF_ERROR(CheckAcyclicFrom(*node, &state));
    MILLRACE_RETURN_IF_ERROR(CheckLeases(*node));
    MILLRACE_RETURN_IF_ERROR(CheckPermissions(*node));
    MILLRACE_RETURN_IF_ERROR(CheckQuiet(*node));
  }
  return absl::OkStatus();
}

}  // namespace millrace
