// qemu-io's reopen: "reopen [(-r|-w)] [-c cache] [-o options]". Read-only or not, with the files
// below that follow; the cache mode, as far as it can be changed on an open image; options of the
// node and, as "backing.file.detect-zeroes", of those below that were opened along with it. What is
// not said stays as it is.
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/driver_schemas.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/block/reopen_request.h"
#include "examples/hypervisor/block/tree_options.h"
#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/qmp/hmp_table.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/reopen_nodes.h"

namespace millrace {
namespace {

constexpr std::string_view kUsage =
    "reopen [(-r|-w)] [-c cache] [-o options] -- reopens an image with new options\n";

struct CacheMode {
  std::string_view name;
  bool is_direct;
  bool ignores_flushes;
  bool writes_through;
};

constexpr CacheMode kCacheModes[] = {
    {"none", true, false, false},         {"off", true, false, false},
    {"writeback", false, false, false},   {"unsafe", false, true, false},
    {"writethrough", false, false, true}, {"directsync", true, false, true}};

using NamedText = std::pair<std::string, std::string>;

struct ReopenRequest {
  std::optional<bool> is_read_only;
  bool yields = false;  // -r: the back end itself gives up writing
  const CacheMode* cache = nullptr;
  std::vector<NamedText> options;  // others than read-only
  bool is_malformed = false;       // answered with the usage
  std::string warnings;            // lines that come before what is refused
};

absl::Status TakeReadOnly(bool is_read_only, ReopenRequest* request) {
  if (request->is_read_only) return GenericError("Only one -r/-w option may be given");
  request->is_read_only = is_read_only;
  request->yields = is_read_only;
  return absl::OkStatus();
}

absl::Status TakeCache(const std::string& name, ReopenRequest* request) {
  for (const CacheMode& mode : kCacheModes) {
    if (mode.name == name) request->cache = &mode;
  }
  return request->cache != nullptr ? absl::OkStatus()
                                   : GenericError(StrCat("Invalid cache option: ", name));
}

absl::Status CannotChangeOption(std::string_view option) {
  return GenericError(StrCat("Cannot change the option '", option, "'"));
}

absl::Status ExpectsOnOff(std::string_view option) {
  return GenericError(StrCat("Parameter '", option, "' expects 'on' or 'off'"));
}

// "lazy-refcounts" and "nolazy-refcounts".
void TakeShortForm(std::string* name, std::string* value, ReopenRequest* request) {
  StrAppend(&request->warnings, "warning: short-form boolean option '", *name, "' deprecated\r\n");
  if (name->starts_with("no")) {
    name->erase(0, 2);
    *value = "off";
  }
  StrAppend(&request->warnings, "Please use ", *name, "=", *value, " instead\r\n");
}

absl::Status TakeOptions(const std::string& text, bool has_flag, ReopenRequest* request) {
  const std::vector<std::string> options = absl::StrSplit(ToAbsl(text), ',');
  for (const std::string& option : options) {
    const size_t equals = option.find('=');
    std::string name = option.substr(0, equals);
    std::string value = equals == option.npos ? "on" : option.substr(equals + 1);
    if (equals == option.npos) TakeShortForm(&name, &value, request);
    if (name != "read-only") {
      if (request->cache != nullptr && (name == "cache.direct" || name == "cache.no-flush")) {
        return GenericError("Cannot set both -c and the cache options");
      }
      request->options.emplace_back(std::move(name), std::move(value));
      continue;
    }
    if (has_flag) return GenericError("Cannot set both -r/-w and 'read-only'");
    if (value != "on" && value != "off") return ExpectsOnOff(name);
    request->is_read_only = value == "on";
  }
  return absl::OkStatus();
}

absl::StatusOr<ReopenRequest> Parse(const std::vector<std::string>& words) {
  ReopenRequest request;
  std::optional<std::string> options;
  for (size_t i = 1; i < words.size(); ++i) {
    const bool has_value = i + 1 < words.size();
    if (words[i] == "-r" || words[i] == "-w") {
      MILLRACE_RETURN_IF_ERROR(TakeReadOnly(words[i] == "-r", &request));
    } else if (words[i] == "-c" && has_value) {
      MILLRACE_RETURN_IF_ERROR(TakeCache(words[++i], &request));
    } else if (words[i] == "-o" && has_value) {
      options = words[++i];
    } else {
      request.is_malformed = true;
      return request;
    }
  }
  if (options) {
    MILLRACE_RETURN_IF_ERROR(TakeOptions(*options, request.is_read_only.has_value(), &request));
  }
  return request;
}

// Whether the drive's own part of the mode can be another; `drive` may be null.
absl::Status CheckWritesThrough(const Drive* drive, const CacheMode& mode) {
  if (drive == nullptr || drive->device == nullptr) return absl::OkStatus();
  if (drive->writes_through == mode.writes_through) return absl::OkStatus();
  return GenericError("Cannot change cache.writeback: Device attached");
}

absl::StatusOr<NodeChange> CacheChange(BlockLayer& layer, NodeId id, const CacheMode& mode)
    MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(id));
  if (node.io_options().is_direct != mode.is_direct) {
    return GenericError("Cannot change the option 'cache.direct'");
  }
  NodeChange change;
  change.node = id;
  change.io = node.io_options();
  change.io->ignores_flushes = mode.ignores_flushes;
  return change;
}

// Reads options one after the other; nothing changes before all have been read.
class OptionReader {
 public:
  OptionReader(BlockLayer& layer, const GraphReader& reader) : layer_(layer), reader_(reader) {}

  absl::Status Read(NodeId top, const std::vector<NamedText>& options) {
    for (const auto& [name, value] : options) {
      MILLRACE_ASSIGN_OR_RETURN(const NodeView image, reader_.Resolve(top));
      std::optional<NodeView> node(image);
      std::string_view rest = name;
      for (bool is_below = true; is_below;) {
        is_below = false;
        for (const std::string_view prefix : {"backing.", "file."}) {
          const std::optional<NodeView> child =
              rest.starts_with(prefix) ? OwnChild(*node, prefix) : std::nullopt;
          if (!child) continue;
          node.emplace(*child);
          rest.remove_prefix(prefix.size());
          is_below = true;
        }
      }
      MILLRACE_RETURN_IF_ERROR(ReadOne(*node, rest, value));
    }
    for (const auto& [id, options_of_driver] : driver_options_) {
      MILLRACE_RETURN_IF_ERROR(ReadDriver(id, options_of_driver));
    }
    for (const NodeChange& change : changes_) {
      if (change.io->detect_zeroes == DetectZeroes::kUnmap && change.io->ignores_discards) {
        return GenericError(
            "setting detect-zeroes to unmap is not allowed without setting discard operation to "
            "unmap");
      }
    }
    return absl::OkStatus();
  }

  std::vector<NodeChange> Take() { return std::move(changes_); }

 private:
  // Nothing for a child that came by itself.
  std::optional<NodeView> OwnChild(const NodeView& node, std::string_view prefix) const {
    const Role primary = node.is_filter() ? Role::kFiltered : Role::kPrimary;
    const std::optional<NodeView> child = node.Child(prefix == "file." ? primary : Role::kBacking);
    const bool is_own = child && !layer_.OwnsNode(child->name()) && !child->is_implicit();
    return is_own ? child : std::nullopt;
  }

  NodeChange& ChangeOf(const NodeView& node) {
    for (NodeChange& change : changes_) {
      if (change.node == node.id()) return change;
    }
    NodeChange& change = changes_.emplace_back();
    change.node = node.id();
    change.io = node.io_options();
    return change;
  }
  NodeIoOptions& IoOf(const NodeView& node) { return *ChangeOf(node).io; }

  // What was told of the driver's options holds on, but for those that are given now.
  absl::Status ReadDriver(NodeId id, const std::vector<NamedText>& options) {
    MILLRACE_ASSIGN_OR_RETURN(const NodeView node, reader_.Resolve(id));
    json::object all = {{"driver", std::string(node.driver_name())}};
    if (node.driver_name() == "file") all["filename"] = node.driver_filename();
    for (const ToldOption& told : node.told()) all[told.name] = told.text;
    for (const auto& [name, value] : options) all[name] = value;
    MILLRACE_ASSIGN_OR_RETURN(const json::object nested, NestDottedMembers(all));
    ArgumentReader reader(nested, ScalarStyle::kText);
    MILLRACE_ASSIGN_OR_RETURN(const NodeTree tree,
                              ReadNodeTree(reader, TreeStyle::kDrive, /*opens=*/false));
    return ReadDriverOptions(layer_, tree, node, &ChangeOf(node));
  }

  static bool IsOfDriver(const NodeView& node, std::string_view name) {
    const DriverSchema* const schema = FindDriverSchema(node.driver_name());
    return schema != nullptr &&
           FindDriverOption(*schema, name.substr(0, name.find('.'))) != nullptr;
  }

  absl::Status ReadOne(const NodeView& node, std::string_view name, const std::string& value) {
    if (name == "detect-zeroes") return ReadDetectZeroes(node, value);
    if (name == "driver" && value == node.driver_name()) return absl::OkStatus();
    if (name == "node-name" && value == node.name()) return absl::OkStatus();
    if (name == "discard") return ReadDiscard(node, value);
    if (IsOfDriver(node, name)) {
      driver_options_[node.id()].emplace_back(name, value);
      return absl::OkStatus();
    }
    if (name != "cache.no-flush" && name != "cache.direct") return CannotChangeOption(name);
    if (value != "on" && value != "off") return ExpectsOnOff(name);
    if (name == "cache.no-flush") {
      IgnoreFlushes(node, value == "on");
    } else if (node.io_options().is_direct != (value == "on")) {
      return CannotChangeOption(name);
    }
    return absl::OkStatus();
  }

  absl::Status ReadDiscard(const NodeView& node, std::string_view value) {
    const bool passes = value == "on" || value == "unmap";
    if (!passes && value != "off" && value != "ignore") {
      return GenericError("Invalid discard option");
    }
    IoOf(node).ignores_discards = !passes;
    return absl::OkStatus();
  }

  absl::Status ReadDetectZeroes(const NodeView& node, const std::string& value) {
    for (const auto& [mode_name, mode] :
         {std::pair("off", DetectZeroes::kOff), std::pair("on", DetectZeroes::kOn),
          std::pair("unmap", DetectZeroes::kUnmap)}) {
      if (value != mode_name) continue;
      IoOf(node).detect_zeroes = mode;
      return absl::OkStatus();
    }
    return GenericError(StrCat("invalid parameter value: ", value));
  }

  // What was opened along with a node takes it over.
  void IgnoreFlushes(const NodeView& top, bool ignores) {
    std::vector<NodeView> open = {top};
    while (!open.empty()) {
      const NodeView node = open.back();
      open.pop_back();
      IoOf(node).ignores_flushes = ignores;
      for (const std::string_view prefix : {"backing.", "file."}) {
        if (const auto child = OwnChild(node, prefix)) open.push_back(*child);
      }
    }
  }

  BlockLayer& layer_;
  const GraphReader& reader_;
  std::vector<NodeChange> changes_;
  std::map<NodeId, std::vector<NamedText>> driver_options_;  // as given
};

absl::StatusOr<std::vector<NodeChange>> ReadOptions(BlockLayer& layer, NodeId node,
                                                    const std::vector<NamedText>& options)
    MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView image, view.Resolve(node));
  MILLRACE_RETURN_IF_ERROR(CheckDriverReopens(image));
  OptionReader reader(layer, view);
  MILLRACE_RETURN_IF_ERROR(reader.Read(node, options));
  return reader.Take();
}

absl::Status CoSetCache(BlockLayer& layer, const QemuIoTarget& target, const CacheMode& mode)
    MILLRACE_MAY_SUSPEND {
  Drive* const drive = target.drive;
  MILLRACE_RETURN_IF_ERROR(CheckWritesThrough(drive, mode));
  std::vector<NodeChange> changes;
  MILLRACE_ASSIGN_OR_RETURN(NodeChange change, CacheChange(layer, target.backend->node(), mode));
  changes.push_back(std::move(change));
  MILLRACE_RETURN_IF_ERROR(CoReopenNodes(layer.graph(), std::move(changes), layer.monitor()));
  if (drive != nullptr) drive->writes_through = mode.writes_through;
  return absl::OkStatus();
}

// Also of a guest device on it, which asks for writing again only when it is plugged in.
void StageGivingUp(GraphTransaction& change, const Attachment& backend) {
  const Permissions now = backend.permissions();
  change.SetPermissions(backend, {now.used - kWrite - kWriteUnchanged, now.shared});
}

absl::Status GiveUpWriting(BlockLayer& layer, const Attachment& backend) MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  StageGivingUp(change, backend);
  return change.Commit().status();
}

absl::Status CheckReadOnly(const GraphReader& reader, NodeId id) {
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, reader.Resolve(id));
  if (!node.cumulative_permissions().used.Intersects(kWrite)) return absl::OkStatus();
  return GenericError(
      StrCat("Read-only block node '", node.name(), "' cannot support read-write users"));
}

absl::Status CheckReadOnlyNow(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  return CheckReadOnly(view, id);
}

absl::Status CoReopen(BlockLayer& layer, const QemuIoTarget& target, const ReopenRequest& request)
    MILLRACE_MAY_SUSPEND {
  const NodeId node = target.backend->node();
  MILLRACE_ASSIGN_OR_RETURN(std::vector<NodeChange> changes,
                            ReadOptions(layer, node, request.options));
  if (!changes.empty()) {
    MILLRACE_RETURN_IF_ERROR(CoReopenNodes(layer.graph(), std::move(changes), layer.monitor()));
  }
  if (request.cache != nullptr) {
    MILLRACE_RETURN_IF_ERROR(CoSetCache(layer, target, *request.cache));
  }
  if (!request.is_read_only) return absl::OkStatus();
  if (request.yields) MILLRACE_RETURN_IF_ERROR(GiveUpWriting(layer, *target.backend));
  if (*request.is_read_only) MILLRACE_RETURN_IF_ERROR(CheckReadOnlyNow(layer, node));
  return CoSetReadOnly(layer.graph(), node, *request.is_read_only, layer.monitor());
}

// ---- The plan ----------------------------------------------------------------------------------

// Of each node one change; what comes later holds.
void Merge(NodeChange cache, std::vector<NodeChange>* changes) {
  for (NodeChange& change : *changes) {
    if (change.node != cache.node) continue;
    if (!change.io) change.io = cache.io;
    change.io->ignores_flushes = cache.io->ignores_flushes;
    return;
  }
  changes->push_back(std::move(cache));
}

// One step after the other, as CoReopen() goes; each may be refused by itself, and none knows of
// the next.
absl::Status RehearseReopen(BlockLayer& layer, const Drive* drive, NodeId node,
                            const ReopenRequest& request, CommandPlan* plan) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(std::vector<NodeChange> changes,
                            ReadOptions(layer, node, request.options));
  if (!changes.empty()) {
    GraphTransaction change(layer.graph());
    StageReopen(change, changes);
    MILLRACE_RETURN_IF_ERROR(change.Rehearse());
  }
  if (request.cache != nullptr) {
    MILLRACE_RETURN_IF_ERROR(CheckWritesThrough(drive, *request.cache));
    MILLRACE_ASSIGN_OR_RETURN(NodeChange cache, CacheChange(layer, node, *request.cache));
    Merge(std::move(cache), &changes);
  }
  GraphTransaction change(layer.graph());
  StageReopen(change, changes);
  if (request.yields && drive != nullptr) StageGivingUp(change, drive->backend);
  if (request.is_read_only.value_or(false)) {
    MILLRACE_RETURN_IF_ERROR(CheckReadOnly(change, node));
  }
  if (request.is_read_only) StageReadOnly(change, node, *request.is_read_only);
  MILLRACE_RETURN_IF_ERROR(change.Rehearse());
  LookAt(change, plan);
  if (request.is_read_only == false) {
    plan->unknown.push_back("whether the host lets the image be opened for writing");
  }
  return absl::OkStatus();
}

// What the line answers but for warnings.
std::string RefusedReopen(const absl::Status& status) {
  return status.ok() ? std::string() : StrCat(RenderError(status, &RenderRefusal).desc, "\r\n");
}

}  // namespace

PlanResult PlanReopen(BlockLayer& layer, const Drive* drive, NodeId node,
                      const std::vector<std::string>& words) {
  const absl::StatusOr<ReopenRequest> request = Parse(words);
  if (!request.ok()) return RefusedLine(RefusedReopen(request.status()), request.status());
  if (request->is_malformed) return RefusedLine(kUsage);
  CommandPlan plan = PlanOfStep("have qemu-io do 'reopen'");
  const absl::Status status = RehearseReopen(layer, drive, node, *request, &plan);
  if (status.ok()) return plan;
  return RefusedLine(request->warnings + RefusedReopen(status), status);
}

std::string CoRunReopen(BlockLayer& layer, const QemuIoTarget& target,
                        const std::vector<std::string>& words) {
  const absl::StatusOr<ReopenRequest> request = Parse(words);
  if (request.ok() && request->is_malformed) {
    PrintLikeQemuIo(layer, kUsage);
    return {};
  }
  const absl::Status status = request.ok() ? CoReopen(layer, target, *request) : request.status();
  return (request.ok() ? request->warnings : std::string()) + RefusedReopen(status);
}

}  // namespace millrace
