#include "examples/iotest_030/requests.h"

#include <filesystem>
#include <string_view>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

void AppendWord(std::string* text, std::string_view what, const std::string& value) {
  if (!value.empty()) StrAppend(text, ", ", what, " ", value);
}

std::string SpeedInWords(int64_t speed) {
  if (speed == 0) return {};
  return speed == kSlow ? std::string(", slow") : StrCat(", speed ", speed);
}

// A node that only nodes were searched for.
absl::StatusOr<NodeId> FindNode(const GraphReader& view, const std::string& name) {
  absl::StatusOr<NodeView> node = view.Find(name);
  if (node.ok()) return node->id();
  return RefuseJob(absl::StatusCode::kNotFound, ConflictReason::kUnknownNode, name, "node-name",
                   StrCat("no node is named '", name, "'"), "name a node of the chain");
}

bool IsFile(const NodeView& image, const std::string& file) {
  const std::optional<NodeView> below = image.Child(Role::kPrimary);
  return below && std::filesystem::path(below->filename()).filename() == file;
}

// The image of the chain that lies in the file.
absl::StatusOr<NodeId> FindImage(const GraphReader& view, NodeId top, const std::string& file) {
  MILLRACE_ASSIGN_OR_RETURN(const NodeView start, view.Resolve(top));
  for (const NodeId id : ChainFrom(start)) {
    const absl::StatusOr<NodeView> node = view.Resolve(id);
    if (node.ok() && !node->is_filter() && IsFile(*node, file)) return id;
  }
  return RefuseJob(absl::StatusCode::kNotFound, ConflictReason::kNotInChain, file, start.name(),
                   StrCat("no image below '", start.name(), "' lies in '", file, "'"),
                   "name an image of the chain");
}

void ApplyId(BlockJobOptions& options, const std::string& id, const std::string& filter,
             int64_t speed) {
  if (!id.empty()) options.spec.id = id;
  options.spec.speed = speed;
  options.filter_name = filter;
}

}  // namespace

std::string InWords(const Stream& stream) {
  std::string text = StrCat("stream ", stream.device);
  AppendWord(&text, "base", stream.base);
  AppendWord(&text, "base", stream.base_node);
  AppendWord(&text, "bottom", stream.bottom);
  AppendWord(&text, "filter", stream.filter);
  if (stream.on_error != OnError::kReport) {
    StrAppend(&text, ", on error ", OnErrorName(stream.on_error));
  }
  return text + SpeedInWords(stream.speed);
}

std::string InWords(const Commit& commit) {
  std::string text = StrCat("commit ", commit.device);
  AppendWord(&text, "top", commit.top);
  AppendWord(&text, "base", commit.base);
  AppendWord(&text, "filter", commit.filter);
  return text + SpeedInWords(commit.speed);
}

absl::StatusOr<StreamOptions> Resolve(Graph& graph, const Stream& stream) {
  StreamOptions options;
  ApplyId(options.job, stream.id, stream.filter, stream.speed);
  options.job.on_error = stream.on_error;
  GraphView view(graph);
  if (!stream.base.empty() && !stream.base_node.empty()) {
    return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kMutuallyExclusive,
                     stream.device, "base base-node", "a base is named twice", "name it once");
  }
  MILLRACE_ASSIGN_OR_RETURN(const NodeView top, view.FindDeviceOrNode(stream.device));
  options.top = top.id();
  if (!stream.base.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(options.base, FindImage(view, top.id(), stream.base));
  }
  if (!stream.base_node.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(options.base, FindNode(view, stream.base_node));
  }
  if (!stream.bottom.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(options.bottom, FindNode(view, stream.bottom));
  }
  return options;
}

absl::StatusOr<CommitOptions> Resolve(Graph& graph, const Commit& commit) {
  CommitOptions options;
  ApplyId(options.job, commit.id, commit.filter, commit.speed);
  GraphView view(graph);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView root, view.FindDeviceOrNode(commit.device));
  options.root = root.id();
  options.top = root.id();
  if (!commit.top.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(options.top, FindImage(view, root.id(), commit.top));
  }
  if (!commit.base.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(options.base, FindImage(view, root.id(), commit.base));
  }
  return options;
}

}  // namespace millrace
