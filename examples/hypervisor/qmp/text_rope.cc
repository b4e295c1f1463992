#include "examples/hypervisor/qmp/text_rope.h"

#include <algorithm>
#include <utility>

namespace millrace {

void TextRope::Append(std::string text) {
  auto store = std::make_shared<const std::string>(std::move(text));
  const std::string_view whole = *store;
  Append(std::move(store), whole);
}

void TextRope::Append(std::shared_ptr<const std::string> store, std::string_view piece) {
  if (piece.empty()) return;
  bytes_ += piece.size();
  pieces_.push_back({std::move(store), piece});
}

void TextRope::Append(TextRope rope) {
  bytes_ += rope.bytes_;
  for (Piece& piece : rope.pieces_) pieces_.push_back(std::move(piece));
}

size_t TextRope::Front(absl::Span<iovec> vectors) const {
  const size_t count = std::min(vectors.size(), pieces_.size());
  for (size_t i = 0; i < count; ++i) {
    const std::string_view text = pieces_[i].text;
    vectors[i] = {const_cast<char*>(text.data()), text.size()};
  }
  return count;
}

void TextRope::RemoveFront(size_t bytes) {
  bytes_ -= bytes;
  while (bytes > 0) {
    std::string_view& text = pieces_.front().text;
    const size_t part = std::min(bytes, text.size());
    text.remove_prefix(part);
    bytes -= part;
    if (text.empty()) pieces_.pop_front();
  }
}

std::string TextRope::ToString() const {
  std::string text;
  text.reserve(bytes_);
  for (const Piece& piece : pieces_) text += piece.text;
  return text;
}

}  // namespace millrace
