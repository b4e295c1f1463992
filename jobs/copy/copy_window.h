// CopyWindow: the stretches of an image that a copier is at, in the order of the image.
//
// A stretch is some pieces that move together, and the gaps between them. Stretches end in any
// order; they are settled in the order of the image, so that progress means what it means for a
// copier with one piece at a time: everything before it is done. What has failed stays where it is,
// and holds back what lies behind it, until it is tried again or given up.
//
// Each stretch that moves is a coroutine of the scope that the caller owns. Home thread.
#ifndef MILLRACE_JOBS_COPY_COPY_WINDOW_H_
#define MILLRACE_JOBS_COPY_COPY_WINDOW_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/jobs/copy/copy_mover.h"

namespace millrace {

struct CopyStretch {
  enum class State : uint8_t { kWaiting, kMoving, kDone, kFailed };

  ByteRange range;                // starts with its first piece
  std::vector<ChainPart> pieces;  // empty: there is nothing to move
  State state = State::kWaiting;
  bool is_charged = false;  // its bytes have been charged to the speed limit
  CopyResult result;

  uint64_t bytes_to_move() const;
};

class CopyWindow {
 public:
  explicit CopyWindow(CopyMover& mover) : mover_(mover) {}

  bool is_empty() const { return stretches_.empty(); }
  size_t moving() const { return moving_; }
  bool has_failed() const { return failed_ > 0; }

  // At the end of the image as far as it is known; it starts where the last one ended.
  CopyStretch& Append(CopyStretch stretch);
  // The first that waits; null if none does.
  CopyStretch* FirstWaiting();
  // The one at the window's start, if it has failed; else null.
  CopyStretch* FailedFront();
  // Moves it in a coroutine of `scope`; `on_end` is called there when it has ended.
  void CoStart(CopyStretch& stretch, TaskScope& scope, std::function<void()> on_end)
      MILLRACE_MAY_SUSPEND;
  // What is to become of a failed one: tried again; tried again piece by piece (only if it has
  // several); given up, which counts as done.
  void Retry(CopyStretch& stretch);
  void RetryAllFailed();
  void RetryInPieces(CopyStretch& stretch);
  void GiveUp(CopyStretch& stretch);
  // Lets go of what is done at the start of the window; returns how many bytes that was.
  uint64_t Settle();

  // Returns when one has ended. One must move (checked): who asks in a loop would go round for
  // ever.
  void CoWaitForOne() MILLRACE_MAY_SUSPEND;
  void CoWaitForAll() MILLRACE_MAY_SUSPEND;

 private:
  void CoMove(CopyStretch& stretch) MILLRACE_MAY_SUSPEND;

  CopyMover& mover_;
  std::deque<std::unique_ptr<CopyStretch>> stretches_;
  size_t moving_ = 0;
  size_t failed_ = 0;
  Condition ended_{"copied stretch"};
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_COPY_COPY_WINDOW_H_
