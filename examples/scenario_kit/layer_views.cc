#include "examples/scenario_kit/layer_views.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

// "img-7" is layer 7.
std::optional<size_t> LayerOf(const std::string& filename) {
  constexpr std::string_view kPrefix = "img-";
  size_t layer = 0;
  if (!filename.starts_with(kPrefix)) return std::nullopt;
  std::from_chars(filename.data() + kPrefix.size(), filename.data() + filename.size(), layer);
  return layer;
}

// What an image shows above what is below it.
void Overlay(const MemoryOverlayImage& image, std::vector<uint8_t>& shown) {
  shown.resize(image.bytes, 0);
  for (size_t cluster = 0; cluster < image.map.size(); ++cluster) {
    const uint64_t start = cluster * image.cluster_bytes;
    const uint64_t bytes = std::min(image.cluster_bytes, image.bytes - start);
    switch (image.map[cluster]) {
      case MemoryOverlayImage::Cluster::kUnallocated:
        break;
      case MemoryOverlayImage::Cluster::kZero:
        std::fill_n(shown.begin() + static_cast<ptrdiff_t>(start), bytes, 0);
        break;
      case MemoryOverlayImage::Cluster::kData:
        image.content.Read(start, IoVector(shown.data() + start, bytes));
        break;
    }
  }
}

// The views of a chain's layers as they are now, each made once, on top of that of the layer below.
class ViewsByHeaders {
 public:
  explicit ViewsByHeaders(const MemoryChain& chain)
      : chain_(chain), views_(chain.images.size()), is_begun_(chain.images.size(), false) {}

  const std::vector<uint8_t>& Of(size_t layer) {
    std::vector<uint8_t>& view = views_[layer];
    if (is_begun_[layer]) return view;  // headers that form a ring show nothing sensible, but end
    is_begun_[layer] = true;
    const MemoryOverlayImage& image = *chain_.images[layer];
    const std::optional<size_t> below = LayerOf(image.backing.filename);
    if (below && *below < views_.size()) view = Of(*below);
    Overlay(image, view);
    return view;
  }

 private:
  const MemoryChain& chain_;
  std::vector<std::vector<uint8_t>> views_;
  std::vector<bool> is_begun_;
};

}  // namespace

LayerViews::LayerViews(const MemoryChain& chain) : is_unknown_(chain.images.size(), false) {
  ViewsByHeaders views(chain);
  for (size_t layer = 0; layer < chain.images.size(); ++layer) shown_.push_back(views.Of(layer));
}

namespace {

// The layer that the guest stands on, filters skipped; nothing if that is no layer of the chain.
std::optional<size_t> LayerOfGuest(const MemoryChain& chain, Graph& graph) MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  const absl::StatusOr<NodeView> start = view.Resolve(chain.guest.node());
  if (!start.ok()) return std::nullopt;
  const auto found = std::find(chain.nodes.begin(), chain.nodes.end(), SkipFilters(*start).id());
  if (found == chain.nodes.end()) return std::nullopt;
  return static_cast<size_t>(found - chain.nodes.begin());
}

// Whether every header from the layer down names a layer of the chain: a client may have wanted
// another name there, under which others find the image.
bool CanBeFollowed(const MemoryChain& chain, size_t layer) {
  for (size_t step = 0; step < chain.images.size(); ++step) {
    const std::string& below = chain.images[layer]->backing.filename;
    if (below.empty()) return true;
    const std::optional<size_t> next = LayerOf(below);
    if (!next || *next >= chain.images.size()) return false;
    layer = *next;
  }
  return false;
}

}  // namespace

absl::Status LayerViews::CheckGuests(const MemoryChain& chain, Graph& graph,
                                     const TaggedDisk& disk) {
  const std::optional<size_t> layer = LayerOfGuest(chain, graph);
  if (!layer || !CanBeFollowed(chain, *layer)) return absl::OkStatus();
  const std::vector<uint8_t> shown = ViewByHeaders(chain, *layer);
  const uint64_t sectors = std::min(disk.sectors(), shown.size() / TaggedDisk::kSector);
  for (uint64_t sector = 0; sector < sectors; ++sector) {
    if (disk.Allows(sector, &shown[sector * TaggedDisk::kSector])) continue;
    return absl::DataLossError(StrCat("O1: sector ", sector, " of layer ", *layer,
                                      ", as its headers say, is not what the guest has written"));
  }
  return absl::OkStatus();
}

std::vector<size_t> LayerViews::LayersInUse(const MemoryChain& chain, Graph& graph) {
  std::vector<size_t> layers;
  GraphView view(graph);
  absl::StatusOr<NodeView> start = view.Resolve(chain.guest.node());
  if (!start.ok()) return layers;
  for (NodeId id : ChainFrom(*start)) {
    const auto found = std::find(chain.nodes.begin(), chain.nodes.end(), id);
    if (found != chain.nodes.end()) {
      layers.push_back(static_cast<size_t>(found - chain.nodes.begin()));
    }
  }
  return layers;
}

std::vector<uint8_t> LayerViews::ViewByHeaders(const MemoryChain& chain, size_t layer) {
  return ViewsByHeaders(chain).Of(layer);
}

absl::Status LayerViews::Check(const MemoryChain& chain, Graph& graph) const {
  absl::Status status = CheckHeaders(chain, graph);
  status.Update(CheckShown(chain, graph, std::vector<bool>(chain.images.size(), false)));
  return status;
}

absl::Status LayerViews::CheckHeaders(const MemoryChain& chain, Graph& graph) {
  const std::vector<size_t> layers = LayersInUse(chain, graph);
  for (size_t i = 0; i < layers.size(); ++i) {
    const size_t layer = layers[i];
    const std::string below = i + 1 < layers.size() ? StrCat("img-", layers[i + 1]) : "";
    if (chain.Header(layer) != below) {
      return absl::DataLossError(StrCat("O4: the header of layer ", layer, " names '",
                                        chain.Header(layer), "', below it is '", below, "'"));
    }
  }
  return absl::OkStatus();
}

absl::Status LayerViews::CheckShown(const MemoryChain& chain, Graph& graph,
                                    const std::vector<bool>& may_differ) const {
  ViewsByHeaders views(chain);
  for (const size_t layer : LayersInUse(chain, graph)) {
    if (is_unknown_[layer] || may_differ[layer]) continue;
    if (views.Of(layer) != shown_[layer]) {
      return absl::DataLossError(StrCat("O2: layer ", layer, " shows something else"));
    }
  }
  return absl::OkStatus();
}

}  // namespace millrace
