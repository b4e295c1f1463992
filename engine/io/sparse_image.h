// SparseImage: the bytes of one simulated file, with holes.
//
// Pages of 4 KiB that nobody wrote do not exist and read as zeroes; as on a real file system, a
// page is data as soon as part of it was written. A copy shares its pages with the original until
// one of them changes, so that keeping a second state of a file (what survives a crash) costs
// little.
#ifndef MILLRACE_ENGINE_IO_SPARSE_IMAGE_H_
#define MILLRACE_ENGINE_IO_SPARSE_IMAGE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/types/span.h"
#include "millrace/engine/io/io_backend.h"

namespace millrace {

class SparseImage {
 public:
  static constexpr uint64_t kPageBytes = 4096;

  uint64_t bytes() const { return bytes_; }
  uint64_t allocated_bytes() const { return pages_.size() * kPageBytes; }

  // Fills `buffer` from `offset`; returns how much of it lies before the end.
  size_t Read(uint64_t offset, absl::Span<char> buffer) const;
  // Grow the image if they reach beyond its end.
  void Write(uint64_t offset, absl::Span<const char> data);
  void WriteZeroes(uint64_t offset, uint64_t bytes);
  // Zeroes, and holes where whole pages are covered; never changes the size.
  void Discard(uint64_t offset, uint64_t bytes);
  void Resize(uint64_t bytes);
  // Whether data or a hole starts at `offset`, and how far it reaches.
  FileExtent FindExtent(uint64_t offset) const;

 private:
  struct Page {
    uint32_t references = 1;
    std::array<char, kPageBytes> bytes;
  };
  // A share of a page.
  class PageReference {
   public:
    explicit PageReference(Page* page) : page_(page) {}
    PageReference(const PageReference& other) : page_(other.page_) { ++page_->references; }
    PageReference(PageReference&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
    PageReference& operator=(PageReference other) noexcept {
      std::swap(page_, other.page_);
      return *this;
    }
    ~PageReference() {
      if (page_ != nullptr && --page_->references == 0) delete page_;
    }
    const char* bytes() const { return page_->bytes.data(); }
    // Unshares the page first.
    char* MutableBytes();

   private:
    Page* page_;
  };
  using Pages = absl::btree_map<uint64_t, PageReference>;

  // The page, made if it does not exist: zeroed unless all of it is about to be overwritten.
  char* PageForWrite(uint64_t number, bool is_overwritten);

  Pages pages_;
  uint64_t bytes_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_SPARSE_IMAGE_H_
