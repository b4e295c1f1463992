// HeapArray: an array whose size comes from an image, and whose allocation may fail with a status.
//
// Elements are plain data, zero at first. The host's memory is taken as pages are touched, so a
// large, mostly empty table costs little. Move-only.
//
//   MILLRACE_ASSIGN_OR_RETURN(auto l1, HeapArray<uint64_t>::TryAllocate(scheduler, count, "L1"));
#ifndef MILLRACE_ENGINE_IO_HEAP_ARRAY_H_
#define MILLRACE_ENGINE_IO_HEAP_ARRAY_H_

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/try_allocate.h"

namespace millrace {

template <typename Element>
class HeapArray {
  static_assert(std::is_trivially_copyable_v<Element> &&
                std::is_trivially_default_constructible_v<Element> &&
                alignof(Element) <= alignof(std::max_align_t));

 public:
  HeapArray() = default;
  ~HeapArray() { std::free(data_); }
  HeapArray(HeapArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  HeapArray& operator=(HeapArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  // ResourceExhausted if there is no memory; `label` says for what.
  static absl::StatusOr<HeapArray> TryAllocate(Scheduler& scheduler, size_t count,
                                               std::string_view label) {
    constexpr size_t kCountMax = std::numeric_limits<ptrdiff_t>::max() / sizeof(Element);
    if (count > kCountMax) return OutOfMemory(std::numeric_limits<size_t>::max(), label);
    MILLRACE_RETURN_IF_ERROR(AskForMemory(scheduler, count * sizeof(Element), label));
    HeapArray array;
    if (count == 0) return array;
    array.data_ = static_cast<Element*>(std::calloc(count, sizeof(Element)));
    if (array.data_ == nullptr) return OutOfMemory(count * sizeof(Element), label);
    array.size_ = count;
    return array;
  }
  // A larger copy: new elements are zero. On failure this array stays as it is.
  absl::Status TryGrow(Scheduler& scheduler, size_t count, std::string_view label) {
    MILLRACE_CHECK(count >= size_, "a heap array only grows");
    MILLRACE_ASSIGN_OR_RETURN(HeapArray larger, TryAllocate(scheduler, count, label));
    std::copy_n(data_, size_, larger.data_);
    *this = std::move(larger);
    return absl::OkStatus();
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Element* data() { return data_; }
  const Element* data() const { return data_; }
  Element& operator[](size_t index) {
    MILLRACE_CHECK(index < size_, "index beyond a heap array");
    return data_[index];
  }
  const Element& operator[](size_t index) const {
    MILLRACE_CHECK(index < size_, "index beyond a heap array");
    return data_[index];
  }
  Element* begin() { return data_; }
  Element* end() { return data_ + size_; }
  const Element* begin() const { return data_; }
  const Element* end() const { return data_ + size_; }
  absl::Span<Element> span() { return {data_, size_}; }
  absl::Span<const Element> span() const { return {data_, size_}; }

 private:
  Element* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_HEAP_ARRAY_H_
