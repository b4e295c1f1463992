#include "examples/cli/graph_svg.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/cli/remote.h"
#include "examples/common/sizes.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr int kTenCharsWidth = 73;
constexpr int kLineHeight = 16;
constexpr int kRowGap = 44;
constexpr int kColumnGap = 120;
constexpr int kSpanWidth = 22;
constexpr int kMargin = 24;
constexpr const char* kSpanColours[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b"};

std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (c == '"') {
      escaped += "&quot;";
    } else {
      escaped += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return escaped;
}

struct Box {
  const json::value* node = nullptr;
  std::vector<std::string> lines;
  size_t column = 0;
  size_t row = 0;
  int x = 0, y = 0, width = 0, height = 0;
};

class GraphDrawing {
 public:
  explicit GraphDrawing(const json::value& graph) : graph_(graph) {
    for (const json::value& node : ListAt(graph, "nodes")) AddBox(node);
    Place();
    Measure();
  }

  std::string Draw() {
    for (const Box& box : boxes_) DrawLinksOf(box);
    for (const Box& box : boxes_) DrawBox(box);
    DrawSpans();
    return StrCat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", width_, "\" height=\"",
                  height_, "\" viewBox=\"0 0 ", width_, " ", height_,
                  "\" font-family=\"monospace\" font-size=\"12\">\n"
                  "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
                  out_, "</svg>\n");
  }

 private:
  // ---- What there is -----------------------------------------------------------------------------

  void AddBox(const json::value& node) {
    Box box;
    box.node = &node;
    box.lines.emplace_back(TextAt(node, "name"));
    box.lines.push_back(StrCat(TextAt(node, "driver"), ", ",
                               BytesInWords(static_cast<uint64_t>(NumberAt(node, "bytes"))),
                               FlagAt(node, "read-only") ? ", read-only" : ""));
    for (const json::value& user : ListAt(node, "users")) {
      const json::value& holder = At(user, "holder");
      if (TextAt(holder, "type").ends_with(" job")) continue;  // drawn as a span
      const std::string_view purpose = TextAt(user, "purpose");
      box.lines.push_back(StrCat("used by ", HolderInWords(holder),
                                 purpose.empty() ? "" : StrCat(" as ", purpose)));
    }
    for (const json::value& section : ListAt(graph_, "sections")) {
      for (const json::value& covered : ListAt(section, "covers")) {
        if (View(covered.as_string()) != box.lines.front()) continue;
        std::string owners;
        for (const json::value& owner : ListAt(section, "owners")) {
          StrAppend(&owners, " by ", HolderInWords(owner));
        }
        box.lines.push_back((FlagAt(section, "granted") ? "drained" : "being drained") + owners);
      }
    }
    index_[box.lines.front()] = boxes_.size();
    boxes_.push_back(std::move(box));
  }

  Box* Find(std::string_view name) {
    const auto found = index_.find(std::string(name));
    return found == index_.end() ? nullptr : &boxes_[found->second];
  }

  // ---- Where it goes -----------------------------------------------------------------------------

  static bool IsDownward(std::string_view role) { return role == "backing" || role == "filtered"; }

  // A chain goes down its column; what is not on it goes beside it.
  void PlaceChain(Box& top, size_t column, size_t row) {
    for (Box* box = &top; box != nullptr && !is_placed_[box->lines.front()]; ++row) {
      is_placed_[box->lines.front()] = true;
      box->column = column;
      box->row = row;
      columns_ = std::max(columns_, column + 1);
      rows_ = std::max(rows_, row + 1);
      Box* next = nullptr;
      for (const json::value& edge : ListAt(*box->node, "edges")) {
        Box* child = Find(TextAt(edge, "child"));
        if (child == nullptr || is_placed_[child->lines.front()]) continue;
        if (IsDownward(TextAt(edge, "role"))) {
          next = child;
        } else if (TextAt(edge, "role") == "primary" || TextAt(edge, "role") == "metadata") {
          PlaceChain(*child, column + 1, row);
        } else {
          PlaceChain(*child, std::max(columns_, column + 1), row + 1);
        }
      }
      box = next;
    }
  }

  void Place() {
    std::map<std::string, int> parents;
    for (const Box& box : boxes_) {
      for (const json::value& edge : ListAt(*box.node, "edges")) {
        ++parents[std::string(TextAt(edge, "child"))];
      }
    }
    for (Box& box : boxes_) {
      if (parents[box.lines.front()] == 0) PlaceChain(box, columns_, 0);
    }
    for (Box& box : boxes_)
      PlaceChain(box, columns_, 0);  // none is left, in a graph without cycles
  }

  void Measure() {
    std::vector<int> widths(columns_, 0);
    std::vector<int> heights(rows_, 0);
    for (Box& box : boxes_) {
      for (const std::string& line : box.lines) {
        box.width = std::max(box.width, static_cast<int>(line.size()) * kTenCharsWidth / 10 + 22);
      }
      box.height = static_cast<int>(box.lines.size()) * kLineHeight + 12;
      widths[box.column] = std::max(widths[box.column], box.width);
      heights[box.row] = std::max(heights[box.row], box.height);
    }
    std::vector<int> lefts, tops;
    int x = kMargin + kSpanWidth * static_cast<int>(Spans().size());
    for (const int width : widths) {
      lefts.push_back(x);
      x += width + kColumnGap;
    }
    int y = kMargin;
    for (const int height : heights) {
      tops.push_back(y);
      y += height + kRowGap;
    }
    for (Box& box : boxes_) {
      box.x = lefts[box.column];
      box.y = tops[box.row];
    }
    width_ = std::max(200, x - kColumnGap + kMargin + 160);
    height_ = std::max(60, y - kRowGap + kMargin);
  }

  // ---- Drawing -----------------------------------------------------------------------------------

  void Text(int x, int y, std::string_view text, std::string_view attributes) {
    StrAppend(&out_, "<text x=\"", x, "\" y=\"", y, "\" ", attributes, ">", Escaped(text),
              "</text>\n");
  }

  void DrawBox(const Box& box) {
    const bool is_filter = TextAt(*box.node, "kind") == "filter";
    const bool is_drained = FlagAt(*box.node, "drained");
    StrAppend(&out_, "<rect class=\"", is_drained ? "node drained" : "node", "\" x=\"", box.x,
              "\" y=\"", box.y, "\" width=\"", box.width, "\" height=\"", box.height,
              "\" rx=\"6\" fill=\"", is_drained ? "#cccccc" : "#f6f8fa", "\" stroke=\"#444\"",
              is_filter ? " stroke-dasharray=\"5 3\"" : "", "/>\n");
    int y = box.y + kLineHeight + 2;
    for (const std::string& line : box.lines) {
      Text(box.x + 10, y, line, &line == &box.lines.front() ? "font-weight=\"bold\"" : "");
      y += kLineHeight;
    }
  }

  void DrawLinksOf(const Box& box) {
    for (const json::value& edge : ListAt(*box.node, "edges")) {
      const Box* child = Find(TextAt(edge, "child"));
      if (child == nullptr) continue;
      const json::value& lease = At(edge, "lease");
      const bool is_beside = child->row == box.row;
      const int x1 = is_beside ? box.x + box.width : box.x + 30;
      const int y1 = is_beside ? child->y + child->height / 2 : box.y + box.height;
      const int x2 = is_beside ? child->x : child->x + 30;
      const int y2 = is_beside ? child->y + child->height / 2 : child->y;
      StrAppend(&out_, "<line class=\"", lease.is_null() ? "link" : "link frozen", "\" x1=\"", x1,
                "\" y1=\"", y1, "\" x2=\"", x2, "\" y2=\"", y2, "\" stroke=\"",
                lease.is_null() ? "#444" : "#e07b00", "\" stroke-width=\"", lease.is_null() ? 1 : 4,
                "\"/>\n");
      const std::string label =
          lease.is_null() ? std::string(TextAt(edge, "name"))
                          : StrCat(TextAt(edge, "name"), ", frozen by ", HolderInWords(lease));
      Text((is_beside ? x1 : (x1 + x2) / 2) + 8, (is_beside ? y1 - 6 : (y1 + y2) / 2 + 4), label,
           lease.is_null() ? "fill=\"#666\"" : "fill=\"#b05f00\"");
    }
  }

  // Who claims which boxes, jobs only; in order of the nodes.
  std::vector<std::pair<std::string, std::vector<const Box*>>> Spans() const {
    std::vector<std::pair<std::string, std::vector<const Box*>>> spans;
    for (const Box& box : boxes_) {
      for (const json::value& claim : ListAt(*box.node, "claims")) {
        const std::string holder = HolderInWords(At(claim, "holder"));
        auto found = std::find_if(spans.begin(), spans.end(),
                                  [&](const auto& span) { return span.first == holder; });
        if (found == spans.end()) found = spans.insert(spans.end(), {holder, {}});
        found->second.push_back(&box);
      }
    }
    return spans;
  }

  // Boxes below each other, in neighbouring rows of one column.
  using Run = std::vector<const Box*>;

  static std::vector<Run> RunsOf(std::vector<const Box*> boxes) {
    std::sort(boxes.begin(), boxes.end(), [](const Box* a, const Box* b) {
      return std::pair(a->column, a->row) < std::pair(b->column, b->row);
    });
    std::vector<Run> runs;
    for (const Box* box : boxes) {
      const Box* const last = runs.empty() ? nullptr : runs.back().back();
      if (last == nullptr || last->column != box->column || last->row + 1 != box->row) {
        runs.emplace_back();
      }
      runs.back().push_back(box);
    }
    return runs;
  }

  void DrawSpans() {
    int number = 0;
    for (const auto& [holder, boxes] : Spans()) {
      const char* const colour =
          kSpanColours[static_cast<size_t>(number) % std::size(kSpanColours)];
      for (const Box* box : boxes) {
        StrAppend(&out_, "<rect class=\"claimed\" x=\"", box->x - 4, "\" y=\"", box->y - 4,
                  "\" width=\"", box->width + 8, "\" height=\"", box->height + 8,
                  "\" rx=\"8\" fill=\"none\" stroke=\"", colour, "\"/>\n");
      }
      const std::vector<Run> runs = RunsOf(boxes);
      const Run* longest = &runs.front();
      for (const Run& run : runs) {
        if (run.size() > longest->size()) longest = &run;
        const int x = run.front()->x - 12 - kSpanWidth * number;
        StrAppend(&out_, "<line class=\"span\" x1=\"", x, "\" y1=\"", run.front()->y, "\" x2=\"", x,
                  "\" y2=\"", run.back()->y + run.back()->height, "\" stroke=\"", colour,
                  "\" stroke-width=\"5\"/>\n");
      }
      const int x = longest->front()->x - 18 - kSpanWidth * number;
      const int y = (longest->front()->y + longest->back()->y + longest->back()->height) / 2;
      Text(x, y, holder,
           StrCat("fill=\"", colour, "\" text-anchor=\"middle\" transform=\"rotate(-90 ", x, " ", y,
                  ")\""));
      ++number;
    }
  }

  const json::value& graph_;
  std::vector<Box> boxes_;
  std::map<std::string, size_t> index_;
  std::map<std::string, bool> is_placed_;
  size_t columns_ = 0;
  size_t rows_ = 0;
  int width_ = 0;
  int height_ = 0;
  std::string out_;
};

}  // namespace

std::string DrawGraphAsSvg(const json::value& graph) { return GraphDrawing(graph).Draw(); }

}  // namespace millrace
