// The filter of a mirror job: stands above the source and marks what changes.
//
// Marks are set after the operation below has ended, whatever its outcome. Set before it, they
// could be cleared by a copy that reads the old bytes while the operation is still on its way, and
// the change would never reach the target (race R29). A copy that reads while an operation is on
// its way may get any mixture; it is made good by the copy that the mark asks for.
//
// Reads pass. The filter tracks from the moment it is made, so it may be put in place before
// anybody looks at the marks (race R11), and is harmless when nobody does any more.
#ifndef MILLRACE_JOBS_MIRROR_MIRROR_FILTER_H_
#define MILLRACE_JOBS_MIRROR_MIRROR_FILTER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/io/dirty_bitmap.h"

namespace millrace {

// What the filter writes down and the job reads; shared, because either may go first.
class MirrorChanges {
 public:
  MirrorChanges(uint64_t bytes, uint64_t granularity) : bitmap_(bytes, granularity) {}

  DirtyBitmap& bitmap() { return bitmap_; }
  // Parts that are to be copied again: "3 marks".
  std::string InWords() const;
  void Mark(ByteRange range) {
    if (!is_tracking_) return;
    bitmap_.Set(range);
    if (listener_) listener_();
  }
  // Called after a mark by the request that has set it, if the source took what it wrote; the
  // request returns when this does: for a target that is to be written before the guest's write
  // returns. May suspend. Null: nobody cares.
  void SetSync(std::function<void(ByteRange)> sync) { sync_ = std::move(sync); }
  void CoSync(ByteRange range) MILLRACE_MAY_SUSPEND {
    const std::function<void(ByteRange)> sync = sync_;  // it may be taken away meanwhile
    if (sync) sync(range);
  }
  // Called after every mark that the filter sets; must not suspend. Null: nobody listens.
  void SetListener(std::function<void()> listener) { listener_ = std::move(listener); }
  // The job is over: marks are of no use any more.
  void Stop() {
    is_tracking_ = false;
    listener_ = nullptr;
    sync_ = nullptr;
  }

 private:
  DirtyBitmap bitmap_;
  bool is_tracking_ = true;
  std::function<void()> listener_;
  std::function<void(ByteRange)> sync_;
};

// `is_target_below`: the job writes to a layer below the source (active commit). Then what lies
// between is not consistent by itself while the job lives, and the filter asks for no consistent
// reads and lets others write there. Else, while somebody writes through the filter, nobody may
// write to the source past it.
std::unique_ptr<FilterDriver> MakeMirrorFilter(std::shared_ptr<MirrorChanges> changes,
                                               bool is_target_below);

}  // namespace millrace

#endif  // MILLRACE_JOBS_MIRROR_MIRROR_FILTER_H_
