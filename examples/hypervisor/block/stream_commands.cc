// block-stream and block-commit: from QMP's ways to name a layer to the jobs' node ids, with QEMU's
// checks in QEMU's order; what the jobs themselves refuse comes after these.
#include <optional>
#include <string>
#include <utility>

#include "examples/common/conflict_text.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/job_events.h"
#include "examples/hypervisor/block/job_options.h"
#include "examples/hypervisor/block/job_requests.h"
#include "examples/hypervisor/block/layer_name.h"
#include "examples/hypervisor/block/node_checks.h"
#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace {
namespace {

constexpr std::string_view kNameAnImage = "name an image of the backing chain";

bool IsBelow(BlockLayer& layer, NodeId top, NodeId wanted) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> start = view.Resolve(top);
  absl::StatusOr<NodeView> node = view.Resolve(wanted);
  return start.ok() && node.ok() && ChainContains(*start, *node);
}

absl::Status Exclusive(ArgumentReader& reader, std::string_view a, std::string_view b) {
  if (!reader.Has(a) || !reader.Has(b)) return absl::OkStatus();
  return Refuse(ConflictReason::kMutuallyExclusive, reader.String("device"),
                StrCat("'", a, "' and '", b, "' cannot be specified at the same time"),
                "give one of them");
}

// An empty name is one that was given: to the jobs it is none.
bool NamesNoBackingFile(ArgumentReader& reader) {
  return reader.OptionalString("backing-file") == "";
}

absl::Status NotWithBackingFile(ArgumentReader& reader, std::string_view text) {
  return Refuse(ConflictReason::kMutuallyExclusive, reader.String("device"), text,
                "leave the backing file name out");
}

absl::Status CannotFind(const std::string& name) {
  return Refuse(ConflictReason::kNotInChain, name,
                StrCat("Can't find '", name, "' in the backing chain"), kNameAnImage);
}

// ---- block-stream ------------------------------------------------------------------------------

absl::StatusOr<std::optional<NodeId>> StreamBase(BlockLayer& layer, ArgumentReader& reader,
                                                 NodeId top, const std::string& device)
    MILLRACE_OPENS_VIEW {
  if (std::optional<std::string> name = reader.OptionalString("base")) {
    GraphView view(layer.graph());
    std::optional<NodeId> base = FindLayerBelow(view, top, *name);
    if (!base) return CannotFind(*name);
    return base;
  }
  const std::optional<std::string> node_name = reader.OptionalString("base-node");
  if (!node_name) return std::nullopt;
  MILLRACE_ASSIGN_OR_RETURN(const NodeId base, layer.FindNode("", *node_name));
  if (base == top || !IsBelow(layer, top, base)) {
    return Refuse(ConflictReason::kNotBacking, *node_name,
                  StrCat("Node '", *node_name, "' is not a backing image of '", device, "'"),
                  kNameAnImage);
  }
  return base;
}

absl::StatusOr<std::optional<NodeId>> StreamBottom(BlockLayer& layer, ArgumentReader& reader,
                                                   NodeId top, const std::string& device)
    MILLRACE_OPENS_VIEW {
  const std::optional<std::string> name = reader.OptionalString("bottom");
  if (!name) return std::nullopt;
  MILLRACE_ASSIGN_OR_RETURN(const NodeId bottom, layer.FindNode("", *name));
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Resolve(bottom);
  if (node->is_filter()) {
    return Refuse(ConflictReason::kIsFilter, *name,
                  StrCat("Node '", *name, "' is a filter, use a non-filter node as 'bottom'"),
                  kNameAnImage);
  }
  absl::StatusOr<NodeView> start = view.Resolve(top);
  if (!ChainContains(*start, *node)) {
    return Refuse(ConflictReason::kNotInChain, *name,
                  StrCat("Node '", *name, "' is not in a chain starting from '", device, "'"),
                  kNameAnImage);
  }
  return bottom;
}

}  // namespace

absl::Status AsStreamRefusal(const absl::Status& status) {
  const StreamStep step = StreamStepOf(status);
  const std::optional<Conflict> conflict = ConflictOf(status);
  if (step == StreamStep::kOther || !conflict) return status;
  const std::string text = ConflictText(*conflict);
  if (text.empty()) return status;
  const std::string_view what =
      step == StreamStep::kMakeFilter ? "Could not create node: " : "Could not replace node: ";
  return WithConflictOf(GenericError(StrCat(what, text)), status);
}

absl::StatusOr<StreamOptions> ResolveBlockStream(BlockLayer& layer, const json::object& arguments) {
  ArgumentReader reader(arguments);
  MILLRACE_RETURN_IF_ERROR(Exclusive(reader, "base", "base-node"));
  MILLRACE_RETURN_IF_ERROR(Exclusive(reader, "base", "bottom"));
  MILLRACE_RETURN_IF_ERROR(Exclusive(reader, "bottom", "base-node"));
  StreamOptions options;
  const std::string device = reader.String("device");
  MILLRACE_ASSIGN_OR_RETURN(options.top, layer.FindDeviceOrNode(device));
  MILLRACE_ASSIGN_OR_RETURN(options.base, StreamBase(layer, reader, options.top, device));
  MILLRACE_ASSIGN_OR_RETURN(options.bottom, StreamBottom(layer, reader, options.top, device));
  options.backing_filename = reader.OptionalString("backing-file").value_or("");
  options.masks_protocol = reader.OptionalBool("backing-mask-protocol").value_or(false);
  options.job.on_error = ReadOnError(reader, "on-error");
  ReadBlockJobOptions(reader, &options.job);
  // Busy nodes are told before a bad job id.
  MILLRACE_RETURN_IF_ERROR(ClaimForStream(layer.graph(), options, "").status());
  if (NamesNoBackingFile(reader) && !options.base) {
    return NotWithBackingFile(reader, "backing file specified, but streaming the entire chain");
  }
  return options;
}

namespace {

CommandResult CoBlockStream(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(StreamOptions options, ResolveBlockStream(layer, arguments));
  const absl::Status status =
      CoStartStream(layer.graph(), layer.jobs(), std::move(options)).status();
  if (status.ok()) return json::object();
  TellOfRefusedJob(layer.host().events, status);
  return AsStreamRefusal(status);
}

// ---- block-commit ------------------------------------------------------------------------------

absl::StatusOr<NodeId> CommitRoot(BlockLayer& layer, const std::string& device)
    MILLRACE_OPENS_VIEW {
  absl::StatusOr<NodeId> root = layer.FindDeviceOrNode(device);
  if (!root.ok()) {
    return WithConflictOf(DeviceNotFound(StrCat("Device '", device, "' not found")), root.status());
  }
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(*root));
  MILLRACE_RETURN_IF_ERROR(CheckIsRootForJobs(node));
  return root;
}

absl::Status NotInThisChain(const std::string& name) {
  return Refuse(ConflictReason::kNotInChain, name,
                StrCat("'", name, "' is not in this backing file chain"), kNameAnImage);
}

absl::Status NamedTwice(ArgumentReader& reader, std::string_view a, std::string_view b) {
  if (!reader.Has(a) || !reader.Has(b)) return absl::OkStatus();
  return Refuse(ConflictReason::kMutuallyExclusive, reader.String("device"),
                StrCat("'", a, "' and '", b, "' are mutually exclusive"), "give one of them");
}

absl::StatusOr<NodeId> LayerByNode(BlockLayer& layer, NodeId root, const std::string& name)
    MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, layer.FindNode("", name));
  if (IsBelow(layer, root, node)) return node;
  return NotInThisChain(name);
}

absl::StatusOr<NodeId> CommitTop(BlockLayer& layer, ArgumentReader& reader, NodeId root)
    MILLRACE_OPENS_VIEW {
  MILLRACE_RETURN_IF_ERROR(NamedTwice(reader, "top-node", "top"));
  if (auto node_name = reader.OptionalString("top-node")) {
    return LayerByNode(layer, root, *node_name);
  }
  const std::optional<std::string> name = reader.OptionalString("top");
  if (!name) return root;
  GraphView view(layer.graph());
  if (IsNamed(view, root, *name)) return root;
  if (std::optional<NodeId> top = FindLayerBelow(view, root, *name)) return *top;
  return Refuse(ConflictReason::kNotInChain, *name, StrCat("Top image file ", *name, " not found"),
                kNameAnImage);
}

absl::StatusOr<std::optional<NodeId>> CommitBase(BlockLayer& layer, ArgumentReader& reader,
                                                 NodeId root, NodeId top) MILLRACE_OPENS_VIEW {
  MILLRACE_RETURN_IF_ERROR(NamedTwice(reader, "base-node", "base"));
  if (auto node_name = reader.OptionalString("base-node")) {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId base, LayerByNode(layer, root, *node_name));
    if (!IsBelow(layer, top, base)) {
      return NotInThisChain(*node_name);
    }
    return base;
  }
  const std::optional<std::string> name = reader.OptionalString("base");
  if (!name) return std::nullopt;
  GraphView view(layer.graph());
  std::optional<NodeId> base = FindLayerBelow(view, top, *name);
  if (!base) return CannotFind(*name);
  return base;
}

}  // namespace

absl::StatusOr<CommitOptions> ResolveBlockCommit(BlockLayer& layer, const json::object& arguments) {
  ArgumentReader reader(arguments);
  CommitOptions options;
  MILLRACE_ASSIGN_OR_RETURN(options.root, CommitRoot(layer, reader.String("device")));
  MILLRACE_ASSIGN_OR_RETURN(options.top, CommitTop(layer, reader, options.root));
  MILLRACE_ASSIGN_OR_RETURN(options.base, CommitBase(layer, reader, options.root, options.top));
  options.backing_filename = reader.OptionalString("backing-file").value_or("");
  options.masks_protocol = reader.OptionalBool("backing-mask-protocol").value_or(false);
  options.job.on_error = ReadOnError(reader, "on-error");
  ReadBlockJobOptions(reader, &options.job);
  MILLRACE_ASSIGN_OR_RETURN(const CommitProofs proofs, ClaimForCommit(layer.graph(), options, ""));
  if (NamesNoBackingFile(reader) && proofs.is_active) {
    return NotWithBackingFile(reader, "'backing-file' specified, but 'top' is the active layer");
  }
  return options;
}

namespace {

CommandResult CoBlockCommit(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(CommitOptions options, ResolveBlockCommit(layer, arguments));
  const absl::Status status =
      CoStartCommit(layer.graph(), layer.jobs(), std::move(options)).status();
  TellOfRefusedJob(layer.host().events, status);
  MILLRACE_RETURN_IF_ERROR(status);
  return json::object();
}

}  // namespace

void RegisterStreamAndCommit(BlockLayer& layer) {
  std::vector<ArgumentSpec> stream = {{"device"},
                                      {"base", ArgumentType::kString, true},
                                      {"base-node", ArgumentType::kString, true},
                                      {"backing-file", ArgumentType::kString, true},
                                      {"backing-mask-protocol", ArgumentType::kBool, true},
                                      {"bottom", ArgumentType::kString, true},
                                      OnErrorArgument("on-error")};
  AppendBlockJobArguments(&stream);
  layer.host().commands.Register(
      {.name = "block-stream",
       .arguments = std::move(stream),
       .handler = [&layer](const json::object& arguments)
                      MILLRACE_MAY_SUSPEND { return CoBlockStream(layer, arguments); }});
  std::vector<ArgumentSpec> commit = {{"device"},
                                      {"base-node", ArgumentType::kString, true},
                                      {"base", ArgumentType::kString, true},
                                      {"top-node", ArgumentType::kString, true},
                                      {"top", ArgumentType::kString, true},
                                      {"backing-file", ArgumentType::kString, true},
                                      {"backing-mask-protocol", ArgumentType::kBool, true},
                                      OnErrorArgument("on-error")};
  AppendBlockJobArguments(&commit);
  layer.host().commands.Register(
      {.name = "block-commit",
       .arguments = std::move(commit),
       .handler = [&layer](const json::object& arguments)
                      MILLRACE_MAY_SUSPEND { return CoBlockCommit(layer, arguments); }});
}

}  // namespace millrace
