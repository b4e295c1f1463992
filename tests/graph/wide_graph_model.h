// A naive model of a graph whose nodes have several children: what its nodes, links, users, leases
// and drained sections are, and what an edit may make of them. Everything is recomputed from
// scratch; nothing is shared with the implementation but the role and permission types.
#ifndef MILLRACE_TESTS_GRAPH_WIDE_GRAPH_MODEL_H_
#define MILLRACE_TESTS_GRAPH_WIDE_GRAPH_MODEL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/text.h"
#include "millrace/graph/permission.h"
#include "millrace/graph/role.h"

namespace millrace::wide_graph {

enum class Kind : uint8_t {
  kDisk,     // memory; nothing below
  kOverlay,  // a backing
  kFormat,   // a file, a data file and a backing
  kFilter,   // one filtered child
  kQuorum,   // children that are alike
};

struct Link {
  int id = 0;
  Role role = Role::kBacking;
  std::string name;
  std::string child;
  // Of a node that was dropped: what the link carried when it was.
  std::optional<Permissions> kept{};

  bool is_shown() const { return role == Role::kBacking || role == Role::kFiltered; }
};

struct Node {
  Kind kind = Kind::kDisk;
  bool is_read_only = false;
  bool rewrites = false;  // a quorum that mends its children
  std::vector<Link> links{};
  bool is_dropped = false;  // and still holds its files

  size_t Count(Role role) const {
    return static_cast<size_t>(std::count_if(
        links.begin(), links.end(), [role](const Link& link) { return link.role == role; }));
  }
  const Link* Shown() const {
    const auto link =
        std::find_if(links.begin(), links.end(), [](const Link& each) { return each.is_shown(); });
    return link == links.end() ? nullptr : &*link;
  }
};

struct User {
  std::string node;
  bool stays = false;
  Permissions permissions{};
};

// The rules for a link, of what all users of its parent ask and share together.
inline Permissions PermissionsBelow(const Node& parent, const Link& link, const Permissions& all) {
  if (link.kept) return *link.kept;
  Permissions below = all;
  if (parent.kind == Kind::kFilter) return below;
  if (parent.kind == Kind::kQuorum) {
    below.shared = below.shared & (kConsistentRead | kWriteUnchanged);
    if (parent.rewrites) below.used = below.used | kWrite;
    return below;
  }
  if (link.role == Role::kBacking) {
    below.used = below.used & kConsistentRead;
    below.shared = kConsistentRead | kWriteUnchanged;
    if (all.shared.Contains(kWrite)) below.shared = below.shared | kWrite | kResize;
    return below;
  }
  // What is new to its users is a write to the file.
  if (below.used.Contains(kWriteUnchanged)) below.used = below.used | kWrite;
  below.shared = below.shared - kResize;
  if (link.role == Role::kData) {
    if (below.used.Contains(kWrite)) below.used = below.used | kResize;
    return below;
  }
  below.used = below.used | kConsistentRead;
  if (!parent.is_read_only) below.used = below.used | kWrite | kResize;
  below.shared = below.shared - kWrite;
  return below;
}

struct Model {
  std::map<std::string, Node> nodes{};
  std::map<int, User> users{};
  std::map<int, int> leased{};                      // link, and the user whose lease it is in
  std::map<int, std::set<std::string>> sections{};  // what was drained

  // The chain of links from `top` to `last` that a lease would take; nothing if it cannot be had.
  std::optional<std::vector<int>> LinksOf(const std::string& top, const std::string& last) const {
    std::vector<int> links;
    for (std::string at = top; at != last;) {
      const Link* const link = nodes.at(at).Shown();
      if (link == nullptr || leased.contains(link->id)) return std::nullopt;
      links.push_back(link->id);
      at = link->child;
    }
    return links;
  }

  // Everything below a node, and itself.
  std::set<std::string> Below(const std::string& node) const {
    std::set<std::string> found = {node};
    std::vector<std::string> work = {node};
    while (!work.empty()) {
      const std::string at = work.back();
      work.pop_back();
      for (const Link& link : nodes.at(at).links) {
        if (found.insert(link.child).second) work.push_back(link.child);
      }
    }
    return found;
  }
  bool Reaches(const std::string& from, const std::string& to) const {
    return Below(from).contains(to);
  }
  bool IsCovered(const std::string& node, const std::set<std::string>& drained) const {
    const std::set<std::string> below = Below(node);
    return std::any_of(drained.begin(), drained.end(),
                       [&](const std::string& root) { return below.contains(root); });
  }
  int SectionsOver(const std::string& node) const {
    return static_cast<int>(
        std::count_if(sections.begin(), sections.end(),
                      [&](const auto& section) { return IsCovered(node, section.second); }));
  }

  bool IsAcyclic() const {
    return std::all_of(nodes.begin(), nodes.end(), [&](const auto& node) {
      return std::none_of(node.second.links.begin(), node.second.links.end(),
                          [&](const Link& link) { return Reaches(link.child, node.first); });
    });
  }
  bool AreShapesAllowed() const {
    return std::all_of(nodes.begin(), nodes.end(), [](const auto& entry) {
      const Node& node = entry.second;
      const size_t all = node.links.size();
      const size_t shown = node.Count(Role::kFiltered) + node.Count(Role::kBacking);
      if (node.is_dropped) return true;
      switch (node.kind) {
        case Kind::kDisk:
          return all == 0;
        case Kind::kQuorum:
          return all == node.Count(Role::kData);
        case Kind::kFilter:
          return shown == 1 && node.Count(Role::kFiltered) == 1;
        case Kind::kOverlay:
        case Kind::kFormat:
          break;
      }
      return shown <= 1 && node.Count(Role::kFiltered) == 0 && node.Count(Role::kPrimary) <= 1;
    });
  }

  bool IsHeld(const std::string& name) const {
    const auto holds = [&](const Link& link) { return link.child == name; };
    return std::any_of(users.begin(), users.end(),
                       [&](const auto& user) { return user.second.node == name; }) ||
           std::any_of(nodes.begin(), nodes.end(), [&](const auto& parent) {
             const std::vector<Link>& links = parent.second.links;
             return std::any_of(links.begin(), links.end(), holds);
           });
  }
  // Drops what nothing holds, again and again, as an edit of `before` does: at once what it shows,
  // later its files. Says which links have ended.
  std::set<int> Collect(const Model& before);
  // The dropped nodes have been closed: their files are let go of, and so on.
  void CloseDropped() {
    while (std::erase_if(nodes, [](const auto& node) { return node.second.is_dropped; }) > 0) {
      Collect(Model(*this));
    }
  }
  bool HasDropped() const {
    return std::any_of(nodes.begin(), nodes.end(),
                       [](const auto& node) { return node.second.is_dropped; });
  }
  bool HasLink(int id) const {
    return std::any_of(nodes.begin(), nodes.end(), [id](const auto& node) {
      return std::any_of(node.second.links.begin(), node.second.links.end(),
                         [id](const Link& link) { return link.id == id; });
    });
  }
};

// What all links and users carry.
class ModelPermissions {
 public:
  explicit ModelPermissions(const Model& model) : model_(model) {
    for (const auto& node : model.nodes) Visit(node.first);
  }

  Permissions On(int link) const {
    const auto found = links_.find(link);
    return found == links_.end() ? Permissions() : found->second;
  }
  bool AreAllowed() const {
    for (const auto& [name, node] : model_.nodes) {
      if (node.is_dropped) continue;
      const std::vector<Permissions>& uses = uses_.at(name);
      for (size_t i = 0; i < uses.size(); ++i) {
        if (node.is_read_only && uses[i].used.Intersects(kWrite | kWriteUnchanged)) return false;
        for (size_t j = 0; j < uses.size(); ++j) {
          if (i != j && !uses[j].shared.Contains(uses[i].used)) return false;
        }
      }
    }
    return true;
  }

 private:
  // Those above first: there is no cycle.
  void Visit(const std::string& name) {
    if (uses_.contains(name)) return;
    std::vector<Permissions> uses;
    for (const auto& [id, user] : model_.users) {
      if (user.node == name) uses.push_back(user.permissions);
    }
    for (const auto& [parent, node] : model_.nodes) {
      for (const Link& link : node.links) {
        if (link.child != name) continue;
        Visit(parent);
        uses.push_back(links_.at(link.id));
      }
    }
    Permissions all;
    for (const Permissions& use : uses) {
      all.used = all.used | use.used;
      all.shared = all.shared & use.shared;
    }
    const Node& node = model_.nodes.at(name);
    for (const Link& link : node.links) links_[link.id] = PermissionsBelow(node, link, all);
    uses_[name] = std::move(uses);
  }

  const Model& model_;
  std::map<std::string, std::vector<Permissions>> uses_;
  std::map<int, Permissions> links_;
};

inline std::set<int> Model::Collect(const Model& before) {
  const ModelPermissions permissions(before);
  std::set<int> ended;
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    for (auto& [name, node] : nodes) {
      if (node.is_dropped || IsHeld(name)) continue;
      has_changed = true;
      node.is_dropped = true;
      for (Link& link : node.links) {
        if (link.is_shown()) ended.insert(link.id);
        link.kept = permissions.On(link.id);
      }
      std::erase_if(node.links, [](const Link& link) { return link.is_shown(); });
    }
  }
  // What holds no files is closed without anybody noticing.
  std::erase_if(
      nodes, [](const auto& node) { return node.second.is_dropped && node.second.links.empty(); });
  for (auto& section : sections) {
    std::erase_if(section.second, [&](const std::string& root) {
      return !nodes.contains(root) || nodes.at(root).is_dropped;
    });
  }
  for (int id : ended) leased.erase(id);
  return ended;
}

// A line for each node, link and user, to be compared with what the graph says of itself.
inline std::string NodeLine(const std::string& name, bool is_read_only, bool is_drained) {
  return StrCat(name, is_read_only ? " ro" : "", is_drained ? " drained" : "");
}
inline std::string LinkLine(const std::string& parent, const std::string& name,
                            const std::string& child, const Permissions& permissions,
                            const std::string& lessee) {
  return StrCat(parent, " -", name, "-> ", child, " ", int{permissions.used.bits()}, "/",
                int{permissions.shared.bits()}, " ", lessee);
}
inline std::string HeldLine(const std::string& what, int sections) {
  return StrCat(what, " held by ", sections);
}
inline std::string UserName(int id) { return StrCat("u", id); }

inline std::string TextOf(const Model& model) {
  std::vector<std::string> lines;
  const ModelPermissions permissions(model);
  for (const auto& [name, node] : model.nodes) {
    const int sections = model.SectionsOver(name);
    lines.push_back(NodeLine(name, node.is_read_only, sections > 0));
    if (node.kind == Kind::kFilter) lines.push_back(HeldLine(name, sections));
    for (const Link& link : node.links) {
      const auto lease = model.leased.find(link.id);
      lines.push_back(LinkLine(name, link.name, link.child, permissions.On(link.id),
                               lease == model.leased.end() ? "" : UserName(lease->second)));
    }
  }
  for (const auto& [id, user] : model.users) {
    lines.push_back(LinkLine(UserName(id), "root", user.node, user.permissions, ""));
    lines.push_back(HeldLine(UserName(id), model.SectionsOver(user.node)));
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) StrAppend(&text, line, "\n");
  return text;
}

}  // namespace millrace::wide_graph

#endif  // MILLRACE_TESTS_GRAPH_WIDE_GRAPH_MODEL_H_
