// What a mirror job learns of its source, and the filter that stands above it meanwhile.
//
// What changes is marked by a listener at the source and below it: besides the guest, who writes
// through the filter, others may come to write to the source directly, or to what it shows: what a
// filter stands on, a raw image's file, a backing. Marks are set after the operation has ended,
// whatever its outcome. Set before it, they could be cleared by a copy that reads the old bytes
// while the operation is still on its way, and the change would never reach the target (race R29).
// A copy that reads while an operation is on its way may get any mixture; it is made good by the
// copy that the mark asks for.
//
// The source is tracked before the filter is in place and before anybody looks at the marks (race
// R11). The filter passes everything, is unleasable, and holds a write until it is copied, if
// asked; it is harmless when the job is gone.
#ifndef MILLRACE_JOBS_MIRROR_MIRROR_FILTER_H_
#define MILLRACE_JOBS_MIRROR_MIRROR_FILTER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/content_listener.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/io/dirty_bitmap.h"

namespace millrace {

// What the job and its filter know of the source; shared, because either may go first.
class MirrorChanges {
 public:
  MirrorChanges(uint64_t bytes, uint64_t granularity);
  ~MirrorChanges();

  // Marks what changes from now on in what `source` shows; once. FailedPrecondition (kStaleNode).
  absl::Status Track(Graph& graph, NodeId source, ContentListener::Depth depth);
  // The nodes whose writes are marked now, from the source down.
  std::vector<NodeId> tracked() const;

  DirtyBitmap& bitmap() { return bitmap_; }
  // Parts that are to be copied again: "3 marks".
  std::string InWords() const;
  // What lies behind the end that the source had when this was made is nobody's concern: as long as
  // the source is longer, the job does not end well.
  void Mark(ByteRange range) {
    if (!is_tracking_ || range.offset >= bitmap_.bytes()) return;
    bitmap_.Set(range);
    if (on_mark_) on_mark_();
  }
  // Called by a request that came through the filter, if the source took what it wrote; the
  // request returns when this does: for a target that is to be written before the guest's write
  // returns. May suspend. Null: nobody cares.
  void SetSync(std::function<void(ByteRange)> sync) { sync_ = std::move(sync); }
  void CoSync(ByteRange range) MILLRACE_MAY_SUSPEND {
    const std::function<void(ByteRange)> sync = sync_;  // it may be taken away meanwhile
    if (sync) sync(range);
  }
  // Called after every mark; must not suspend. Null: nobody cares.
  void SetOnMark(std::function<void()> on_mark) { on_mark_ = std::move(on_mark); }
  // The job is over: marks are of no use any more.
  void Stop();

 private:
  class Listener;

  DirtyBitmap bitmap_;
  bool is_tracking_ = true;
  std::unique_ptr<Listener> listener_;
  std::function<void()> on_mark_;
  std::function<void(ByteRange)> sync_;
};

// `is_target_below`: the job writes to a layer below the source (active commit). Then what lies
// between is not consistent by itself while the job lives, and the filter asks for no consistent
// reads and lets others write there; what its users ask is reserved.
std::unique_ptr<FilterDriver> MakeMirrorFilter(std::shared_ptr<MirrorChanges> changes,
                                               bool is_target_below);

}  // namespace millrace

#endif  // MILLRACE_JOBS_MIRROR_MIRROR_FILTER_H_
