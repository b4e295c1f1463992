#include "millrace/graph/file_name.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "millrace/engine/base/json_order.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_reader_access.h"

namespace millrace {
namespace {

// The rest of "children.0" behind the dot; nothing for children that are in no list.
std::optional<std::string_view> ListOf(std::string_view edge_name) {
  const size_t dot = edge_name.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  return edge_name.substr(0, dot);
}

void AddChildOptions(const std::string& edge_name, const std::string& options,
                     std::vector<JsonMember>* members) {
  const std::optional<std::string_view> list = ListOf(edge_name);
  if (!list) {
    members->emplace_back(edge_name, options);
    return;
  }
  const auto found = std::find_if(members->begin(), members->end(),
                                  [&](const JsonMember& each) { return each.first == *list; });
  if (found == members->end()) {
    members->emplace_back(std::string(*list), StrCat("[", options, "]"));
    return;
  }
  found->second.pop_back();
  StrAppend(&found->second, ", ", options, "]");
}

const FilterDriver* AsFilter(const Node& node) {
  return node.is_filter() ? static_cast<const FilterDriver*>(node.driver.get()) : nullptr;
}

// Whether a file name can say that this node is wanted.
bool HasProtocolName(const Node& node) {
  const FilterDriver* filter = AsFilter(node);
  return node.driver->kind() == NodeKind::kProtocol ||
         (filter != nullptr && !filter->protocol_name().empty());
}

const Node* FileBelow(const GraphReader& reader, const Node& node) {
  return GraphReaderAccess::ChildOf(reader, node,
                                    node.is_filter() ? Role::kFiltered : Role::kPrimary);
}

std::string HeaderName(const Node& node) {
  if (node.wanted_reference) return node.wanted_reference->filename;
  if (node.backing_name) return *node.backing_name;
  return static_cast<const FormatDriver&>(*node.driver).backing_reference().filename;
}

const std::string* TextOfOption(const Node& node, std::string_view name) {
  for (const ToldOption& option : node.told) {
    if (option.name == name) return &option.text;
  }
  return nullptr;
}

bool IsToldOnly(const Node& node, std::string_view name) {
  return std::all_of(node.told.begin(), node.told.end(), [&](const ToldOption& option) {
    return !option.changes_content || option.name == name;
  });
}

}  // namespace

std::string JsonObjectLikeQemu(std::vector<JsonMember> members) {
  // What came last into a bucket is printed first.
  std::reverse(members.begin(), members.end());
  std::stable_sort(members.begin(), members.end(), [](const JsonMember& a, const JsonMember& b) {
    return QemuBucketOf(a.first) < QemuBucketOf(b.first);
  });
  std::string text = "{";
  for (const auto& [key, value] : members) {
    StrAppend(&text, text.size() > 1 ? ", " : "", JsonString(key), ": ", value);
  }
  return text + "}";
}

const Node* FileNames::Below(const Edge& edge) const {
  const Node* below = GraphReaderAccess::ChildOf(reader_, edge);
  if (edge.role != Role::kBacking || backing_ == Backing::kAsItIs) return below;
  while (below->is_filter()) {
    const Node* next = GraphReaderAccess::ChildOf(reader_, *below, Role::kFiltered);
    if (next == nullptr) break;
    below = next;
  }
  return below;
}

bool FileNames::IsOverridden(const Node& node) {
  if (node.driver->kind() != NodeKind::kFormat ||
      !static_cast<const FormatDriver&>(*node.driver).supports_backing()) {
    return false;
  }
  const std::string header = HeaderName(node);
  for (const Edge* edge : GraphReaderAccess::ChildrenOf(reader_, node)) {
    if (edge->role == Role::kBacking) return Of(*Below(*edge)).shown != header;
  }
  return !header.empty();
}

FileName FileNames::Name(const Node& node) {
  const Node* file = FileBelow(reader_, node);
  if (node.is_implicit && file != nullptr) return names_[file];
  const bool is_overridden = backing_ == Backing::kAsItIs && IsOverridden(node);
  std::vector<JsonMember> members;
  // QEMU copies them from one dictionary into another, which turns their order round.
  for (auto option = node.told.rbegin(); option != node.told.rend(); ++option) {
    if (option->changes_content) members.emplace_back(option->name, option->json);
  }
  const bool is_plain = members.empty() && !is_overridden;
  FileName name;
  name.exact = node.driver->filename();
  members.emplace_back("driver", JsonString(node.driver->driver_name()));
  if (node.driver->kind() == NodeKind::kProtocol && node.driver->is_known_by_filename()) {
    members.emplace_back("filename", JsonString(name.exact));
  }
  for (const Edge* edge : GraphReaderAccess::ChildrenOf(reader_, node)) {
    if (edge->role == Role::kBacking && !is_overridden) continue;
    const FileName& below = names_[Below(*edge)];
    if (!below.options.empty()) AddChildOptions(edge->name, below.options, &members);
  }
  if (is_overridden && GraphReaderAccess::ChildOf(reader_, node, Role::kBacking) == nullptr) {
    members.emplace_back("backing", "null");
  }
  name.options = JsonObjectLikeQemu(std::move(members));
  const FilterDriver* filter = AsFilter(node);
  if (filter != nullptr && file != nullptr) {
    const std::string& below = names_[file].exact;
    const Node* second = GraphReaderAccess::ChildOf(reader_, node, Role::kData);
    if (second != nullptr) {  // a name for each: "blkverify:RAW:TEST"
      const std::string& other = names_[second].exact;
      if (is_plain && !filter->protocol_name().empty() && !below.empty() && !other.empty()) {
        name.exact = StrCat(filter->protocol_name(), ":", below, ":", other);
      }
    } else if (filter->filtered_edge_name() == "backing") {
      name.exact = names_[file].shown;  // the filters of commit and mirror
    } else if (!filter->protocol_name().empty() && !below.empty() && IsToldOnly(node, "config")) {
      const std::string* config = TextOfOption(node, "config");
      name.exact =
          StrCat(filter->protocol_name(), ":", config == nullptr ? "" : *config, ":", below);
    }
  } else if (name.exact.empty() && is_plain && file != nullptr && HasProtocolName(*file)) {
    name.exact = names_[file].exact;
  }
  if (node.driver->kind() == NodeKind::kProtocol && !is_plain) name.exact.clear();
  name.shown = name.exact.empty() ? StrCat("json:", name.options) : name.exact;
  return name;
}

// Children first, without recursion: a node stays on the stack until all below it are named.
const FileName& FileNames::Of(const Node& top) {
  for (std::vector<const Node*> open{&top}; !open.empty();) {
    const Node& node = *open.back();
    const size_t before = open.size();
    if (!names_.contains(&node)) {
      for (const Edge* edge : GraphReaderAccess::ChildrenOf(reader_, node)) {
        // Past filters a name has nothing of the backing image in it.
        if (backing_ == Backing::kPastFilters && edge->role == Role::kBacking) continue;
        const Node* child = Below(*edge);
        if (!names_.contains(child)) open.push_back(child);
      }
      if (open.size() > before) continue;
      FileName name = Name(node);
      names_.emplace(&node, std::move(name));
    }
    open.pop_back();
  }
  return names_[&top];
}

const FileName& FileNames::Of(const NodeView& node) { return Of(*node.node_); }

bool FileNames::IsBackingOverridden(const NodeView& node) {
  Of(node);
  return IsOverridden(*node.node_);
}

std::string HostPath(const NodeView& node) {
  if (node.kind() == NodeKind::kProtocol) return node.driver_filename();
  const std::optional<NodeView> file =
      node.Child(node.is_filter() ? Role::kFiltered : Role::kPrimary);
  if (!file) return node.driver_filename();
  return HostPath(*file);
}

void RememberBackingNames(Graph& graph, const std::vector<NodeId>& overlays) {
  if (overlays.empty()) return;
  GraphView view(graph);
  const GraphInternals& internals = GraphInternals::Of(graph);
  FileNames names(view);
  for (auto overlay = overlays.rbegin(); overlay != overlays.rend(); ++overlay) {
    absl::StatusOr<NodeView> node = view.Resolve(*overlay);
    if (!node.ok()) continue;
    if (const std::optional<NodeView> backing = node->Backing()) {
      internals.Resolve(*overlay)->backing_name = names.Of(*backing).shown;
    }
  }
}

}  // namespace millrace
