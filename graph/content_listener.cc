#include "millrace/graph/content_listener.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/change_listener.h"
#include "millrace/graph/graph_internals.h"

namespace millrace {

// One of the nodes in which the bytes may be.
class ContentListener::Place final : public ChangeListener {
 public:
  // `offset`: where in the node what is shown begins.
  Place(ContentListener& owner, const Node& node, uint64_t offset)
      : owner_(owner),
        id_(node.id),
        is_image_(!node.is_filter()),
        offset_(offset),
        bytes_(node.driver->bytes()) {}

  bool Is(const Node& node, uint64_t offset) const { return id_ == node.id && offset_ == offset; }
  NodeId id() const { return id_; }
  uint64_t offset() const { return offset_; }
  bool is_image() const { return is_image_; }

 private:
  void OnChange(ByteRange range, uint64_t) override { Tell(range); }
  void OnResize(uint64_t node_bytes) override {
    const uint64_t from = std::min(bytes_, node_bytes);
    bytes_ = node_bytes;
    Tell(ByteRange(from, kBytesMax - from));
  }
  ContentListener* content_listener() override { return &owner_; }

  void Tell(ByteRange range) {
    if (range.end() <= offset_) return;
    const uint64_t begin = std::max(range.offset, offset_);
    owner_.OnContentChange(ByteRange(begin - offset_, range.end() - begin));
  }

  ContentListener& owner_;
  const NodeId id_;
  const bool is_image_;  // not a filter, which shows what is below it
  const uint64_t offset_;
  uint64_t bytes_;  // as of the last change of length: no more than there are, if it grew since
};

ContentListener::ContentListener() = default;
ContentListener::~ContentListener() = default;

absl::Status ContentListener::ListenTo(Graph& graph, NodeId node, Depth depth) {
  GraphInternals& internals = GraphInternals::Of(graph);
  if (internals.Resolve(node) == nullptr) return internals.StaleError(node);
  StopListening();
  graph_ = &graph;
  node_ = node;
  depth_ = depth;
  FindPlaces();
  return absl::OkStatus();
}

void ContentListener::StopListening() { places_.clear(); }

std::vector<NodeId> ContentListener::places() const {
  std::vector<NodeId> ids;
  for (const std::unique_ptr<Place>& place : places_) ids.push_back(place->id());
  return ids;
}

namespace {

// The link to what shows through the node; null at the end. `offset` is moved to where it begins.
const Edge* Below(const Node& node, ContentListener::Depth depth, uint64_t* offset) {
  if (const std::optional<uint64_t> begin = node.driver->offset_in_primary()) {
    *offset += *begin;
    return node.FindChild(Role::kPrimary);
  }
  const bool is_end = !node.is_filter() && depth == ContentListener::Depth::kImage;
  return is_end ? nullptr : node.FilteredOrBacking();
}

}  // namespace

void ContentListener::FindPlaces() {
  std::vector<std::unique_ptr<Place>> before = std::exchange(places_, {});
  uint64_t offset = 0;
  for (const Node* node = GraphInternals::Of(*graph_).Resolve(node_); node != nullptr;) {
    const auto known = std::find_if(before.begin(), before.end(), [&](const auto& place) {
      return place != nullptr && place->Is(*node, offset);
    });
    if (known != before.end()) {
      places_.push_back(std::move(*known));
    } else {
      places_.push_back(std::make_unique<Place>(*this, *node, offset));
      places_.back()->ListenTo(*graph_, node->id).IgnoreError();  // it is there
    }
    const Edge* const below = Below(*node, depth_, &offset);
    node = below == nullptr ? nullptr : below->child;
  }
}

std::vector<ContentListener::ImagePlace> ContentListener::Images() const {
  std::vector<ImagePlace> images;
  for (const std::unique_ptr<Place>& place : places_) {
    if (place->is_image()) images.emplace_back(place->id(), place->offset());
  }
  return images;
}

void ContentListener::Follow(bool shows_the_same) {
  const std::vector<ImagePlace> before = Images();
  FindPlaces();
  const std::vector<ImagePlace> now = Images();
  // What a new image shows need not be what was seen there before, whoever says so.
  const bool has_new_image = std::any_of(now.begin(), now.end(), [&](const ImagePlace& image) {
    return std::find(before.begin(), before.end(), image) == before.end();
  });
  const bool shows_others = !shows_the_same && now != before;
  if (has_new_image || shows_others) OnContentChange(ByteRange(0, kBytesMax));
}

void GraphInternals::NoteLinks(absl::Span<Node* const> nodes, bool shows_the_same) {
  ContentListener::OnLinksChange(nodes, shows_the_same);
}

void ContentListener::OnLinksChange(absl::Span<Node* const> nodes, bool shows_the_same) {
  std::vector<ContentListener*> all;
  for (const Node* node : nodes) {
    for (ChangeListener* listener : node->change_listeners) {
      ContentListener* const each = listener->content_listener();
      const bool is_new = each != nullptr && std::find(all.begin(), all.end(), each) == all.end();
      if (is_new) all.push_back(each);
    }
  }
  for (ContentListener* each : all) each->Follow(shows_the_same);
}

}  // namespace millrace
