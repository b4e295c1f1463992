#include "examples/hypervisor/block/layer_name.h"

#include <filesystem>
#include <system_error>

#include "millrace/graph/backing_chain.h"
#include "millrace/graph/file_name.h"
#include "millrace/graph/io/open_gate.h"

namespace millrace {
namespace {

// The file that a name means, seen from an overlay's folder; empty if there is none.
std::filesystem::path RealPath(std::string_view overlay, std::string_view name) {
  if (NamesProtocol(name)) return {};
  std::filesystem::path path(name);
  if (path.is_relative()) path = std::filesystem::path(overlay).parent_path() / path;
  std::error_code error;
  std::filesystem::path real = std::filesystem::canonical(path, error);
  return error ? std::filesystem::path() : real;
}

// As QEMU does: where the header leads elsewhere, only the node's own name counts; names with a
// protocol are compared as they are; others by the file they mean.
bool Means(FileNames& names, const NodeView& overlay, const NodeView& image,
           std::string_view name) {
  const std::string& shown = names.Of(image).shown;
  if (names.IsBackingOverridden(overlay)) return name == shown;
  const std::string header = overlay.backing_reference().filename;
  if (name == header || name == shown) return true;
  if (NamesProtocol(name) || NamesProtocol(header)) return false;
  const std::string folder = HostPath(overlay);
  const std::filesystem::path wanted = RealPath(folder, name);
  return !wanted.empty() && wanted == RealPath(folder, header);
}

}  // namespace

std::optional<NodeId> FindLayerBelow(const GraphReader& reader, NodeId top, std::string_view name) {
  absl::StatusOr<NodeView> start = reader.Resolve(top);
  if (!start.ok()) return std::nullopt;
  FileNames names(reader);
  for (NodeId at = SkipFilters(*start).id();;) {
    absl::StatusOr<NodeView> overlay = reader.Resolve(at);
    const std::optional<NodeView> below = BackingChainNext(*overlay);
    if (!below) return std::nullopt;
    if (Means(names, *overlay, *below, name)) return below->id();
    at = below->id();
  }
}

bool IsNamed(const GraphReader& reader, NodeId image, std::string_view name) {
  absl::StatusOr<NodeView> node = reader.Resolve(image);
  if (!node.ok()) return false;
  const NodeView view = SkipFilters(*node);
  const std::filesystem::path wanted = RealPath("", name);
  return view.filename() == name || (!wanted.empty() && wanted == RealPath("", HostPath(view)));
}

}  // namespace millrace
