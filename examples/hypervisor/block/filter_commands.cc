// x-millrace-insert-filter and x-millrace-remove-filter: a filter above a node of a live graph, and
// out again. QEMU can only open a node with its filters, or re-point one parent at a time.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/job_options.h"
#include "examples/hypervisor/block/tree_options.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"

namespace millrace {
namespace {

absl::StatusOr<std::unique_ptr<FilterDriver>> MakeFilter(BlockLayer& layer, const NodeTree& tree) {
  if (layer.registry().KindOf(tree.driver) != NodeKind::kFilter) {
    return GenericError(StrCat("Driver '", tree.driver, "' is not a filter"));
  }
  if (!tree.children.empty() || !tree.filename.empty()) {
    return GenericError("The filter's child is the node that it is put above");
  }
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Driver> driver,
                            layer.registry().Make(tree.driver, tree.options));
  return std::unique_ptr<FilterDriver>(static_cast<FilterDriver*>(driver.release()));
}

CommandResult CoInsert(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  InsertFilterOptions options;
  options.spec.id = reader.OptionalString("job-id");
  const std::string node_name = reader.String("node-name");
  std::optional<ArgumentReader> filter = reader.OptionalObject("filter");
  if (!filter) return GenericError("Parameter 'filter' is missing");
  MILLRACE_ASSIGN_OR_RETURN(const NodeTree tree, ReadNodeTree(*filter, TreeStyle::kDrive));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_ASSIGN_OR_RETURN(options.below, layer.FindDeviceOrNode(node_name));
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<FilterDriver> driver, MakeFilter(layer, tree));
  options.filter_name = tree.node_name;
  MILLRACE_RETURN_IF_ERROR(
      CoStartInsertFilter(layer.graph(), layer.jobs(), std::move(driver), std::move(options))
          .status());
  return json::object();
}

CommandResult CoRemove(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  RemoveFilterOptions options;
  options.spec.id = reader.OptionalString("job-id");
  const std::string node_name = reader.String("node-name");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_ASSIGN_OR_RETURN(options.filter, layer.FindNode("", node_name));
  MILLRACE_RETURN_IF_ERROR(
      CoStartRemoveFilter(layer.graph(), layer.jobs(), std::move(options)).status());
  return json::object();
}

}  // namespace

void RegisterFilterCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.Register({.name = "x-millrace-insert-filter",
                     .handler = [&layer](const json::object& arguments)
                                    MILLRACE_MAY_SUSPEND { return CoInsert(layer, arguments); }});
  commands.Register({.name = "x-millrace-remove-filter",
                     .handler = [&layer](const json::object& arguments)
                                    MILLRACE_MAY_SUSPEND { return CoRemove(layer, arguments); }});
}

}  // namespace millrace
