// TextRope: a text in pieces, so that a long one need not be put together, nor what repeats in it
// be repeated: the reply about a chain of 200 images has 10 MB and shows each of them 200 times.
//
// Pieces of a store are shared with other places of the same text; the rope keeps the store. Home
// thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_TEXT_ROPE_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_TEXT_ROPE_H_

#include <sys/uio.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "absl/types/span.h"

namespace millrace {

class TextRope {
 public:
  TextRope() = default;
  explicit TextRope(std::string text) { Append(std::move(text)); }

  size_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }

  void Append(std::string text);
  // `piece` lies in `*store`.
  void Append(std::shared_ptr<const std::string> store, std::string_view piece);
  void Append(TextRope rope);

  // Where it begins: fills some of `vectors`, and says how many.
  size_t Front(absl::Span<iovec> vectors) const;
  // At most bytes().
  void RemoveFront(size_t bytes);
  std::string ToString() const;

 private:
  struct Piece {
    std::shared_ptr<const std::string> store;
    std::string_view text;  // never empty
  };
  std::deque<Piece> pieces_;
  size_t bytes_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_TEXT_ROPE_H_
