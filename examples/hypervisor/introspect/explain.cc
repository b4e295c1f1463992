#include "examples/hypervisor/introspect/explain.h"

#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "examples/hypervisor/block/job_events.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/wait.h"
#include "millrace/graph/describe.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

// ---- Holders: the graph's description, read the other way round ---------------------------------

class HolderBoard {
 public:
  explicit HolderBoard(const json::object& graph) {
    for (const json::value& node : graph.at("nodes").as_array()) AddNode(node.as_object());
    for (const json::value& section : graph.at("sections").as_array()) {
      for (const json::value& owner : section.at("owners").as_array()) {
        Of(owner)["sections"].as_array().push_back({{"roots", section.at("roots")},
                                                    {"granted", section.at("granted")},
                                                    {"since", section.at("since")},
                                                    {"waits-for", section.at("waits-for")}});
      }
    }
  }

  json::array Take() {
    json::array all;
    for (auto& entry : holders_) all.push_back(std::move(entry.second));
    return all;
  }

 private:
  using Key = std::tuple<std::string, std::string, int64_t>;

  json::object& Of(const json::value& holder) {
    const Key key(holder.at("type").as_string().c_str(), holder.at("id").as_string().c_str(),
                  holder.at("since").to_number<int64_t>());
    json::object& entry = holders_[key];
    if (entry.empty()) {
      entry = holder.as_object();
      for (const char* list : {"attachments", "claims", "leases", "sections"}) {
        entry[list] = json::array();
      }
    }
    return entry;
  }

  void AddNode(const json::object& node) {
    for (const json::value& user : node.at("users").as_array()) {
      Of(user.at("holder"))["attachments"].as_array().push_back({{"node", node.at("name")},
                                                                 {"as", user.at("purpose")},
                                                                 {"device", user.at("device")},
                                                                 {"used", user.at("used")},
                                                                 {"shared", user.at("shared")}});
    }
    for (const json::value& claim : node.at("claims").as_array()) {
      Of(claim.at("holder"))["claims"].as_array().push_back(
          {{"node", node.at("name")}, {"operations", claim.at("operations")}});
    }
    for (const json::value& edge : node.at("edges").as_array()) {
      if (edge.at("lease").is_null()) continue;
      Of(edge.at("lease"))["leases"].as_array().push_back(
          {{"from", node.at("name")}, {"link", edge.at("name")}, {"to", edge.at("child")}});
    }
  }

  std::map<Key, json::object> holders_;
};

// ---- Jobs and waits -----------------------------------------------------------------------------

json::array DescribeJobs(BlockLayer& layer) {
  json::array jobs;
  for (const JobInfo& job : layer.jobs().QueryAll()) {
    json::object shown = DescribeBlockJob(job);
    shown["id"] = job.id;
    shown["since"] = job.created_at;
    shown["paused-by-user"] = job.is_paused_by_user;
    shown["drained-by"] = job.quiesce_count;
    shown["cancelling"] = job.is_cancel_requested;
    shown["finalizing"] = job.is_finalizing;
    jobs.push_back(std::move(shown));
  }
  return jobs;
}

json::array DescribeWaits(BlockLayer& layer) {
  json::array waits;
  for (const CoroutineWait& wait : layer.host().engine.scheduler().Waits()) {
    json::array holders;
    for (const std::string& holder : wait.on.holders) holders.push_back(json::string(holder));
    waits.push_back({{"who", wait.name},
                     {"at", wait.yield_point},
                     {"since", wait.since},
                     {"can-run", wait.can_run},
                     {"for", wait.on.object},
                     {"held-by", std::move(holders)},
                     {"external", wait.on.external},
                     {"idle", wait.on.idle}});
  }
  return waits;
}

}  // namespace

json::object Explain(BlockLayer& layer, bool as_dot) {
  GraphView view(layer.graph());
  json::value graph = json::parse(DescribeJson(view));
  json::object told = {{"now", layer.host().engine.clock().Now()},
                       {"jobs", DescribeJobs(layer)},
                       {"holders", HolderBoard(graph.as_object()).Take()},
                       {"waits", DescribeWaits(layer)}};
  if (auto cycle = layer.host().engine.scheduler().FindWaitCycle()) told["cycle"] = *cycle;
  told["graph"] = std::move(graph);
  told[as_dot ? "dot" : "text"] = as_dot ? DescribeDot(view) : DescribeText(view);
  return told;
}

}  // namespace millrace
