#include "examples/hypervisor/block/graph_queries.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "millrace/engine/base/text.h"
#include "millrace/graph/describe.h"

namespace millrace {
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

// Who is mentioned first gets the first number; the newest is listed first.
class EdgeLister {
 public:
  explicit EdgeLister(const json::object& graph) : graph_nodes_(graph.at("nodes").get_array()) {
    for (const json::value& node : graph_nodes_) {
      for (const json::value& use : node.at("users").get_array()) SortIn(node.get_object(), use);
    }
  }

  json::object List(const std::vector<std::string>& drives, const std::vector<std::string>& jobs) {
    for (const std::string& drive : drives) ListUser("block-backend", drive);
    for (const Use& use : unnamed_uses_) AddUse(AddNode("block-backend", "", ++last_id_), use);
    for (const std::string& job : jobs) ListUser("block-job", job);
    for (const json::value& node : graph_nodes_) ListNode(node.get_object());
    std::reverse(nodes_.begin(), nodes_.end());
    std::reverse(edges_.begin(), edges_.end());
    return {{"edges", std::move(edges_)}, {"nodes", std::move(nodes_)}};
  }

 private:
  struct Use {
    const json::object* node = nullptr;
    const json::object* edge = nullptr;
  };

  void SortIn(const json::object& node, const json::value& use) {
    const json::object& edge = use.get_object();
    const json::object& holder = edge.at("holder").get_object();
    const std::string_view type = View(holder.at("type").get_string());
    const std::string_view name = View(holder.at("id").get_string());
    if (type == "monitor") return;
    if (name.empty()) {
      unnamed_uses_.push_back({&node, &edge});
    } else {
      const bool is_job = type.ends_with(" job");
      uses_[KeyOf(is_job ? "block-job" : "block-backend", name)].push_back({&node, &edge});
    }
  }

  static std::string KeyOf(std::string_view type, std::string_view name) {
    return StrCat(type, "/", name);
  }

  int64_t AddNode(std::string_view type, std::string_view name, int64_t id) {
    nodes_.push_back({{"id", id}, {"type", JsonText(type)}, {"name", JsonText(name)}});
    return id;
  }

  // The number of who is mentioned, which may be listed later.
  int64_t IdOf(std::string_view type, std::string_view name) {
    const auto [place, is_new] = ids_.try_emplace(KeyOf(type, name), 0);
    if (is_new) place->second = ++last_id_;
    return place->second;
  }

  int64_t IdOfNode(const json::value& name) {
    return IdOf("block-driver", View(name.get_string()));
  }

  void AddEdge(int64_t parent, int64_t child, const json::object& edge, std::string_view name_key) {
    edges_.push_back({{"parent", parent},
                      {"child", child},
                      {"name", edge.at(json::string_view(name_key.data(), name_key.size()))},
                      {"perm", PermissionNames(edge.at("used").get_array())},
                      {"shared-perm", PermissionNames(edge.at("shared").get_array())}});
  }

  void AddUse(int64_t user, const Use& use) {
    AddEdge(user, IdOfNode(use.node->at("name")), *use.edge, "purpose");
  }

  // A drive, or a job: the newest of the nodes that it holds comes first.
  void ListUser(std::string_view type, const std::string& name) {
    if (name.empty()) return;
    const int64_t id = AddNode(type, name, IdOf(type, name));
    const std::vector<Use>& uses = uses_[KeyOf(type, name)];
    for (auto use = uses.rbegin(); use != uses.rend(); ++use) AddUse(id, *use);
  }

  // The child that it got last comes first.
  void ListNode(const json::object& node) {
    const json::value& name = node.at("name");
    const int64_t id = AddNode("block-driver", View(name.get_string()), IdOfNode(name));
    const json::array& edges = node.at("edges").get_array();
    for (auto edge = edges.rbegin(); edge != edges.rend(); ++edge) {
      AddEdge(id, IdOfNode(edge->at("child")), edge->get_object(), "name");
    }
  }

  const json::array& graph_nodes_;
  std::map<std::string, std::vector<Use>> uses_;  // of those with a name
  std::vector<Use> unnamed_uses_;                 // each of a block device of its own
  std::map<std::string, int64_t> ids_;
  int64_t last_id_ = 0;
  json::array nodes_;
  json::array edges_;
};

}  // namespace

json::object DescribeEdgesForQuery(const GraphReader& reader,
                                   const std::vector<std::string>& drives,
                                   const std::vector<std::string>& jobs) {
  const json::value graph = json::parse(DescribeJson(reader));
  return EdgeLister(graph.get_object()).List(drives, jobs);
}

}  // namespace millrace
