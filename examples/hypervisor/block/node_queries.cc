#include "examples/hypervisor/block/node_queries.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/describe.h"

namespace millrace {
namespace {

json::string Text(std::string_view text) { return json::string(text.data(), text.size()); }

std::string_view DetectZeroesName(DetectZeroes detect) {
  constexpr std::string_view kNames[] = {"off", "on", "unmap"};
  return kNames[static_cast<size_t>(detect)];
}

// What the file takes on the host; nothing if it is no file.
std::optional<int64_t> BytesOnHost(const std::string& filename) {
  struct stat info {};
  if (filename.empty() || stat(filename.c_str(), &info) != 0) return std::nullopt;
  return int64_t{info.st_blocks} * 512;
}

// A name in an overlay's header, seen from the overlay's folder.
std::string FullName(const std::string& overlay, const std::string& name) {
  const size_t slash = overlay.rfind('/');
  const bool is_whole = name.find(':') < name.find('/') || name.front() == '/';
  if (is_whole || slash == std::string::npos) return name;
  return overlay.substr(0, slash + 1) + name;
}

json::object DescribeImage(const NodeView& node) {
  const std::string filename = node.filename();
  json::object image = {{"virtual-size", node.bytes()},
                        {"filename", filename},
                        {"format", Text(node.driver_name())},
                        {"dirty-flag", false}};
  if (auto bytes = BytesOnHost(filename)) image["actual-size"] = *bytes;
  if (node.driver_name() == "qcow2") image["cluster-size"] = node.cluster_bytes();
  const BackingReference reference = node.backing_reference();
  if (!reference.filename.empty()) {
    image["backing-filename"] = reference.filename;
    image["full-backing-filename"] = FullName(filename, reference.filename);
    if (!reference.format.empty()) image["backing-filename-format"] = reference.format;
  }
  return image;
}

// With all images below it, nested; from the bottom up, so that no stack limits the chain.
json::object DescribeChainOfImages(const NodeView& node) {
  std::vector<json::object> images;
  const GraphReader& reader = node.reader();
  for (std::optional<NodeId> id = node.id(); id;) {
    absl::StatusOr<NodeView> view = reader.Resolve(*id);
    images.push_back(DescribeImage(*view));
    const std::optional<NodeView> below = view->Backing();
    id = below ? std::optional<NodeId>(SkipImplicitFilters(*below).id()) : std::nullopt;
  }
  while (images.size() > 1) {
    json::object last = std::move(images.back());
    images.pop_back();
    images.back()["backing-image"] = std::move(last);
  }
  return std::move(images.front());
}

}  // namespace

int64_t BackingDepth(const NodeView& node) {
  int64_t depth = 0;
  for (NodeId id = node.id();; ++depth) {
    absl::StatusOr<NodeView> view = node.reader().Resolve(id);
    const std::optional<NodeView> below = BackingChainNext(*view);
    if (!below) return depth;
    id = below->id();
  }
}

json::object DescribeNodeForQuery(const NodeView& node, bool flat) {
  const NodeIoOptions& io = node.io_options();
  json::object shown = {
      {"iops_rd", 0},
      {"detect_zeroes", Text(DetectZeroesName(io.detect_zeroes))},
      {"image", flat ? DescribeImage(node) : DescribeChainOfImages(node)},
      {"iops_wr", 0},
      {"ro", node.is_read_only()},
      {"node-name", node.name()},
      {"backing_file_depth", 0},
      {"drv", Text(node.driver_name())},
      {"iops", 0},
      {"bps_wr", 0},
      {"write_threshold", 0},
      {"encrypted", false},
      {"bps", 0},
      {"bps_rd", 0},
      {"cache", {{"no-flush", io.ignores_flushes}, {"direct", io.is_direct}, {"writeback", true}}},
      {"file", node.filename()}};
  if (std::optional<NodeView> backing = node.Backing()) {
    shown["backing_file"] = SkipFilters(*backing).filename();
  }
  return shown;
}

// ---- The graph for debugging -------------------------------------------------------------------

namespace {

json::array PermissionNames(const json::array& permissions) {
  json::array names;
  // QEMU lists the highest bit first.
  for (auto each = permissions.rbegin(); each != permissions.rend(); ++each) {
    std::string name(View(each->get_string()));
    std::replace(name.begin(), name.end(), ' ', '-');
    names.push_back(json::string(name));
  }
  return names;
}

class EdgeLister {
 public:
  json::object List(const json::object& graph) {
    const json::array& nodes = graph.at("nodes").get_array();
    for (const json::value& node : nodes) {
      Enter("block-driver", std::string(View(node.at("name").get_string())), "");
    }
    for (const json::value& node : nodes) ListNode(node.get_object());
    return {{"edges", std::move(edges_)}, {"nodes", std::move(nodes_)}};
  }

 private:
  // Nodes are known by name, users by holder and device.
  int64_t Enter(std::string_view type, const std::string& name, const std::string& key) {
    const auto [place, is_new] =
        ids_.try_emplace(StrCat(type, "/", name, "/", key), ids_.size() + 1);
    if (is_new) {
      nodes_.push_back({{"name", name}, {"type", Text(type)}, {"id", place->second}});
    }
    return place->second;
  }

  void AddEdge(int64_t parent, int64_t child, const json::object& edge, std::string_view name_key) {
    edges_.push_back({{"name", edge.at(json::string_view(name_key.data(), name_key.size()))},
                      {"parent", parent},
                      {"shared-perm", PermissionNames(edge.at("shared").get_array())},
                      {"perm", PermissionNames(edge.at("used").get_array())},
                      {"child", child}});
  }

  void ListNode(const json::object& node) {
    const int64_t id = Enter("block-driver", std::string(View(node.at("name").get_string())), "");
    for (const json::value& user : node.at("users").get_array()) {
      const json::object& holder = user.at("holder").get_object();
      const std::string type(View(holder.at("type").get_string()));
      const std::string name(View(holder.at("id").get_string()));
      if (type == "monitor") continue;
      const bool is_job = type.size() > 4 && type.compare(type.size() - 4, 4, " job") == 0;
      const std::string key = is_job || !name.empty() ? "" : StrCat(unnamed_++);
      AddEdge(Enter(is_job ? "block-job" : "block-backend", name, key), id, user.get_object(),
              "purpose");
    }
    for (const json::value& edge : node.at("edges").get_array()) {
      AddEdge(id, Enter("block-driver", std::string(View(edge.at("child").get_string())), ""),
              edge.get_object(), "name");
    }
  }

  std::map<std::string, int64_t> ids_;
  json::array nodes_;
  json::array edges_;
  int unnamed_ = 0;
};

}  // namespace

json::object DescribeEdgesForQuery(const GraphReader& reader) {
  return EdgeLister().List(json::parse(DescribeJson(reader)).get_object());
}

}  // namespace millrace
