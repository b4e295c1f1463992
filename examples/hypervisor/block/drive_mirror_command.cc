// drive-mirror: a mirror whose target is a file name. It makes the image first, or takes one that
// is there; the node over it is nobody's but the job's until it takes the source's place.
//
// A new image is opened without its backing image, which it gets at the end, from the source's
// chain. One that exists is opened with what its header names.
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/driver_schemas.h"
#include "examples/hypervisor/block/image_creation.h"
#include "examples/hypervisor/block/job_options.h"
#include "examples/hypervisor/block/job_plans.h"
#include "examples/hypervisor/block/mirror_request.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_tree.h"
#include "millrace/graph/operation_claim.h"

namespace millrace {
namespace {

struct DriveMirrorRequest {
  MirrorOptions mirror;
  std::string filename;
  std::string format;  // empty: guessed
  std::string node_name;
  bool creates = true;
};

struct SourceFacts {
  std::string driver;
  uint64_t bytes = 0;
  bool has_backing = false;
  BackingReference overlay_of;  // what a new overlay is to name
};

absl::StatusOr<SourceFacts> LookAtSource(BlockLayer& layer, const MirrorOptions& options)
    MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView source, view.Resolve(options.source));
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(view, source.id(), Operation::kMirrorSource));
  SourceFacts facts;
  facts.driver = std::string(source.driver_name());
  facts.bytes = source.bytes();
  const std::optional<NodeView> backing = SkipFilters(source).Backing();
  facts.has_backing = backing.has_value();
  if (options.sync == MirrorSync::kFull || (options.sync == MirrorSync::kTop && !backing)) {
    return facts;
  }
  const NodeView below = SkipImplicitFilters(options.sync == MirrorSync::kNone ? source : *backing);
  facts.overlay_of = {below.filename(), std::string(below.driver_name())};
  return facts;
}

absl::StatusOr<DriveMirrorRequest> ReadDriveMirror(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  constexpr std::string_view kModes[] = {"existing", "absolute-paths"};
  ArgumentReader reader(arguments);
  DriveMirrorRequest request;
  MirrorOptions& mirror = request.mirror;
  MILLRACE_ASSIGN_OR_RETURN(mirror.source, layer.FindDeviceOrNode(reader.String("device")));
  MILLRACE_RETURN_IF_ERROR(CheckMirrorSource(layer, mirror.source));
  request.filename = reader.String("target");
  request.format = reader.OptionalString("format").value_or("");
  request.node_name = reader.OptionalString("node-name").value_or("");
  request.creates = reader.OptionalEnum("mode", kModes).value_or(1) == 1;
  mirror.unmap = reader.OptionalBool("unmap").value_or(true);
  MILLRACE_ASSIGN_OR_RETURN(mirror.sync, ReadMirrorSync(reader));
  MILLRACE_RETURN_IF_ERROR(ReadMirrorOptions(reader, &mirror));
  if (request.creates) mirror.backing = MirrorBacking::kOfSource;
  return request;
}

absl::Status CheckTargetFormat(const std::string& format, bool has_backing) {
  if (FindDriverSchema(format) == nullptr) {
    return GenericError(StrCat("Unknown file format '", format, "'"));
  }
  if (format != "qcow2" && format != "raw") {
    return GenericError(StrCat("Format driver '", format, "' does not support image creation"));
  }
  if (format == "raw" && has_backing) {
    return GenericError("Backing file not supported for file format 'raw'");
  }
  return absl::OkStatus();
}

// What can be said of the job before there is a target.
absl::Status CheckJob(BlockLayer& layer, const MirrorOptions& mirror) MILLRACE_OPENS_VIEW {
  MILLRACE_RETURN_IF_ERROR(
      NewJobId(layer.graph(), layer.jobs(), mirror.job, mirror.source).status());
  if (mirror.replaces.empty()) return absl::OkStatus();
  GraphView view(layer.graph());
  return CheckReplaced(view, mirror.replaces);
}

CreateImageOptions TargetImage(const DriveMirrorRequest& request, const SourceFacts& source) {
  CreateImageOptions image;
  image.path = request.filename;
  image.format = request.format;
  image.overwrites = true;
  image.qcow2.bytes = source.bytes;
  image.qcow2.backing_filename = source.overlay_of.filename;
  image.qcow2.backing_format = source.overlay_of.format;
  return image;
}

absl::Status CoMakeTarget(BlockLayer& layer, const DriveMirrorRequest& request,
                          const SourceFacts& source) MILLRACE_MAY_SUSPEND {
  const CreateImageOptions image = TargetImage(request, source);
  // A file that is there is not overwritten for a job that cannot be; QEMU would, and says so.
  const absl::Status job = CheckJob(layer, request.mirror);
  if (!job.ok()) {
    PrintLikeQemuIo(layer, FormattingLine(image));
    return job;
  }
  absl::Status status = CoFormatImage(layer, image);
  if (!CarriesErrno(status)) return status;
  if (ErrnoOf(status) == EAGAIN) {
    return WithConflictOf(GenericError("Failed to get \"write\" lock"), status);
  }
  return GenericError(
      StrCat("Could not create '", request.filename, "': ", ErrnoText(ErrnoOf(status))));
}

NodeTree TargetTree(const DriveMirrorRequest& request) {
  NodeTree tree;
  tree.driver = request.format;
  tree.filename = request.filename;
  tree.node_name = request.node_name;
  tree.is_read_only = false;
  if (request.creates) tree.children.push_back({"backing", "", nullptr});
  return tree;
}

// A request that nothing is known against before there is a target.
struct PreparedMirror {
  DriveMirrorRequest request;
  SourceFacts source;
};

absl::StatusOr<PreparedMirror> PrepareDriveMirror(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  PreparedMirror prepared;
  DriveMirrorRequest& request = prepared.request;
  MILLRACE_ASSIGN_OR_RETURN(request, ReadDriveMirror(layer, arguments));
  MirrorOptions& mirror = request.mirror;
  MILLRACE_ASSIGN_OR_RETURN(prepared.source, LookAtSource(layer, mirror));
  const SourceFacts& source = prepared.source;
  if (mirror.sync == MirrorSync::kTop && !source.has_backing) mirror.sync = MirrorSync::kFull;
  if (request.creates && request.format.empty()) request.format = source.driver;
  // A new image reads as zeroes, so only what the source has counts as work.
  if (request.creates) mirror.target_is_zero = true;
  if (!mirror.replaces.empty() && request.node_name.empty()) {
    return GenericError("a node-name must be provided when replacing a named node of the graph");
  }
  if (request.creates) {
    MILLRACE_RETURN_IF_ERROR(
        CheckTargetFormat(request.format, !source.overlay_of.filename.empty()));
  }
  return prepared;
}

// ---- The plan ----------------------------------------------------------------------------------

// What is told of the target before it is there.
absl::StatusOr<StagedTree> RehearseTarget(BlockLayer& layer, const PreparedMirror& prepared)
    MILLRACE_OPENS_VIEW {
  const DriveMirrorRequest& request = prepared.request;
  if (request.creates) {
    MILLRACE_RETURN_IF_ERROR(CheckJob(layer, request.mirror));
    MILLRACE_RETURN_IF_ERROR(
        CheckCreateImage(layer.registry(), TargetImage(request, prepared.source)));
  }
  GraphTransaction change(layer.graph());
  if (request.creates) change.PassGeneratedName();  // the node of the file, while it is made
  MILLRACE_ASSIGN_OR_RETURN(StagedTree staged, layer.RehearseOpen(change, TargetTree(request)));
  if (request.creates) {
    staged.unknown = {StrCat("whether '", request.filename, "' can be made, opened and locked")};
  } else {
    staged.unknown.push_back(StrCat("whether '", request.filename, "' has the source's length"));
  }
  return staged;
}

CommandPlan StepsTo(const DriveMirrorRequest& request) {
  CommandPlan plan;
  if (request.creates) {
    plan.steps.push_back(StrCat("make the image '", request.filename, "' (", request.format, ")"));
  }
  plan.steps.push_back(StrCat("open '", request.filename, "' as the target"));
  plan.steps.push_back("start a mirror of the device into it");
  return plan;
}

absl::Status CheckMirrorInto(BlockLayer& layer, const MirrorOptions& mirror,
                             const StageMirrorTarget& stage) MILLRACE_OPENS_VIEW {
  {
    GraphTransaction change(layer.graph());
    MirrorOptions staged = mirror;
    staged.target = stage(change);
    MILLRACE_RETURN_IF_ERROR(CheckMirrorNodes(change, staged));
  }
  return ClaimForMirrorInto(layer.graph(), mirror, "", stage).status();
}

// Whether anybody holds the target, which `stage` returns, once the job has ended.
bool IsHeldAfter(BlockLayer& layer, const StageJobEnd& stage) MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  const absl::StatusOr<NodeView> target = change.Resolve(stage(change));
  return target.ok() && (target->has_attachment() || !target->parents().empty());
}

// The start and the end of the job, as if the target were there.
PlanResult PlanMirrorInto(BlockLayer& layer, CommandPlan plan, const MirrorOptions& mirror,
                          const StageMirrorTarget& stage, Attachment& hold) MILLRACE_OPENS_VIEW {
  MILLRACE_RETURN_IF_ERROR(CheckMirrorInto(layer, mirror, stage));
  MILLRACE_ASSIGN_OR_RETURN(MirrorProofs proofs,
                            ClaimForNewMirrorInto(layer.graph(), layer.jobs(), mirror, stage));
  CommandPlan before = PlanBefore(layer, mirror.source, proofs);
  plan.before = std::move(before.before);
  plan.claims = std::move(before.claims);
  const HolderRef holder = proofs.holder;
  const NodeId replaced = proofs.replaced;
  MILLRACE_RETURN_IF_ERROR(RehearseMirrorStart(layer.graph(), std::move(proofs), mirror, stage));
  MILLRACE_RETURN_IF_ERROR(CheckJobStart(layer, mirror.job.spec, *holder));
  const auto stage_end = [&](GraphTransaction& change) {
    MirrorOptions staged = mirror;
    staged.target = stage(change);
    StageBecomeAs(change, staged.target, mirror.source);
    StageMirrorTakeover(change, staged, replaced);
    change.Detach(hold);
    return staged.target;
  };
  if (!IsHeldAfter(layer, stage_end)) {
    plan.steps.push_back("close the target in the end, on which nobody stands");
    return PlanWithEnd(layer, std::move(plan), [&](GraphTransaction&) { return mirror.source; });
  }
  return PlanWithEnd(layer, std::move(plan), [&](GraphTransaction& change) {
    const NodeId target = stage_end(change);
    return replaced == mirror.source ? target : mirror.source;
  });
}

bool CanBeStaged(BlockLayer& layer, const StageMirrorTarget& stage) MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  return stage(change).is_valid();
}

PlanResult PlanDriveMirror(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const PreparedMirror prepared, PrepareDriveMirror(layer, arguments));
  const DriveMirrorRequest& request = prepared.request;
  MILLRACE_ASSIGN_OR_RETURN(StagedTree target, RehearseTarget(layer, prepared));
  const bool is_known = target.top.is_valid();
  CommandPlan plan = StepsTo(request);
  plan.unknown = std::move(target.unknown);
  // It has been rehearsed; of a format that is to be guessed, some other does for the job.
  const StageMirrorTarget stage = [&](GraphTransaction& change) {
    NodeTree tree = TargetTree(request);
    if (!is_known) tree.driver = "raw";
    if (request.creates) change.PassGeneratedName();
    absl::StatusOr<StagedTree> staged =
        StageTree(change, layer.registry(), std::move(tree), layer.open_options());
    if (!staged.ok()) return NodeId();
    target.hold = std::move(staged->hold);
    return staged->top;
  };
  if (!is_known && !CanBeStaged(layer, stage)) return plan;
  MILLRACE_ASSIGN_OR_RETURN(
      plan, PlanMirrorInto(layer, std::move(plan), request.mirror, stage, target.hold));
  if (is_known) return plan;
  plan.graph = nullptr;
  plan.before.clear();
  plan.after.clear();
  return plan;
}

CommandResult CoDriveMirror(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(PreparedMirror prepared, PrepareDriveMirror(layer, arguments));
  const DriveMirrorRequest& request = prepared.request;
  MirrorOptions mirror = request.mirror;
  if (request.creates) MILLRACE_RETURN_IF_ERROR(CoMakeTarget(layer, request, prepared.source));
  MILLRACE_ASSIGN_OR_RETURN(Attachment target, layer.CoOpen(TargetTree(request)));
  mirror.target = target.node();
  absl::Status status = CheckMirror(layer, mirror);
  if (status.ok()) {
    status = CoStartNotedMirror(layer, std::move(mirror));
  }
  target.CoDetach();  // from here on the job's own, or nobody's
  MILLRACE_RETURN_IF_ERROR(status);
  return json::object();
}

}  // namespace

void RegisterDriveMirror(BlockLayer& layer) {
  std::vector<ArgumentSpec> arguments = {
      {"device"},
      {"target"},
      {"format", ArgumentType::kString, true},
      {"node-name", ArgumentType::kString, true},
      {"mode", ArgumentType::kEnum, true, {"existing", "absolute-paths"}},
      {"unmap", ArgumentType::kBool, true}};
  AppendMirrorArguments(&arguments);
  AppendBlockJobArguments(&arguments);
  std::erase_if(arguments,
                [](const ArgumentSpec& argument) { return argument.name == "filter-node-name"; });
  layer.host().commands.Register(
      {.name = "drive-mirror",
       .arguments = std::move(arguments),
       .handler = [&layer](const json::object& given)
                      MILLRACE_MAY_SUSPEND { return CoDriveMirror(layer, given); }});
  layer.host().commands.SetPlanner(
      "drive-mirror", [&layer](const json::object& given)
                          MILLRACE_OPENS_VIEW { return PlanDriveMirror(layer, given); });
}

}  // namespace millrace
