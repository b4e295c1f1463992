#include "examples/hypervisor/block/image_queries.h"

#include <sys/stat.h>

#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"

namespace millrace {
namespace {

constexpr uint64_t kSectorBytes = 512;

std::string_view DetectZeroesName(DetectZeroes detect) {
  constexpr std::string_view kNames[] = {"off", "on", "unmap"};
  return kNames[static_cast<size_t>(detect)];
}

// What the node's files take on the host; nothing if that cannot be told.
std::optional<int64_t> BytesOnHost(const NodeView& node) {
  if (node.kind() == NodeKind::kProtocol && node.driver_name() != "file") return 0;
  struct stat info {};
  const std::string path = HostPath(node);
  if (!path.empty() && stat(path.c_str(), &info) == 0) return int64_t{info.st_blocks} * 512;
  const std::optional<NodeView> below =
      node.Child(node.is_filter() ? Role::kFiltered : Role::kPrimary);
  return below ? BytesOnHost(*below) : std::nullopt;
}

// The node whose cluster size and state are told for this one: filters and raw images show those of
// what they stand on.
std::optional<NodeView> ToldFor(const NodeView& node) {
  if (node.is_filter() || node.driver_name() == "raw") {
    const std::optional<NodeView> below =
        node.Child(node.is_filter() ? Role::kFiltered : Role::kPrimary);
    return below ? ToldFor(*below) : std::nullopt;
  }
  if (node.driver_name() != "qcow2" && node.driver_name() != "file") return std::nullopt;
  return node;
}

json::object DescribeFacts(const NodeView& node) {
  json::object data;
  for (const FormatFact& fact : node.facts()) {
    std::visit([&](const auto& value) { data[fact.name] = json::value_from(value); }, fact.value);
  }
  return data;
}

// A name in an overlay's header, seen from the overlay's folder.
std::string FullName(const NodeView& overlay, const std::string& name) {
  const std::string path = HostPath(overlay);
  const size_t slash = path.rfind('/');
  const bool is_whole = name.find(':') < name.find('/') || name.front() == '/';
  if (is_whole || slash == std::string::npos) return name;
  return path.substr(0, slash + 1) + name;
}

}  // namespace

json::object ImageQueries::DescribeImage(const NodeView& node) {
  // Counted in sectors.
  json::object image = {{"virtual-size", AlignUp(node.bytes(), kSectorBytes)},
                        {"filename", names_.Of(node).shown},
                        {"format", JsonText(node.driver_name())}};
  if (auto on_host = BytesOnHost(node)) image["actual-size"] = *on_host;
  if (const std::optional<NodeView> told = ToldFor(node)) {
    image["dirty-flag"] = told->is_marked_dirty();
    if (told->cluster_bytes() != 0) image["cluster-size"] = told->cluster_bytes();
  }
  if (json::object facts = DescribeFacts(node); !facts.empty()) {
    image["format-specific"] = {{"type", JsonText(node.driver_name())}, {"data", std::move(facts)}};
  }
  const BackingReference reference = node.backing_reference();
  if (!reference.filename.empty()) {
    image["backing-filename"] = reference.filename;
    image["full-backing-filename"] = FullName(node, reference.filename);
    if (!reference.format.empty()) image["backing-filename-format"] = reference.format;
  }
  return image;
}

json::object ImageQueries::DescribeChain(const NodeView& top, const NodeStyle& style,
                                         int64_t* depth) {
  // From the bottom up, so that no stack limits the chain.
  std::vector<json::object> images;
  for (std::optional<NodeId> id = top.id(); id;) {
    absl::StatusOr<NodeView> node = top.reader().Resolve(*id);
    images.push_back(DescribeImage(*node));
    const std::optional<NodeView> below = style.flat ? std::nullopt : node->FilteredOrBacking();
    id.reset();
    if (below) id = style.hides_implicit ? SkipImplicitFilters(*below).id() : below->id();
  }
  *depth = static_cast<int64_t>(images.size()) - 1;
  while (images.size() > 1) {
    json::object last = std::move(images.back());
    images.pop_back();
    images.back()["backing-image"] = std::move(last);
  }
  return std::move(images.front());
}

json::object ImageQueries::DescribeNode(const NodeView& node, const NodeStyle& style) {
  int64_t depth = 0;
  json::object image = DescribeChain(node, style, &depth);
  return DescribeNodeAround(node, style, std::move(image), depth);
}

json::object ImageQueries::DescribeNodeAround(const NodeView& node, const NodeStyle& style,
                                              json::value image, int64_t depth) {
  const NodeIoOptions& io = node.io_options();
  json::object shown = {{"iops_rd", 0},
                        {"detect_zeroes", JsonText(DetectZeroesName(io.detect_zeroes))},
                        {"image", std::move(image)},
                        {"iops_wr", 0},
                        {"ro", node.is_read_only()},
                        {"node-name", node.name()},
                        {"backing_file_depth", depth},
                        {"drv", JsonText(node.driver_name())},
                        {"iops", 0},
                        {"bps_wr", 0},
                        {"encrypted", false},
                        {"bps", 0},
                        {"bps_rd", 0},
                        {"cache",
                         {{"no-flush", io.ignores_flushes},
                          {"direct", io.is_direct},
                          {"writeback", style.writes_back}}},
                        {"file", names_.Of(node).shown}};
  if (std::optional<NodeView> backing = node.Backing()) {
    shown["backing_file"] = names_.Of(*backing).shown;
  }
  shown["write_threshold"] = node.write_threshold();
  if (json::array bitmaps = bitmaps_.Describe(node.id()); !bitmaps.empty()) {
    shown["dirty-bitmaps"] = std::move(bitmaps);
  }
  return shown;
}

}  // namespace millrace
