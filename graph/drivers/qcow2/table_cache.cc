#include "millrace/graph/drivers/qcow2/table_cache.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <new>
#include <string_view>
#include <utility>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace::qcow2 {
namespace {

constexpr uint64_t kSliceBytesMax = 4096;
// Bound of one write of neighbouring slices.
constexpr uint64_t kWriteBytesMax = uint64_t{1} << 20;

std::string_view LoadEvent(TableKind kind) {
  switch (kind) {
    case TableKind::kL1:
      return "l1_load";
    case TableKind::kL2:
      return "l2_load";
    case TableKind::kRefcountTable:
      return "reftable_load";
    case TableKind::kRefcountBlock:
      return "refblock_load";
  }
  return "";
}

std::string_view WriteEvent(TableKind kind) {
  switch (kind) {
    case TableKind::kL1:
      return "l1_update";
    case TableKind::kL2:
      return "l2_update";
    case TableKind::kRefcountTable:
      return "refblock_alloc_hookup";
    case TableKind::kRefcountBlock:
      return "refblock_update_part";
  }
  return "";
}

// Aligned as its size, as direct I/O asks: then it needs no other memory, and how tables travel
// does not follow from where the memory happens to lie, which no seed repeats.
std::shared_ptr<uint8_t[]> NewSliceMemory(uint64_t bytes) {
  const auto alignment = static_cast<std::align_val_t>(bytes);
  auto* const memory = static_cast<uint8_t*>(::operator new[](bytes, alignment));
  return {memory, [alignment](uint8_t* each) { ::operator delete[](each, alignment); }};
}

}  // namespace

struct TableCache::Slice : std::enable_shared_from_this<TableCache::Slice> {
  Slice(TableKind table_kind, uint64_t file_offset, uint64_t slice_bytes)
      : kind(table_kind), offset(file_offset), bytes(slice_bytes) {}

  const TableKind kind;
  const uint64_t offset;
  const uint64_t bytes;
  // Shared with a batch while that is being written; then a change replaces it by a copy.
  std::shared_ptr<uint8_t[]> data;
  uint32_t dirty_begin = 0;
  uint32_t dirty_end = 0;  // equal to dirty_begin: clean
  bool is_detached = false;
  // While it is being read others wait here; afterwards load_status says how it ended.
  bool is_loading = false;
  Event loaded{"qcow2 table"};
  absl::Status load_status;
  ListLink use_link;
  ListLink dirty_link;

  bool is_dirty() const { return dirty_end != dirty_begin; }
};

struct TableCache::Lists {
  IntrusiveList<Slice, &Slice::use_link> by_use;  // least recently used first
  IntrusiveList<Slice, &Slice::dirty_link> dirty[kTableKinds];
};

const uint8_t* TableCache::SliceRef::At(HostOffset offset) const {
  return slice_->data.get() + (offset.value() - slice_->offset);
}
uint64_t TableCache::SliceRef::BytesFrom(HostOffset offset) const {
  return slice_->offset + slice_->bytes - offset.value();
}

TableCache::TableCache(ImageFile& file, const Geometry& geometry, uint64_t bytes_max)
    : file_(file),
      table_bytes_(geometry.cluster_bytes()),
      slice_bytes_(std::min(geometry.cluster_bytes(), kSliceBytesMax)),
      bytes_max_(bytes_max),
      lists_(std::make_unique<Lists>()) {}

TableCache::~TableCache() {
  while (!slices_.empty()) {
    const std::shared_ptr<Slice> slice = slices_.begin()->second;
    Detach(*slice);
  }
}

absl::StatusOr<TableCache::SliceRef> TableCache::CoGet(TableKind kind, HostOffset offset) {
  Slice*& last = last_[static_cast<size_t>(kind)];
  if (last != nullptr && last->offset == SliceOffset(offset)) {
    Touch(*last);
    return SliceRef(last->shared_from_this());
  }
  if (auto found = slices_.find(SliceOffset(offset)); found != slices_.end()) {
    std::shared_ptr<Slice> slice = found->second;
    MILLRACE_SOMETIMES(slice->is_loading, "qcow2: two want a table that is being loaded");
    if (slice->is_loading) {
      slice->loaded.CoWait();
      MILLRACE_RETURN_IF_ERROR(slice->load_status);
    } else {
      Touch(*slice);
      last = slice.get();
    }
    return SliceRef(std::move(slice));
  }
  const SliceList slices = InsertMissing(kind, SliceOffset(offset));
  CoLoad(slices);
  MILLRACE_RETURN_IF_ERROR(slices.front()->load_status);
  return SliceRef(slices.front());
}

TableCache::SliceList TableCache::InsertMissing(TableKind kind, uint64_t offset) {
  SliceList slices = {Insert(kind, offset)};
  const uint64_t end = AlignDown(offset, table_bytes_) + table_bytes_;
  const auto before = slices_.find(offset - slice_bytes_);
  const bool is_walk = kind == TableKind::kL2 && !IsAligned(offset, table_bytes_) &&
                       before != slices_.end() && before->second->kind == kind;
  const uint64_t room = bytes_max_ / 4;
  for (uint64_t next = offset + slice_bytes_; is_walk && next < end; next += slice_bytes_) {
    if (slices_.contains(next) || slices.size() * slice_bytes_ >= room) break;
    slices.push_back(Insert(kind, next));
  }
  for (const auto& slice : slices) slice->is_loading = true;
  return slices;
}

void TableCache::CoLoad(const SliceList& slices) {
  absl::Status together = CoRead(slices);
  for (const auto& slice : slices) {
    // Which of them cannot be read is known only when each is read by itself.
    slice->load_status = together.ok() || slices.size() == 1 ? together : CoRead({slice});
    slice->is_loading = false;
    // A failed slice leaves the cache, so that the next request tries again.
    if (!slice->load_status.ok() && !slice->is_detached) Detach(*slice);
    slice->loaded.Set();
  }
}

absl::Status TableCache::CoRead(const SliceList& slices) {
  file_.CoEvent(LoadEvent(slices.front()->kind));
  IoVector target;
  for (const auto& slice : slices) target.Append(slice->data.get(), slice_bytes_);
  return file_.CoRead(slices.front()->offset, target);
}

uint8_t* TableCache::Change(SliceRef& ref, HostOffset offset, uint64_t bytes) {
  Slice& slice = *ref.slice_;
  MILLRACE_CHECK(
      offset.value() >= slice.offset && offset.value() + bytes <= slice.offset + slice_bytes_,
      "a change of a table leaves its slice");
  MILLRACE_SOMETIMES(slice.data.use_count() > 1, "qcow2: a table changes while it is written");
  if (slice.data.use_count() > 1) {
    std::shared_ptr<uint8_t[]> copy = NewSliceMemory(slice_bytes_);
    std::memcpy(copy.get(), slice.data.get(), slice_bytes_);
    slice.data = std::move(copy);
  }
  const auto begin = static_cast<uint32_t>(offset.value() - slice.offset);
  MarkDirty(slice, begin, begin + static_cast<uint32_t>(bytes));
  return slice.data.get() + begin;
}

void TableCache::Forget(HostOffset offset, uint64_t bytes) {
  auto position = slices_.lower_bound(offset.value());
  while (position != slices_.end() && position->first < offset.value() + bytes) {
    const std::shared_ptr<Slice> slice = position->second;
    Detach(*slice);
    position = slices_.lower_bound(offset.value());
  }
}

TableCache::Batch TableCache::TakeDirty(TableKind kind) {
  Batch batch;
  batch.kind_ = kind;
  auto& dirty = lists_->dirty[static_cast<size_t>(kind)];
  while (Slice* slice = dirty.front()) {
    const auto found = slices_.find(slice->offset);
    batch.items_.push_back({found->second, slice->data, slice->dirty_begin, slice->dirty_end});
    ClearDirty(*slice);
  }
  std::sort(
      batch.items_.begin(), batch.items_.end(),
      [](const Batch::Item& a, const Batch::Item& b) { return a.slice->offset < b.slice->offset; });
  return batch;
}

absl::Status TableCache::CoWrite(const Batch& batch) {
  for (size_t i = 0; i < batch.items_.size();) {
    // Whole sectors: a sector is what the device writes atomically.
    const Batch::Item& first = batch.items_[i];
    const uint64_t start = first.slice->offset + first.begin / kSectorBytes * kSectorBytes;
    uint64_t end = start;
    IoVector source;
    for (; i < batch.items_.size() && end - start < kWriteBytesMax; ++i) {
      const Batch::Item& item = batch.items_[i];
      const uint32_t begin = item.begin / kSectorBytes * kSectorBytes;
      const uint32_t stop = (item.end + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
      if (item.slice->offset + begin != end) break;
      source.Append(item.data.get() + begin, stop - begin);
      end = item.slice->offset + stop;
    }
    file_.CoEvent(WriteEvent(batch.kind_));
    MILLRACE_RETURN_IF_ERROR(file_.CoWrite(start, source));
  }
  return absl::OkStatus();
}

void TableCache::Restore(Batch& batch) {
  for (Batch::Item& item : batch.items_) {
    if (!item.slice->is_detached) MarkDirty(*item.slice, item.begin, item.end);
  }
  batch.items_.clear();
}

std::shared_ptr<TableCache::Slice> TableCache::Insert(TableKind kind, uint64_t offset) {
  auto slice = std::make_shared<Slice>(kind, offset, slice_bytes_);
  slice->data = NewSliceMemory(slice_bytes_);
  std::memset(slice->data.get(), 0, slice_bytes_);
  slices_.emplace(offset, slice);
  lists_->by_use.PushBack(*slice);
  EvictBeyondLimit();
  return slice;
}

void TableCache::MarkDirty(Slice& slice, uint32_t begin, uint32_t end) {
  // A detached slice is part of no table any more.
  if (slice.is_detached) return;
  if (slice.is_dirty()) {
    slice.dirty_begin = std::min(slice.dirty_begin, begin);
    slice.dirty_end = std::max(slice.dirty_end, end);
    return;
  }
  slice.dirty_begin = begin;
  slice.dirty_end = end;
  const auto kind = static_cast<size_t>(slice.kind);
  lists_->dirty[kind].PushBack(slice);
  ++dirty_[kind].slices;
  ++dirty_slices_;
}

void TableCache::ClearDirty(Slice& slice) {
  if (!slice.is_dirty()) return;
  slice.dirty_begin = slice.dirty_end = 0;
  const auto kind = static_cast<size_t>(slice.kind);
  lists_->dirty[kind].Remove(slice);
  --dirty_[kind].slices;
  --dirty_slices_;
}

void TableCache::Touch(Slice& slice) {
  if (lists_->by_use.back() == &slice) return;
  lists_->by_use.Remove(slice);
  lists_->by_use.PushBack(slice);
}

void TableCache::Detach(Slice& slice) {
  ClearDirty(slice);
  lists_->by_use.Remove(slice);
  std::replace(std::begin(last_), std::end(last_), &slice, static_cast<Slice*>(nullptr));
  slice.is_detached = true;
  const uint64_t offset = slice.offset;
  slices_.erase(offset);  // may destroy the slice
}

void TableCache::EvictBeyondLimit() {
  Slice* slice = lists_->by_use.front();
  const uint64_t bytes_max = MILLRACE_BUGGIFY("qcow2: evicts tables early") ? 0 : bytes_max_;
  // A few steps per call: a cache full of slices in use must not cost a walk per lookup.
  for (int steps = 0; slice != nullptr && bytes() > bytes_max && steps < 16; ++steps) {
    Slice* next = lists_->by_use.After(*slice);
    const auto found = slices_.find(slice->offset);
    const bool is_free = found->second.use_count() == 1 && !slice->is_dirty();
    if (is_free) {
      Detach(*slice);
    } else {
      Touch(*slice);
    }
    slice = next;
  }
}

}  // namespace millrace::qcow2
