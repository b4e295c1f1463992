#include "tests/support/serial_chain.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/text.h"

namespace millrace {

SerialChain::SerialChain(size_t layers) {
  for (size_t layer = layers; layer > 0; --layer) {
    places_.push_back({.name = StrCat("n", layer - 1)});
    if (layer > 1) places_.back().header = StrCat("n", layer - 2);
  }
}

SerialChain::Iterator SerialChain::Find(const std::string& name) {
  return std::find_if(places_.begin(), places_.end(),
                      [&](const Place& each) { return each.name == name; });
}

void SerialChain::WriteHeaderAbove(Iterator lower) {
  const auto image =
      std::find_if(lower, places_.end(), [](const Place& each) { return !each.is_filter; });
  while (lower != places_.begin()) {
    --lower;
    if (lower->is_filter) continue;
    lower->header = image == places_.end() ? "" : image->name;
    return;
  }
}

bool SerialChain::Take(const ChainEdit& edit) {
  using Kind = ChainEdit::Kind;
  if (edit.kind == Kind::kSnapshot) {
    places_.insert(places_.begin(), {.name = edit.upper, .is_layer = false});
    return true;
  }
  if (edit.kind == Kind::kFilter) {
    const Iterator lower = Find(edit.lower);
    if (lower == places_.end()) return false;
    places_.insert(lower, {.name = edit.upper, .is_layer = false, .is_filter = true});
    return true;
  }
  const Iterator upper = Find(edit.upper);
  if (upper == places_.end()) return false;
  if (edit.kind == Kind::kNoFilter) {
    places_.erase(upper);
    return true;
  }
  if (edit.kind == Kind::kMirror) {
    places_.erase(upper, places_.end());
    places_.push_back({.name = edit.lower, .is_layer = false});
    return true;
  }
  const Iterator lower = std::find_if(upper, places_.end(),
                                      [&](const Place& each) { return each.name == edit.lower; });
  if (lower == places_.end()) return false;
  const bool is_stream = edit.kind == Kind::kStream;
  WriteHeaderAbove(is_stream ? places_.erase(upper + 1, lower + 1) : places_.erase(upper, lower));
  return true;
}

std::string SerialChain::Shape() const {
  std::string shape;
  for (const Place& each : places_) {
    StrAppend(&shape, shape.empty() ? "" : " <- ",
              each.is_filter ? StrCat("[", each.name, "]") : each.name);
  }
  return shape;
}

std::map<std::string, std::string> SerialChain::Headers() const {
  std::map<std::string, std::string> headers;
  for (const Place& each : places_) {
    if (each.is_layer) headers[each.name] = each.header;
  }
  return headers;
}

namespace {

bool IsAt(const SerialChain& chain, const ChainAtEnd& end) {
  if (chain.Shape() != end.shape) return false;
  const std::map<std::string, std::string> headers = chain.Headers();
  return std::all_of(end.headers.begin(), end.headers.end(), [&](const auto& each) {
    const auto found = headers.find(each.first);
    return found != headers.end() && found->second == each.second;
  });
}

// Whether some order of the edits that are not `taken` leads to the end. Their own order comes
// first, which mostly does.
bool IsReached(const SerialChain& chain, absl::Span<const JobsEdit> edits, std::vector<bool>& taken,
               const ChainAtEnd& end) {
  bool is_any_left = false;
  for (size_t i = 0; i < edits.size(); ++i) {
    if (taken[i]) continue;
    is_any_left |= edits[i].is_certain;
    SerialChain after = chain;
    if (!after.Take(edits[i].edit)) continue;
    taken[i] = true;
    if (IsReached(after, edits, taken, end)) return true;
    taken[i] = false;
  }
  return !is_any_left && IsAt(chain, end);
}

}  // namespace

absl::Status CheckSerial(const SerialChain& chain, absl::Span<const JobsEdit> edits,
                         const ChainAtEnd& end) {
  std::vector<bool> taken(edits.size(), false);
  if (IsReached(chain, edits, taken, end)) return absl::OkStatus();
  std::string said = StrCat("O4: no order of what was done leads to ", end.shape);
  for (const auto& [layer, header] : end.headers) {
    StrAppend(&said, ", the header of ", layer, " naming '", header, "'");
  }
  for (const JobsEdit& each : edits) {
    StrAppend(&said, each.is_certain ? "; " : "; perhaps ", each.edit.upper, " ", each.edit.lower);
  }
  return absl::InternalError(said);
}

}  // namespace millrace
