// The work of a mirror job: CoRun and its parts.
#include <algorithm>
#include <utility>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/jobs/copy/zero_range.h"
#include "millrace/jobs/mirror/mirror_job.h"

namespace millrace {
namespace {

// A ready job lets changes gather for so long: a guest that writes the same place again and again
// has it copied once.
constexpr Nanoseconds kReadySlice = 100 * kMillisecond;

}  // namespace

absl::Status MirrorJob::CoRun(JobContext& context) {
  MILLRACE_RETURN_IF_ERROR(CoFitTarget());
  if (zeroes_target_) MILLRACE_RETURN_IF_ERROR(CoZeroTarget(context));
  if (marks_allocated_) MILLRACE_RETURN_IF_ERROR(CoMarkAllocated(context));
  if (counts_all_) context.Advance(dirty().bytes() - dirty().dirty_bytes());
  MILLRACE_MUTANT(kR11) MutantNote<bool>(set_up_.changes.get()) = true;
  is_copying_ = true;
  PaceGuests(context);
  TaskScope scope("mirror");
  const absl::Status status = CoMirror(context, scope);
  CoEndSync();
  copier_.CoWaitForAll();
  // What guests have copied since the job's last flush.
  while (status.ok() && failure_.ok() && copier_.needs_flush()) {
    bool is_over = context.is_cancelled();
    MILLRACE_MUTANT(kR26a) is_over = false;  // the flush comes first, however often it fails
    if (is_over) break;
    context.CoPausePoint();
    if (std::exchange(must_back_off_, false)) context.CoSleep(kErrorBackOff);
    CoFlushTarget();
  }
  // Pieces report to OnPieceDone(); the scope itself fails only for want of a stack, and then the
  // piece was done without one.
  scope.CoJoin().IgnoreError();
  context.SetRemaining(dirty().dirty_bytes());
  return status.ok() ? failure_ : status;
}

void MirrorJob::CoStopIo() {
  is_at_rest_ = true;
  is_actively_synced_ = false;  // guests go on, and are not waited for
  guest_sync_done_.CoWaitUntil([this] { return guest_syncs_ == 0; });
  copier_.CoWaitForAll();
  MILLRACE_ALWAYS(copier_.pieces_in_flight() == 0, "mirror: nothing in flight when it is stopped");
}

void MirrorJob::OnRestartIo() {
  is_at_rest_ = false;
  is_path_plain_.reset();  // the graph may have changed
}

// ---- Copying in the guest's requests -------------------------------------------------------------

// The mark is set already, so whatever is left undone here is done by the job. What the guest has
// written is in the target once a piece over it that started after the mark was set has ended well,
// whosever it is: of others who write there too, and copy that, nobody needs to wait for the last.
void MirrorJob::CoSyncWrite(ByteRange range) {
  ++guest_syncs_;
  const uint64_t granularity = dirty().granularity();
  const uint64_t end = std::min(AlignUp(range.end(), granularity), dirty().bytes());
  const uint64_t first_number = copier_.next_number();
  uint64_t at = AlignDown(range.offset, granularity);
  while (at < end && failure_.ok() && !is_at_rest_ && !context().is_cancelled()) {
    if (const std::shared_ptr<const MirrorPiece> others = copier_.PieceAt(at)) {
      copier_.CoWaitFor(*others);
      // It may have read what was there before, or left this part to another one.
      if (others->number < first_number || !others->range.Contains(at)) continue;
      if (!others->status.ok()) {
        is_actively_synced_ = false;
        break;
      }
      at = others->range.end();
      continue;
    }
    const uint64_t bytes = std::min(end - at, std::max(copier_.Room(), granularity));
    const std::optional<ByteRange> area = copier_.NextFree(at, bytes);
    if (!area || area->offset > at) {
      // Not marked up to there, or in flight: somebody has copied it meanwhile, or does.
      const uint64_t next = NextToSync(at, area ? area->offset : end);
      at = std::min(next, end);
      continue;
    }
    if (copier_.IsShortOfMemory()) {
      copier_.CoWaitForOne();
      continue;
    }
    ++guest_pieces_;
    const MirrorPiece piece = copier_.CoCopyNow(ByteRange(at, std::min(area->end(), end) - at));
    --guest_pieces_;
    if (!piece.status.ok()) {
      ApplyPolicy(piece.failed_operation, piece.status);
      if (is_idle_) context().Kick();  // the job does what the policy says
      break;
    }
    CountGuestCopy(piece, range);
    CountEndWork(piece);
    at = piece.range.end();
  }
  --guest_syncs_;
  guest_sync_done_.Notify();
}

uint64_t MirrorJob::NextToSync(uint64_t at, uint64_t marked) const {
  const std::optional<ByteRange> busy = copier_.NextBusy(at);
  return busy ? std::min(marked, busy->offset) : marked;
}

// In a write-blocking mirror a guest's write is work that comes and is done at once, as in QEMU: as
// much as the guest has written, however large granules are. Else it is the job's own work, done
// for it.
void MirrorJob::CountGuestCopy(const MirrorPiece& piece, ByteRange written) {
  const bool is_guests = copy_mode_ == MirrorCopyMode::kWriteBlocking;
  context().Advance(is_guests ? piece.range.Intersect(written).bytes : piece.range.bytes);
  // The job may be asleep.
  context().SetRemaining(BytesLeft());
}

bool MirrorJob::AreGuestsPaced() const {
  return copy_mode_ == MirrorCopyMode::kWriteBlocking || are_guests_held_;
}

void MirrorJob::NoteWhetherSynced(const JobContext& context) {
  is_actively_synced_ |= copy_mode_ == MirrorCopyMode::kWriteBlocking && context.is_ready() &&
                         dirty().is_clean() && copier_.pieces_in_flight() == 0;
}

void MirrorJob::PaceGuests(const JobContext& context) {
  if (!free_pass_) {
    const bool is_over = MILLRACE_BUGGIFY("mirror: guests have outrun the job");
    free_pass_ = is_over ? 0 : BytesLeft() + kFreePassBytes;
  }
  const bool is_on_its_way = !context.is_ready() || is_ending();
  are_guests_held_ = is_on_its_way && free_pass_ == 0 && context.speed() == 0;
  MILLRACE_SOMETIMES(are_guests_held_ && guest_syncs_ > 0, "mirror: a guest is held");
  if (AreGuestsPaced()) {
    set_up_.changes->SetSync([this](ByteRange range) MILLRACE_MAY_SUSPEND { CoSyncWrite(range); });
  } else {
    set_up_.changes->SetSync(nullptr);
  }
}

void MirrorJob::CoEndSync() {
  is_copying_ = false;
  is_actively_synced_ = false;  // what guests write from here on is copied in the end
  set_up_.changes->SetSync(nullptr);
  guest_sync_done_.CoWaitUntil([this] { return guest_syncs_ == 0; });
}

// ---- Before copying ----------------------------------------------------------------------------

absl::Status MirrorJob::CoFitTarget() {
  if (is_target_below_ && set_up_.writer.bytes() < dirty().bytes()) {
    MILLRACE_RETURN_IF_ERROR(set_up_.writer.CoResize(dirty().bytes()));
  }
  return CheckLengths();
}

absl::Status MirrorJob::CheckLengths() const {
  const uint64_t began = set_up_.changes->bitmap().bytes();
  const uint64_t source = set_up_.filter.bytes();
  const uint64_t target = set_up_.writer.bytes();
  const bool fits = is_target_below_ ? target >= began : target == began;
  if (source == began && fits) return absl::OkStatus();
  if (source == began) {
    return RefuseJob(
        absl::StatusCode::kInvalidArgument, ConflictReason::kSizeMismatch, context().id(), type_,
        StrCat("cannot mirror: the source has ", source, " bytes and the target ", target),
        "make both the same size");
  }
  return RefuseJob(absl::StatusCode::kFailedPrecondition, ConflictReason::kSizeMismatch,
                   context().id(), type_,
                   StrCat("cannot end the mirror: the source had ", began,
                          " bytes when it began and has ", source, " now"),
                   "open the source with its former size again, or cancel the job by force");
}

// Copying only what is allocated in the source leaves the rest of the target as it is.
absl::Status MirrorJob::CoZeroTarget(JobContext& context) {
  const uint64_t total = set_up_.writer.bytes();
  Nanoseconds slice_end = graph().engine().clock().Now() + kScanSlice;
  for (uint64_t offset = 0; offset < total && failure_.ok() && !context.is_cancelled();) {
    context.CoPausePoint();
    const ByteRange rest(offset, std::min(total - offset, kZeroBytesMax));
    const absl::StatusOr<ZeroedStart> start = CoZeroStart(set_up_.writer, rest, options_.unmap);
    if (start.ok()) {
      offset += start->bytes;
    } else {
      ApplyPolicy(IoOperation::kWrite, start.status());
    }
    if (must_back_off_ || graph().engine().clock().Now() >= slice_end) {
      context.CoSleep(must_back_off_ ? kErrorBackOff : 0);
      must_back_off_ = false;
      slice_end = graph().engine().clock().Now() + kScanSlice;
    }
  }
  return failure_;
}

absl::Status MirrorJob::CoMarkAllocated(JobContext& context) {
  Nanoseconds slice_end = graph().engine().clock().Now() + kScanSlice;
  for (uint64_t offset = 0; !context.is_cancelled();) {
    context.CoPausePoint();
    // It may be another than it was; what it has lost is marked.
    const uint64_t total = std::min(dirty().bytes(), set_up_.filter.bytes());
    if (offset >= total) break;
    MILLRACE_ASSIGN_OR_RETURN(
        const AllocationRun run,
        set_up_.filter.CoAllocation(ByteRange(offset, total - offset), NodeId(), marked_down_to_));
    if (run.is_allocated) dirty().Set(ByteRange(offset, run.bytes));
    offset += run.bytes;
    if (graph().engine().clock().Now() >= slice_end) {
      context.CoSleep(0);
      slice_end = graph().engine().clock().Now() + kScanSlice;
    }
  }
  return absl::OkStatus();
}

// ---- Copying -----------------------------------------------------------------------------------

uint64_t MirrorJob::LittleBytes() {
  return std::min(MirrorCopier::kPieceBytesMax, MirrorCopier::kBatchesMax * dirty().granularity());
}

bool MirrorJob::IsNearlyClean() {
  if (dirty().is_clean()) return true;
  MILLRACE_MUTANT(kR15) return false;
  // A guest that never stops writing must not keep the job from ending: one pass after the user's
  // word, what is left may be copied under the drain.
  if (!is_ending() || end_work_ != 0) return false;
  return is_outrun_ || dirty().dirty_bytes() <= LittleBytes();
}

// Nobody holds back who writes below the source, past the filter; only the drain does. Once guests
// are held, passes are worth it for as long as each leaves half as much at most. What guests copy
// meanwhile was marked meanwhile, too, and is no part of a pass.
void MirrorJob::CountPasses(const JobContext& context, uint64_t left) {
  if (!is_ending() || end_work_ != 0 || free_pass_ != 0 || context.speed() != 0) {
    is_outrun_ = false;
    pass_bytes_ = pass_left_ = 0;
    return;
  }
  if (pass_left_ > 0) return;
  is_outrun_ = pass_bytes_ > LittleBytes() && left > pass_bytes_ / 2;
  pass_bytes_ = pass_left_ = left;
}

absl::Status MirrorJob::CoMirror(JobContext& context, TaskScope& scope) {
  for (;;) {
    context.SetRemaining(BytesLeft());
    context.CoPausePoint();
    if (context.is_cancelled()) return absl::OkStatus();
    if (!failure_.ok()) return failure_;
    if (must_back_off_) {
      must_back_off_ = false;
      context.CoSleep(kErrorBackOff);
      continue;
    }
    if (is_ending() && !end_work_) {
      end_work_ = BytesLeft();
      free_pass_.reset();
    }
    PaceGuests(context);
    CountPasses(context, BytesLeft());
    NoteWhetherSynced(context);
    // From here to the next suspension the marks stay as they are.
    const bool is_done = context.is_ready() && IsNearlyClean();
    MILLRACE_SOMETIMES(is_done && !dirty().is_clean(),
                       "mirror: the rest is copied under the drain");
    if (!is_done && copier_.IsFlushDue()) {
      CoFlushSoFar();  // pieces may be in flight: it is not all of the job's own
    } else if (const std::optional<ByteRange> area = NextArea(); area && !is_done) {
      const Nanoseconds rest = is_ending() ? 0 : copier_.TakeRest();
      if (rest > 0) {
        context.CoSleep(rest);
      } else {
        CoStartPiece(context, scope, *area);
      }
    } else if (MustWaitForPieces(is_done)) {
      copier_.CoWaitForOne();
    } else if (context.is_ready() && !is_ending()) {
      CoWaitForChanges(context);
    } else if (MustFlush()) {
      CoFlushTarget();
    } else if (options_.empties_source) {
      return absl::OkStatus();  // nobody is asked; what comes now is copied at the end
    } else if (!context.is_ready()) {
      CoBecomeReady(context);
    } else {
      return absl::OkStatus();
    }
  }
}

// What the last piece owes to the speed limit is paid first: a job that is held is not ready, and
// takes no complete.
void MirrorJob::CoBecomeReady(JobContext& context) {
  if (context.speed() != 0) {
    context.CoBeforePiece();
    // The guest may have gone on writing meanwhile.
    if (context.is_cancelled() || !dirty().is_clean() || MustFlush()) return;
  }
  context.BecomeReady();
}

// For the job's own; and for the guests' where what is marked overlaps them or lacks room. Guests
// that are never at rest would hold the job for ever otherwise.
bool MirrorJob::MustWaitForPieces(bool is_done) const {
  const bool is_held_up = !is_done && !set_up_.changes->bitmap().is_clean();
  return copier_.pieces_in_flight() > (is_held_up ? 0 : guest_pieces_);
}

// What the job itself has copied is flushed before it is ready, and before it ends. Guests whose
// writes go to the target as well may never leave a moment in which nothing is to be flushed:
// theirs is flushed under the drain.
bool MirrorJob::MustFlush() const {
  return copier_.needs_flush() && !(AreGuestsPaced() && is_own_work_flushed_);
}

std::optional<ByteRange> MirrorJob::NextArea() {
  const uint64_t room = copier_.Room();
  if (room == 0) return std::nullopt;
  const std::optional<ByteRange> area = copier_.NextFree(cursor_, room);
  return area ? area : copier_.NextFree(0, room);
}

void MirrorJob::CoStartPiece(JobContext& context, TaskScope& scope, ByteRange area) {
  if (!paced_.Contains(area.offset)) {
    context.CoBeforePiece();
    if (context.is_cancelled()) return;
    // Others have had their turn: what was next may be no longer.
    const std::optional<ByteRange> next = NextArea();
    if (!next) return;
    area = *next;
    paced_ = *dirty().NextDirty(area.offset, buffer_bytes_);
  }
  uint64_t copied_bytes = 0;
  is_own_work_flushed_ = false;
  const MirrorPiece piece = copier_.CoStart(
      area, BatchBytesMax(context), scope, [this](const MirrorPiece& done) { OnPieceDone(done); },
      &copied_bytes);
  if (!piece.status.ok()) return;
  context.AccountBytes(copied_bytes);
  cursor_ = piece.range.end();
  paced_ = paced_.Intersect(ByteRange(cursor_, kBytesMax - cursor_));
}

// Pieces travel together only where nobody in between must see each of them, and no speed limit
// counts them.
uint64_t MirrorJob::BatchBytesMax(const JobContext& context) {
  if (!is_path_plain_) {
    is_path_plain_ = set_up_.filter.PathBelow(NodeId()).is_plain &&
                     set_up_.writer.PathBelow(set_up_.writer.node()).is_plain;
  }
  return *is_path_plain_ && context.speed() == 0 ? copier_.Room() : 0;
}

void MirrorJob::CoWaitForChanges(JobContext& context) {
  is_idle_ = true;
  context.CoIdle();
  is_idle_ = false;
  MILLRACE_SOMETIMES(!dirty().is_clean(), "mirror: the guest writes while it is ready");
  if (!dirty().is_clean() && !is_ending()) context.CoSleep(kReadySlice);
}

void MirrorJob::CoFlushTarget() { is_own_work_flushed_ = CoFlushSoFar() || is_own_work_flushed_; }

bool MirrorJob::CoFlushSoFar() {
  const absl::Status status = copier_.CoFlush();
  if (!status.ok()) ApplyPolicy(IoOperation::kWrite, status);
  return status.ok();
}

// ---- What becomes of pieces --------------------------------------------------------------------

void MirrorJob::OnPieceDone(const MirrorPiece& piece) {
  if (!piece.status.ok()) {
    ApplyPolicy(piece.failed_operation, piece.status);
    return;
  }
  context().Advance(piece.range.bytes);
  CountEndWork(piece);
  pass_left_ -= std::min(pass_left_, piece.range.bytes);
}

void MirrorJob::CountEndWork(const MirrorPiece& piece) {
  if (end_work_) end_work_ = *end_work_ - std::min(*end_work_, piece.range.bytes);
  if (free_pass_) free_pass_ = *free_pass_ - std::min(*free_pass_, piece.range.bytes);
}

void MirrorJob::ApplyPolicy(IoOperation operation, const absl::Status& status) {
  is_actively_synced_ = false;
  if (context().is_cancelled()) return;
  const OnError policy =
      operation == IoOperation::kRead ? options_.on_source_error : options_.on_target_error;
  switch (context().HandleError(policy, operation, status)) {
    case ErrorAction::kReport:
      if (failure_.ok()) failure_ = status;
      break;
    case ErrorAction::kIgnore:
      must_back_off_ = true;
      break;
    case ErrorAction::kStop:
      break;  // paused: tried again when the user resumes it
  }
}

}  // namespace millrace
