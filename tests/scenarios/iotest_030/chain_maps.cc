#include "tests/scenarios/iotest_030/chain_maps.h"

#include <algorithm>
#include <string_view>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

using Cluster = MemoryOverlayImage::Cluster;

std::string_view ClusterInWords(Cluster cluster) {
  switch (cluster) {
    case Cluster::kUnallocated:
      return "nothing";
    case Cluster::kZero:
      return "zeroes";
    case Cluster::kData:
      return "data";
  }
  return "?";
}

// Whether the guest writes somewhere in the cluster.
bool IsGuests(const ChainStory& story, const MemoryOverlayImage& image, size_t cluster) {
  const uint64_t sectors = std::max<uint64_t>(image.cluster_bytes / TaggedDisk::kSector, 1);
  for (uint64_t i = 0; i < sectors; ++i) {
    if (story.IsGuestsSector(cluster * image.cluster_bytes / TaggedDisk::kSector + i)) return true;
  }
  return false;
}

}  // namespace

ChainMaps::ChainMaps(ChainStory& story)
    : may_also_(story.chain().images.size()), guests_layers_{story.chain().images.size() - 1} {
  for (const auto& image : story.chain().images) maps_.push_back(image->map);
}

// Behind the end of a short layer there are zeroes, which are copied like what the layer holds.
// (QEMU 7.2 leaves them out where that layer is the one right below the top.)
ChainMaps::Map ChainMaps::Merged(size_t top, size_t lowest) const {
  Map merged = maps_[top];
  for (size_t layer = top; layer-- > lowest;) {
    const Map& map = maps_[layer];
    for (size_t cluster = 0; cluster < merged.size(); ++cluster) {
      if (merged[cluster] != Cluster::kUnallocated) continue;
      merged[cluster] = cluster < map.size() ? map[cluster] : Cluster::kZero;
    }
  }
  return merged;
}

void ChainMaps::OnStreamed(size_t top, std::optional<size_t> base) {
  maps_[top] = Merged(top, base ? *base + 1 : 0);
}

void ChainMaps::OnCommitted(size_t top, size_t base) { maps_[base] = Merged(top, base); }

void ChainMaps::OnCommittedActive(size_t base) {
  OnCommitted(maps_.size() - 1, base);
  guests_layers_.insert(base);
  mirrored_into_ = base;
}

void ChainMaps::OnStreamBegun(size_t top, std::optional<size_t> base) {
  may_also_[top] = Merged(top, base ? *base + 1 : 0);
}

absl::Status ChainMaps::CheckCluster(ChainStory& story, size_t layer, size_t cluster) const {
  const Cluster holds = story.chain().images[layer]->map[cluster];
  const Cluster expected = maps_[layer][cluster];
  if (holds == expected) return absl::OkStatus();
  if (!may_also_[layer].empty() && holds == may_also_[layer][cluster]) return absl::OkStatus();
  // A granule of a mirror is larger than a cluster here: more may have been copied, but not less.
  if (layer == mirrored_into_ && expected == Cluster::kUnallocated) return absl::OkStatus();
  return absl::InternalError(StrCat("map: n", layer, " should hold ", ClusterInWords(expected),
                                    " in cluster ", cluster, ", but holds ",
                                    ClusterInWords(holds)));
}

absl::Status ChainMaps::Check(ChainStory& story) const {
  for (size_t layer = 0; layer < maps_.size(); ++layer) {
    const MemoryOverlayImage& image = *story.chain().images[layer];
    for (size_t cluster = 0; cluster < maps_[layer].size(); ++cluster) {
      if (guests_layers_.contains(layer) && IsGuests(story, image, cluster)) continue;
      MILLRACE_RETURN_IF_ERROR(CheckCluster(story, layer, cluster));
    }
  }
  return absl::OkStatus();
}

}  // namespace millrace
