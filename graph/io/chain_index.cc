#include "millrace/graph/io/chain_index.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "millrace/graph/io/chain_parts.h"
#include "millrace/graph/node.h"

namespace millrace {
namespace {

constexpr uint64_t kPauseMax = 4096;

// The layer below `node`, filters skipped; null if there is none.
Node* LayerBelow(const Node& node) {
  Edge* edge = node.FilteredOrBacking();
  while (edge != nullptr && edge->child->is_filter()) edge = edge->child->FilteredOrBacking();
  return edge == nullptr ? nullptr : edge->child;
}

bool IsReadThrough(const Node& node) {
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    if (edge->role == Role::kBacking) return true;
  }
  return false;
}

Node* Bottom(Node& start) {
  Node* bottom = LayerBelow(start);
  while (Node* next = bottom == nullptr ? nullptr : LayerBelow(*bottom)) bottom = next;
  return bottom;
}

}  // namespace

ChainIndex* ChainIndex::Of(Node& start) {
  const Node* layer = &start;
  for (size_t i = 0; i < kLayersMin && layer != nullptr; ++i) layer = LayerBelow(*layer);
  if (layer == nullptr || IsReadThrough(start)) return nullptr;
  if (start.chain_index == nullptr) start.chain_index = std::make_shared<ChainIndex>();
  return start.chain_index.get();
}

ChainIndex::Window* ChainIndex::WindowAt(uint64_t offset) {
  const uint64_t begin = AlignDown(offset, kWindowBytes);
  const auto found = std::find_if(windows_.begin(), windows_.end(),
                                  [&](const Window& each) { return each.begin == begin; });
  return found == windows_.end() ? nullptr : &*found;
}

Node* ChainIndex::Look(const Window& window, Node& start, ByteRange& range) {
  const auto run =
      std::upper_bound(window.runs.begin(), window.runs.end(), range.offset,
                       [](uint64_t offset, const Run& each) { return offset < each.end; });
  if (run == window.runs.end()) return nullptr;
  Node* const layer = ChainRevisions::FindIn(start, run->layer, run->revision);
  if (layer == nullptr) return nullptr;
  const uint64_t end = std::min({range.end(), run->end, layer->driver->bytes()});
  if (end <= range.offset) return nullptr;  // a short layer, which reads as zeroes here
  range.bytes = end - range.offset;
  return layer;
}

Node* ChainIndex::CoFind(Node& start, ByteRange& range) {
  Window* window = WindowAt(range.offset);
  if (window != nullptr) {
    window->last_use = ++uses_;
    if (Node* layer = Look(*window, start, range)) {
      next_pause_ = std::max<uint64_t>(next_pause_ / 2, 1);
      return layer;
    }
  }
  if (pause_ > 0) {
    --pause_;
    return nullptr;
  }
  if (is_learning_) return nullptr;
  if (window != nullptr) {
    Forget(*window);
    pause_ = std::exchange(next_pause_, std::min(next_pause_ * 2, kPauseMax));
  }
  CoLearn(start, range.offset);
  window = WindowAt(range.offset);
  return window == nullptr ? nullptr : Look(*window, start, range);
}

void ChainIndex::CoLearn(Node& start, uint64_t offset) {
  if (PathTraitsBelow(start, nullptr).wants_events) {
    pause_ = kPauseMax;  // somebody must see each table loaded when it is needed, not before
    return;
  }
  const uint64_t begin = AlignDown(offset, kWindowBytes);
  const ByteRange asked(begin, std::min(kWindowBytes, start.driver->bytes() - begin));
  const Node* const bottom = Bottom(start);
  const uint64_t revision = ChainRevisions(start).Of(bottom->id);
  is_learning_ = true;
  std::vector<AllocationRun> answers;
  const absl::Status status =
      CoAllocationsInChain(start, asked, LayerBelow(start), nullptr, &answers);
  is_learning_ = false;
  if (!status.ok()) {
    // Who reads what cannot be read will meet the error. Others read on, and each of them would ask
    // the whole chain again.
    pause_ = std::max(pause_, next_error_pause_);
    next_error_pause_ = std::min(next_error_pause_ * 2, kPauseMax);
    return;
  }
  next_error_pause_ = std::max<uint64_t>(next_error_pause_ / 2, 1);
  const bool is_bottom_known = revision == ChainRevisions(start).Of(bottom->id);
  Window window;
  window.begin = begin;
  window.last_use = ++uses_;
  uint64_t at = begin;
  for (const AllocationRun& answer : answers) {
    at += answer.bytes;
    Run run = {at, answer.layer, answer.revision};
    if (!answer.layer.is_valid()) {
      // Nobody has it: the bottom says so itself.
      run = {at, bottom->id, is_bottom_known ? revision : 0};
    }
    window.runs.push_back(run);
  }
  Keep(std::move(window));
}

void ChainIndex::Keep(Window window) {
  if (window.runs.size() > kRunsMax) return;
  runs_ += window.runs.size();
  windows_.push_back(std::move(window));
  while (windows_.size() > kWindowsMax || runs_ > kRunsMax) {
    Forget(*std::min_element(
        windows_.begin(), windows_.end(),
        [](const Window& a, const Window& b) { return a.last_use < b.last_use; }));
  }
}

void ChainIndex::Forget(const Window& window) {
  runs_ -= window.runs.size();
  windows_.erase(windows_.begin() + (&window - windows_.data()));
}

}  // namespace millrace
