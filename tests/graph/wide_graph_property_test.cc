// Random edits of graphs whose nodes have several children: files beside backings, and quorums.
//
// graph_property_test has chains; here a node is reached on several ways, a drain covers it once,
// and what it may do follows from all of them. The model (wide_graph_model.h) says of every edit
// whether it must be accepted and what the graph is afterwards: links, permissions, leases, who is
// held by how many drained sections.
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/describe.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/memory_overlay.h"
#include "millrace/graph/filters/quorum.h"
#include "millrace/graph/freeze.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/node_id.h"
#include "tests/graph/wide_graph_model.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/seeds.h"
#include "tests/support/simulation.h"
#include "tests/support/toy_format.h"

namespace millrace::wide_graph {
namespace {

constexpr int kSteps = 50;

// Says how many drained sections hold it.
class HeldFilter final : public FilterDriver {
 public:
  explicit HeldFilter(int& sections) : sections_(sections) {}
  std::string_view driver_name() const override { return "held"; }
  void BeginDrain() override { ++sections_; }
  void EndDrain() override { --sections_; }

 private:
  int& sections_;
};

// One transaction in the making, and what it makes of the model.
struct Staged {
  GraphTransaction& change;
  Model wanted;
  bool is_refused = false;  // for what was asked, whatever the rest is
  std::set<int> touched{};  // links that are changed, or set to what they are
  std::set<std::string> new_nodes{};
  std::map<int, Attachment> attached{};
  std::vector<int> detached{};
};

struct Counts {
  int accepted = 0;
  int refused = 0;
  int refused_for_leases = 0;
  int refused_for_drains = 0;
  int edited_inside_leases = 0;
  int edited_inside_sections = 0;  // that others hold
};

class WideRun {
 public:
  WideRun(Engine& engine, uint64_t seed, Counts& counts)
      : graph_(engine), random_(seed, "edits"), counts_(counts) {}

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    for (int step = 0; step < kSteps && !testing::Test::HasFailure(); ++step) {
      CoEdit();
      if (model_.HasDropped() || random_.OneIn(4)) {
        graph_.CoWaitForReaper();
        model_.CloseDropped();
      }
      const std::string wanted = TextOf(model_);
      const std::string actual = Text();
      if (actual == wanted) continue;
      ADD_FAILURE() << "step " << step << "\nmodel:\n" << wanted << "graph:\n" << actual;
    }
    sections_.clear();
    for (const auto& user : users_) EXPECT_EQ(guests_[user.first]->quiesce_count(), 0);
    for (const auto& filter : held_filters_) EXPECT_EQ(filter.second, 0) << filter.first;
    leases_.clear();
    users_.clear();
    graph_.CoClose();
    EXPECT_EQ(graph_.node_count(), 0u);
    return absl::OkStatus();
  }
  Graph& graph() { return graph_; }

 private:
  // ---- What the graph says of itself -----------------------------------------------------------

  std::string Text() MILLRACE_OPENS_VIEW {
    GraphView view(graph_);
    std::vector<std::string> lines;
    for (NodeId id : view.Nodes()) {
      const NodeView node = *view.Resolve(id);
      lines.push_back(NodeLine(node.name(), node.is_read_only(), node.is_quiesced()));
      if (node.is_filter()) lines.push_back(HeldLine(node.name(), held_filters_[node.name()]));
    }
    const GraphPicture picture = DescribePicture(view);
    std::map<uint64_t, std::string> names;
    for (const GraphPicture::Vertex& vertex : picture.vertices) names[vertex.id] = vertex.name;
    for (const GraphPicture::Arrow& arrow : picture.arrows) {
      lines.push_back(LinkLine(names[arrow.parent], arrow.name, names[arrow.child],
                               arrow.permissions, arrow.lessee == nullptr ? "" : arrow.lessee->id));
    }
    for (const auto& user : users_) {
      lines.push_back(HeldLine(UserName(user.first), guests_[user.first]->quiesce_count()));
    }
    std::sort(lines.begin(), lines.end());
    std::string text;
    for (const std::string& line : lines) StrAppend(&text, line, "\n");
    return text;
  }

  // ---- Choices ---------------------------------------------------------------------------------

  template <typename Map>
  typename Map::const_iterator AnyOf(const Map& map) {
    auto any = map.begin();
    if (!map.empty()) std::advance(any, random_.Below(map.size()));
    return any;
  }
  std::string AnyNode(const Model& model) { return AnyOf(model.nodes)->first; }
  Permissions AnyPermissions() {
    // Mostly compatible, or hardly anything would ever be accepted.
    Permissions permissions;
    permissions.used = PermissionSet(static_cast<uint8_t>(random_.Below(16)));
    if (!random_.OneIn(3)) permissions.used = permissions.used & kConsistentRead;
    permissions.shared = PermissionSet(static_cast<uint8_t>(random_.Below(16)));
    if (!random_.OneIn(4)) permissions.shared = kAllPermissions;
    return permissions;
  }
  // One without a lease; 0 if there is none.
  int AnyUser(const Model& model) {
    std::vector<int> free;
    for (const auto& user : model.users) {
      if (!leases_.contains(user.first) && users_.contains(user.first)) free.push_back(user.first);
    }
    return free.empty() ? 0 : free[random_.Below(free.size())];
  }
  static NodeId IdOf(const GraphReader& reader, const std::string& name) {
    absl::StatusOr<NodeView> node = reader.Find(name);
    return node.ok() ? node->id() : NodeId();
  }

  // ---- Edits that need no drain ----------------------------------------------------------------

  void CoEdit() MILLRACE_MAY_SUSPEND {
    const uint64_t kind = model_.nodes.empty() ? 0 : random_.Below(14);
    if (kind <= 1) return Apply(&WideRun::StageNode);
    if (kind == 2) return Apply(&WideRun::StageUser);
    if (kind == 3) return Apply(&WideRun::StageLeave);
    if (kind == 4) {
      return Apply(random_.OneIn(2) ? &WideRun::StagePermissions : &WideRun::StageReadOnly);
    }
    if (kind == 5) return random_.OneIn(2) ? TakeLease() : ReleaseLease();
    if (kind == 6) return CoHoldOrLetGo();
    CoEditDrained();
  }
  using Stager = void (WideRun::*)(Staged&);

  void Apply(Stager stager) MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph_);
    Staged staged{change, model_};
    (this->*stager)(staged);
    Settle(staged, {});
  }

  void LinkTo(Staged& staged, const std::string& parent, Role role, const std::string& child) {
    Node& node = staged.wanted.nodes[parent];
    Link link{next_link_++, role, "file", child};
    if (role == Role::kBacking) link.name = "backing";
    if (role == Role::kData) link.name = "data-file";
    if (role == Role::kData && node.kind == Kind::kQuorum) {
      link.name = StrCat("children.", node.Count(Role::kData));
    }
    node.links.push_back(std::move(link));
    staged.change.AddChild(IdOf(staged.change, parent), role, IdOf(staged.change, child));
  }
  std::string AddNode(Staged& staged, Kind kind) {
    const std::string name = StrCat("n", next_name_++);
    Node node{kind, random_.OneIn(5)};
    std::unique_ptr<Driver> driver;
    switch (kind) {
      case Kind::kDisk:
        driver = MakeMemoryDriver({.bytes = 4096});
        break;
      case Kind::kOverlay:
        driver = MakeMemoryOverlayDriver({.bytes = 4096});
        break;
      case Kind::kFormat:
        node.is_read_only = random_.OneIn(2);  // a writable one leaves its file to nobody else
        driver = MakeToyDriver();
        break;
      case Kind::kFilter:
        driver = std::make_unique<HeldFilter>(held_filters_[name]);
        break;
      case Kind::kQuorum:
        node.rewrites = random_.OneIn(4);
        driver = MakeQuorumDriver({.vote_threshold = 1, .rewrite_corrupted = node.rewrites});
        break;
    }
    NodeOptions options;
    options.name = name;
    options.is_read_only = node.is_read_only;
    staged.wanted.nodes[name] = std::move(node);
    staged.new_nodes.insert(name);
    staged.change.AddNode(std::move(driver), std::move(options));
    return name;
  }
  // Mostly a new one, as people open images; else one that others use.
  std::string FileFor(Staged& staged) {
    if (!model_.nodes.empty() && random_.OneIn(3)) return AnyNode(model_);
    return AddNode(staged, Kind::kDisk);
  }
  void AddChildren(Staged& staged, const std::string& name, const std::string& below) {
    const Kind kind = staged.wanted.nodes[name].kind;
    if (kind == Kind::kFilter && !below.empty()) LinkTo(staged, name, Role::kFiltered, below);
    if (kind == Kind::kFormat && !random_.OneIn(6)) {
      LinkTo(staged, name, Role::kPrimary, FileFor(staged));
      if (random_.OneIn(4)) LinkTo(staged, name, Role::kData, FileFor(staged));
    }
    const bool may_have_backing = kind == Kind::kFormat || kind == Kind::kOverlay;
    if (may_have_backing && !below.empty() && !random_.OneIn(3)) {
      LinkTo(staged, name, Role::kBacking, below);
    }
    if (kind != Kind::kQuorum) return;
    if (!below.empty()) LinkTo(staged, name, Role::kData, below);
    for (uint64_t more = random_.Below(3); more > 0; --more) {
      LinkTo(staged, name, Role::kData, FileFor(staged));
    }
  }
  void AttachTo(Staged& staged, const std::string& node) {
    const int id = next_user_++;
    guests_[id] = std::make_unique<HandDrivenJob>(UserName(id));
    AttachmentOptions options;
    options.holder = guests_[id]->MakeHolderOf();
    options.purpose = "root";
    options.stays_at_node = random_.OneIn(2);
    options.permissions = AnyPermissions();
    staged.wanted.users[id] = {node, options.stays_at_node, options.permissions};
    staged.attached[id] = staged.change.Attach(IdOf(staged.change, node), options);
  }

  void StageNode(Staged& staged) {
    static constexpr Kind kKinds[] = {Kind::kDisk,   Kind::kOverlay, Kind::kOverlay, Kind::kFormat,
                                      Kind::kFormat, Kind::kFilter,  Kind::kQuorum};
    const std::string below = model_.nodes.empty() ? std::string() : AnyNode(model_);
    const std::string name = AddNode(staged, kKinds[random_.Below(std::size(kKinds))]);
    AddChildren(staged, name, below);
    AttachTo(staged, name);
  }
  void StageUser(Staged& staged) { AttachTo(staged, AnyNode(staged.wanted)); }
  void StageLeave(Staged& staged) {
    const int user = AnyUser(staged.wanted);
    if (user == 0) return;
    staged.wanted.users.erase(user);
    staged.detached.push_back(user);
    staged.change.Detach(users_[user]);
  }
  void StagePermissions(Staged& staged) {
    const int user = AnyUser(staged.wanted);
    if (user == 0) return;
    staged.wanted.users[user].permissions = AnyPermissions();
    staged.change.SetPermissions(users_[user], staged.wanted.users[user].permissions);
  }
  void StageReadOnly(Staged& staged) {
    const std::string name = AnyNode(staged.wanted);
    bool& is_read_only = staged.wanted.nodes[name].is_read_only;
    is_read_only = !is_read_only;
    staged.change.SetReadOnly(IdOf(staged.change, name), is_read_only);
  }

  // ---- Leases and sections of others -----------------------------------------------------------

  // Somebody who keeps the top by an attachment of his own.
  void TakeLease() MILLRACE_OPENS_VIEW {
    const std::string top = AnyNode(model_);
    std::string last = top;
    for (uint64_t links = random_.Below(4); links > 0; --links) {
      const Link* const link = model_.nodes[last].Shown();
      if (link != nullptr) last = link->child;
    }
    if (random_.OneIn(4)) last = AnyNode(model_);
    const std::optional<std::vector<int>> links = model_.LinksOf(top, last);
    const int id = next_user_++;
    guests_[id] = std::make_unique<HandDrivenJob>(UserName(id));
    AttachmentOptions options;
    options.holder = guests_[id]->MakeHolderOf();
    options.purpose = "root";
    options.stays_at_node = true;
    options.permissions = {{}, kAllPermissions};
    GraphTransaction change(graph_);
    Attachment keeper = change.Attach(IdOf(change, top), options);
    ASSERT_TRUE(change.Commit().ok());
    absl::StatusOr<FrozenChain> lease =
        FrozenChain::Freeze(change, IdOf(change, top), IdOf(change, last), options.holder);
    EXPECT_EQ(lease.ok(), links.has_value()) << top << " to " << last << ": " << lease.status();
    // Stays, with a lease or without.
    model_.users[id] = {top, true, options.permissions};
    users_[id] = std::move(keeper);
    if (!lease.ok() || !links) return;
    for (int link : *links) model_.leased[link] = id;
    leases_[id] = *std::move(lease);
  }
  // He stays as one who has none.
  void ReleaseLease() {
    if (leases_.empty()) return;
    const int user = AnyOf(leases_)->first;
    leases_.erase(user);
    std::erase_if(model_.leased, [user](const auto& link) { return link.second == user; });
  }
  void CoHoldOrLetGo() MILLRACE_MAY_SUSPEND {
    if (sections_.size() > 2 || (!sections_.empty() && random_.OneIn(2))) {
      const int section = AnyOf(sections_)->first;
      sections_.erase(section);
      model_.sections.erase(section);
      return;
    }
    std::set<std::string> roots;
    for (uint64_t more = random_.Below(2) + 1; more > 0; --more) roots.insert(AnyNode(model_));
    const int section = next_section_++;
    sections_[section] = CoDrain(roots);
    model_.sections[section] = std::move(roots);
  }
  // All are of one owner, who waits for himself in none.
  DrainedSection CoDrain(const std::set<std::string>& roots) MILLRACE_MAY_SUSPEND {
    std::vector<NodeId> ids;
    for (const std::string& root : roots) ids.push_back(Find(root));
    absl::StatusOr<DrainedSection> section = DrainedSection::CoBegin(graph_, ids, {holder_});
    EXPECT_TRUE(section.ok()) << section.status();
    return section.ok() ? *std::move(section) : DrainedSection();
  }
  NodeId Find(const std::string& name) MILLRACE_OPENS_VIEW {
    GraphView view(graph_);
    return IdOf(view, name);
  }

  // ---- Edits inside a section ------------------------------------------------------------------

  // One edit, and what it needs drained, or now and then something else; or several at once.
  void CoEditDrained() MILLRACE_MAY_SUSPEND {
    static constexpr Stager kStagers[] = {&WideRun::StageBacking,   &WideRun::StageBacking,
                                          &WideRun::StageFilter,    &WideRun::StageReplace,
                                          &WideRun::StageReplace,   &WideRun::StageChild,
                                          &WideRun::StageChildGone, &WideRun::StageLeave};
    node_ = AnyNode(model_);
    other_ = AnyNode(model_);
    std::set<std::string> roots = {node_, other_};
    if (random_.OneIn(8)) roots = {AnyNode(model_)};
    const uint64_t edits = random_.OneIn(3) ? 2 + random_.Below(2) : 1;
    if (edits > 1) {
      for (const auto& node : model_.nodes) roots.insert(node.first);
    }
    // Now and then by somebody with a lease, who shows it.
    shown_ = !leases_.empty() && random_.OneIn(2) ? AnyOf(leases_)->first : 0;
    const DrainedSection drained = CoDrain(roots);
    StageAndSettle(drained, roots, edits, kStagers);
    shown_ = 0;
  }
  void StageAndSettle(const DrainedSection& drained, const std::set<std::string>& roots,
                      uint64_t edits, absl::Span<const Stager> stagers) MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph_);
    Staged staged{change, model_};
    change.Show(drained);
    if (shown_ != 0) change.Show(leases_[shown_]);
    for (; edits > 0; --edits) {
      (this->*stagers[random_.Below(stagers.size())])(staged);
      node_ = AnyNode(staged.wanted);
      other_ = AnyNode(staged.wanted);
    }
    Settle(staged, roots);
  }

  void StageBacking(Staged& staged) {
    std::vector<Link>& links = staged.wanted.nodes[node_].links;
    const auto link = std::find_if(links.begin(), links.end(),
                                   [](const Link& each) { return each.role == Role::kBacking; });
    const NodeId overlay = IdOf(staged.change, node_);
    if (random_.OneIn(4)) {
      staged.change.SetBacking(overlay, std::nullopt, std::nullopt);
      if (link == links.end()) return;
      staged.touched.insert(link->id);
      links.erase(link);
      return;
    }
    if (link == links.end()) return LinkTo(staged, node_, Role::kBacking, other_);
    staged.change.SetBacking(overlay, IdOf(staged.change, other_), std::nullopt);
    staged.touched.insert(link->id);
    link->child = other_;
  }
  void StageChild(Staged& staged) {
    static constexpr Role kRoles[] = {Role::kPrimary, Role::kBacking, Role::kFiltered};
    Role role = kRoles[random_.Below(std::size(kRoles))];
    const Kind kind = staged.wanted.nodes[node_].kind;
    // What a filter or an overlay would do with more children is not said anywhere.
    if (kind == Kind::kFilter || kind == Kind::kOverlay) role = Role::kFiltered;
    if (kind == Kind::kQuorum || random_.OneIn(4)) {
      if (kind != Kind::kFilter && kind != Kind::kOverlay) role = Role::kData;
    }
    LinkTo(staged, node_, role, other_);
  }
  void StageChildGone(Staged& staged) {
    std::vector<Link>& links = staged.wanted.nodes[node_].links;
    if (links.empty()) return;
    const Role role = links[random_.Below(links.size())].role;
    const auto link = std::find_if(links.begin(), links.end(),
                                   [role](const Link& each) { return each.role == role; });
    staged.change.RemoveChild(IdOf(staged.change, node_), role);
    staged.touched.insert(link->id);
    links.erase(link);
  }

  // Everything that may leave `from` goes to `to`.
  static void Move(Staged& staged, const std::string& from, const std::string& to,
                   bool may_make_cycles) {
    for (auto& user : staged.wanted.users) {
      if (user.second.node == from && !user.second.stays) user.second.node = to;
    }
    const std::set<std::string> below = staged.wanted.Below(to);
    for (auto& [name, node] : staged.wanted.nodes) {
      if (name == to || (below.contains(name) && !may_make_cycles)) continue;
      for (Link& link : node.links) {
        if (link.child != from) continue;
        staged.touched.insert(link.id);
        link.child = to;
      }
    }
  }
  void StageFilter(Staged& staged) {
    const NodeId id = IdOf(staged.change, node_);
    if (staged.wanted.nodes[node_].kind != Kind::kFilter) {
      const std::string name = AddNode(staged, Kind::kFilter);
      Move(staged, node_, name, true);
      staged.change.InsertFilter(IdOf(staged.change, name), id);
      staged.wanted.nodes[name].links.push_back({next_link_++, Role::kFiltered, "file", node_});
      return;
    }
    staged.change.RemoveFilter(id);
    std::vector<Link>& links = staged.wanted.nodes[node_].links;
    if (staged.wanted.nodes[node_].Count(Role::kFiltered) == 0) {
      staged.is_refused = true;
      return;
    }
    const Link down = *staged.wanted.nodes[node_].Shown();
    Move(staged, node_, down.child, false);
    if (staged.wanted.IsHeld(node_)) return;
    staged.touched.insert(down.id);
    std::erase_if(links, [&](const Link& link) { return link.id == down.id; });
  }
  void StageReplace(Staged& staged) {
    staged.change.ReplaceNode(IdOf(staged.change, node_), IdOf(staged.change, other_));
    Move(staged, node_, other_, false);  // by itself: each link is set to what it is
  }

  // ---- What came of it -------------------------------------------------------------------------

  // Whether each changed link's parent is covered by what was drained. Nobody needs to be kept away
  // from a node that goes.
  bool AreDrained(const Staged& staged, const std::set<std::string>& roots) const {
    for (const auto& [name, node] : model_.nodes) {
      const auto then = staged.wanted.nodes.find(name);
      const bool goes = then == staged.wanted.nodes.end() || then->second.is_dropped;
      bool is_edited = std::any_of(node.links.begin(), node.links.end(), [&](const Link& link) {
        return !goes && staged.touched.contains(link.id);
      });
      if (then != staged.wanted.nodes.end()) {
        const std::vector<Link>& links = then->second.links;
        is_edited = is_edited || std::any_of(links.begin(), links.end(), [&](const Link& link) {
                      return !model_.HasLink(link.id);
                    });
      }
      if (is_edited && !model_.IsCovered(name, roots)) return false;
    }
    return true;
  }
  bool AreNewNodesHeld(const Staged& staged) const {
    return std::none_of(staged.new_nodes.begin(), staged.new_nodes.end(), [&](const auto& name) {
      const auto node = staged.wanted.nodes.find(name);
      return node == staged.wanted.nodes.end() || node->second.is_dropped;
    });
  }

  // Commits; the graph must take the edit exactly when the model allows it.
  void Settle(Staged& staged, const std::set<std::string>& roots) {
    const std::string plan = staged.change.DescribePlan();
    Model& wanted = staged.wanted;
    bool is_sound = !staged.is_refused && wanted.IsAcyclic();
    if (is_sound) {
      staged.touched.merge(wanted.Collect(model_));
      is_sound = AreNewNodesHeld(staged) && wanted.AreShapesAllowed() &&
                 ModelPermissions(wanted).AreAllowed();
    }
    std::erase_if(staged.touched, [this](int link) { return !model_.HasLink(link); });
    const bool are_drained = AreDrained(staged, roots);
    const bool are_leases_kept =
        std::all_of(staged.touched.begin(), staged.touched.end(), [this](int link) {
          const auto lease = model_.leased.find(link);
          return lease == model_.leased.end() || lease->second == shown_;
        });
    const absl::Status status = staged.change.Commit().status();
    EXPECT_EQ(status.ok(), is_sound && are_drained && are_leases_kept) << plan << "\n"
                                                                       << status << "\nbefore:\n"
                                                                       << TextOf(model_);
    if (status.ok()) return Keep(staged);
    ++counts_.refused;
    if (!is_sound) return;
    const std::optional<Conflict> conflict = ConflictOf(status);
    const ConflictReason reason =
        are_leases_kept ? ConflictReason::kNotDrained : ConflictReason::kFrozenLink;
    EXPECT_TRUE(conflict && conflict->reason == reason) << status;
    ++(are_leases_kept ? counts_.refused_for_drains : counts_.refused_for_leases);
  }
  void Keep(Staged& staged) {
    ++counts_.accepted;
    for (int link : staged.touched) {
      counts_.edited_inside_leases += static_cast<int>(staged.wanted.leased.erase(link));
    }
    counts_.edited_inside_sections += sections_.empty() || staged.touched.empty() ? 0 : 1;
    for (auto& [id, attachment] : staged.attached) users_[id] = std::move(attachment);
    for (int user : staged.detached) users_.erase(user);
    model_ = std::move(staged.wanted);
  }

  std::map<int, std::unique_ptr<HandDrivenJob>> guests_;  // by user; whoever is gone as well
  std::map<std::string, int> held_filters_;
  Graph graph_;
  RandomStream random_;
  Counts& counts_;
  const HolderRef holder_ = MakeHolder("me", "test");
  Model model_;
  std::map<int, Attachment> users_;
  std::map<int, FrozenChain> leases_;  // by the user that keeps their top
  std::map<int, DrainedSection> sections_;
  std::string node_;  // what the next edit is about
  std::string other_;
  int shown_ = 0;  // the lease that the edit shows; 0: none
  int next_name_ = 0;
  int next_link_ = 1;
  int next_user_ = 1;
  int next_section_ = 1;
};

TEST(WideGraphProperty, EveryRandomEditIsAcceptedAndAppliedAsTheModelSays) {
  Counts counts;
  Explore(
      [&](Engine& engine, uint64_t seed) {
        WideRun run(engine, seed, counts);
        absl::Status status = RunChecked(engine, run.graph(), true,
                                         [&]() MILLRACE_MAY_SUSPEND { return run.CoRun(); });
        EXPECT_TRUE(status.ok()) << status;
      },
      /*cost=*/4);
  // Both happen often, or the test would prove little.
  EXPECT_GT(counts.accepted, counts.refused);
  EXPECT_GT(counts.refused, counts.accepted / 10);
  // Rare, so that few seeds may have none.
  if (SeedCount() < 1000) return;
  EXPECT_GT(counts.refused_for_leases, counts.refused / 500);
  EXPECT_GT(counts.refused_for_drains, counts.refused / 500);
  EXPECT_GT(counts.edited_inside_leases, counts.accepted / 1000);
  EXPECT_GT(counts.edited_inside_sections, counts.accepted / 50);
}

}  // namespace
}  // namespace millrace::wide_graph
