#include "millrace/graph/open_image.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/file_name.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_node.h"

namespace millrace {
namespace {

constexpr uint64_t kProbeBytes = 512;

HolderRef HolderOrMonitor(const HolderRef& holder) {
  return holder != nullptr ? holder : MakeHolder("monitor", "monitor");
}

AttachmentOptions Hold(const HolderRef& holder) {
  AttachmentOptions options;
  options.holder = holder;
  options.purpose = "image";
  options.stays_at_node = true;
  return options;
}

// The status with more text in front and everything it carries.
absl::Status Within(const absl::Status& status, std::string_view context) {
  absl::Status longer(status.code(), StrCat(context, FromAbsl(status.message())));
  status.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { longer.SetPayload(type, payload); });
  return longer;
}

constexpr size_t kNodeNameBytesMax = 31;

// A node name that reminds of the file and that no node or device has.
std::string NameAfterFile(const GraphReader& reader, std::string_view path) {
  std::string name(path.substr(path.rfind('/') + 1));
  for (char& c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_') c = '-';
  }
  if (name.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(name[0]))) {
    name.insert(0, "image-");
  }
  std::string unique = name.substr(0, kNodeNameBytesMax);
  for (int count = 2; reader.FindDeviceOrNode(unique).ok(); ++count) {
    const std::string suffix = StrCat("-", count);
    unique = name.substr(0, kNodeNameBytesMax - suffix.size()) + suffix;
  }
  return unique;
}

// One image on its way into the chain.
struct Layer {
  std::string path;
  std::string format;        // empty: to be guessed
  std::string overlay_path;  // whose header names it; empty for the top
};

class ChainOpener {
 public:
  ChainOpener(Graph& graph, const DriverRegistry& registry, const OpenImageOptions& options)
      : graph_(graph),
        registry_(registry),
        options_(options),
        holder_(HolderOrMonitor(options.holder)),
        guard_(options.gate) {}

  absl::StatusOr<OpenedImage> CoOpen() MILLRACE_MAY_SUSPEND {
    absl::Status status = CoOpenLayers();
    if (status.ok()) status = Link();
    if (status.ok()) return std::move(opened_);
    // Uppermost first: each takes with it what only it holds.
    for (Attachment& hold : opened_.holds) hold.CoDetach();
    return status;
  }

 private:
  absl::Status CoOpenLayers() MILLRACE_MAY_SUSPEND {
    std::optional<Layer> next = Layer{options_.path, options_.format, ""};
    while (next) {
      const Layer layer = *std::move(next);
      absl::Status status = CoOpenLayer(layer);
      if (!status.ok()) {
        if (layer.overlay_path.empty()) return status;
        return Within(status,
                      StrCat("backing file of '", PrintableName(layer.overlay_path), "': "));
      }
      MILLRACE_ASSIGN_OR_RETURN(next, Below(layer));
    }
    return absl::OkStatus();
  }

  absl::Status CoOpenLayer(const Layer& layer) MILLRACE_MAY_SUSPEND {
    const bool is_top = opened_.images.empty();
    MILLRACE_RETURN_IF_ERROR(guard_.BeforeOpen(layer.path));
    OpenFileOptions file_options;
    file_options.path = layer.path;
    file_options.is_read_only = options_.is_read_only || !is_top;
    file_options.direct = options_.direct;
    file_options.locking = options_.locking;
    if (!is_top) file_options.open_root = options_.gate.open_root;
    file_options.holder = holder_;
    MILLRACE_ASSIGN_OR_RETURN(Attachment file, CoOpenFileNode(graph_, registry_, file_options));
    absl::Status status = guard_.AfterOpen(layer.path, IdentityOf(file.node()));
    if (status.ok()) status = CoOpenFormat(layer, file);
    file.CoDetach();
    return status;
  }

  std::optional<FileIdentity> IdentityOf(NodeId file) const {
    const Node* node = GraphInternals::Of(graph_).Resolve(file);
    return static_cast<const ProtocolDriver&>(*node->driver).identity();
  }

  absl::Status CoOpenFormat(const Layer& layer, const Attachment& file) MILLRACE_MAY_SUSPEND {
    const bool is_read_only = options_.is_read_only || !opened_.images.empty();
    std::string format = layer.format;
    if (format.empty()) {
      MILLRACE_ASSIGN_OR_RETURN(format, CoGuessFormat(graph_, file));
      if (format == "raw" && !is_read_only) {
        return absl::PermissionDeniedError(StrCat(
            "open '", layer.path,
            "' for writing: its format was not given, and it looks like raw, where a guest could "
            "write the header of another format; state the format if it is raw"));
      }
    }
    MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Driver> driver, MakeFormat(layer, format));
    MILLRACE_ASSIGN_OR_RETURN(
        Attachment hold, AddFormatNode(std::move(driver), is_read_only, file.node(), layer.path));
    absl::Status status = CoOpenNode(graph_, hold.node());
    if (!status.ok()) {
      hold.CoDetach();
      return status;
    }
    opened_.images.push_back(hold.node());
    opened_.holds.push_back(std::move(hold));
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Driver>> MakeFormat(const Layer& layer,
                                                     const std::string& format) const {
    absl::StatusOr<std::unique_ptr<Driver>> driver = registry_.Make(format, {});
    // "file" as a format means that the overlay's author took the file as it is.
    if (driver.ok() && (*driver)->kind() == NodeKind::kFormat) return driver;
    // A driver that cannot be made without options is not one that a header can name.
    if (!driver.ok() && driver.status().code() != absl::StatusCode::kNotFound &&
        driver.status().code() != absl::StatusCode::kInvalidArgument) {
      return driver;
    }
    return absl::InvalidArgumentError(
        StrCat("open '", PrintableName(layer.path), "' as '", PrintableName(format),
               "': there is no such image format here; state one that there is, as qcow2 or raw"));
  }

  absl::StatusOr<Attachment> AddFormatNode(std::unique_ptr<Driver> driver, bool is_read_only,
                                           NodeId file, const std::string& path)
      MILLRACE_OPENS_VIEW {
    const size_t depth = opened_.images.size();
    NodeOptions node;
    if (depth < options_.node_names.size()) node.name = options_.node_names[depth];
    node.is_read_only = is_read_only;
    GraphTransaction change(graph_);
    change.OnBehalfOf(holder_);
    if (node.name.empty() && options_.names_nodes_after_files) {
      node.name = NameAfterFile(change, path);
    }
    const NodeId format = change.AddNode(std::move(driver), std::move(node));
    change.AddChild(format, Role::kPrimary, file);
    Attachment hold = change.Attach(format, Hold(holder_));
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    return hold;
  }

  // The image below the one that was opened last.
  absl::StatusOr<std::optional<Layer>> Below(const Layer& overlay) const MILLRACE_OPENS_VIEW {
    if (!options_.opens_backing) return std::nullopt;
    GraphView view(graph_);
    MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(opened_.images.back()));
    const BackingReference reference = node.backing_reference();
    if (reference.filename.empty()) return std::nullopt;
    MILLRACE_ASSIGN_OR_RETURN(GatedImage image,
                              ResolveBackingReference(options_.gate, overlay.path, reference));
    if (image.names_protocol) {
      return absl::PermissionDeniedError(
          StrCat("open backing file '", PrintableName(image.path), "' of '", overlay.path,
                 "': only files are opened here; open the chain as a tree of nodes instead"));
    }
    return Layer{std::move(image.path), std::move(image.format), overlay.path};
  }

  // Nobody else knows the nodes yet, so nothing needs to be drained.
  absl::Status Link() MILLRACE_OPENS_VIEW {
    if (opened_.images.size() > 1) {
      GraphTransaction change(graph_);
      change.OnBehalfOf(holder_);
      for (size_t i = 0; i + 1 < opened_.images.size(); ++i) {
        change.SetBacking(opened_.images[i], opened_.images[i + 1], std::nullopt);
      }
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    RememberBackingNames(graph_, opened_.images);
    if (!options_.holds_every_image) {
      while (opened_.holds.size() > 1) opened_.holds.pop_back();
    }
    return absl::OkStatus();
  }

  Graph& graph_;
  const DriverRegistry& registry_;
  const OpenImageOptions& options_;
  const HolderRef holder_;
  ChainGuard guard_;
  OpenedImage opened_;
};

absl::StatusOr<Attachment> AddFileNode(Graph& graph, std::unique_ptr<Driver> driver,
                                       bool is_read_only, const HolderRef& holder)
    MILLRACE_OPENS_VIEW {
  NodeOptions node;
  node.is_read_only = is_read_only;
  GraphTransaction change(graph);
  change.OnBehalfOf(holder);
  const NodeId file = change.AddNode(std::move(driver), std::move(node));
  Attachment hold = change.Attach(file, Hold(holder));
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return hold;
}

}  // namespace

absl::StatusOr<OpenedImage> CoOpenImage(Graph& graph, const DriverRegistry& registry,
                                        const OpenImageOptions& options) {
  return ChainOpener(graph, registry, options).CoOpen();
}

absl::StatusOr<Attachment> CoOpenFileNode(Graph& graph, const DriverRegistry& registry,
                                          const OpenFileOptions& options) {
  DriverOptions file{{"filename", options.path}, {"locking", options.locking}};
  if (options.direct) file["direct"] = "on";
  if (!options.open_root.empty()) file["open-root"] = options.open_root;
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Driver> driver, registry.Make("file", file));
  MILLRACE_ASSIGN_OR_RETURN(
      Attachment hold,
      AddFileNode(graph, std::move(driver), options.is_read_only, HolderOrMonitor(options.holder)));
  absl::Status status = CoOpenNode(graph, hold.node());
  if (status.ok()) return hold;
  hold.CoDetach();
  return status;
}

absl::StatusOr<std::string> CoGuessFormat(Graph& graph, const Attachment& file) {
  AttachmentOptions options;
  options.holder = file.holder();
  options.purpose = "guess";
  options.permissions.used = kConsistentRead;
  MILLRACE_ASSIGN_OR_RETURN(Attachment reader,
                            Attachment::Attach(graph, file.node(), std::move(options)));
  std::array<uint8_t, kProbeBytes> head{};
  const uint64_t bytes = std::min<uint64_t>(head.size(), reader.bytes());
  if (bytes > 0) MILLRACE_RETURN_IF_ERROR(reader.CoRead(0, IoVector(head.data(), bytes)));
  return std::string(ProbeFormat(absl::MakeConstSpan(head.data(), bytes)));
}

}  // namespace millrace
