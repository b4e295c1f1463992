// Random graphs and random edits against a naive model that recomputes everything from scratch.
//
// The model knows nodes by name, edges as pairs and permissions by QEMU's rules
// written down once more; it says of every edit whether it must be accepted, and what the graph is
// afterwards. Nothing is shared with the implementation but the role and permission types.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/describe.h"
#include "millrace/graph/freeze.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/seeds.h"
#include "tests/support/simulation.h"

namespace millrace::graph_property_test {
namespace {

// ---- The model ---------------------------------------------------------------------------------

struct ModelNode {
  bool is_filter = false;
  bool is_read_only = false;
  std::string child;  // what it shows; empty: nothing
};

struct ModelUser {
  std::string node;
  bool stays = false;
  Permissions permissions;
};

struct Model {
  std::map<std::string, ModelNode> nodes;
  std::map<int, ModelUser> users;
  // Links, by the node they go down from, and the user whose lease each is in.
  std::map<std::string, int> leased;

  // The nodes whose links a lease from `top` to `last` would take; nothing if it cannot be had.
  std::optional<std::vector<std::string>> LinksOf(const std::string& top,
                                                  const std::string& last) const {
    if (!Reaches(top, last)) return std::nullopt;
    std::vector<std::string> links;
    for (std::string at = top; at != last; at = nodes.at(at).child) {
      if (leased.contains(at)) return std::nullopt;
      links.push_back(at);
    }
    return links;
  }
  // The leased links that an edit to `wanted` changes.
  std::set<std::string> LeasedThatChange(const Model& wanted) const {
    std::set<std::string> changed;
    for (const auto& [name, user] : leased) {
      const auto then = wanted.nodes.find(name);
      if (then == wanted.nodes.end() || then->second.child != nodes.at(name).child) {
        changed.insert(name);
      }
    }
    return changed;
  }

  bool Reaches(const std::string& from, const std::string& to) const {
    for (std::string at = from; !at.empty(); at = nodes.at(at).child) {
      if (at == to) return true;
    }
    return false;
  }
  // Drops what nothing holds, again and again.
  void Collect() {
    for (bool has_changed = true; has_changed;) {
      has_changed = false;
      for (auto node = nodes.begin(); node != nodes.end();) {
        const std::string& name = node->first;
        const bool is_held =
            std::any_of(users.begin(), users.end(),
                        [&](const auto& user) { return user.second.node == name; }) ||
            std::any_of(nodes.begin(), nodes.end(),
                        [&](const auto& parent) { return parent.second.child == name; });
        has_changed = has_changed || !is_held;
        node = is_held ? std::next(node) : nodes.erase(node);
      }
    }
  }
  // All permissions of the users of a node and of the nodes above it.
  std::vector<Permissions> UsesOf(const std::string& name) const {
    std::vector<Permissions> uses;
    for (const auto& [id, user] : users) {
      if (user.node == name) uses.push_back(user.permissions);
    }
    for (const auto& [parent, node] : nodes) {
      if (node.child == name) uses.push_back(Derived(parent));
    }
    return uses;
  }
  // What the node's own edge carries: passed on by a filter; by a format, reading only, and others
  // may write below exactly if those above accept changes.
  Permissions Derived(const std::string& name) const {
    Permissions all;
    for (const Permissions& use : UsesOf(name)) {
      all.used = all.used | use.used;
      all.shared = all.shared & use.shared;
    }
    if (nodes.at(name).is_filter) return all;
    Permissions backing;
    backing.used = all.used & kConsistentRead;
    backing.shared = kConsistentRead | kWriteUnchanged;
    if (all.shared.Contains(kWrite)) backing.shared = backing.shared | kWrite | kResize;
    return backing;
  }
  bool IsAllowed() const {
    for (const auto& [name, node] : nodes) {
      const std::vector<Permissions> uses = UsesOf(name);
      for (size_t i = 0; i < uses.size(); ++i) {
        if (node.is_read_only && uses[i].used.Intersects(kWrite | kWriteUnchanged)) return false;
        for (size_t j = 0; j < uses.size(); ++j) {
          if (i != j && !uses[j].shared.Contains(uses[i].used)) return false;
        }
      }
    }
    return true;
  }
  std::string Text() const {
    std::string text;
    for (const auto& [name, node] : nodes) {
      Permissions all;
      for (const Permissions& use : UsesOf(name)) {
        all.used = all.used | use.used;
        all.shared = all.shared & use.shared;
      }
      StrAppend(&text, name, " -> ", node.child, " ", int{all.used.bits()}, "/",
                int{all.shared.bits()}, node.is_read_only ? " ro" : "", "\n");
    }
    for (const auto& [id, user] : users) StrAppend(&text, "user ", id, " -> ", user.node, "\n");
    return text;
  }
};

// ---- The same questions to the graph -----------------------------------------------------------

class PropertyRun {
 public:
  PropertyRun(Engine& engine, uint64_t seed) : graph_(engine), random_(seed, "edits") {}

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    for (int step = 0; step < 40; ++step) {
      CoEdit();
      const std::string wanted = model_.Text();
      const std::string actual = Text();
      if (actual != wanted) {
        ADD_FAILURE() << "step " << step << "\nmodel:\n" << wanted << "graph:\n" << actual;
        break;
      }
      if (random_.OneIn(4)) graph_.CoWaitForReaper();
    }
    leases_.clear();
    users_.clear();
    graph_.CoClose();
    EXPECT_EQ(graph_.node_count(), 0u);
    return absl::OkStatus();
  }
  Graph& graph() { return graph_; }
  int accepted() const { return accepted_; }
  int refused() const { return refused_; }
  int refused_for_leases() const { return refused_for_leases_; }
  int leased_links_edited() const { return leased_links_edited_; }

 private:
  std::string Text() MILLRACE_OPENS_VIEW {
    GraphView view(graph_);
    std::map<std::string, std::string> lines;
    for (NodeId id : view.Nodes()) {
      const NodeView node = *view.Resolve(id);
      const std::optional<NodeView> child = node.FilteredOrBacking();
      const Permissions all = node.cumulative_permissions();
      lines[node.name()] =
          StrCat(node.name(), " -> ", child ? child->name() : "", " ", int{all.used.bits()}, "/",
                 int{all.shared.bits()}, node.is_read_only() ? " ro" : "", "\n");
    }
    std::string text;
    for (const auto& line : lines) text += line.second;
    for (const auto& [id, user] : users_) {
      StrAppend(&text, "user ", id, " -> ", view.Resolve(user.node())->name(), "\n");
    }
    return text;
  }

  std::string AnyNode() {
    if (model_.nodes.empty()) return {};
    auto node = model_.nodes.begin();
    std::advance(node, random_.Below(model_.nodes.size()));
    return node->first;
  }
  Permissions AnyPermissions() {
    // Mostly compatible, or hardly anything would ever be accepted.
    Permissions permissions;
    permissions.used = PermissionSet(static_cast<uint8_t>(random_.Below(16)));
    if (random_.OneIn(2)) permissions.used = permissions.used & kConsistentRead;
    permissions.shared = PermissionSet(static_cast<uint8_t>(random_.Below(16)));
    if (!random_.OneIn(3)) permissions.shared = kAllPermissions;
    return permissions;
  }
  static NodeId IdOf(const GraphReader& reader, const std::string& name) {
    absl::StatusOr<NodeView> node = reader.Find(name);
    return node.ok() ? node->id() : NodeId();
  }

  // What an edit would make of the model, and the same staged.
  void CoEdit() MILLRACE_MAY_SUSPEND {
    const uint64_t kind = model_.nodes.empty() ? 0 : random_.Below(10);
    const std::string node = AnyNode();
    if (kind == 8) return TakeLease(node, AnyNode());
    if (kind == 9) return ReleaseLease();
    if (kind <= 1) return AddNode(node, random_.OneIn(3));
    if (kind == 2) return AddUser(node);
    if (kind == 3) return DropUser(AnyUser());
    if (kind == 4) return ChangePermissions();
    CoEditDrained(kind, node, AnyNode());
  }

  // Applies `wanted` if the graph takes the edit exactly when the model allows it. `also_touched`:
  // a node whose link is set to what it is.
  void Settle(const absl::Status& status, Model wanted, bool is_shape_allowed,
              std::string_view what, const std::string& also_touched = {}) {
    std::set<std::string> touched = model_.LeasedThatChange(wanted);
    if (model_.leased.contains(also_touched)) touched.insert(also_touched);
    const bool are_leases_kept =
        std::all_of(touched.begin(), touched.end(),
                    [&](const std::string& link) { return model_.leased[link] == shown_; });
    const bool is_allowed_otherwise = is_shape_allowed && wanted.IsAllowed();
    EXPECT_EQ(status.ok(), is_allowed_otherwise && are_leases_kept)
        << what << ": " << status << "\n"
        << wanted.Text();
    if (is_allowed_otherwise && !are_leases_kept) {
      const std::optional<Conflict> conflict = ConflictOf(status);
      EXPECT_TRUE(conflict && conflict->reason == ConflictReason::kFrozenLink) << status;
      ++refused_for_leases_;
    }
    ++(status.ok() ? accepted_ : refused_);
    if (!status.ok()) return;
    for (const std::string& link : touched) wanted.leased.erase(link);  // an edited link leaves
    leased_links_edited_ += static_cast<int>(touched.size());
    model_ = std::move(wanted);
  }

  // Somebody else takes one, from an attachment of his own on the top.
  void TakeLease(const std::string& top, const std::string& last) MILLRACE_OPENS_VIEW {
    Model wanted = model_;
    const int user = next_user_++;
    const HolderRef lessee = MakeHolder(StrCat("lessee ", user), "test");
    AttachmentOptions options;
    options.holder = lessee;
    options.stays_at_node = true;
    wanted.users[user] = {top, true, {{}, kAllPermissions}};
    const std::optional<std::vector<std::string>> links = model_.LinksOf(top, last);
    options.permissions = wanted.users[user].permissions;
    Attachment keeper;
    absl::Status kept;
    {
      GraphTransaction change(graph_);
      keeper = change.Attach(IdOf(change, top), options);
      kept = change.Commit().status();
    }
    EXPECT_TRUE(kept.ok()) << kept;
    if (!kept.ok()) return;
    absl::StatusOr<FrozenChain> lease = Freeze(top, last, lessee);
    EXPECT_EQ(lease.ok(), links.has_value()) << top << " to " << last << ": " << lease.status();
    if (!lease.ok() || !links) return (void)keeper.Detach();
    for (const std::string& link : *links) wanted.leased[link] = user;
    users_[user] = std::move(keeper);
    leases_[user] = *std::move(lease);
    model_ = std::move(wanted);
  }
  absl::StatusOr<FrozenChain> Freeze(const std::string& top, const std::string& last,
                                     const HolderRef& lessee) MILLRACE_OPENS_VIEW {
    GraphView view(graph_);
    return FrozenChain::Freeze(view, IdOf(view, top), IdOf(view, last), lessee);
  }

  void ReleaseLease() MILLRACE_OPENS_VIEW {
    if (leases_.empty()) return;
    auto lease = leases_.begin();
    std::advance(lease, random_.Below(leases_.size()));
    const int user = lease->first;
    leases_.erase(lease);
    std::erase_if(model_.leased, [user](const auto& link) { return link.second == user; });
    DropUser(users_.find(user));
  }

  void AddNode(const std::string& below, bool is_filter) MILLRACE_OPENS_VIEW {
    const std::string name = StrCat("n", next_name_++);
    Model wanted = model_;
    const bool has_child = !below.empty() && (is_filter || !random_.OneIn(3));
    if (is_filter && !has_child) return;
    const bool is_read_only = random_.OneIn(5);
    wanted.nodes[name] = {is_filter, is_read_only, has_child ? below : std::string()};
    const int user = next_user_++;
    wanted.users[user] = {name, random_.OneIn(2), AnyPermissions()};
    GraphTransaction change(graph_);
    NodeOptions options;
    options.name = name;
    options.is_read_only = is_read_only;
    std::unique_ptr<Driver> driver;
    if (is_filter) {
      driver = std::make_unique<PassFilter>();
    } else {
      driver = MakeMemoryOverlayDriver({.bytes = 4096});
    }
    const NodeId id = change.AddNode(std::move(driver), options);
    if (has_child) {
      change.AddChild(id, is_filter ? Role::kFiltered : Role::kBacking, IdOf(change, below));
    }
    Attachment attachment = change.Attach(id, OptionsOf(wanted.users[user]));
    const absl::Status status = change.Commit().status();
    if (status.ok()) users_[user] = std::move(attachment);
    Settle(status, wanted, true, "add");
  }

  AttachmentOptions OptionsOf(const ModelUser& user) const {
    AttachmentOptions options;
    options.holder = holder_;
    options.stays_at_node = user.stays;
    options.permissions = user.permissions;
    return options;
  }

  void AddUser(const std::string& node) MILLRACE_OPENS_VIEW {
    Model wanted = model_;
    const int user = next_user_++;
    wanted.users[user] = {node, random_.OneIn(2), AnyPermissions()};
    GraphTransaction change(graph_);
    Attachment attachment = change.Attach(IdOf(change, node), OptionsOf(wanted.users[user]));
    const absl::Status status = change.Commit().status();
    if (status.ok()) users_[user] = std::move(attachment);
    Settle(status, wanted, true, "attach");
  }

  // One without a lease; end() if there is none.
  std::map<int, Attachment>::iterator AnyUser() {
    std::vector<int> free;
    for (const auto& [id, user] : users_) {
      if (!leases_.contains(id)) free.push_back(id);
    }
    return free.empty() ? users_.end() : users_.find(free[random_.Below(free.size())]);
  }

  void DropUser(std::map<int, Attachment>::iterator user) MILLRACE_OPENS_VIEW {
    if (user == users_.end()) return;
    Model wanted = model_;
    wanted.users.erase(user->first);
    wanted.Collect();
    // What it held last goes with it, unless that has links in somebody's lease.
    const absl::Status detached = user->second.Detach().status();
    if (detached.ok()) users_.erase(user);
    Settle(detached, wanted, true, "detach");
  }

  void ChangePermissions() MILLRACE_OPENS_VIEW {
    const auto user = AnyUser();
    if (user == users_.end()) return;
    Model wanted = model_;
    wanted.users[user->first].permissions = AnyPermissions();
    GraphTransaction change(graph_);
    change.SetPermissions(user->second, wanted.users[user->first].permissions);
    Settle(change.Commit().status(), wanted, true, "permissions");
  }

  void CoEditDrained(uint64_t kind, const std::string& node, const std::string& other)
      MILLRACE_MAY_SUSPEND {
    absl::StatusOr<DrainedSection> drained =
        DrainedSection::CoBegin(graph_, {Find(node), Find(other)}, {holder_});
    ASSERT_TRUE(drained.ok()) << drained.status();
    // Now and then by somebody with a lease, who shows it.
    shown_ = 0;
    if (!leases_.empty() && random_.OneIn(2)) {
      auto lease = leases_.begin();
      std::advance(lease, random_.Below(leases_.size()));
      shown_ = lease->first;
    }
    if (kind == 5) SetBacking(node, other, *drained);
    if (kind == 6) InsertOrRemoveFilter(node, *drained);
    if (kind == 7) Replace(node, other, *drained);
    shown_ = 0;
  }
  GraphTransaction& Show(GraphTransaction& change, const DrainedSection& drained) {
    change.Show(drained);
    if (shown_ != 0) change.Show(leases_[shown_]);
    return change;
  }
  NodeId Find(const std::string& name) MILLRACE_OPENS_VIEW {
    GraphView view(graph_);
    return IdOf(view, name);
  }

  void SetBacking(const std::string& overlay, const std::string& base,
                  const DrainedSection& drained) MILLRACE_OPENS_VIEW {
    if (model_.nodes[overlay].is_filter) return;
    Model wanted = model_;
    const bool cuts = random_.OneIn(4);
    const bool is_acyclic = cuts || !model_.Reaches(base, overlay);
    if (is_acyclic) {
      wanted.nodes[overlay].child = cuts ? std::string() : base;
      wanted.Collect();
    }
    GraphTransaction change(graph_);
    Show(change, drained);
    std::optional<NodeId> target;
    if (!cuts) target = IdOf(change, base);
    change.SetBacking(IdOf(change, overlay), target, std::nullopt);
    Settle(change.Commit().status(), wanted, is_acyclic, "backing", overlay);
  }

  // Everything that may leave `from` goes to `to`.
  static void Move(Model& model, const std::string& from, const std::string& to,
                   const std::string& except) {
    for (auto& user : model.users) {
      if (user.second.node == from && !user.second.stays) user.second.node = to;
    }
    std::vector<std::string> movers;
    for (const auto& [name, node] : model.nodes) {
      if (node.child == from && name != except && !model.Reaches(to, name)) movers.push_back(name);
    }
    for (const std::string& mover : movers) model.nodes[mover].child = to;
  }

  void InsertOrRemoveFilter(const std::string& node, const DrainedSection& drained)
      MILLRACE_OPENS_VIEW {
    Model wanted = model_;
    GraphTransaction change(graph_);
    Show(change, drained);
    bool is_allowed = true;
    if (model_.nodes[node].is_filter) {
      Move(wanted, node, wanted.nodes[node].child, {});
      change.RemoveFilter(IdOf(change, node));
    } else {
      const std::string name = StrCat("n", next_name_++);
      wanted.nodes[name] = {true, false, {}};
      Move(wanted, node, name, name);
      wanted.nodes[name].child = node;
      const auto is_moved = [&](const auto& user) { return user.second.node == name; };
      const auto is_parent = [&](const auto& parent) { return parent.second.child == name; };
      is_allowed = std::any_of(wanted.users.begin(), wanted.users.end(), is_moved) ||
                   std::any_of(wanted.nodes.begin(), wanted.nodes.end(), is_parent);
      NodeOptions options;
      options.name = name;
      const NodeId filter = change.AddNode(std::make_unique<PassFilter>(), options);
      change.InsertFilter(filter, IdOf(change, node));
    }
    wanted.Collect();
    Settle(change.Commit().status(), wanted, is_allowed, "filter");
  }

  void Replace(const std::string& from, const std::string& to, const DrainedSection& drained)
      MILLRACE_OPENS_VIEW {
    if (from == to) return;
    Model wanted = model_;
    Move(wanted, from, to, {});
    wanted.Collect();
    GraphTransaction change(graph_);
    Show(change, drained).ReplaceNode(IdOf(change, from), IdOf(change, to));
    Settle(change.Commit().status(), wanted, true, "replace");
  }

  Graph graph_;
  RandomStream random_;
  const HolderRef holder_ = MakeHolder("me", "test");
  Model model_;
  std::map<int, Attachment> users_;
  std::map<int, FrozenChain> leases_;  // by the user that keeps their top
  int shown_ = 0;                      // the lease that the edit shows; 0: none
  int next_name_ = 0;
  int next_user_ = 1;
  int accepted_ = 0;
  int refused_ = 0;
  int refused_for_leases_ = 0;
  int leased_links_edited_ = 0;
};

TEST(GraphProperty, EveryRandomEditIsAcceptedAndAppliedAsTheModelSays) {
  int accepted = 0;
  int refused = 0;
  int refused_for_leases = 0;
  int leased_links_edited = 0;
  Explore([&](Engine& engine, uint64_t seed) {
    PropertyRun run(engine, seed);
    absl::Status status =
        RunChecked(engine, run.graph(), true, [&]() MILLRACE_MAY_SUSPEND { return run.CoRun(); });
    EXPECT_TRUE(status.ok()) << status;
    accepted += run.accepted();
    refused += run.refused();
    refused_for_leases += run.refused_for_leases();
    leased_links_edited += run.leased_links_edited();
  });
  // Both happen often, or the test would prove little.
  EXPECT_GT(accepted, 2 * refused);
  EXPECT_GT(refused, accepted / 50);
  // Rare, so that few seeds may have none.
  if (SeedCount() < 1000) return;
  EXPECT_GT(refused_for_leases, refused / 100);
  EXPECT_GT(leased_links_edited, accepted / 500);
}

}  // namespace
}  // namespace millrace::graph_property_test
