// query-block, query-named-block-nodes, x-debug-query-block-graph.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/create_job.h"
#include "examples/hypervisor/block/graph_queries.h"
#include "examples/hypervisor/block/image_queries.h"
#include "examples/hypervisor/block/node_list_text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

json::object DescribeDrive(const GraphReader& view, ImageQueries& images, const Drive& drive) {
  const GuestDevice* device = drive.device.get();
  json::object shown = {{"device", drive.id}, {"locked", false}, {"type", "unknown"}};
  shown["removable"] = device == nullptr || device->is_removable;
  if (device != nullptr) {
    if (!device->is_removable || device->has_tray) shown["io-status"] = "ok";
    shown["qdev"] = device->shown_name();
    if (device->has_tray) shown["tray_open"] = drive.is_tray_open;
  }
  if (!drive.backend.is_attached()) return shown;
  absl::StatusOr<NodeView> node = view.Resolve(drive.backend.node());
  if (!node.ok()) return shown;
  json::object inserted = images.DescribeNode(
      SkipImplicitFilters(*node), {.hides_implicit = true, .writes_back = !drive.writes_through});
  if (drive.throttle != nullptr) drive.throttle->Describe(&inserted);
  shown["inserted"] = std::move(inserted);
  return shown;
}

CommandResult QueryBlock(BlockLayer& layer) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  ImageQueries images(view, layer.bitmaps());
  json::array drives;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    // A drive without a name that no device uses is nobody's.
    if (drive->id.empty() && drive->device == nullptr) continue;
    drives.push_back(DescribeDrive(view, images, *drive));
  }
  return drives;
}

bool IsFlat(const json::object& arguments) {
  ArgumentReader reader(arguments);
  return reader.OptionalBool("flat").value_or(false);
}

std::vector<NodeId> NewestFirst(const GraphView& view) {
  std::vector<NodeId> ids = view.Nodes();
  std::reverse(ids.begin(), ids.end());
  return ids;
}

CommandResult QueryNodes(BlockLayer& layer, bool flat) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  ImageQueries images(view, layer.bitmaps());
  json::array nodes;
  for (NodeId id : NewestFirst(view)) {
    absl::StatusOr<NodeView> node = view.Resolve(id);
    if (node.ok()) nodes.push_back(images.DescribeNode(*node, {.flat = flat}));
  }
  return nodes;
}

CommandText QueryNodesAsText(BlockLayer& layer, bool flat) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  return DescribeNodesAsText(view, layer.bitmaps(), NewestFirst(view), flat);
}

CommandResult QueryEdges(BlockLayer& layer) MILLRACE_OPENS_VIEW {
  std::vector<std::string> jobs;
  for (const JobInfo& job : layer.jobs().QueryAll()) {
    if (!job.is_internal && job.type != kCreateJobType) jobs.push_back(job.id);
  }
  std::vector<std::string> drives;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    drives.push_back(drive->id.empty() && drive->device != nullptr ? drive->device->shown_name()
                                                                   : drive->id);
  }
  GraphView view(layer.graph());
  return DescribeEdgesForQuery(view, drives, jobs);
}

}  // namespace

void RegisterQueryCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.Register({.name = "query-block",
                     .arguments = {{}},
                     .handler = [&layer](const json::object&)
                                    MILLRACE_MAY_SUSPEND { return QueryBlock(layer); }});
  commands.Register(
      {.name = "query-named-block-nodes",
       .arguments = {{{"flat", ArgumentType::kBool, true}}},
       .handler = [&layer](const json::object& arguments)
                      MILLRACE_MAY_SUSPEND { return QueryNodes(layer, IsFlat(arguments)); },
       .text_handler =
           [&layer](const json::object& arguments)
               MILLRACE_MAY_SUSPEND { return QueryNodesAsText(layer, IsFlat(arguments)); }});
  commands.Register({.name = "x-debug-query-block-graph",
                     .arguments = {{}},
                     .handler = [&layer](const json::object&)
                                    MILLRACE_MAY_SUSPEND { return QueryEdges(layer); }});
}

}  // namespace millrace
