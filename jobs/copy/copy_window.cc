#include "millrace/jobs/copy/copy_window.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace {

using State = CopyStretch::State;

uint64_t CopyStretch::bytes_to_move() const {
  uint64_t bytes = 0;
  for (const ChainPart& piece : pieces) bytes += piece.range.bytes;
  return bytes;
}

CopyStretch& CopyWindow::Append(CopyStretch stretch) {
  if (stretch.pieces.empty()) stretch.state = State::kDone;
  stretches_.push_back(std::make_unique<CopyStretch>(std::move(stretch)));
  return *stretches_.back();
}

CopyStretch* CopyWindow::FirstWaiting() {
  const auto found = std::find_if(stretches_.begin(), stretches_.end(),
                                  [](const auto& each) { return each->state == State::kWaiting; });
  return found == stretches_.end() ? nullptr : found->get();
}

CopyStretch* CopyWindow::FailedFront() {
  const bool has_failed = !is_empty() && stretches_.front()->state == State::kFailed;
  return has_failed ? stretches_.front().get() : nullptr;
}

void CopyWindow::CoMove(CopyStretch& stretch) {
  stretch.result = mover_.CoMove(stretch.pieces);
  MILLRACE_SOMETIMES(&stretch != stretches_.front().get(), "copy: a later stretch ends first");
  bool is_ok = stretch.result.status.ok();
  MILLRACE_MUTANT(kM11) is_ok = is_ok || &stretch != stretches_.front().get();  // the first counts
  stretch.state = is_ok ? State::kDone : State::kFailed;
  failed_ += is_ok ? 0 : 1;
  --moving_;
}

void CopyWindow::CoStart(CopyStretch& stretch, TaskScope& scope, std::function<void()> on_end) {
  stretch.state = State::kMoving;
  ++moving_;
  // Whatever is settled meanwhile, a stretch that moves stays.
  const auto main = [this, &stretch, on_end]() MILLRACE_MAY_SUSPEND {
    CoMove(stretch);
    on_end();
    ended_.Notify();
  };
  // No stack for one more coroutine: this one does it.
  if (MILLRACE_BUGGIFY("copy: no coroutine for a piece") || !scope.Spawn("copy", main)) main();
}

void CopyWindow::Retry(CopyStretch& stretch) {
  MILLRACE_CHECK(stretch.state == State::kFailed, "only what has failed is tried again");
  stretch.state = State::kWaiting;
  --failed_;
}

void CopyWindow::RetryAllFailed() {
  for (const std::unique_ptr<CopyStretch>& each : stretches_) {
    if (each->state == State::kFailed) Retry(*each);
  }
}

void CopyWindow::GiveUp(CopyStretch& stretch) {
  MILLRACE_CHECK(stretch.state == State::kFailed, "only what has failed is given up");
  stretch.state = State::kDone;
  --failed_;
}

void CopyWindow::RetryInPieces(CopyStretch& stretch) {
  Retry(stretch);
  const auto place = std::find_if(stretches_.begin(), stretches_.end(),
                                  [&](const auto& each) { return each.get() == &stretch; });
  std::vector<std::unique_ptr<CopyStretch>> parts;
  for (size_t i = 0; i < stretch.pieces.size(); ++i) {
    const uint64_t begin = stretch.pieces[i].range.offset;
    const bool is_last = i + 1 == stretch.pieces.size();
    const uint64_t end = is_last ? stretch.range.end() : stretch.pieces[i + 1].range.offset;
    auto part = std::make_unique<CopyStretch>();
    part->range = ByteRange(begin, end - begin);
    part->pieces = {stretch.pieces[i]};
    part->is_charged = stretch.is_charged;
    parts.push_back(std::move(part));
  }
  const auto after = stretches_.erase(place);
  stretches_.insert(after, std::make_move_iterator(parts.begin()),
                    std::make_move_iterator(parts.end()));
}

uint64_t CopyWindow::Settle() {
  uint64_t bytes = 0;
  while (!stretches_.empty() && stretches_.front()->state == State::kDone) {
    bytes += stretches_.front()->range.bytes;
    stretches_.pop_front();
  }
  return bytes;
}

void CopyWindow::CoWaitForOne() {
  MILLRACE_CHECK(moving_ > 0, "waits for a stretch to end, and none moves");
  ended_.CoWait();
}

void CopyWindow::CoWaitForAll() {
  ended_.CoWaitUntil([this] { return moving_ == 0; });
  MILLRACE_ALWAYS(moving_ == 0, "copy: nothing is in flight once all was waited for");
}

}  // namespace millrace
