#include "examples/cli/chain.h"

#include <charconv>
#include <filesystem>

#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

std::filesystem::path Absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal();
}

std::string FileName(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

}  // namespace

std::vector<ChainLink> ChainOf(Graph& graph, NodeId top) {
  GraphView view(graph);
  return ChainIn(view, top);
}

std::vector<ChainLink> ChainIn(const GraphReader& reader, NodeId top) {
  std::vector<ChainLink> chain;
  absl::StatusOr<NodeView> start = reader.Resolve(top);
  if (!start.ok()) return chain;
  for (NodeId id : ChainFrom(*start)) {
    absl::StatusOr<NodeView> node = reader.Resolve(id);
    if (node->is_filter()) continue;
    ChainLink link;
    link.node = id;
    link.node_name = node->name();
    link.format = std::string(node->driver_name());
    link.bytes = node->bytes();
    link.is_read_only = node->is_read_only();
    link.header = node->backing_reference();
    const std::optional<NodeView> file = node->Child(Role::kPrimary);
    link.path = file ? file->filename() : node->filename();
    chain.push_back(std::move(link));
  }
  return chain;
}

absl::StatusOr<size_t> FindInChain(const std::vector<ChainLink>& chain, std::string_view name) {
  if (name.size() > 1 && name[0] == '@') {
    size_t index = 0;
    const auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), index);
    if (error == std::errc() && end == name.data() + name.size() && index < chain.size()) {
      return index;
    }
  }
  const std::string text(name);
  std::vector<size_t> same_name;
  for (size_t i = 0; i < chain.size(); ++i) {
    if (chain[i].path == text || Absolute(chain[i].path) == Absolute(text)) return i;
    if (FileName(chain[i].path) == text) same_name.push_back(i);
  }
  if (same_name.size() == 1) return same_name[0];
  return absl::NotFoundError(StrCat("'", name, "' is ",
                                    same_name.empty() ? "not one" : "more than one",
                                    " of the images of the chain ", ChainInWords(chain),
                                    "; name one by its path, or by its place from the top, as @1"));
}

std::string BackingNameFor(const ChainLink& overlay, const ChainLink& base) {
  const std::filesystem::path target = Absolute(base.path);
  if (!overlay.header.filename.empty() && overlay.header.filename[0] == '/') {
    return target.string();
  }
  std::string name = target.lexically_relative(Absolute(overlay.path).parent_path()).string();
  // A colon before the first slash would be taken for a protocol.
  if (name.find(':') < name.find('/')) name.insert(0, "./");
  return name;
}

std::string ChainInWords(const std::vector<ChainLink>& chain) {
  std::string words;
  for (const ChainLink& link : chain) {
    if (!words.empty()) words += " <- ";
    words += link.path;
  }
  return words;
}

void WriteChain(JsonWriter& json, const std::vector<ChainLink>& chain) {
  json.BeginArray();
  for (const ChainLink& link : chain) {
    json.BeginObject().Key("filename").String(link.path).Key("format").String(link.format);
    json.Key("node").String(link.node_name).Key("virtual-size").Number(link.bytes).EndObject();
  }
  json.EndArray();
}

}  // namespace millrace
