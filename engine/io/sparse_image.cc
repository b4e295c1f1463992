#include "millrace/engine/io/sparse_image.h"

#include <algorithm>
#include <cstring>

#include "millrace/engine/base/byte_range.h"

namespace millrace {

char* SparseImage::PageReference::MutableBytes() {
  if (page_->references > 1) {
    auto* own = new Page;
    own->bytes = page_->bytes;
    --page_->references;
    page_ = own;
  }
  return page_->bytes.data();
}

char* SparseImage::PageForWrite(uint64_t number, bool is_overwritten) {
  auto entry = pages_.find(number);
  if (entry == pages_.end()) {
    auto* page = new Page;
    if (!is_overwritten) page->bytes.fill(0);
    entry = pages_.emplace(number, PageReference(page)).first;
  }
  return entry->second.MutableBytes();
}

size_t SparseImage::Read(uint64_t offset, absl::Span<char> buffer) const {
  if (offset >= bytes_) return 0;
  const size_t count = static_cast<size_t>(std::min<uint64_t>(buffer.size(), bytes_ - offset));
  auto page = pages_.lower_bound(offset / kPageBytes);
  for (size_t done = 0; done < count;) {
    const uint64_t position = offset + done;
    const size_t within = static_cast<size_t>(position % kPageBytes);
    const size_t part = std::min<size_t>(count - done, kPageBytes - within);
    if (page != pages_.end() && page->first == position / kPageBytes) {
      std::memcpy(buffer.data() + done, page->second.bytes() + within, part);
      ++page;
    } else {
      std::memset(buffer.data() + done, 0, part);
    }
    done += part;
  }
  return count;
}

void SparseImage::Write(uint64_t offset, absl::Span<const char> data) {
  for (size_t done = 0; done < data.size();) {
    const uint64_t position = offset + done;
    const size_t within = static_cast<size_t>(position % kPageBytes);
    const size_t part = std::min<size_t>(data.size() - done, kPageBytes - within);
    char* const page = PageForWrite(position / kPageBytes, part == kPageBytes);
    std::memcpy(page + within, data.data() + done, part);
    done += part;
  }
  bytes_ = std::max(bytes_, offset + data.size());
}

void SparseImage::WriteZeroes(uint64_t offset, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t position = offset + done;
    const uint64_t within = position % kPageBytes;
    const uint64_t part = std::min(bytes - done, kPageBytes - within);
    char* const page = PageForWrite(position / kPageBytes, part == kPageBytes);
    std::memset(page + within, 0, static_cast<size_t>(part));
    done += part;
  }
  bytes_ = std::max(bytes_, offset + bytes);
}

void SparseImage::Discard(uint64_t offset, uint64_t bytes) {
  const uint64_t end = offset + bytes;
  auto page = pages_.lower_bound(offset / kPageBytes);
  while (page != pages_.end() && page->first * kPageBytes < end) {
    const uint64_t start = page->first * kPageBytes;
    const uint64_t from = std::max(start, offset);
    const uint64_t to = std::min(start + kPageBytes, end);
    if (to - from == kPageBytes) {
      page = pages_.erase(page);
      continue;
    }
    std::memset(page->second.MutableBytes() + (from - start), 0, static_cast<size_t>(to - from));
    ++page;
  }
}

void SparseImage::Resize(uint64_t bytes) {
  // What lies beyond the end must read as zeroes if the image grows again.
  if (bytes < bytes_) Discard(bytes, AlignUp(bytes_, kPageBytes) - bytes);
  bytes_ = bytes;
}

FileExtent SparseImage::FindExtent(uint64_t offset) const {
  if (offset >= bytes_) return {};
  uint64_t number = offset / kPageBytes;
  auto page = pages_.lower_bound(number);
  const bool is_data = page != pages_.end() && page->first == number;
  if (is_data) {
    while (page != pages_.end() && page->first == number) {
      ++page;
      ++number;
    }
  } else {
    number = page == pages_.end() ? UINT64_MAX / kPageBytes : page->first;
  }
  return {std::min(number * kPageBytes, bytes_) - offset, is_data};
}

}  // namespace millrace
