#include "examples/hypervisor/block/reopen_request.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "examples/hypervisor/block/driver_schemas.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/block/tree_options.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/file_name.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

absl::Status CannotChange(std::string_view option) {
  return GenericError(StrCat("Cannot change the option '", option, "'"));
}

// The names of all options in `given`, with dots: "backing.file.driver".
void AddKeys(const std::string& prefix, const json::value& given, std::vector<JsonMember>* keys) {
  if (const json::object* const object = given.if_object()) {
    for (const auto& member : *object) {
      AddKeys(StrCat(prefix, ".", View(member.key())), member.value(), keys);
    }
  } else if (const json::array* const list = given.if_array()) {
    for (size_t i = 0; i < list->size(); ++i) AddKeys(StrCat(prefix, ".", i), (*list)[i], keys);
  } else {
    keys->emplace_back(prefix, "0");
  }
}

// How a child is to be is only listened to by whoever opened it. QEMU names the option that its
// dictionary has first.
absl::Status CannotChangeChild(const std::string& name, const json::object& given) {
  std::vector<JsonMember> keys;
  if (const json::value* const child = given.if_contains(name)) AddKeys(name, *child, &keys);
  const std::string ordered = JsonObjectLikeQemu(std::move(keys));
  const size_t begin = ordered.find('"') + 1;
  return CannotChange(begin == 0 ? StrCat(name, ".driver")
                                 : ordered.substr(begin, ordered.find('"', begin) - begin));
}

// ---- Options of the driver ----------------------------------------------------------------------

const ToldOption* FindTold(const std::vector<ToldOption>& told, std::string_view name) {
  const auto found = std::find_if(told.begin(), told.end(),
                                  [&](const ToldOption& each) { return each.name == name; });
  return found == told.end() ? nullptr : &*found;
}

bool IsChangeable(const DriverSchema& schema, std::string_view name) {
  // "inject-error.0.event", "overlap-check.template"
  const DriverOption* option = FindDriverOption(schema, name.substr(0, name.find('.')));
  return option != nullptr && option->is_changeable;
}

uint64_t NumberToldOrZero(const NodeTree& tree, std::string_view name) {
  const ToldOption* const option = FindTold(tree.told, name);
  return option == nullptr ? 0 : ParseIoNumber(option->text).value_or(0);
}

absl::Status CheckLazyRefcounts(const NodeTree& tree, const NodeView& node) {
  const ToldOption* const lazy = FindTold(tree.told, "lazy-refcounts");
  if (lazy == nullptr || lazy->text != "on") return absl::OkStatus();
  for (const FormatFact& fact : node.facts()) {
    const auto* const text = std::get_if<std::string>(&fact.value);
    if (fact.name != "compat" || text == nullptr || *text != "0.10") continue;
    return GenericError(
        "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
  }
  return absl::OkStatus();
}

// What raw shows of its file lies inside the file.
absl::Status CheckWindow(const NodeTree& tree, const NodeView& node) {
  const std::optional<NodeView> file = node.Child(Role::kPrimary);
  if (!file) return absl::OkStatus();
  MILLRACE_RETURN_IF_ERROR(CheckRawSize(tree));
  const uint64_t offset = NumberToldOrZero(tree, "offset");
  const uint64_t size = NumberToldOrZero(tree, "size");
  if (offset > file->bytes()) {
    return GenericError(StrCat("Offset (", offset,
                               ") cannot be greater than size of the containing file (",
                               file->bytes(), ")"));
  }
  if (size > file->bytes() - offset) {
    return GenericError(StrCat("The sum of offset (", offset, ") and size (", size,
                               ") has to be smaller or equal to the  actual size of the "
                               "containing file (",
                               file->bytes(), ")"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadDriverOptions(const BlockLayer& layer, const NodeTree& tree, const NodeView& node,
                               NodeChange* change) {
  const DriverSchema* schema = FindDriverSchema(tree.driver);
  if (schema == nullptr) return absl::OkStatus();
  bool differs = false;
  for (const ToldOption& option : tree.told) {
    const ToldOption* before = FindTold(node.told(), option.name);
    if (before != nullptr && before->text == option.text) continue;
    if (option.name == "filename" && node.driver_filename() == option.text) continue;
    if (!IsChangeable(*schema, option.name)) return CannotChange(option.name);
    differs = true;
  }
  for (const ToldOption& before : node.told()) {
    if (FindTold(tree.told, before.name) != nullptr) continue;
    if (!IsChangeable(*schema, before.name)) {
      return GenericError(
          StrCat("Option '", before.name, "' cannot be reset to its default value"));
    }
    differs = true;
  }
  if (!differs) return absl::OkStatus();
  MILLRACE_RETURN_IF_ERROR(CheckLazyRefcounts(tree, node));
  if (tree.driver == "raw") MILLRACE_RETURN_IF_ERROR(CheckWindow(tree, node));
  MILLRACE_ASSIGN_OR_RETURN(change->fresh, layer.registry().Make(tree.driver, tree.options));
  change->told = tree.told;
  return absl::OkStatus();
}

namespace {

// What a node takes over from the one above it, if it says nothing itself.
struct Above {
  bool is_read_only = false;
  bool shares_by_force = false;
  NodeIoOptions io;
};

class RequestReader {
 public:
  RequestReader(BlockLayer& layer, const GraphReader& reader) : layer_(layer), reader_(reader) {}

  absl::Status Read(const NodeTree& tree, const json::object& given) {
    absl::StatusOr<NodeView> node = reader_.Find(tree.node_name);
    if (!node.ok()) {
      return RefuseUnknownNode(tree.node_name,
                               StrCat("Failed to find node with node-name='", tree.node_name, "'"));
    }
    return ReadNode(tree, given, *node, Above());
  }

  std::vector<NodeChange> Take() { return std::move(changes_); }

 private:
  // `given`: the same as the client wrote it.
  absl::Status ReadNode(const NodeTree& tree, const json::object& given, const NodeView& node,
                        const Above& above) {
    if (tree.driver != node.driver_name()) {
      MILLRACE_RETURN_IF_ERROR(CheckSaysBacking(tree, node));
      return CannotChange("driver");
    }
    MILLRACE_RETURN_IF_ERROR(CheckDriverReopens(node));
    if (!tree.node_name.empty() && tree.node_name != node.name()) return CannotChange("node-name");
    // A node stands before what is below it in the list of changes.
    const size_t index = FindOrAdd(node);
    Above own;
    MILLRACE_RETURN_IF_ERROR(
        ReadCommon(tree, node, FromEarlier(node, above), &own, &changes_[index]));
    MILLRACE_RETURN_IF_ERROR(ReadDriverOptions(layer_, tree, node, &changes_[index]));
    if (tree.is_read_only) said_read_only_[node.id()] = *tree.is_read_only;
    return ReadChildren(tree, given, node, own, index);
  }

  // A node may stand twice, by itself or as the file of another: it changes once, and what is said
  // last holds.
  size_t FindOrAdd(const NodeView& node) {
    const auto found = std::find_if(changes_.begin(), changes_.end(),
                                    [&](const NodeChange& each) { return each.node == node.id(); });
    if (found != changes_.end()) return static_cast<size_t>(found - changes_.begin());
    changes_.emplace_back().node = node.id();
    return changes_.size() - 1;
  }

  // What was said of the node itself goes before what it would take over.
  Above FromEarlier(const NodeView& node, Above above) const {
    const auto said = said_read_only_.find(node.id());
    if (said != said_read_only_.end()) above.is_read_only = said->second;
    return above;
  }

  // ---- Options of every node -------------------------------------------------------------------

  static absl::Status ReadCommon(const NodeTree& tree, const NodeView& node, const Above& above,
                                 Above* own, NodeChange* change) {
    const NodeIoOptions& now = node.io_options();
    own->is_read_only = tree.is_read_only.value_or(above.is_read_only);
    own->shares_by_force = tree.shares_by_force.value_or(above.shares_by_force);
    own->io = now;
    own->io.is_direct = tree.direct.value_or(above.io.is_direct);
    own->io.ignores_flushes = tree.ignores_flushes.value_or(above.io.ignores_flushes);
    own->io.detect_zeroes = tree.detect_zeroes;
    if (node.kind() != NodeKind::kProtocol) {
      own->io.ignores_discards = !tree.passes_discards.value_or(!now.ignores_discards);
    }
    if (own->shares_by_force != now.shares_by_force) return CannotChange("force-share");
    if (own->io.is_direct != now.is_direct) return CannotChange("cache.direct");
    if (own->io.detect_zeroes == DetectZeroes::kUnmap && own->io.ignores_discards) {
      return GenericError(
          "setting detect-zeroes to unmap is not allowed without setting discard operation to "
          "unmap");
    }
    // Of what is below, the nodes above are the users.
    if (own->is_read_only && !node.is_read_only() && node.parents().empty() &&
        node.cumulative_permissions().used.Intersects(kWrite)) {
      return GenericError(
          StrCat("Read-only block node '", node.name(), "' cannot support read-write users"));
    }
    SetReadOnly(own->is_read_only, node, change);
    change->io = own->io;
    return absl::OkStatus();
  }

  static void SetReadOnly(bool is_read_only, const NodeView& node, NodeChange* change) {
    change->is_read_only.reset();
    if (is_read_only != node.is_read_only()) change->is_read_only = is_read_only;
  }

  // ---- Children --------------------------------------------------------------------------------

  static std::optional<NodeView> ChildOf(const NodeView& node, std::string_view name) {
    if (name == "backing") return node.Backing();
    return node.Child(node.is_filter() ? Role::kFiltered : Role::kPrimary);
  }

  static absl::Status CheckSaysBacking(const NodeTree& tree, const NodeView& node) {
    const bool says_backing =
        std::any_of(tree.children.begin(), tree.children.end(),
                    [](const ChildTree& child) { return child.name == "backing"; });
    if (says_backing || !node.supports_backing()) return absl::OkStatus();
    if (!node.Backing() && node.backing_reference().filename.empty()) return absl::OkStatus();
    return GenericError(StrCat("backing is missing for '", node.name(), "'"));
  }

  absl::Status ReadChildren(const NodeTree& tree, const json::object& given, const NodeView& node,
                            const Above& own, size_t index) {
    MILLRACE_RETURN_IF_ERROR(CheckSaysBacking(tree, node));
    // The backing first, as in QEMU.
    for (const bool is_backing : {true, false}) {
      for (const ChildTree& child : tree.children) {
        if ((child.name == "backing") != is_backing) continue;
        MILLRACE_RETURN_IF_ERROR(ReadChild(child, given, node, own, index));
      }
    }
    return absl::OkStatus();
  }

  // Whether the child came by itself, not with the node above: a job's filter, too.
  bool IsSomebodyElses(const NodeView& child, const NodeTree& wanted) const {
    return layer_.OwnsNode(child.name()) || child.is_implicit() ||
           (child.is_filter() && child.driver_name() != wanted.driver);
  }

  absl::Status ReadChild(const ChildTree& child, const json::object& given, const NodeView& node,
                         const Above& own, size_t index) {
    const std::optional<NodeView> now = ChildOf(node, child.name);
    if (child.tree != nullptr) {
      if (!now || IsSomebodyElses(*now, *child.tree)) return CannotChangeChild(child.name, given);
      Above above = own;
      if (child.name == "backing") above.is_read_only = true;
      const json::value* const own_given = given.if_contains(child.name);
      const bool is_object = own_given != nullptr && own_given->is_object();
      return ReadNode(*child.tree, is_object ? own_given->get_object() : json::object(), *now,
                      above);
    }
    if (child.name != "file" && child.name != "backing") {
      if (now && now->name() == child.reference) return FollowUp(*now, own);
      return CannotChange(child.name);
    }
    std::optional<NodeId> wanted;
    if (!child.reference.empty()) {
      absl::StatusOr<NodeView> found = reader_.FindDeviceOrNode(child.reference);
      if (!found.ok()) {
        return RefuseUnknownNode(
            child.reference, StrCat("Cannot find device='' nor node-name='", child.reference, "'"));
      }
      wanted = found->id();
    }
    return Replace(child.name, node, now, wanted, own, index);
  }

  absl::Status Replace(const std::string& name, const NodeView& node,
                       const std::optional<NodeView>& now, std::optional<NodeId> wanted,
                       const Above& own, size_t index) {
    const bool is_same = now ? wanted.has_value() && (now->id() == *wanted ||
                                                      SkipImplicitFilters(*now).id() == *wanted)
                             : !wanted.has_value();
    const Role role = name == "backing"  ? Role::kBacking
                      : node.is_filter() ? Role::kFiltered
                                         : Role::kPrimary;
    std::erase_if(changes_[index].children,
                  [&](const ChildChange& earlier) { return earlier.role == role; });
    if (is_same) return now ? FollowUp(*now, own) : absl::OkStatus();
    if (now && now->is_implicit()) {
      return RefuseForHolders(ConflictReason::kFrozenLink, now->name(), now->users(),
                              StrCat("Cannot replace implicit ", name, " child of ", node.name()));
    }
    if (!wanted && name != "backing") {
      return GenericError(StrCat("Invalid parameter type for '", name, "', expected: BlockdevRef"));
    }
    changes_[index].children.push_back({role, name, wanted});
    return absl::OkStatus();
  }

  // A file that was opened with the node is as the node is.
  absl::Status FollowUp(const NodeView& child, const Above& own) {
    if (child.kind() != NodeKind::kProtocol || layer_.OwnsNode(child.name())) {
      return absl::OkStatus();
    }
    NodeChange& change = changes_[FindOrAdd(child)];
    SetReadOnly(FromEarlier(child, own).is_read_only, child, &change);
    if (!change.io) change.io = child.io_options();
    change.io->ignores_flushes = own.io.ignores_flushes;
    return absl::OkStatus();
  }

  BlockLayer& layer_;
  const GraphReader& reader_;
  std::vector<NodeChange> changes_;  // of each node at most one
  std::map<NodeId, bool> said_read_only_;
};

}  // namespace

absl::Status CheckDriverReopens(const NodeView& node) {
  if (!IsOneOf(node.driver_name(),
               {"blkverify", "commit_top", "copy-on-read", "mirror_top", "quorum"})) {
    return absl::OkStatus();
  }
  const std::string device = node.device_name();
  return GenericError(StrCat("Block format '", node.driver_name(), "' used by node '",
                             device.empty() ? node.name() : device,
                             "' does not support reopening files"));
}

absl::StatusOr<std::vector<NodeChange>> ReadReopenRequest(BlockLayer& layer,
                                                          const json::array& options) {
  struct Wanted {
    NodeTree tree;
    const json::object& given;
  };
  std::vector<Wanted> wanted;
  const json::object outer = {{"options", options}};
  ArgumentReader reader(outer);
  for (size_t i = 0; i < options.size(); ++i) {
    const std::string name = StrCat("options[", i, "]");
    if (!options[i].is_object()) {
      return GenericError(StrCat("Invalid parameter type for '", name, "', expected: object"));
    }
    ArgumentReader element = reader.Nested(name, options[i].get_object());
    MILLRACE_ASSIGN_OR_RETURN(NodeTree tree,
                              ReadNodeTree(element, TreeStyle::kBlockdev, /*opens=*/false));
    const bool has_name = options[i].get_object().contains("node-name");
    if (!has_name) return GenericError("node-name not specified");
    const json::value* backing = options[i].get_object().if_contains("backing");
    if (backing != nullptr && backing->is_string() && backing->get_string().empty()) {
      return GenericError("Cannot find device='' nor node-name=''");
    }
    wanted.push_back({std::move(tree), options[i].get_object()});
  }
  GraphView view(layer.graph());
  RequestReader request(layer, view);
  for (const Wanted& each : wanted) MILLRACE_RETURN_IF_ERROR(request.Read(each.tree, each.given));
  return request.Take();
}

}  // namespace millrace
