#include "millrace/graph/drivers/sparse_bytes.h"

#include <algorithm>
#include <cstring>

namespace millrace {
namespace {

// Calls function(page number, first byte in the page, offset in the range, bytes) per page touched.
template <typename Function>
void ForEachPage(uint64_t offset, uint64_t bytes, Function function) {
  uint64_t done = 0;
  while (done < bytes) {
    const uint64_t at = offset + done;
    const uint64_t in_page = at % SparseBytes::kPageBytes;
    const uint64_t take = std::min(SparseBytes::kPageBytes - in_page, bytes - done);
    function(at / SparseBytes::kPageBytes, in_page, done, take);
    done += take;
  }
}

}  // namespace

void SparseBytes::Read(uint64_t offset, const IoVector& target) const {
  ForEachPage(offset, target.bytes(),
              [&](uint64_t page, uint64_t in_page, uint64_t done, uint64_t bytes) {
                const auto found = pages_.find(page);
                if (found == pages_.end()) {
                  target.Fill(done, 0, bytes);
                } else {
                  target.CopyFrom(done, found->second->data() + in_page, bytes);
                }
              });
}

void SparseBytes::Write(uint64_t offset, const IoVector& source) {
  ForEachPage(offset, source.bytes(),
              [&](uint64_t page, uint64_t in_page, uint64_t done, uint64_t bytes) {
                std::unique_ptr<Page>& memory = pages_[page];
                if (memory == nullptr) memory = std::make_unique<Page>();
                source.CopyTo(done, memory->data() + in_page, bytes);
              });
}

void SparseBytes::Zero(ByteRange range) {
  auto page = pages_.lower_bound(range.offset / kPageBytes);
  while (page != pages_.end() && page->first * kPageBytes < range.end()) {
    const ByteRange whole(page->first * kPageBytes, kPageBytes);
    if (range.Contains(whole)) {
      page = pages_.erase(page);
      continue;
    }
    const ByteRange part = range.Intersect(whole);
    std::memset(page->second->data() + (part.offset - whole.offset), 0, part.bytes);
    ++page;
  }
}

uint64_t SparseBytes::FindRun(ByteRange range, bool* exists) const {
  uint64_t number = range.offset / kPageBytes;
  auto page = pages_.lower_bound(number);
  *exists = page != pages_.end() && page->first == number;
  if (!*exists) {
    const uint64_t end = page == pages_.end() ? range.end() : page->first * kPageBytes;
    return std::min(end, range.end()) - range.offset;
  }
  while (page != pages_.end() && page->first == number && number * kPageBytes < range.end()) {
    ++page;
    ++number;
  }
  return std::min(number * kPageBytes, range.end()) - range.offset;
}

}  // namespace millrace
