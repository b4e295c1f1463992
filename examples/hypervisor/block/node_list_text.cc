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

// ImageInfo nests: the image below is the last member, so a chain is the texts of its images
// without their closing braces, one after the other, and then the braces.
//
// A run is such a chain of texts in one piece of memory, from an image on which nothing stands down
// to the bottom, or to an image that another run has already.
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
    TextRope text;
    size_t images = 0;
    for (std::optional<NodeId> next = id; next;) {
      const Place& place = places_.at(*next);
      const Run& run = *place.run;
      text.Append(run.text, std::string_view(*run.text).substr(place.offset));
      images += run.images - place.ordinal;
      next = run.goes_on_with;
    }
    text.Append(std::string(images, '}'));
    *depth = static_cast<int64_t>(images) - 1;
    return text;
  }

 private:
  struct Run {
    std::shared_ptr<const std::string> text;
    size_t images = 0;
    std::optional<NodeId> goes_on_with;
  };
  struct Place {
    std::shared_ptr<const Run> run;
    size_t offset = 0;
    size_t ordinal = 0;
  };

  std::optional<NodeId> Below(NodeId id) const {
    absl::StatusOr<NodeView> node = view_.Resolve(id);
    if (flat_ || !node.ok()) return std::nullopt;
    const std::optional<NodeView> below = node->FilteredOrBacking();
    return below ? std::optional<NodeId>(below->id()) : std::nullopt;
  }

  void AddRun(NodeId top) {
    auto run = std::make_shared<Run>();
    std::string text;
    std::optional<NodeId> id = top;
    for (; id && !places_.contains(*id); id = Below(*id)) {
      absl::StatusOr<NodeView> node = view_.Resolve(*id);
      if (!node.ok()) return;
      places_[*id] = {run, text.size(), run->images++};
      text += FormatJson(images_.DescribeImage(*node), JsonLayout::kLine);
      text.pop_back();  // the brace
      if (Below(*id)) text += ", \"backing-image\": ";
    }
    run->goes_on_with = id;
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
