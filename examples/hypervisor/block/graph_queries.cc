#include "examples/hypervisor/block/graph_queries.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "millrace/engine/base/text.h"
#include "millrace/graph/describe.h"

namespace millrace {
namespace {

json::string Text(std::string_view text) { return json::string(text.data(), text.size()); }

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
  json::object List(const json::object& graph, const std::vector<std::string>& jobs) {
    const json::array& nodes = graph.at("nodes").get_array();
    for (const json::value& node : nodes) {
      Enter("block-driver", std::string(View(node.at("name").get_string())), "");
    }
    for (const json::value& node : nodes) ListNode(node.get_object());
    for (const std::string& job : jobs) Enter("block-job", job, "");
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

json::object DescribeEdgesForQuery(const GraphReader& reader,
                                   const std::vector<std::string>& jobs) {
  return EdgeLister().List(json::parse(DescribeJson(reader)).get_object(), jobs);
}

}  // namespace millrace
