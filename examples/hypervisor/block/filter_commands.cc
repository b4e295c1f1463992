// x-millrace-insert-filter and x-millrace-remove-filter: a filter above a node of a live graph, and
// out again. QEMU can only open a node with its filters, or re-point one parent at a time.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/job_options.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/block/tree_options.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"

namespace millrace {
namespace {

absl::StatusOr<std::unique_ptr<FilterDriver>> MakeFilter(BlockLayer& layer, const NodeTree& tree) {
  if (layer.registry().KindOf(tree.driver) != NodeKind::kFilter) {
    return Refuse(ConflictReason::kNotFilter, tree.driver,
                  StrCat("Driver '", tree.driver, "' is not a filter"), "name a filter's driver");
  }
  if (!tree.children.empty() || !tree.filename.empty()) {
    return GenericError("The filter's child is the node that it is put above");
  }
  return layer.registry().MakeFilter(tree.driver, tree.options);
}

struct Insertion {
  std::unique_ptr<FilterDriver> driver;
  InsertFilterOptions options;
};

absl::StatusOr<Insertion> ReadInsertion(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  Insertion insertion;
  InsertFilterOptions& options = insertion.options;
  options.spec.id = reader.OptionalString("job-id");
  const std::string node_name = reader.String("node-name");
  std::optional<ArgumentReader> filter = reader.OptionalObject("filter");
  if (!filter) return GenericError("Parameter 'filter' is missing");
  MILLRACE_ASSIGN_OR_RETURN(const NodeTree tree, ReadNodeTree(*filter, TreeStyle::kDrive));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_ASSIGN_OR_RETURN(options.below, layer.FindDeviceOrNode(node_name));
  MILLRACE_ASSIGN_OR_RETURN(insertion.driver, MakeFilter(layer, tree));
  options.filter_name = tree.node_name;
  return insertion;
}

CommandResult CoInsert(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(Insertion insertion, ReadInsertion(layer, arguments));
  MILLRACE_RETURN_IF_ERROR(CoStartInsertFilter(layer.graph(), layer.jobs(),
                                               std::move(insertion.driver),
                                               std::move(insertion.options))
                               .status());
  return json::object();
}

PlanResult PlanInsert(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(Insertion insertion, ReadInsertion(layer, arguments));
  const InsertFilterOptions& options = insertion.options;
  MILLRACE_RETURN_IF_ERROR(layer.jobs().CheckNewId(options.spec.id, options.spec.is_internal));
  // Let go of again: what is looked at is the graph when the job has ended.
  MILLRACE_RETURN_IF_ERROR(ClaimForInsertFilter(layer.graph(), options).status());
  GraphTransaction change(layer.graph());
  CommandPlan plan;
  plan.before = ChainBelow(change, options.below);
  const NodeId filter =
      change.AddNode(std::move(insertion.driver),
                     {.name = options.filter_name, .is_implicit = options.filter_name.empty()});
  change.InsertFilter(filter, options.below);
  plan.after = ChainBelow(change, filter);
  return PlanOfEdit(change, std::move(plan));
}

absl::StatusOr<RemoveFilterOptions> ReadFilterRemoval(BlockLayer& layer,
                                                      const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  RemoveFilterOptions options;
  options.spec.id = reader.OptionalString("job-id");
  const std::string node_name = reader.String("node-name");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_ASSIGN_OR_RETURN(options.filter, layer.FindNode("", node_name));
  return options;
}

CommandResult CoRemoveFilter(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(RemoveFilterOptions options, ReadFilterRemoval(layer, arguments));
  MILLRACE_RETURN_IF_ERROR(
      CoStartRemoveFilter(layer.graph(), layer.jobs(), std::move(options)).status());
  return json::object();
}

PlanResult PlanRemove(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const RemoveFilterOptions options, ReadFilterRemoval(layer, arguments));
  MILLRACE_RETURN_IF_ERROR(layer.jobs().CheckNewId(options.spec.id, options.spec.is_internal));
  MILLRACE_RETURN_IF_ERROR(ClaimForRemoveFilter(layer.graph(), options).status());
  GraphTransaction change(layer.graph());
  CommandPlan plan;
  plan.before = ChainBelow(change, options.filter);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView filter, change.Resolve(options.filter));
  const std::optional<NodeView> below = filter.Filtered();
  const NodeId top_after = below ? below->id() : options.filter;
  change.RemoveFilter(options.filter);
  plan.after = ChainBelow(change, top_after);
  return PlanOfEdit(change, std::move(plan));
}

}  // namespace

void RegisterFilterCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.Register({.name = "x-millrace-insert-filter",
                     .handler = [&layer](const json::object& arguments)
                                    MILLRACE_MAY_SUSPEND { return CoInsert(layer, arguments); }});
  commands.Register({.name = "x-millrace-remove-filter",
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return CoRemoveFilter(layer, arguments);
                     }});
  commands.SetPlanner("x-millrace-insert-filter",
                      [&layer](const json::object& arguments)
                          MILLRACE_OPENS_VIEW { return PlanInsert(layer, arguments); });
  commands.SetPlanner("x-millrace-remove-filter",
                      [&layer](const json::object& arguments)
                          MILLRACE_OPENS_VIEW { return PlanRemove(layer, arguments); });
}

}  // namespace millrace
