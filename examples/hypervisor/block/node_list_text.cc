#include "examples/hypervisor/block/node_list_text.h"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "examples/hypervisor/block/image_queries.h"
#include "examples/hypervisor/qmp/json_format.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// ImageInfo nests: the image below is the first member, so a chain is as many beginnings as it has
// images, then the rests of the images' texts one after the other, from the bottom up.
//
// A run is such a chain of rests in one piece of memory, up to an image on which nothing stands,
// from the bottom or from above an image that another run has already.
constexpr std::string_view kImageBelow = "\"backing-image\": {";

class ImageTexts {
 public:
  ImageTexts(const GraphReader& view, ImageQueries& images, bool flat)
      : view_(view), images_(images), flat_(flat) {}

  // Describes the images of these nodes and all below.
  void PlaceAll(const std::vector<NodeId>& ids) {
    std::set<NodeId> below;
    for (NodeId id : ids) {
      if (const std::optional<NodeId> next = Below(id)) below.insert(*next);
    }
    // First where nothing stands above, so that the runs are long.
    for (NodeId id : ids) {
      if (!below.contains(id)) AddRun(id);
    }
    for (NodeId id : ids) AddRun(id);
  }

  // The image with all below it; `depth`: how many those are.
  TextRope ChainText(NodeId id, int64_t* depth) const {
    std::vector<const Place*> from_top;
    size_t images = 0;
    for (std::optional<NodeId> next = id; next;) {
      const Place& place = places_.at(*next);
      from_top.push_back(&place);
      images += place.ordinal;
      next = place.run->stands_on;
    }
    std::string beginnings = "{";
    for (size_t above = 1; above < images; ++above) beginnings += kImageBelow;
    TextRope text(std::move(beginnings));
    for (auto place = from_top.rbegin(); place != from_top.rend(); ++place) {
      const std::shared_ptr<const std::string>& rests = (*place)->run->text;
      text.Append(rests, std::string_view(*rests).substr(0, (*place)->end));
    }
    *depth = static_cast<int64_t>(images) - 1;
    return text;
  }

 private:
  struct Run {
    std::shared_ptr<const std::string> text;
    std::optional<NodeId> stands_on;
  };
  struct Place {
    std::shared_ptr<const Run> run;
    size_t end = 0;
    size_t ordinal = 0;  // from 1, at the bottom of the run
  };

  std::optional<NodeId> Below(NodeId id) const {
    absl::StatusOr<NodeView> node = view_.Resolve(id);
    if (flat_ || !node.ok()) return std::nullopt;
    const std::optional<NodeView> below = node->FilteredOrBacking();
    return below ? std::optional<NodeId>(below->id()) : std::nullopt;
  }

  void AddRun(NodeId top) {
    std::vector<NodeId> images;
    std::optional<NodeId> id = top;
    for (; id && !places_.contains(*id); id = Below(*id)) {
      if (!view_.Resolve(*id).ok()) return;
      images.push_back(*id);
    }
    auto run = std::make_shared<Run>();
    run->stands_on = id;
    std::string text;
    size_t ordinal = 0;
    for (auto image = images.rbegin(); image != images.rend(); ++image) {
      const std::string own =
          FormatJson(images_.DescribeImage(*view_.Resolve(*image)), JsonLayout::kLine);
      StrAppend(&text, Below(*image) ? ", " : "", std::string_view(own).substr(1));
      places_[*image] = {run, text.size(), ++ordinal};
    }
    run->text = std::make_shared<const std::string>(std::move(text));
  }

  const GraphReader& view_;
  ImageQueries& images_;
  const bool flat_;
  std::map<NodeId, Place> places_;
};

}  // namespace

TextRope DescribeNodesAsText(const GraphReader& view, const UserBitmaps& bitmaps,
                             const std::vector<NodeId>& ids, bool flat) {
  ImageQueries images(view, bitmaps);
  ImageTexts texts(view, images, flat);
  texts.PlaceAll(ids);
  TextRope list("[");
  std::string separator;
  for (NodeId id : ids) {
    absl::StatusOr<NodeView> node = view.Resolve(id);
    if (!node.ok()) continue;
    int64_t depth = 0;
    TextRope image = texts.ChainText(id, &depth);
    const std::string around = FormatJson(
        images.DescribeNodeAround(*node, {.flat = flat}, nullptr, depth), JsonLayout::kLine);
    // No text of a client's stands before the member.
    constexpr std::string_view kImage = "\"image\": null";
    const size_t place = around.find(kImage);
    const size_t begin = place + kImage.size() - std::string_view("null").size();
    list.Append(StrCat(separator, std::string_view(around).substr(0, begin)));
    list.Append(std::move(image));
    list.Append(around.substr(place + kImage.size()));
    separator = ", ";
  }
  list.Append("]");
  return list;
}

}  // namespace millrace
