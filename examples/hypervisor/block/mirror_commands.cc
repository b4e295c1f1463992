// blockdev-mirror, and what drive-mirror shares with it.
#include "examples/hypervisor/block/mirror_request.h"

#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/job_events.h"
#include "examples/hypervisor/block/job_options.h"
#include "examples/hypervisor/block/job_requests.h"
#include "examples/hypervisor/block/job_verbs.h"
#include "examples/hypervisor/block/node_checks.h"
#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/operation_claim.h"
#include "millrace/jobs/mirror/mirror_job.h"

namespace millrace {
namespace {

std::string TargetName(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  const absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() ? node->name() : std::string();
}

}  // namespace

absl::StatusOr<MirrorSync> ReadMirrorSync(ArgumentReader& reader) {
  constexpr MirrorSync kSyncs[] = {MirrorSync::kTop, MirrorSync::kFull, MirrorSync::kNone};
  const size_t index = reader.Enum("sync", kMirrorSyncNames);
  if (index < std::size(kSyncs)) return kSyncs[index];
  return Refuse(ConflictReason::kInvalidOption, reader.String("device"),
                StrCat("Sync mode '", kMirrorSyncNames[index], "' not supported"),
                "choose full, top or none");
}

absl::Status ReadMirrorOptions(ArgumentReader& reader, MirrorOptions* options) {
  options->replaces = reader.OptionalString("replaces").value_or("");
  options->granularity = reader.OptionalUint32("granularity").value_or(0);
  options->buffer_bytes = reader.OptionalInteger("buf-size").value_or(0);
  options->on_source_error = ReadOnError(reader, "on-source-error");
  options->on_target_error = ReadOnError(reader, "on-target-error");
  if (reader.OptionalEnum("copy-mode", kMirrorCopyModeNames).value_or(0) == 1) {
    options->copy_mode = MirrorCopyMode::kWriteBlocking;
  }
  options->target_is_zero = reader.OptionalBool("target-is-zero").value_or(false);
  ReadBlockJobOptions(reader, &options->job);
  return absl::OkStatus();
}

void AppendMirrorArguments(std::vector<ArgumentSpec>* arguments) {
  arguments->push_back({"replaces", ArgumentType::kString, true});
  arguments->push_back({"sync",
                        ArgumentType::kEnum,
                        false,
                        {std::begin(kMirrorSyncNames), std::end(kMirrorSyncNames)}});
  arguments->push_back({"granularity", ArgumentType::kUint32, true});
  arguments->push_back({"buf-size", ArgumentType::kInteger, true});
  arguments->push_back(OnErrorArgument("on-source-error"));
  arguments->push_back(OnErrorArgument("on-target-error"));
  arguments->push_back({"copy-mode",
                        ArgumentType::kEnum,
                        true,
                        {std::begin(kMirrorCopyModeNames), std::end(kMirrorCopyModeNames)}});
  arguments->push_back({"target-is-zero", ArgumentType::kBool, true});
}

absl::Status CheckMirrorSource(BlockLayer& layer, NodeId id) {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView source, view.Resolve(id));
  return CheckIsRootForJobs(source);
}

absl::Status CheckReplaced(const GraphReader& view, const std::string& name) {
  absl::StatusOr<NodeView> replaced = view.Find(name);
  if (!replaced.ok()) {
    return Refuse(ConflictReason::kUnknownNode, name,
                  StrCat("Failed to find node with node-name='", name, "'"),
                  "name a node that there is");
  }
  return CheckIsFree(*replaced, Operation::kReplace);
}

// Busy nodes are told before a bad job id, and before what else is wrong.
absl::Status CheckMirrorNodes(const GraphReader& reader, const MirrorOptions& options) {
  MILLRACE_ASSIGN_OR_RETURN(const NodeView source, reader.Resolve(options.source));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView target, reader.Resolve(options.target));
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(reader, source.id(), Operation::kMirrorSource));
  MILLRACE_RETURN_IF_ERROR(CheckIsFree(target, Operation::kMirrorTarget));
  if (!options.replaces.empty()) {
    MILLRACE_RETURN_IF_ERROR(CheckReplaced(reader, options.replaces));
  }
  if (options.source != options.target) return absl::OkStatus();
  return Refuse(ConflictReason::kSameNode, source.name(), "Can't mirror node into itself",
                "name another target");
}

absl::Status CheckMirror(BlockLayer& layer, const MirrorOptions& options) {
  {
    GraphView view(layer.graph());
    MILLRACE_RETURN_IF_ERROR(CheckMirrorNodes(view, options));
  }
  return ClaimForMirror(layer.graph(), options, "").status();
}

absl::Status CoStartNotedMirror(BlockLayer& layer, MirrorOptions options) {
  const std::string target = TargetName(layer, options.target);
  const absl::StatusOr<JobNumber> number =
      CoStartMirror(layer.graph(), layer.jobs(), std::move(options));
  TellOfRefusedJob(layer.host().events, number.status());
  MILLRACE_RETURN_IF_ERROR(number.status());
  const absl::StatusOr<JobInfo> job = layer.jobs().Query(*number);
  if (job.ok()) layer.job_notes().NoteTarget(job->id, target);
  return absl::OkStatus();
}

absl::StatusOr<MirrorOptions> ResolveBlockdevMirror(BlockLayer& layer,
                                                    const json::object& arguments) {
  ArgumentReader reader(arguments);
  MirrorOptions options;
  MILLRACE_ASSIGN_OR_RETURN(options.source, layer.FindDeviceOrNode(reader.String("device")));
  MILLRACE_RETURN_IF_ERROR(CheckMirrorSource(layer, options.source));
  MILLRACE_ASSIGN_OR_RETURN(options.target, layer.FindDeviceOrNode(reader.String("target")));
  MILLRACE_ASSIGN_OR_RETURN(options.sync, ReadMirrorSync(reader));
  MILLRACE_RETURN_IF_ERROR(ReadMirrorOptions(reader, &options));
  MILLRACE_RETURN_IF_ERROR(CheckMirror(layer, options));
  return options;
}

namespace {

CommandResult CoBlockdevMirror(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, ResolveBlockdevMirror(layer, arguments));
  MILLRACE_RETURN_IF_ERROR(CoStartNotedMirror(layer, std::move(options)));
  return json::object();
}

// ---- block-job-change --------------------------------------------------------------------------

constexpr std::string_view kJobTypeNames[] = {"commit",        "stream",        "mirror",
                                              "backup",        "create",        "amend",
                                              "snapshot-load", "snapshot-save", "snapshot-delete"};

struct ChangeRequest {
  std::string id;
  bool is_of_mirror = false;
  MirrorChange mirror;
};

// Of a type that has nothing to change: every job refuses it.
struct NoChange final : JobChange {};

// Only a mirror has something that can change, so only its type has an argument more.
absl::StatusOr<ChangeRequest> ReadJobChange(const json::object& arguments) {
  ArgumentReader reader(arguments);
  ChangeRequest request;
  request.id = reader.String("id");
  const size_t type = reader.Enum("type", kJobTypeNames);
  request.is_of_mirror = reader.ok() && kJobTypeNames[type] == "mirror";
  if (request.is_of_mirror && reader.Enum("copy-mode", kMirrorCopyModeNames) == 0) {
    request.mirror.copy_mode = MirrorCopyMode::kBackground;
  }
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return request;
}

// Changes the job, or says what that would be refused for.
absl::Status ChangeJob(BlockLayer& layer, const ChangeRequest& request, bool is_rehearsal) {
  MILLRACE_RETURN_IF_ERROR(CheckKnowsJob(layer, request.id, /*is_legacy=*/true));
  const NoChange nothing;
  const JobChange* const change =
      request.is_of_mirror ? static_cast<const JobChange*>(&request.mirror) : &nothing;
  const absl::Status status = is_rehearsal ? layer.jobs().CheckChange(request.id, *change)
                                           : layer.jobs().Change(request.id, *change);
  const std::optional<Conflict> conflict = ConflictOf(status);
  if (conflict && conflict->reason == ConflictReason::kChangeUnsupported &&
      conflict->detail == "background") {
    return WithConflictOf(GenericError("Change to copy mode 'background' is not implemented"),
                          status);
  }
  return InVerbWords(status, request.id, /*is_legacy=*/true);
}

void RegisterJobChange(BlockLayer& layer) {
  layer.host().commands.Register(
      {.name = "block-job-change", .handler = [&layer](const json::object& given) -> CommandResult {
         MILLRACE_ASSIGN_OR_RETURN(const ChangeRequest request, ReadJobChange(given));
         MILLRACE_RETURN_IF_ERROR(ChangeJob(layer, request, /*is_rehearsal=*/false));
         return json::object();
       }});
  layer.host().commands.SetPlanner(
      "block-job-change", [&layer](const json::object& given) -> PlanResult {
        MILLRACE_ASSIGN_OR_RETURN(const ChangeRequest request, ReadJobChange(given));
        MILLRACE_RETURN_IF_ERROR(ChangeJob(layer, request, /*is_rehearsal=*/true));
        const bool is_blocking = request.mirror.copy_mode == MirrorCopyMode::kWriteBlocking;
        return PlanOfStep(StrCat("have job '", request.id, "' copy ",
                                 is_blocking ? "what guests write before their writes return"
                                             : "in the background, as it does"));
      });
}

}  // namespace

void RegisterMirror(BlockLayer& layer) {
  RegisterJobChange(layer);
  RegisterDriveMirror(layer);
  std::vector<ArgumentSpec> arguments = {{"device"}, {"target"}};
  AppendMirrorArguments(&arguments);
  AppendBlockJobArguments(&arguments);
  layer.host().commands.Register(
      {.name = "blockdev-mirror",
       .arguments = std::move(arguments),
       .handler = [&layer](const json::object& given)
                      MILLRACE_MAY_SUSPEND { return CoBlockdevMirror(layer, given); }});
}

}  // namespace millrace
