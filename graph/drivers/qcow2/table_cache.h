// TableCache: the tables of an image (L1, L2, refcount table, refcount blocks) in slices, read when
// needed, changed in memory, and written back in batches. Internal; not installed.
//
// A slice is at most 4 KiB of one table. Two coroutines that miss on the same slice wait for one
// read. Who walks through an L2 table (the slice before is there) has the rest of it read at once:
// of a long chain, a job reads every table of every image. A lookup that hits does not suspend. A
// slice stays as long as somebody holds a SliceRef to it or it has unwritten changes; beyond that
// the least recently used ones go when the cache is larger than its limit.
//
// The order of writing is the owner's business (Writeback): TakeDirty() freezes what one kind of
// table has unwritten, CoWrite() writes that, and Restore() takes it back after an error. Changes
// made after TakeDirty() go into a fresh copy of the slice, so what is written is what was taken.
//
// Home thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_TABLE_CACHE_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_TABLE_CACHE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/sync/event.h"
#include "millrace/graph/drivers/qcow2/geometry.h"
#include "millrace/graph/drivers/qcow2/image_file.h"

namespace millrace::qcow2 {

enum class TableKind : uint8_t { kL1, kL2, kRefcountTable, kRefcountBlock };
inline constexpr size_t kTableKinds = 4;

class TableCache {
 private:
  struct Slice;

 public:
  // A slice that cannot go away. Reading through it is valid until the next suspension of anybody
  // who might change the slice; read again after suspending.
  class SliceRef {
   public:
    SliceRef() = default;
    // `offset` of the file must lie in the slice.
    const uint8_t* At(HostOffset offset) const;
    // Bytes from `offset` to the end of the slice.
    uint64_t BytesFrom(HostOffset offset) const;

   private:
    friend class TableCache;
    explicit SliceRef(std::shared_ptr<Slice> slice) : slice_(std::move(slice)) {}
    std::shared_ptr<Slice> slice_;
  };

  // Unwritten changes of one kind of table, frozen. Keeps its slices in the cache.
  class Batch {
   public:
    bool empty() const { return items_.empty(); }

   private:
    friend class TableCache;
    struct Item {
      std::shared_ptr<Slice> slice;
      std::shared_ptr<uint8_t[]> data;
      uint32_t begin = 0;
      uint32_t end = 0;
    };
    std::vector<Item> items_;
    TableKind kind_ = TableKind::kL1;
  };

  // `file` must outlive the cache.
  TableCache(ImageFile& file, const Geometry& geometry, uint64_t bytes_max);
  ~TableCache();
  TableCache(const TableCache&) = delete;
  TableCache& operator=(const TableCache&) = delete;

  uint64_t slice_bytes() const { return slice_bytes_; }

  // The slice that `offset` lies in, read if it is not there. Fails as the read does.
  absl::StatusOr<SliceRef> CoGet(TableKind kind, HostOffset offset) MILLRACE_MAY_SUSPEND;
  // Memory for changing `bytes` bytes at `offset`, which are to be written back from now on. Valid
  // until the next suspension.
  uint8_t* Change(SliceRef& ref, HostOffset offset, uint64_t bytes);
  // Drops all slices of a table that is no longer one, with their changes.
  void Forget(HostOffset offset, uint64_t bytes);

  bool IsDirty(TableKind kind) const { return !dirty_[static_cast<size_t>(kind)].empty(); }
  uint64_t dirty_bytes() const { return dirty_slices_ * slice_bytes_; }
  uint64_t bytes() const { return slices_.size() * slice_bytes_; }
  uint64_t bytes_max() const { return bytes_max_; }

  Batch TakeDirty(TableKind kind);
  // Neighbouring changes go out in one write.
  absl::Status CoWrite(const Batch& batch) MILLRACE_MAY_SUSPEND;
  void Restore(Batch& batch);

 private:
  std::shared_ptr<Slice> Insert(TableKind kind, uint64_t offset);
  using SliceList = std::vector<std::shared_ptr<Slice>>;
  // The slice at `offset`, to be loaded; and the rest of its L2 table, if somebody walks through
  // it.
  SliceList InsertMissing(TableKind kind, uint64_t offset);
  // Neighbours in one read. How it ended is told by each.
  void CoLoad(const SliceList& slices) MILLRACE_MAY_SUSPEND;
  absl::Status CoRead(const SliceList& slices) MILLRACE_MAY_SUSPEND;
  void MarkDirty(Slice& slice, uint32_t begin, uint32_t end);
  void ClearDirty(Slice& slice);
  void Touch(Slice& slice);
  void Detach(Slice& slice);
  void EvictBeyondLimit();
  uint64_t SliceOffset(HostOffset offset) const { return offset.value() & ~(slice_bytes_ - 1); }

  ImageFile& file_;
  const uint64_t table_bytes_;  // of an L2 table or refcount block: one cluster
  const uint64_t slice_bytes_;
  const uint64_t bytes_max_;
  absl::btree_map<uint64_t, std::shared_ptr<Slice>> slices_;  // by offset in the file
  // The slice that was found last for a kind of table, which the next one asked for mostly is.
  Slice* last_[kTableKinds] = {};
  // Declared behind slices_, so that they are gone first.
  struct Lists;
  std::unique_ptr<Lists> lists_;
  struct DirtyCount {
    uint64_t slices = 0;
    bool empty() const { return slices == 0; }
  };
  DirtyCount dirty_[kTableKinds];
  uint64_t dirty_slices_ = 0;
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_TABLE_CACHE_H_
