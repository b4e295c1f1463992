#include "millrace/jobs/copy/linear_copier.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace {
namespace {

constexpr uint64_t kSectorBytes = 512;

ChainPart PartOf(const AllocationRun& run, uint64_t offset, uint64_t bytes) {
  ChainPart part;
  part.range = ByteRange(offset, bytes);
  part.layer = run.layer;
  part.revision = run.revision;
  return part;
}

}  // namespace

LinearCopier::LinearCopier(Graph& graph, Attachment& reader, CopyMover& mover,
                           LinearCopyOptions options)
    : mover_(mover),
      options_(options),
      extents_(reader, options.first, options.last),
      window_(mover),
      guests_(graph, options.tuning.latency_target, options.tuning.flush_bytes) {}

void LinearCopier::CoStopIo() {
  mover_.OnPace(false);
  window_.CoWaitForAll();
  guests_.SetCopying(false);
}

void LinearCopier::OnRestartIo() {
  guests_.SetCopying(is_running_);
  extents_.Forget();
  path_.reset();
}

absl::Status LinearCopier::CoRun(JobContext& context, uint64_t bytes) {
  end_ = bytes;
  context.SetRemaining(bytes);
  TaskScope scope("copy");
  is_running_ = true;
  guests_.SetCopying(true);
  absl::Status status = CoCopy(context, scope);
  window_.CoWaitForAll();
  // Stretches keep their errors; the scope itself fails only for want of a stack, and then the
  // stretch was copied without one.
  scope.CoJoin().IgnoreError();
  is_running_ = false;
  guests_.SetCopying(false);
  return status.ok() ? first_error_ : status;
}

LinearCopier::Allowance LinearCopier::AllowanceNow(const JobContext& context) {
  if (!path_) path_ = mover_.Path();
  Allowance allowance;
  allowance.may_rest = !AreGuestsSparedBySpeed(context);
  mover_.OnPace(!path_->wants_events && context.speed() == 0);
  if (path_->wants_events) return allowance;
  const GuestWatch::Allowance share =
      guests_.ShareOf({options_.tuning.batches_max, options_.tuning.batch_bytes});
  allowance.batches = share.batches;
  if (MILLRACE_BUGGIFY("copy: one batch at a time")) allowance.batches = 1;
  const std::optional<GuestWatch::Allowance> beside_guests = guests_.AllowanceNow();
  if (beside_guests && allowance.may_rest) {
    allowance.batches = std::min(allowance.batches, beside_guests->batches);
    allowance.piece_bytes = std::min(allowance.piece_bytes, beside_guests->batch_bytes);
  }
  // What a speed limit may be ahead of is one piece.
  if (!path_->is_plain || context.speed() > 0) return allowance;
  allowance.batch_bytes = share.batch_bytes;
  if (beside_guests) {
    allowance.batch_bytes = std::min(allowance.batch_bytes, beside_guests->batch_bytes);
  }
  return allowance;
}

// A speed limit is what its user spares the guests by, and says how long a step is: 512 KiB, as
// QEMU's is. Who asks for a latency besides gets that.
bool LinearCopier::AreGuestsSparedBySpeed(const JobContext& context) const {
  return context.speed() > 0 && options_.tuning.latency_target == 0;
}

absl::Status LinearCopier::CoCopy(JobContext& context, TaskScope& scope) {
  for (;;) {
    context.CoPausePoint();
    if (context.is_cancelled()) return absl::OkStatus();
    if (window_.has_failed()) {
      MILLRACE_SOMETIMES(window_.moving() > 0, "copy: one stretch fails while another moves");
      window_.CoWaitForAll();
      context.Advance(window_.Settle());
      if (CopyStretch* failed = window_.FailedFront()) {
        MILLRACE_RETURN_IF_ERROR(HandleFailure(context, *failed));
        continue;
      }
    }
    if (std::exchange(must_back_off_, false)) {
      context.CoSleep(kErrorBackOff);
      continue;
    }
    if (is_all_started() && window_.is_empty()) return absl::OkStatus();
    if (guests_.IsFlushDue()) {
      MILLRACE_RETURN_IF_ERROR(CoFlushBesideGuests());
      continue;
    }
    const Allowance allowance = AllowanceNow(context);
    const bool has_more = MayCut() || window_.FirstWaiting() != nullptr;
    if (has_more && window_.moving() < allowance.batches) {
      const Nanoseconds rest = allowance.may_rest ? guests_.TakeRest() : 0;
      if (rest > 0) {
        context.CoSleep(rest);
        continue;
      }
      MILLRACE_RETURN_IF_ERROR(CoStartNext(context, scope, allowance));
    } else {
      window_.CoWaitForOne();
    }
  }
}

// What a failed flush has lost is not told again, so there is no going on.
absl::Status LinearCopier::CoFlushBesideGuests() {
  guests_.OnFlush();
  guests_.OnBatchBegin();
  absl::Status status = mover_.CoFlush();
  guests_.OnBatchEnd();
  return status;
}

// ---- What comes next ---------------------------------------------------------------------------

bool LinearCopier::MustCopy(const AllocationRun& run) const {
  return run.is_allocated && !(options_.target.is_valid() && run.layer == options_.target);
}

absl::Status LinearCopier::CoStartNext(JobContext& context, TaskScope& scope,
                                       const Allowance& allowance) {
  context.CoBeforePiece();
  MILLRACE_SOMETIMES(!path_, "copy: paused and let go before a piece");
  // Others have had their turn: something may have failed, or the job been paused and let go.
  if (context.is_cancelled() || !path_) return absl::OkStatus();
  CopyStretch* stretch = window_.FirstWaiting();
  if (stretch == nullptr) {
    if (!MayCut()) return absl::OkStatus();
    absl::StatusOr<CopyStretch> next = CoCut(allowance);
    if (!next.ok()) return CoHandleUnknown(context, next.status());
    cursor_ = next->range.end();
    stretch = &window_.Append(*std::move(next));
    if (stretch->pieces.empty()) {
      // Done already: it goes as soon as what lies before it has ended, so it is not kept in hand.
      context.Advance(window_.Settle());
      return absl::OkStatus();
    }
    // Time has passed again: it waits if nothing more is to be started now.
    context.CoPausePoint();
    if (context.is_cancelled() || window_.has_failed() || !path_) return absl::OkStatus();
  }
  if (!std::exchange(stretch->is_charged, true)) context.AccountBytes(stretch->bytes_to_move());
  guests_.OnBatchBegin();
  window_.CoStart(*stretch, scope, [this, &context, bytes = stretch->bytes_to_move()] {
    guests_.OnBatchEnd();
    guests_.OnWritten(bytes);
    context.Advance(window_.Settle());
  });
  return absl::OkStatus();
}

absl::StatusOr<CopyStretch> LinearCopier::CoCut(const Allowance& allowance) {
  const bool step_by_step = allowance.batch_bytes == 0 && path_->wants_events;
  MILLRACE_ASSIGN_OR_RETURN(const AllocationRun run, extents_.CoAt(cursor_, end_, step_by_step));
  CopyStretch stretch;
  if (!MustCopy(run)) {
    stretch.range = ByteRange(cursor_, run.bytes);
    return stretch;
  }
  const bool is_short = MILLRACE_BUGGIFY("copy: a piece of one sector");
  const uint64_t bytes = std::min(run.bytes, is_short ? kSectorBytes : allowance.piece_bytes);
  stretch.range = ByteRange(cursor_, bytes);
  stretch.pieces.push_back(PartOf(run, cursor_, bytes));
  AddNeighbours(allowance, stretch);
  return stretch;
}

// As far as it is known what comes next; asking would mean waiting.
void LinearCopier::AddNeighbours(const Allowance& allowance, CopyStretch& stretch) {
  if (MILLRACE_BUGGIFY("copy: a piece travels alone")) return;
  uint64_t moved = stretch.bytes_to_move();
  const uint64_t reach = stretch.range.offset + kBatchSpanMax;
  for (uint64_t at = stretch.range.end(); at < std::min(end_, reach);) {
    const std::optional<AllocationRun> run = extents_.Known(at);
    if (!run) return;
    if (!MustCopy(*run)) {
      at += run->bytes;
      continue;
    }
    const uint64_t bytes = std::min(run->bytes, allowance.piece_bytes);
    if (moved + bytes > allowance.batch_bytes || at + bytes > reach) return;
    stretch.pieces.push_back(PartOf(*run, at, bytes));
    moved += bytes;
    at += bytes;
    stretch.range.bytes = at - stretch.range.offset;
  }
}

// ---- Errors ------------------------------------------------------------------------------------

absl::StatusOr<ErrorAction> LinearCopier::ApplyPolicy(JobContext& context,
                                                      const CopyResult& failure) {
  const IoOperation operation =
      options_.names_reads_only ? IoOperation::kRead : failure.failed_operation;
  const ErrorAction action = context.HandleError(options_.on_error, operation, failure.status);
  if (action == ErrorAction::kReport) return failure.status;
  return action;
}

absl::Status LinearCopier::HandleFailure(JobContext& context, CopyStretch& stretch) {
  if (stretch.pieces.size() > 1) {
    MILLRACE_SOMETIMES(true, "copy: a batch that failed is tried piece by piece");
    window_.RetryInPieces(stretch);
    return absl::OkStatus();
  }
  MILLRACE_ASSIGN_OR_RETURN(const ErrorAction action, ApplyPolicy(context, stretch.result));
  if (action == ErrorAction::kIgnore && options_.ignoring_skips) {
    if (first_error_.ok()) first_error_ = stretch.result.status;
    window_.GiveUp(stretch);
    context.Advance(window_.Settle());
  } else if (action == ErrorAction::kStop) {
    // The user will have mended what is wrong before the job goes on. What else has failed by then
    // is tried again, too: one word of his must be enough (R63).
    window_.RetryAllFailed();
  } else {
    window_.Retry(stretch);
    must_back_off_ = true;
  }
  return absl::OkStatus();
}

// Nobody could say what comes next: a piece of which nothing is known has failed.
absl::Status LinearCopier::CoHandleUnknown(JobContext& context, absl::Status status) {
  window_.CoWaitForAll();
  context.Advance(window_.Settle());
  if (window_.has_failed()) return absl::OkStatus();  // what lies before it comes first
  MILLRACE_ASSIGN_OR_RETURN(const ErrorAction action,
                            ApplyPolicy(context, {status, IoOperation::kRead}));
  if (action == ErrorAction::kIgnore && options_.ignoring_skips) {
    if (first_error_.ok()) first_error_ = status;
    const uint64_t bytes = std::min(kCopyPieceBytesMax, end_ - cursor_);
    context.Advance(bytes);
    cursor_ += bytes;
  } else {
    must_back_off_ = action == ErrorAction::kIgnore;
  }
  return absl::OkStatus();
}

}  // namespace millrace
