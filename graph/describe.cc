#include "millrace/graph/describe.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/freeze_core.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_reader_access.h"

namespace millrace {
namespace {

std::vector<const Node*> NodesOf(const GraphReader& reader) {
  std::vector<const Node*> nodes;
  for (NodeId id : reader.Nodes()) nodes.push_back(GraphReaderAccess::Resolve(reader, id));
  return nodes;
}

// Drained sections that cover something, oldest first.
std::vector<const SectionCore*> SectionsOf(const std::vector<const Node*>& nodes) {
  absl::btree_map<uint64_t, const SectionCore*> by_age;
  for (const Node* node : nodes) {
    for (const SectionCore* section : node->sections) by_age[section->ordinal] = section;
  }
  std::vector<const SectionCore*> sections;
  for (const auto& entry : by_age) sections.push_back(entry.second);
  return sections;
}

std::string PermissionText(PermissionSet set) { return set.empty() ? "nothing" : set.ToString(); }

std::string PermissionText(const Permissions& permissions) {
  return StrCat("uses ", PermissionText(permissions.used), "; shares ",
                PermissionText(permissions.shared));
}

std::vector<std::string_view> NamesOf(OperationSet operations) {
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kOperationCount; ++i) {
    const auto operation = static_cast<Operation>(i);
    if (operations.Contains(operation)) names.push_back(OperationName(operation));
  }
  return names;
}

std::string OperationText(OperationSet operations) {
  const std::vector<std::string_view> names = NamesOf(operations);
  if (names.size() == kOperationCount) return "all operations";
  std::string text;
  for (std::string_view name : names) StrAppend(&text, text.empty() ? "" : ", ", name);
  return text;
}

bool IsReadOnly(const GraphReader& reader, const Node& node) {
  const ProposedGraph* plan = GraphReaderAccess::Plan(reader);
  return plan != nullptr ? plan->IsReadOnly(node) : node.is_read_only;
}

std::string_view NodeKindName(NodeKind kind) {
  switch (kind) {
    case NodeKind::kFormat:
      return "format";
    case NodeKind::kProtocol:
      return "protocol";
    case NodeKind::kFilter:
      break;
  }
  return "filter";
}

// ---- Text --------------------------------------------------------------------------------------

void AppendNode(const GraphReader& reader, const Node& node, std::string* text) {
  const std::string state = node.driver->state_in_words();
  StrAppend(text, node.InWords(), ": ", node.driver->driver_name(), ", ", node.driver->bytes(),
            " bytes", state.empty() ? "" : StrCat(", ", state),
            IsReadOnly(reader, node) ? ", read-only" : "", node.is_implicit ? ", implicit" : "",
            node.is_quiesced() ? ", drained" : "", "\n");
  for (const Edge* edge : GraphReaderAccess::ParentsOf(reader, node)) {
    if (edge->attachment == nullptr) continue;
    const AttachmentOptions& options = edge->attachment->options;
    StrAppend(text, "  used by ", options.holder->Describe(), " as ", edge->name,
              options.device_name.empty() ? "" : StrCat(" (device '", options.device_name, "')"),
              ": ", PermissionText(GraphReaderAccess::PermissionsOf(reader, *edge)), "\n");
  }
  for (const Edge* edge : GraphReaderAccess::ChildrenOf(reader, node)) {
    StrAppend(text, "  ", edge->name, " -> ", GraphReaderAccess::ChildOf(reader, *edge)->name, ": ",
              PermissionText(GraphReaderAccess::PermissionsOf(reader, *edge)),
              edge->lease == nullptr ? "" : StrCat("; leased by ", edge->lease->holder->Describe()),
              "\n");
  }
  for (const OperationClaimRecord& claim : node.claims) {
    StrAppend(text, "  claimed by ", claim.holder->Describe(), ": ",
              OperationText(claim.operations), "\n");
  }
}

std::string NameOf(const GraphReader& reader, NodeId id) {
  if (const Node* node = GraphReaderAccess::Resolve(reader, id)) return node->name;
  return StrCat("(", GraphInternals::Of(reader.graph()).LastNameOf(id), ", gone)");
}

std::string OwnersText(const SectionCore& section) {
  std::string text;
  for (const HolderRef& owner : section.owners) StrAppend(&text, " by ", owner->Describe());
  return text;
}

void AppendSection(const GraphReader& reader, const SectionCore& section, std::string* text) {
  StrAppend(text, section.is_granted ? "drained" : "being drained", " on");
  for (NodeId root : section.roots) StrAppend(text, " ", NameOf(reader, root));
  StrAppend(text, OwnersText(section), ": ", section.covered.size(), " nodes");
  if (std::string obstacle = section.is_granted ? "" : section.DescribeObstacle();
      !obstacle.empty()) {
    StrAppend(text, ", waits for ", obstacle);
  }
  StrAppend(text, "\n");
}

// ---- DOT ---------------------------------------------------------------------------------------

// Node names hold no quotes, but holders' ids may hold anything.
std::string DotText(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + "\"";
}

void AppendDotNode(const GraphReader& reader, const Node& node, int* users, std::string* text) {
  std::string label = StrCat(node.name, " (", node.driver->driver_name(), ")");
  for (const SectionCore* section : node.sections) {
    StrAppend(&label, section->is_granted ? ", drained" : ", being drained", OwnersText(*section));
  }
  for (const OperationClaimRecord& claim : node.claims) {
    StrAppend(&label, ", claimed by ", claim.holder->Describe());
  }
  StrAppend(text, "  ", DotText(node.name), " [shape=box, label=", DotText(label),
            node.is_filter() ? ", style=dashed" : "",
            node.is_quiesced() ? ", color=grey, fontcolor=grey" : "", "];\n");
  for (const Edge* edge : GraphReaderAccess::ParentsOf(reader, node)) {
    if (edge->attachment == nullptr) continue;
    const std::string user = StrCat("user", (*users)++);
    StrAppend(text, "  ", user,
              " [shape=ellipse, label=", DotText(edge->attachment->options.holder->Describe()),
              "];\n");
    StrAppend(text, "  ", user, " -> ", DotText(node.name), " [label=", DotText(edge->name),
              "];\n");
  }
  for (const Edge* edge : GraphReaderAccess::ChildrenOf(reader, node)) {
    StrAppend(
        text, "  ", DotText(node.name), " -> ",
        DotText(GraphReaderAccess::ChildOf(reader, *edge)->name), " [label=",
        DotText(StrCat(edge->name, edge->lease == nullptr
                                       ? ""
                                       : StrCat(", leased by ", edge->lease->holder->Describe()))),
        edge->lease == nullptr ? "" : ", style=bold", "];\n");
  }
}

// A job, tied to all that it has claimed: how far it spans.
void AppendDotSpans(const std::vector<const Node*>& nodes, std::string* text) {
  std::vector<const Holder*> jobs;  // in the order of their first nodes
  std::string ties;
  for (const Node* node : nodes) {
    for (const OperationClaimRecord& claim : node->claims) {
      const auto known = std::find(jobs.begin(), jobs.end(), claim.holder.get());
      const size_t number = static_cast<size_t>(known - jobs.begin());
      if (known == jobs.end()) jobs.push_back(claim.holder.get());
      StrAppend(&ties, "  span", number, " -> ", DotText(node->name),
                " [style=dotted, dir=none, constraint=false];\n");
    }
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    StrAppend(text, "  span", i, " [shape=box, style=rounded, label=", DotText(jobs[i]->Describe()),
              "];\n");
  }
  *text += ties;
}

// ---- Picture -----------------------------------------------------------------------------------

class PictureBuilder {
 public:
  explicit PictureBuilder(const GraphReader& reader) : reader_(reader) {}

  GraphPicture Build() {
    const std::vector<const Node*> nodes = NodesOf(reader_);
    for (const Node* node : nodes) {
      ids_[node] = Add({0, true, node->name, std::string(node->driver->driver_name())});
      for (const Edge* edge : GraphReaderAccess::ParentsOf(reader_, *node)) {
        if (edge->attachment != nullptr) AddArrow(UserOf(*edge->attachment), ids_[node], *edge);
      }
    }
    for (const Node* node : nodes) {
      for (const Edge* edge : GraphReaderAccess::ChildrenOf(reader_, *node)) {
        AddArrow(ids_[node], ids_[GraphReaderAccess::ChildOf(reader_, *edge)], *edge);
      }
    }
    return std::move(picture_);
  }

 private:
  uint64_t Add(GraphPicture::Vertex vertex) {
    vertex.id = picture_.vertices.size() + 1;
    picture_.vertices.push_back(std::move(vertex));
    return picture_.vertices.back().id;
  }
  uint64_t UserOf(const AttachmentCore& attachment) {
    const Holder& holder = *attachment.options.holder;
    const std::string& device = attachment.options.device_name;
    if (!device.empty()) return Add({0, false, device, holder.type});
    uint64_t& id = ids_[&holder];
    if (id == 0) id = Add({0, false, holder.id, holder.type});
    return id;
  }
  void AddArrow(uint64_t parent, uint64_t child, const Edge& edge) {
    picture_.arrows.push_back({parent, child, edge.name,
                               GraphReaderAccess::PermissionsOf(reader_, edge),
                               edge.lease == nullptr ? nullptr : edge.lease->holder});
  }

  const GraphReader& reader_;
  GraphPicture picture_;
  absl::btree_map<const void*, uint64_t> ids_;  // of nodes and holders; looked up, not iterated
};

// ---- JSON --------------------------------------------------------------------------------------

void WriteSet(JsonWriter& json, std::string_view key, PermissionSet set) {
  json.Key(key).BeginArray();
  for (uint8_t bit = 1; bit <= kAllPermissions.bits(); bit = static_cast<uint8_t>(bit << 1)) {
    if (set.Contains(PermissionSet(bit))) json.String(PermissionSet(bit).ToString());
  }
  json.EndArray();
}

void WritePermissions(JsonWriter& json, const Permissions& permissions) {
  WriteSet(json, "used", permissions.used);
  WriteSet(json, "shared", permissions.shared);
}

void WriteHolder(JsonWriter& json, const Holder& holder) {
  json.BeginObject().Key("id").String(holder.id).Key("type").String(holder.type);
  json.Key("since").Number(int64_t{holder.since}).EndObject();
}

void WriteAttachment(JsonWriter& json, const GraphReader& reader, const Edge& edge) {
  const AttachmentOptions& options = edge.attachment->options;
  json.BeginObject().Key("holder");
  WriteHolder(json, *options.holder);
  json.Key("purpose").String(edge.name).Key("device").String(options.device_name);
  json.Key("stays").Bool(options.stays_at_node);
  json.Key("in-flight").Number(uint64_t{edge.attachment->in_flight()});
  json.Key("queued").Number(uint64_t{edge.attachment->queue.size()});
  WritePermissions(json, GraphReaderAccess::PermissionsOf(reader, edge));
  json.EndObject();
}

void WriteEdge(JsonWriter& json, const GraphReader& reader, const Edge& edge) {
  json.BeginObject().Key("name").String(edge.name).Key("role").String(RoleName(edge.role));
  json.Key("child").String(GraphReaderAccess::ChildOf(reader, edge)->name);
  WritePermissions(json, GraphReaderAccess::PermissionsOf(reader, edge));
  json.Key("lease");
  if (edge.lease == nullptr) {
    json.Null();
  } else {
    WriteHolder(json, *edge.lease->holder);
  }
  json.EndObject();
}

void WriteClaim(JsonWriter& json, const OperationClaimRecord& claim) {
  json.BeginObject().Key("holder");
  WriteHolder(json, *claim.holder);
  json.Key("operations").BeginArray();
  for (std::string_view name : NamesOf(claim.operations)) json.String(name);
  json.EndArray().EndObject();
}

void WriteNode(JsonWriter& json, const GraphReader& reader, const Node& node) {
  json.BeginObject().Key("id").String(node.id.ToString()).Key("name").String(node.name);
  json.Key("driver").String(node.driver->driver_name());
  json.Key("kind").String(NodeKindName(node.driver->kind()));
  json.Key("bytes").Number(uint64_t{node.driver->bytes()});
  json.Key("filename").String(node.driver->filename());
  json.Key("read-only").Bool(IsReadOnly(reader, node)).Key("implicit").Bool(node.is_implicit);
  json.Key("drained").Bool(node.is_quiesced());
  json.Key("state").String(node.driver->state_in_words());
  json.Key("requests").Number(uint64_t{node.requests.size()});
  json.Key("users").BeginArray();
  for (const Edge* edge : GraphReaderAccess::ParentsOf(reader, node)) {
    if (edge->attachment != nullptr) WriteAttachment(json, reader, *edge);
  }
  json.EndArray().Key("edges").BeginArray();
  for (const Edge* edge : GraphReaderAccess::ChildrenOf(reader, node))
    WriteEdge(json, reader, *edge);
  json.EndArray().Key("claims").BeginArray();
  for (const OperationClaimRecord& claim : node.claims) WriteClaim(json, claim);
  json.EndArray().EndObject();
}

void WriteSection(JsonWriter& json, const GraphReader& reader, const SectionCore& section) {
  json.BeginObject().Key("id").Number(uint64_t{section.ordinal});
  json.Key("granted").Bool(section.is_granted);
  json.Key("roots").BeginArray();
  for (NodeId root : section.roots) json.String(NameOf(reader, root));
  json.EndArray().Key("owners").BeginArray();
  for (const HolderRef& owner : section.owners) WriteHolder(json, *owner);
  json.EndArray().Key("covers").BeginArray();
  for (const Node* node : section.covered) json.String(node->name);
  json.EndArray().Key("since").Number(int64_t{section.begun_at}).Key("waits-for");
  json.String(section.is_granted ? std::string() : section.DescribeObstacle()).EndObject();
}

}  // namespace

std::string DescribeChain(NodeView top) {
  std::string text;
  WalkDown(top, [&text](NodeView node) {
    StrAppend(&text, text.empty() ? "" : " <- ",
              node.is_filter() ? StrCat("[", node.name(), "]") : node.name());
  });
  return text;
}

std::string DescribeChain(Graph& graph, NodeId top) {
  GraphView view(graph);
  const absl::StatusOr<NodeView> node = view.Resolve(top);
  return node.ok() ? DescribeChain(*node) : "(gone)";
}

std::string DescribeText(const GraphReader& reader) {
  std::string text;
  const std::vector<const Node*> nodes = NodesOf(reader);
  for (const Node* node : nodes) AppendNode(reader, *node, &text);
  for (const SectionCore* section : SectionsOf(nodes)) AppendSection(reader, *section, &text);
  return text;
}

std::string DescribeDot(const GraphReader& reader) {
  std::string text = "digraph millrace {\n";
  int users = 0;
  const std::vector<const Node*> nodes = NodesOf(reader);
  for (const Node* node : nodes) AppendDotNode(reader, *node, &users, &text);
  AppendDotSpans(nodes, &text);
  return text + "}\n";
}

GraphPicture DescribePicture(const GraphReader& reader) { return PictureBuilder(reader).Build(); }

std::string DescribeJson(const GraphReader& reader) {
  JsonWriter json;
  const std::vector<const Node*> nodes = NodesOf(reader);
  json.BeginObject().Key("revision").Number(uint64_t{reader.graph().revision()});
  json.Key("nodes").BeginArray();
  for (const Node* node : nodes) WriteNode(json, reader, *node);
  json.EndArray().Key("sections").BeginArray();
  for (const SectionCore* section : SectionsOf(nodes)) WriteSection(json, reader, *section);
  json.EndArray().EndObject();
  return json.Take();
}

}  // namespace millrace
