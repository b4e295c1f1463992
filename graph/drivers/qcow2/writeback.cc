#include "millrace/graph/drivers/qcow2/writeback.h"

#include <utility>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace::qcow2 {

absl::Status Writeback::CoRun(bool with_refcounts) {
  MutexLock lock(CoHold(mutex_));
  MILLRACE_RETURN_IF_ERROR(image_.write_error());
  TableCache& cache = image_.cache();
  // All kinds in one step, so that every L2 entry taken has its refcount taken too, or on disk.
  Round round;
  if (with_refcounts || !lazy_refcounts_) {
    round.blocks = cache.TakeDirty(TableKind::kRefcountBlock);
    round.table = cache.TakeDirty(TableKind::kRefcountTable);
  }
  round.l2 = cache.TakeDirty(TableKind::kL2);
  round.l1 = cache.TakeDirty(TableKind::kL1);
  MILLRACE_SOMETIMES(!round.l1.empty(), "qcow2: a round of metadata reaches the L1 table");
  const uint64_t number = next_round_++;
  absl::Status status = CoWriteInOrder(round);
  if (status.ok()) {
    written_round_ = number;
  } else {
    // A failed flush may have lost what was written before it, so everything is written again.
    cache.Restore(round.blocks);
    cache.Restore(round.table);
    cache.Restore(round.l2);
    cache.Restore(round.l1);
  }
  return status;
}

absl::Status Writeback::CoWriteInOrder(const Round& round) {
  TableCache& cache = image_.cache();
  if (!round.blocks.empty()) {
    blocks_unflushed_ = true;
    MILLRACE_RETURN_IF_ERROR(cache.CoWrite(round.blocks));
  }
  if (!round.table.empty()) {
    if (blocks_unflushed_) MILLRACE_RETURN_IF_ERROR(CoFlushFile());
    table_unflushed_ = true;
    MILLRACE_RETURN_IF_ERROR(cache.CoWrite(round.table));
  }
  if (!round.l2.empty()) {
    bool must_wait = blocks_unflushed_ || table_unflushed_ || data_unflushed_;
    MILLRACE_MUTANT(kR84a) must_wait = false;  // it is written after them, and that is enough
    if (must_wait) MILLRACE_RETURN_IF_ERROR(CoFlushFile());
    l2_unflushed_ = true;
    MILLRACE_RETURN_IF_ERROR(cache.CoWrite(round.l2));
  }
  if (!round.l1.empty()) {
    if (blocks_unflushed_ || table_unflushed_ || l2_unflushed_) {
      MILLRACE_RETURN_IF_ERROR(CoFlushFile());
    }
    MILLRACE_RETURN_IF_ERROR(cache.CoWrite(round.l1));
  }
  return absl::OkStatus();
}

absl::Status Writeback::CoFlushFile() {
  MILLRACE_RETURN_IF_ERROR(image_.CoRestoreStart());
  // What becomes true during the flush is not covered by it.
  const bool blocks = std::exchange(blocks_unflushed_, false);
  const bool table = std::exchange(table_unflushed_, false);
  const bool l2 = std::exchange(l2_unflushed_, false);
  const bool data = std::exchange(data_unflushed_, false);
  const uint64_t round = written_round_;
  absl::Status status = image_.file().CoFlush();
  if (!status.ok()) {
    blocks_unflushed_ |= blocks;
    table_unflushed_ |= table;
    l2_unflushed_ |= l2;
    data_unflushed_ |= data;
    return status;
  }
  if (round > durable_round_) durable_round_ = round;
  return absl::OkStatus();
}

absl::Status Writeback::CoBarrier() {
  MutexLock lock(CoHold(mutex_));
  return CoFlushFile();
}

absl::Status Writeback::CoWriteRefcountBlocks() {
  TableCache::Batch blocks = image_.cache().TakeDirty(TableKind::kRefcountBlock);
  blocks_unflushed_ = true;
  absl::Status status = image_.cache().CoWrite(blocks);
  if (status.ok()) status = CoFlushFile();
  if (!status.ok()) image_.cache().Restore(blocks);
  return status;
}

}  // namespace millrace::qcow2
