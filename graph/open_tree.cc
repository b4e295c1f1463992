#include "millrace/graph/open_tree.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/file_name.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_image.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/whole_file.h"

namespace millrace {
namespace {

constexpr uint64_t kConfigBytesMax = 1 << 20;

// What a node takes over from the one above it.
struct Inherited {
  bool is_read_only = false;
  bool falls_back_to_read_only = false;
  bool direct = false;
  bool ignores_flushes = false;
  bool passes_discards = false;
  bool shares_by_force = false;
  // Reached through a name in a header: below the open root only.
  bool is_from_header = false;
  // Stands where a format or filter wants its file: a name means a protocol, nothing is guessed.
  bool is_file = false;
  bool is_top = false;
};

// The status with more text in front and everything it carries.
absl::Status Within(const absl::Status& status, std::string_view context) {
  absl::Status longer(status.code(), StrCat(context, FromAbsl(status.message())));
  status.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { longer.SetPayload(type, payload); });
  return longer;
}

std::string Describe(const NodeTree& tree) {
  std::string text = "open ";
  if (!tree.node_name.empty()) StrAppend(&text, "node '", PrintableName(tree.node_name), "' ");
  if (!tree.driver.empty()) StrAppend(&text, "(", PrintableName(tree.driver), ")");
  return text;
}

class TreeOpener {
 public:
  TreeOpener(Graph& graph, const DriverRegistry& registry, const OpenTreeOptions& options)
      : graph_(graph),
        registry_(registry),
        options_(options),
        holder_(options.holder != nullptr ? options.holder : MakeHolder("monitor", "monitor")) {}

  // Opens the tree and, image after image, what stands below it. `guard` has seen what is above.
  absl::StatusOr<Attachment> CoOpen(NodeTree tree, Inherited inherited, ChainGuard guard)
      MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(Layer top, CoOpenLayer(tree, inherited, guard));
    // From here on a layer is kept by its overlay; the loop carries only names.
    NodeId overlay = top.hold.node();
    std::vector<NodeId> as_headers_say;
    for (Inherited own = top.own; !own.is_file;) {
      const bool is_asked_for = tree.FindChild("backing") != nullptr;
      absl::StatusOr<std::optional<Layer>> below = CoOpenBacking(tree, overlay, own, guard);
      if (!below.ok()) {
        top.hold.CoDetach();
        return below.status();
      }
      if (!*below) break;
      if (!is_asked_for) as_headers_say.push_back(overlay);
      overlay = (*below)->hold.node();
      own = (*below)->own;
      (*below)->hold.CoDetach();
    }
    RememberBackingNames(graph_, as_headers_say);
    return std::move(top.hold);
  }

 private:
  struct OpenedChild {
    std::string name;
    Role role = Role::kPrimary;
    Attachment hold;
  };
  using OpenedChildren = std::vector<OpenedChild>;

  // A node with everything below it but its backing.
  struct Layer {
    Attachment hold;
    Inherited own;
  };

  absl::StatusOr<Layer> CoOpenLayer(NodeTree& tree, const Inherited& inherited, ChainGuard& guard)
      MILLRACE_MAY_SUSPEND {
    OpenedChildren children;
    Layer layer;
    MILLRACE_RETURN_IF_ERROR(ResolveName(tree, inherited));
    layer.own = TakeOver(tree, inherited);
    absl::StatusOr<Attachment> hold = CoOpenWithChildren(tree, guard, layer.own, children);
    // The node keeps them now, or nothing does.
    for (OpenedChild& child : children) child.hold.CoDetach();
    MILLRACE_RETURN_IF_ERROR(hold.status());
    layer.hold = *std::move(hold);
    return layer;
  }

  absl::StatusOr<Attachment> CoOpenWithChildren(NodeTree& tree, ChainGuard& guard, Inherited& own,
                                                OpenedChildren& children) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(CheckOptions(tree, own));
    std::unique_ptr<Driver> driver;
    if (!tree.driver.empty()) {
      MILLRACE_ASSIGN_OR_RETURN(driver, CoMakeDriver(tree, own));
    }
    if (driver != nullptr && driver->kind() == NodeKind::kProtocol) own.is_file = true;
    if (!own.is_file) MILLRACE_RETURN_IF_ERROR(guard.BeforeOpen(NameOf(tree)));
    MILLRACE_RETURN_IF_ERROR(CoOpenChildren(tree, driver.get(), own, guard, children));
    if (driver == nullptr) {
      MILLRACE_ASSIGN_OR_RETURN(driver, CoGuessDriver(tree, own, children.front().hold));
    }
    MILLRACE_ASSIGN_OR_RETURN(Attachment hold,
                              CoOpenNodeItself(tree, std::move(driver), own, children));
    if (own.is_file) return hold;
    absl::Status status = guard.AfterOpen(NameOf(tree), IdentityBelow(hold.node()));
    if (status.ok()) return hold;
    hold.CoDetach();
    return status;
  }

  static absl::Status CheckOptions(const NodeTree& tree, const Inherited& own) {
    if (own.shares_by_force && !own.is_read_only) {
      return absl::InvalidArgumentError(StrCat(
          Describe(tree), ": force-share=on can only be used with read-only images; open it so"));
    }
    if (tree.detect_zeroes != DetectZeroes::kUnmap || own.passes_discards) return absl::OkStatus();
    return absl::InvalidArgumentError(StrCat(
        Describe(tree),
        ": detected zeroes can be unmapped only where discards are passed; let discards pass"));
  }

  // ---- Names -----------------------------------------------------------------------------------

  static constexpr std::string_view kJson = "json:";

  // Whether the name is the tree of a node, not of the file below it.
  bool IsJsonName(const NodeTree& tree) const {
    return !tree.is_plain_path && options_.parse_json_name &&
           tree.filename.compare(0, kJson.size(), kJson) == 0;
  }

  absl::StatusOr<NodeTree> Parse(const NodeTree& tree) const {
    if (IsJsonName(tree)) return options_.parse_json_name(tree.filename.substr(kJson.size()));
    if (!tree.is_plain_path) return ParseFileName(tree.filename);
    NodeTree named;
    named.driver = "file";
    named.options["filename"] = tree.filename;
    return named;
  }

  bool IsProtocol(const std::string& driver) const {
    return registry_.KindOf(driver) == NodeKind::kProtocol;
  }

  // Turns the file name, if there is one, into options and children.
  absl::Status ResolveName(NodeTree& tree, const Inherited& inherited) const {
    // Options alone name a plain file, whatever it looks like.
    if (tree.driver.empty() && inherited.is_file && tree.options.contains("filename")) {
      tree.driver = "file";
    }
    if (tree.filename.empty()) return absl::OkStatus();
    MILLRACE_ASSIGN_OR_RETURN(NodeTree named, Parse(tree));
    const bool is_whole_tree = IsJsonName(tree);
    tree.filename.clear();
    if (inherited.is_file || IsProtocol(tree.driver) || is_whole_tree) {
      AddMissing(tree, std::move(named));
      // A whole tree may have a name of its own, but none of the same kind again.
      if (!IsJsonName(tree)) return ResolveName(tree, inherited);
      return absl::InvalidArgumentError(
          StrCat(Describe(tree), ": a json: name in a json: name; write out the inner one"));
    }
    ChildTree* file = tree.FindChild("file");
    if (file == nullptr) {
      tree.children.push_back({"file", "", std::make_unique<NodeTree>(std::move(named))});
    } else if (file->tree != nullptr) {
      AddMissing(*file->tree, std::move(named));
    } else {
      return absl::InvalidArgumentError(StrCat(Describe(tree), ": a file name and a reference to '",
                                               file->reference,
                                               "' exclude each other; give one of them"));
    }
    return absl::OkStatus();
  }

  // For texts: the name of the file far below, or of the node.
  static std::string NameOf(const NodeTree& tree) {
    const auto filename = tree.options.find("filename");
    if (filename != tree.options.end()) return filename->second;
    for (const ChildTree& child : tree.children) {
      if (child.name == "backing") continue;
      if (child.tree == nullptr) return child.reference;
      return NameOf(*child.tree);
    }
    return tree.node_name.empty() ? tree.driver : tree.node_name;
  }

  // ---- Options -----------------------------------------------------------------------------------

  static Inherited TakeOver(const NodeTree& tree, const Inherited& inherited) {
    Inherited own = inherited;
    own.is_read_only = tree.is_read_only.value_or(inherited.is_read_only);
    own.falls_back_to_read_only =
        tree.falls_back_to_read_only.value_or(inherited.falls_back_to_read_only);
    own.direct = tree.direct.value_or(inherited.direct);
    own.ignores_flushes = tree.ignores_flushes.value_or(inherited.ignores_flushes);
    own.passes_discards = tree.passes_discards.value_or(inherited.passes_discards);
    own.shares_by_force = tree.shares_by_force.value_or(inherited.shares_by_force);
    return own;
  }

  absl::StatusOr<std::unique_ptr<Driver>> CoMakeDriver(const NodeTree& tree, const Inherited& own)
      MILLRACE_MAY_SUSPEND {
    DriverOptions options = tree.options;
    if (tree.driver == "blkdebug") {
      MILLRACE_RETURN_IF_ERROR(CoReadConfig(own, options));
    }
    if (tree.driver == "file") {
      if (own.direct) options.insert({"direct", "on"});
      if (own.is_from_header && !options_.gate.open_root.empty()) {
        options["open-root"] = options_.gate.open_root;
      }
      MILLRACE_RETURN_IF_ERROR(TakeDescriptor(!own.is_read_only, options));
    }
    return registry_.Make(tree.driver, options);
  }

  // Some names stand for a file that the embedder has opened.
  absl::Status TakeDescriptor(bool is_writable, DriverOptions& options) const {
    const auto path = options.find("filename");
    if (!options_.open_descriptor || path == options.end()) return absl::OkStatus();
    MILLRACE_ASSIGN_OR_RETURN(const std::optional<int> descriptor,
                              options_.open_descriptor(path->second, is_writable));
    if (descriptor) options["descriptor"] = StrCat(*descriptor);
    return absl::OkStatus();
  }

  // The option names a file; the driver wants its text.
  absl::Status CoReadConfig(const Inherited& own, DriverOptions& options) MILLRACE_MAY_SUSPEND {
    const auto config = options.find("config");
    if (config == options.end()) return absl::OkStatus();
    OpenFileOptions file;
    file.path = config->second;
    file.locking = "off";
    if (own.is_from_header) file.open_root = options_.gate.open_root;
    file.holder = holder_;
    absl::StatusOr<std::unique_ptr<WholeFile>> opened = WholeFile::CoOpen(graph_, registry_, file);
    if (!opened.ok()) return Within(opened.status(), "read the configuration: ");
    const std::unique_ptr<WholeFile> whole = *std::move(opened);
    absl::Status status;
    if (whole->bytes() > kConfigBytesMax) {
      status = absl::InvalidArgumentError(
          StrCat("read the configuration '", PrintableName(file.path), "': it has ", whole->bytes(),
                 " bytes; at most ", kConfigBytesMax, " are read"));
    } else if (whole->bytes() == 0) {
      config->second.clear();
    } else {
      std::string text(whole->bytes(), '\0');
      status = whole->CoRead(0, IoVector(reinterpret_cast<uint8_t*>(text.data()), text.size()));
      // A file that ends in the middle of a block may be padded with zeroes.
      config->second = text.substr(0, text.find('\0'));
    }
    whole->CoClose();
    return status;
  }

  // ---- Children ----------------------------------------------------------------------------------

  static absl::Status NoSuchChild(const NodeTree& tree, const ChildTree& child) {
    return absl::InvalidArgumentError(StrCat(Describe(tree), ": the driver has no child '",
                                             PrintableName(child.name), "'; leave it out"));
  }

  static absl::StatusOr<Role> RoleOf(const NodeTree& tree, const Driver* driver,
                                     const ChildTree& child) {
    if (driver == nullptr) {
      if (child.name == "file") return Role::kPrimary;
    } else if (std::optional<Role> role = driver->RoleOfChild(child.name)) {
      return *role;
    }
    return NoSuchChild(tree, child);
  }

  absl::Status CoOpenChildren(NodeTree& tree, const Driver* driver, const Inherited& own,
                              const ChainGuard& guard, OpenedChildren& opened)
      MILLRACE_MAY_SUSPEND {
    for (ChildTree& child : tree.children) {
      if (child.name == "backing") continue;
      MILLRACE_RETURN_IF_ERROR(CoOpenChild(tree, driver, child, own, guard, opened));
    }
    return CheckChildren(tree, driver, opened);
  }

  absl::Status CoOpenChild(const NodeTree& tree, const Driver* driver, ChildTree& child,
                           const Inherited& own, const ChainGuard& guard, OpenedChildren& opened)
      MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(const Role role, RoleOf(tree, driver, child));
    Attachment hold;
    if (child.tree == nullptr) {
      MILLRACE_ASSIGN_OR_RETURN(hold, AttachTo(child.reference));
    } else {
      Inherited theirs = own;
      theirs.is_top = false;
      // What stands where a file is wanted is a protocol; what a filter shows is what it is itself.
      if (role == Role::kPrimary) {
        theirs.is_file = true;
        theirs.passes_discards = true;
      } else if (role == Role::kData) {
        theirs.is_file = false;
      }
      MILLRACE_ASSIGN_OR_RETURN(hold, CoOpen(std::move(*child.tree), theirs, guard));
    }
    opened.push_back({child.name, role, std::move(hold)});
    return absl::OkStatus();
  }

  static std::string_view FilteredName(const Driver& filter) {
    return static_cast<const FilterDriver&>(filter).filtered_edge_name();
  }

  static absl::Status CheckChildren(const NodeTree& tree, const Driver* driver,
                                    const OpenedChildren& children) {
    const bool wants_primary =
        driver == nullptr || (driver->kind() == NodeKind::kFormat &&
                              static_cast<const FormatDriver*>(driver)->has_primary());
    const bool wants_filtered = driver != nullptr && driver->kind() == NodeKind::kFilter &&
                                driver->RoleOfChild(FilteredName(*driver)) == Role::kFiltered;
    size_t primaries = 0;
    for (const OpenedChild& child : children) {
      if (child.role == Role::kPrimary || child.role == Role::kFiltered) ++primaries;
    }
    if (primaries == 1 || (primaries == 0 && !wants_primary && !wants_filtered)) {
      return absl::OkStatus();
    }
    Conflict conflict;
    conflict.reason = ConflictReason::kUnsupportedByDriver;
    conflict.object = tree.node_name;
    conflict.detail = "file";
    conflict.next_step = "give one child 'file'";
    return ConflictStatus(absl::StatusCode::kInvalidArgument, conflict,
                          StrCat(Describe(tree), ": it needs a child to stand on, and has ",
                                 primaries, "; ", conflict.next_step));
  }

  AttachmentOptions Hold() const {
    AttachmentOptions options;
    options.holder = holder_;
    options.purpose = "image";
    options.stays_at_node = true;
    return options;
  }

  absl::StatusOr<Attachment> AttachTo(const std::string& reference) MILLRACE_OPENS_VIEW {
    NodeId id;
    {
      GraphView view(graph_);
      MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.FindDeviceOrNode(reference));
      id = node.id();
    }
    return Attachment::Attach(graph_, id, Hold());
  }

  // ---- The node itself ---------------------------------------------------------------------------

  absl::StatusOr<std::unique_ptr<Driver>> CoGuessDriver(NodeTree& tree, const Inherited& own,
                                                        const Attachment& file)
      MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(tree.driver, CoGuessFormat(graph_, file));
    if (tree.driver == "raw" && !own.is_read_only) {
      return absl::PermissionDeniedError(StrCat(
          "open '", PrintableName(NameOf(tree)),
          "' for writing: its format was not given, and it looks like raw, where a guest could "
          "write the header of another format; state the format if it is raw"));
    }
    return registry_.Make(tree.driver, tree.options);
  }

  static NodeOptions OptionsOf(const NodeTree& tree, const Inherited& own) {
    NodeOptions node;
    node.name = tree.node_name;
    node.is_read_only = own.is_read_only;
    node.io.ignores_discards = !own.passes_discards;
    node.io.ignores_flushes = own.ignores_flushes;
    node.io.shares_by_force = own.shares_by_force;
    node.io.is_direct = own.direct;
    node.io.detect_zeroes = tree.detect_zeroes;
    node.told = tree.told;
    // The user's own word about a node below stands when the node above changes.
    node.follows_parent_access = !own.is_top && !tree.is_read_only;
    return node;
  }

  absl::StatusOr<Attachment> AddNode(std::unique_ptr<Driver> driver, NodeOptions node,
                                     const OpenedChildren& children) MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph_);
    change.OnBehalfOf(holder_);
    const NodeId id = change.AddNode(std::move(driver), std::move(node));
    for (const OpenedChild& child : children) {
      change.AddChild(id, child.role, child.hold.node(), child.name);
    }
    Attachment hold = change.Attach(id, Hold());
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    return hold;
  }

  absl::StatusOr<Attachment> CoTryOpen(const NodeTree& tree, std::unique_ptr<Driver> driver,
                                       const Inherited& own, const OpenedChildren& children)
      MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(Attachment hold,
                              AddNode(std::move(driver), OptionsOf(tree, own), children));
    absl::Status status = CoOpenNode(graph_, hold.node());
    if (status.ok()) return hold;
    hold.CoDetach();
    return status;
  }

  absl::StatusOr<Attachment> CoOpenNodeItself(const NodeTree& tree, std::unique_ptr<Driver> driver,
                                              Inherited& own, const OpenedChildren& children)
      MILLRACE_MAY_SUSPEND {
    const bool may_fall_back =
        driver->kind() == NodeKind::kProtocol && own.falls_back_to_read_only && !own.is_read_only;
    absl::StatusOr<Attachment> hold = CoTryOpen(tree, std::move(driver), own, children);
    if (hold.ok() || !may_fall_back ||
        hold.status().code() != absl::StatusCode::kPermissionDenied) {
      return hold;
    }
    own.is_read_only = true;
    MILLRACE_ASSIGN_OR_RETURN(driver, CoMakeDriver(tree, own));
    return CoTryOpen(tree, std::move(driver), own, children);
  }

  // ---- Backing -----------------------------------------------------------------------------------

  std::optional<FileIdentity> IdentityBelow(NodeId id) const {
    const Node* node = GraphInternals::Of(graph_).Resolve(id);
    while (node != nullptr && node->driver->kind() != NodeKind::kProtocol) {
      const Edge* edge = node->FindChild(node->is_filter() ? Role::kFiltered : Role::kPrimary);
      node = edge == nullptr ? nullptr : edge->child;
    }
    if (node == nullptr) return std::nullopt;
    return static_cast<const ProtocolDriver&>(*node->driver).identity();
  }

  struct Overlay {
    bool supports_backing = false;
    std::string filename;
    BackingReference reference;
  };

  Overlay OverlayOf(NodeId id) const MILLRACE_OPENS_VIEW {
    GraphView view(graph_);
    absl::StatusOr<NodeView> node = view.Resolve(id);
    if (!node.ok()) return {};
    return {node->supports_backing(), HostPath(*node), node->backing_reference()};
  }

  // Whether the tree says by itself which image is meant; else it adds to what a header says.
  bool NamesImage(const NodeTree& tree) const {
    if (!tree.filename.empty() || tree.options.contains("filename") || IsProtocol(tree.driver)) {
      return true;
    }
    return std::any_of(tree.children.begin(), tree.children.end(), [&](const ChildTree& child) {
      if (child.name == "backing") return false;
      return child.tree == nullptr ? !child.reference.empty() : NamesImage(*child.tree);
    });
  }

  // What is to stand below: what the tree says, added to what the header says. Null: nothing.
  absl::StatusOr<std::unique_ptr<NodeTree>> BackingTree(ChildTree* asked, const Overlay& overlay,
                                                        bool* is_from_header) const {
    std::unique_ptr<NodeTree> tree;
    if (asked != nullptr) tree = std::move(asked->tree);
    const bool is_named = tree != nullptr && NamesImage(*tree);
    *is_from_header = !is_named;
    if (is_named || overlay.reference.filename.empty()) return tree;
    BackingReference reference = overlay.reference;
    if (tree != nullptr && !tree->driver.empty()) reference.format = tree->driver;
    MILLRACE_ASSIGN_OR_RETURN(GatedImage image,
                              ResolveBackingReference(options_.gate, overlay.filename, reference));
    NodeTree named;
    named.driver = std::move(image.format);
    named.filename = std::move(image.path);
    named.is_plain_path = !image.names_protocol;
    if (tree == nullptr) tree = std::make_unique<NodeTree>();
    AddMissing(*tree, std::move(named));
    return tree;
  }

  // Opens what stands below the overlay and links it. `tree` is the overlay's, and the backing's
  // afterwards. Nothing: nothing stands below.
  absl::StatusOr<std::optional<Layer>> CoOpenBacking(NodeTree& tree, NodeId overlay_id,
                                                     const Inherited& own, ChainGuard& guard)
      MILLRACE_MAY_SUSPEND {
    ChildTree* asked = tree.FindChild("backing");
    const Overlay overlay = OverlayOf(overlay_id);
    if (!overlay.supports_backing && asked != nullptr && !asked->is_nothing()) {
      return NoSuchChild(tree, *asked);
    }
    if (!overlay.supports_backing || (asked != nullptr && asked->is_nothing())) {
      return std::nullopt;
    }
    if (asked != nullptr && asked->tree == nullptr) {
      MILLRACE_ASSIGN_OR_RETURN(Attachment backing, AttachTo(asked->reference));
      absl::Status status = Link(overlay_id, backing.node());
      backing.CoDetach();
      MILLRACE_RETURN_IF_ERROR(status);
      return std::nullopt;
    }
    Inherited theirs;
    theirs.is_read_only = true;
    theirs.direct = own.direct;
    theirs.ignores_flushes = own.ignores_flushes;
    theirs.shares_by_force = own.shares_by_force;
    MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<NodeTree> below,
                              BackingTree(asked, overlay, &theirs.is_from_header));
    if (below == nullptr) return std::nullopt;
    theirs.is_from_header = theirs.is_from_header || own.is_from_header;
    absl::StatusOr<Layer> layer = CoOpenLayer(*below, theirs, guard);
    absl::Status status = layer.status();
    if (status.ok()) {
      status = Link(overlay_id, layer->hold.node());
      if (!status.ok()) layer->hold.CoDetach();
    }
    if (!status.ok()) {
      return Within(status, StrCat("backing file of '", PrintableName(overlay.filename), "': "));
    }
    NodeTree next = std::move(*below);
    tree = std::move(next);
    return *std::move(layer);
  }

  // Nobody else knows the overlay yet, so nothing needs to be drained.
  absl::Status Link(NodeId overlay, NodeId backing) MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph_);
    change.OnBehalfOf(holder_);
    change.SetBacking(overlay, backing, std::nullopt);
    return change.Commit().status();
  }

  Graph& graph_;
  const DriverRegistry& registry_;
  const OpenTreeOptions& options_;
  const HolderRef holder_;
};

}  // namespace

absl::StatusOr<Attachment> CoOpenTree(Graph& graph, const DriverRegistry& registry, NodeTree tree,
                                      const OpenTreeOptions& options) {
  Inherited top;
  top.is_top = true;
  return TreeOpener(graph, registry, options)
      .CoOpen(std::move(tree), top, ChainGuard(options.gate));
}

}  // namespace millrace
