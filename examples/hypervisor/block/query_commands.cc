// query-block, query-blockstats, query-named-block-nodes, x-debug-query-block-graph.
#include <algorithm>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/node_queries.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

json::object DescribeDrive(const GraphReader& view, const Drive& drive) {
  const GuestDevice* device = drive.device.get();
  json::object shown = {{"device", drive.id}, {"locked", false}};
  shown["removable"] = device == nullptr || device->is_removable;
  if (device != nullptr) {
    shown["io-status"] = "ok";
    shown["qdev"] = device->path;
    if (device->is_removable) shown["tray_open"] = false;
  }
  absl::StatusOr<NodeView> node = view.Resolve(drive.backend.node());
  if (node.ok()) {
    const NodeView top = SkipImplicitFilters(*node);
    json::object inserted = DescribeNodeForQuery(top, false);
    inserted["backing_file_depth"] = BackingDepth(top);
    shown["inserted"] = std::move(inserted);
  }
  shown["type"] = "unknown";
  return shown;
}

CommandResult QueryBlock(BlockLayer& layer) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  json::array drives;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    // A drive without a name that no device uses is nobody's.
    if (drive->id.empty() && drive->device == nullptr) continue;
    drives.push_back(DescribeDrive(view, *drive));
  }
  return drives;
}

CommandResult QueryNodes(BlockLayer& layer, bool flat) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  std::vector<NodeId> ids = view.Nodes();
  // Newest first.
  std::reverse(ids.begin(), ids.end());
  json::array nodes;
  for (NodeId id : ids) {
    absl::StatusOr<NodeView> node = view.Resolve(id);
    if (node.ok()) nodes.push_back(DescribeNodeForQuery(*node, flat));
  }
  return nodes;
}

// ---- query-blockstats --------------------------------------------------------------------------

// Nothing is counted: guest devices do no I/O here.
json::object NoStatistics() {
  json::object stats;
  for (const char* name : {"rd_bytes",
                           "wr_bytes",
                           "unmap_bytes",
                           "rd_operations",
                           "wr_operations",
                           "flush_operations",
                           "unmap_operations",
                           "rd_total_time_ns",
                           "wr_total_time_ns",
                           "flush_total_time_ns",
                           "unmap_total_time_ns",
                           "wr_highest_offset",
                           "rd_merged",
                           "wr_merged",
                           "unmap_merged",
                           "failed_rd_operations",
                           "failed_wr_operations",
                           "failed_flush_operations",
                           "failed_unmap_operations",
                           "invalid_rd_operations",
                           "invalid_wr_operations",
                           "invalid_flush_operations",
                           "invalid_unmap_operations"}) {
    stats[name] = 0;
  }
  stats["account_invalid"] = true;
  stats["account_failed"] = true;
  stats["timed_stats"] = json::array();
  return stats;
}

json::object StatisticsOf(const NodeView& node) {
  json::object shown = {{"node-name", node.name()}, {"stats", NoStatistics()}};
  const std::optional<NodeView> below =
      node.Child(node.is_filter() ? Role::kFiltered : Role::kPrimary);
  if (below) shown["parent"] = {{"node-name", below->name()}, {"stats", NoStatistics()}};
  return shown;
}

// With what is below it, nested; from the bottom up.
json::object StatisticsOfChain(const GraphReader& view, NodeId top) {
  std::vector<json::object> layers;
  for (std::optional<NodeId> id = top; id;) {
    absl::StatusOr<NodeView> node = view.Resolve(*id);
    if (!node.ok()) break;
    layers.push_back(StatisticsOf(*node));
    const std::optional<NodeView> below = node->Backing();
    id = below ? std::optional<NodeId>(below->id()) : std::nullopt;
  }
  while (layers.size() > 1) {
    json::object last = std::move(layers.back());
    layers.pop_back();
    layers.back()["backing"] = std::move(last);
  }
  return layers.empty() ? json::object() : std::move(layers.front());
}

CommandResult QueryBlockStats(BlockLayer& layer, bool of_nodes) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  json::array shown;
  if (of_nodes) {
    for (NodeId id : view.Nodes()) {
      absl::StatusOr<NodeView> node = view.Resolve(id);
      if (node.ok()) shown.push_back(StatisticsOf(*node));
    }
    return shown;
  }
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    json::object stats = StatisticsOfChain(view, drive->backend.node());
    stats["device"] = drive->id;
    if (drive->device != nullptr) stats["qdev"] = drive->device->path;
    shown.push_back(std::move(stats));
  }
  return shown;
}

CommandResult QueryEdges(BlockLayer& layer) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  return DescribeEdgesForQuery(view);
}

}  // namespace

void RegisterQueryCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.Register({.name = "query-block",
                     .arguments = {{}},
                     .handler = [&layer](const json::object&)
                                    MILLRACE_MAY_SUSPEND { return QueryBlock(layer); }});
  commands.Register({.name = "query-blockstats",
                     .arguments = {{{"query-nodes", ArgumentType::kBool, true}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       ArgumentReader reader(arguments);
                       return QueryBlockStats(layer,
                                              reader.OptionalBool("query-nodes").value_or(false));
                     }});
  commands.Register({.name = "query-named-block-nodes",
                     .arguments = {{{"flat", ArgumentType::kBool, true}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       ArgumentReader reader(arguments);
                       return QueryNodes(layer, reader.OptionalBool("flat").value_or(false));
                     }});
  commands.Register({.name = "x-debug-query-block-graph",
                     .arguments = {{}},
                     .handler = [&layer](const json::object&)
                                    MILLRACE_MAY_SUSPEND { return QueryEdges(layer); }});
}

}  // namespace millrace
