#include "examples/hypervisor/block/graph_users.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "examples/hypervisor/block/refusal.h"
#include "millrace/graph/describe.h"

namespace millrace {
namespace {

bool IsJob(const GraphPicture::Vertex& vertex) {
  return !vertex.is_node && vertex.type.ends_with(" job");
}

// The names of the nodes that hang together with `start`.
std::set<std::string> NamesAround(const GraphPicture& picture, const std::string& start) {
  std::map<uint64_t, const GraphPicture::Vertex*> nodes;
  std::vector<uint64_t> open;
  for (const GraphPicture::Vertex& vertex : picture.vertices) {
    if (!vertex.is_node) continue;
    nodes[vertex.id] = &vertex;
    if (vertex.name == start) open.push_back(vertex.id);
  }
  std::multimap<uint64_t, uint64_t> neighbours;
  for (const GraphPicture::Arrow& arrow : picture.arrows) {
    if (!nodes.contains(arrow.parent)) continue;
    neighbours.emplace(arrow.parent, arrow.child);
    neighbours.emplace(arrow.child, arrow.parent);
  }
  std::set<std::string> names;
  for (std::set<uint64_t> seen(open.begin(), open.end()); !open.empty();) {
    const uint64_t id = open.back();
    open.pop_back();
    names.insert(nodes[id]->name);
    const auto [first, last] = neighbours.equal_range(id);
    for (auto next = first; next != last; ++next) {
      if (seen.insert(next->second).second) open.push_back(next->second);
    }
  }
  return names;
}

std::optional<std::string> NodeNameOf(const GraphReader& reader, NodeId id) {
  const absl::StatusOr<NodeView> node = reader.Resolve(id);
  return node.ok() ? std::optional<std::string>(node->name()) : std::nullopt;
}

}  // namespace

std::vector<std::string> JobsOn(const GraphReader& reader, NodeId node) {
  std::set<std::string> names;
  for (std::optional<NodeId> next = node; next;) {
    const absl::StatusOr<NodeView> found = reader.Resolve(*next);
    next.reset();
    if (!found.ok()) break;
    names.insert(found->name());
    if (const std::optional<NodeView> below = found->Filtered()) next = below->id();
  }
  const GraphPicture picture = DescribePicture(reader);
  std::map<uint64_t, const GraphPicture::Vertex*> by_id;
  for (const GraphPicture::Vertex& vertex : picture.vertices) by_id[vertex.id] = &vertex;
  std::vector<std::string> jobs;
  for (const GraphPicture::Arrow& arrow : picture.arrows) {
    const GraphPicture::Vertex& user = *by_id[arrow.parent];
    if (!IsJob(user) || !names.contains(by_id[arrow.child]->name)) continue;
    if (std::find(jobs.begin(), jobs.end(), user.name) == jobs.end()) jobs.push_back(user.name);
  }
  return jobs;
}

absl::Status CheckIothreads(const BlockLayer& layer, const GraphReader& reader, NodeId node,
                            const GuestDevice* newcomer) {
  std::set<std::string> everywhere;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    if (drive->device != nullptr) everywhere.insert(drive->device->home_iothread);
  }
  if (newcomer != nullptr) everywhere.insert(newcomer->home_iothread);
  if (everywhere.size() < 2) return absl::OkStatus();
  const std::optional<std::string> start = NodeNameOf(reader, node);
  if (!start) return absl::OkStatus();
  const std::set<std::string> around = NamesAround(DescribePicture(reader), *start);
  std::set<std::string> homes;
  std::vector<ConflictHolder> pinned;
  if (newcomer != nullptr) homes.insert(newcomer->home_iothread);
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    if (drive->device == nullptr || !drive->backend.is_attached()) continue;
    const std::optional<std::string> its = NodeNameOf(reader, drive->backend.node());
    if (!its || !around.contains(*its)) continue;
    homes.insert(drive->device->home_iothread);
    pinned.push_back({.id = drive->device->shown_name(),
                      .type = "guest device",
                      .since = drive->backend.holder()->since});
  }
  if (homes.size() < 2) return absl::OkStatus();
  return RefuseForHolders(ConflictReason::kNodeInUse, *start, std::move(pinned),
                          "Cannot change iothread of active block backend");
}

}  // namespace millrace
