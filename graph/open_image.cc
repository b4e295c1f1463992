#include "millrace/graph/open_image.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/open/chain_opener.h"

namespace millrace {
namespace {

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

NodeTree TreeFor(const OpenImageOptions& options) {
  NodeTree tree;
  tree.driver = options.format;
  tree.filename = options.path;
  tree.is_plain_path = true;
  if (!options.opens_backing) tree.children.push_back({"backing", "", nullptr});
  return tree;
}

ChainRules RulesFor(const OpenImageOptions& options) {
  ChainRules rules;
  rules.gate = options.gate;
  rules.holder = HolderOrMonitor(options.holder);
  rules.locking = options.locking;
  rules.only_image_formats = true;
  rules.backing_passes_discards = true;
  rules.holds_every_image = options.holds_every_image;
  rules.name_image = [&options](const GraphReader& reader, size_t depth, std::string_view path) {
    std::string name = depth < options.node_names.size() ? options.node_names[depth] : "";
    if (!name.empty() || !options.names_nodes_after_files) return name;
    return NameAfterFile(reader, path);
  };
  return rules;
}

}  // namespace

absl::StatusOr<OpenedImage> CoOpenImage(Graph& graph, const DriverRegistry& registry,
                                        const OpenImageOptions& options) {
  if (options.path.empty()) {
    return RefusalStatus(absl::StatusCode::kInvalidArgument,
                         {.reason = ConflictReason::kInvalidOption,
                          .next_step = "set OpenImageOptions::path",
                          .detail = "path a file's name"},
                         "open image: no path is given");
  }
  const ChainRules rules = RulesFor(options);
  Inherited top;
  top.is_read_only = options.is_read_only;
  top.direct = options.direct;
  top.passes_discards = true;
  MILLRACE_ASSIGN_OR_RETURN(
      OpenedChain chain,
      ChainOpener(graph, registry, rules).CoOpen(TreeFor(options), top, ChainGuard(rules.gate)));
  return OpenedImage{std::move(chain.images), std::move(chain.holds)};
}

}  // namespace millrace
