// Requests on their way: waiting, choosing how they end, crashing. What they do to files is in
// simulated_io_files.cc.
#include "millrace/engine/io/simulated_io.h"

#include <algorithm>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::array<std::string_view, kSimulatedOperations> kNames = {
    "read",       "write",  "sync", "discard", "write zeroes", "truncate",
    "copy range", "memory", "open", "stat",    "find extent",  "close"};

bool ChangesDisk(SimulatedOperation operation) {
  switch (operation) {
    case SimulatedOperation::kWrite:
    case SimulatedOperation::kSync:
    case SimulatedOperation::kDiscard:
    case SimulatedOperation::kWriteZeroes:
    case SimulatedOperation::kTruncate:
    case SimulatedOperation::kCopyRange:
    case SimulatedOperation::kOpen:
      return true;
    default:
      return false;
  }
}

bool NeedsSpace(SimulatedOperation operation) {
  switch (operation) {
    case SimulatedOperation::kWrite:
    case SimulatedOperation::kWriteZeroes:
    case SimulatedOperation::kTruncate:
    case SimulatedOperation::kCopyRange:
      return true;
    default:
      return false;
  }
}

// The latencies that may be chosen besides the one that is set: one that lets a few others pass,
// one that lets many, and a stall that outlasts what a job waits between two looks at its work.
constexpr Nanoseconds kSlow = 2 * kMillisecond;
constexpr Nanoseconds kVerySlow = 20 * kMillisecond;
constexpr Nanoseconds kStall = 200 * kMillisecond;
// More pieces are not chosen one by one.
constexpr size_t kPiecesChosenMax = 10;

// "write 'img-3' at 512, 1024 bytes"
std::string InWords(const IoRequest& request, std::string_view operation) {
  const bool has_range = request.opcode != IoOpcode::kCall && request.bytes > 0;
  return StrCat(request.deed.empty() ? operation : request.deed, " '", request.label, "'",
                has_range ? StrCat(" at ", request.offset, ", ", request.bytes, " bytes") : "");
}

std::string ErrorInWords(int error_number) {
  if (error_number == EIO) return "EIO";
  return error_number == ENOSPC ? "ENOSPC" : StrCat("error ", error_number);
}

bool IsOnFile(IoOpcode opcode) { return opcode != IoOpcode::kMemory && opcode != IoOpcode::kCall; }

}  // namespace

SimulatedIo::SimulatedIo(Scheduler& scheduler, SimulatedDisk* disk)
    : scheduler_(scheduler), disk_(disk), timer_("io", &OnTimer, this) {
  if (disk_ == nullptr) {
    own_disk_ = std::make_unique<SimulatedDisk>();
    disk_ = own_disk_.get();
  }
  scheduler_.AddStepSource(this);
}

SimulatedIo::~SimulatedIo() {
  MILLRACE_CHECK(in_flight() == 0, "simulated I/O destroyed with requests in flight");
  scheduler_.RemoveStepSource(this);
  scheduler_.Disarm(timer_);
  for (const Open& open : opens_) {
    if (open.file != nullptr) open.file->UnlockAll(open.number);
  }
}

// ---- Waiting -----------------------------------------------------------------------------------

SimulatedOperation SimulatedIo::OperationOf(const IoRequest& request) {
  // CoCall() keeps the operation of a kCall where other requests have their offset.
  return static_cast<SimulatedOperation>(
      request.opcode == IoOpcode::kCall ? request.offset : static_cast<uint64_t>(request.opcode));
}

void SimulatedIo::Submit(IoRequest& request) {
  request.ordinal = next_ordinal_++;
  if (IsOnFile(request.opcode)) {
    if (Open* open = Find(request.file)) {
      ++open->in_flight;
      request.progress = open->file->effects();
    }
    if (request.opcode == IoOpcode::kCopyRange) {
      if (Open* source = Find(request.source)) ++source->in_flight;
    }
  }
  NoteBegin(request);
  const Nanoseconds latency = ChooseLatency(request);
  if (latency == 0) {
    ready_.push_back(&request);
    return;
  }
  request.due = scheduler_.Now() + latency;
  IoRequest* after = delayed_.back();
  while (after != nullptr && after->due > request.due) after = delayed_.Before(*after);
  delayed_.InsertAfter(after, request);
  scheduler_.Arm(timer_, delayed_.front()->due);
}

Nanoseconds SimulatedIo::ChooseLatency(const IoRequest& request) {
  const Nanoseconds as_set = latency_[static_cast<size_t>(OperationOf(request))];
  if (!has_latency_choices_) return as_set;
  const std::string object(ObjectOf(request));
  const Option options[] = {{request.ordinal, request.label, "as set"},
                            {request.ordinal, request.label, "slow"},
                            {request.ordinal, request.label, "very slow"},
                            {request.ordinal, request.label, "its file stalls"}};
  const Nanoseconds latencies[] = {as_set, kSlow, kVerySlow, as_set};
  const size_t chosen = scheduler_.Choose(ChoiceKind::kLatency, options);
  const Nanoseconds now = scheduler_.Now();
  if (chosen == 3) stalled_until_[object] = now + kStall;
  const auto stall = stalled_until_.find(object);
  const Nanoseconds stalled = stall == stalled_until_.end() ? 0 : stall->second - now;
  return std::max(latencies[chosen], stalled);
}

void SimulatedIo::ReleaseDue() {
  while (IoRequest* request = delayed_.front()) {
    if (request->due > scheduler_.Now()) {
      scheduler_.Arm(timer_, request->due);
      return;
    }
    delayed_.Remove(*request);
    ready_.push_back(request);
  }
}

Option SimulatedIo::DescribeStep(size_t index) const {
  const IoRequest& request = *ready_[index];
  return {(uint64_t{1} << 32) + request.ordinal, request.label,
          kNames[static_cast<size_t>(OperationOf(request))]};
}

// ---- Ending ------------------------------------------------------------------------------------

void SimulatedIo::TakeStep(size_t index) {
  IoRequest& request = *ready_[index];
  const SimulatedOperation operation = OperationOf(request);
  if (MayCrash(request, "crash before")) return;  // the request fails in a step of its own
  ready_.erase(ready_.begin() + static_cast<ptrdiff_t>(index));

  scheduler_.Touch("file", ObjectOf(request),
                   operation == SimulatedOperation::kRead ? StepAccess::kRead : StepAccess::kWrite);
  Outcome outcome{.has_effect = false, .error_number = EIO};
  if (!is_crashed_) outcome = ChooseOutcome(request, operation);
  request.result = 0;
  if (outcome.has_effect) request.result = Perform(request, outcome.is_torn);
  if (outcome.error_number != 0) request.result = -outcome.error_number;
  NoteEnd(request, outcome);
  ++completed_[static_cast<size_t>(operation)];
  scheduler_.MixTrace(static_cast<uint64_t>(request.result));
  MayCrash(request, "crash after");
  Finish(request);
}

void SimulatedIo::NoteBegin(const IoRequest& request) {
  StepObserver* keeper = scheduler_.note_keeper();
  if (keeper == nullptr) return;
  const std::string what = InWords(request, kNames[static_cast<size_t>(OperationOf(request))]);
  keeper->OnNote("io", request.label, StrCat(what, ": begins (#", request.ordinal, ")"));
}

void SimulatedIo::NoteEnd(const IoRequest& request, const Outcome& outcome) {
  StepObserver* keeper = scheduler_.note_keeper();
  if (keeper == nullptr) return;
  const std::string what = InWords(request, kNames[static_cast<size_t>(OperationOf(request))]);
  const std::string number = StrCat(" (#", request.ordinal, ")");
  if (request.result >= 0) {
    keeper->OnNote("io", request.label, StrCat(what, ": done", number));
    return;
  }
  const std::string_view effect = outcome.is_torn      ? "after a part of it"
                                  : outcome.has_effect ? "after its effect"
                                                       : "without effect";
  keeper->OnNote(
      "fault", request.label,
      StrCat(what, ": ", ErrorInWords(static_cast<int>(-request.result)), ", ", effect, number));
}

void SimulatedIo::Finish(IoRequest& request) {
  if (IsOnFile(request.opcode)) {
    if (Open* open = Find(request.file)) --open->in_flight;
    if (request.opcode == IoOpcode::kCopyRange) {
      if (Open* source = Find(request.source)) --source->in_flight;
    }
  }
  CountCompletion(scheduler_, request);
  request.on_done(request);
}

std::string_view SimulatedIo::ObjectOf(const IoRequest& request) {
  if (IsOnFile(request.opcode)) {
    if (const Open* open = Find(request.file)) return open->file->path();
  }
  return request.label;
}

const IoFailure* SimulatedIo::MatchFailure(IoRequest& request, SimulatedOperation operation) {
  const IoFailure* found = nullptr;
  for (PlannedFailure& planned : failures_) {
    const IoFailure& failure = planned.failure;
    if (failure.operation.has_value() ? *failure.operation != operation
                                      : operation == SimulatedOperation::kClose) {
      continue;
    }
    if (!failure.path.empty() && failure.path != ObjectOf(request)) continue;
    ++planned.matched;
    const bool is_hit =
        failure.is_persistent ? planned.matched >= failure.nth : planned.matched == failure.nth;
    if (is_hit && found == nullptr) found = &failure;
  }
  return found;
}

SimulatedIo::Outcome SimulatedIo::ChooseOutcome(IoRequest& request, SimulatedOperation operation) {
  if (!failures_.empty()) {
    if (const IoFailure* failure = MatchFailure(request, operation)) {
      ++failed_;
      return {.has_effect = failure->is_after_effect, .error_number = failure->error_number};
    }
  }
  if (scheduler_.decider() == nullptr || operation == SimulatedOperation::kClose) return {};
  absl::InlinedVector<Option, 5> options;
  auto offer = [&](std::string_view what) {
    options.push_back({request.ordinal, request.label, what});
  };
  offer("ok");
  offer("error before effect");
  if (request.opcode != IoOpcode::kCall) offer("error after effect");
  if (NeedsSpace(operation)) offer("no space");
  const bool can_tear =
      operation == SimulatedOperation::kWrite && request.bytes > SimulatedFile::kSectorBytes;
  if (can_tear) offer("torn");
  switch (scheduler_.Choose(ChoiceKind::kOutcome, options)) {
    case 1:
      return {.has_effect = false, .error_number = EIO};
    case 2:
      return {.error_number = EIO};
    case 3:
      return {.has_effect = false, .error_number = ENOSPC};
    case 4:
      return {.is_torn = true, .error_number = EIO};
    default:
      return {};
  }
}

uint64_t SimulatedIo::ChooseTear(const IoRequest& request) {
  const Option options[] = {{request.ordinal, request.label, "the first sector"},
                            {request.ordinal, request.label, "half"},
                            {request.ordinal, request.label, "all but the last sector"}};
  const uint64_t bytes[] = {1, request.bytes / 2, request.bytes - 1};
  const uint64_t wanted = request.offset + bytes[scheduler_.Choose(ChoiceKind::kData, options)];
  // A sector is written whole or not at all.
  const uint64_t sector = SimulatedFile::kSectorBytes;
  const uint64_t first_end = (request.offset / sector + 1) * sector;
  return std::min(request.bytes, std::max(first_end, wanted / sector * sector) - request.offset);
}

// ---- Crash -------------------------------------------------------------------------------------

bool SimulatedIo::MayCrash(const IoRequest& request, std::string_view when) {
  if (!has_crash_points_ || is_crashed_ || !ChangesDisk(OperationOf(request))) return false;
  const Option choices[] = {{request.ordinal, request.label, "go on"},
                            {request.ordinal, request.label, when}};
  if (scheduler_.Choose(ChoiceKind::kCrash, choices) == 0) return false;
  size_t pieces = 0;
  Crash([&](const UnflushedPiece&) { return ++pieces > kPiecesChosenMax; });
  if (pieces <= kPiecesChosenMax) {
    crashed_disk_ = Crash([&](const UnflushedPiece& piece) {
      const Option fates[] = {{piece.effect, piece.path, "piece lost"},
                              {piece.effect, piece.path, "piece survives"}};
      return scheduler_.Choose(ChoiceKind::kData, fates) != 0;
    });
    return true;
  }
  const Option survivors[] = {{request.ordinal, request.label, "nothing survives"},
                              {request.ordinal, request.label, "everything survives"},
                              {request.ordinal, request.label, "pattern 1 survives"},
                              {request.ordinal, request.label, "pattern 2 survives"},
                              {request.ordinal, request.label, "pattern 3 survives"},
                              {request.ordinal, request.label, "pattern 4 survives"}};
  const size_t which = scheduler_.Choose(ChoiceKind::kData, survivors);
  // Seeded by the schedule alone, so that a replay finds the same disk.
  RandomStream pattern(request.ordinal * 8 + which, "survivors");
  crashed_disk_ =
      Crash([&](const UnflushedPiece&) { return which == 1 || (which > 1 && pattern.OneIn(2)); });
  return true;
}

void SimulatedIo::ForEachInFlight(
    absl::FunctionRef<void(const IoRequest&, const SimulatedFile&, const SimulatedFile*)> visit)
    const {
  auto visit_one = [&](const IoRequest& request) {
    if (!IsOnFile(request.opcode)) return;
    const Open* open = Find(request.file);
    if (open == nullptr) return;
    const Open* source = request.opcode == IoOpcode::kCopyRange ? Find(request.source) : nullptr;
    visit(request, *open->file, source == nullptr ? nullptr : source->file);
  };
  for (const IoRequest* each : ready_) visit_one(*each);
  for (IoRequest* each = delayed_.front(); each != nullptr; each = delayed_.After(*each)) {
    visit_one(*each);
  }
}

std::unique_ptr<SimulatedDisk> SimulatedIo::Crash(Survives survives) {
  is_crashed_ = true;
  auto left = std::make_unique<SimulatedDisk>(disk_->options());
  std::vector<SimulatedFile::InFlight> of_file;
  for (const std::string& path : disk_->Paths()) {
    const SimulatedFile* file = disk_->Find(path);
    of_file.clear();
    ForEachInFlight(
        [&](const IoRequest& request, const SimulatedFile& changed, const SimulatedFile* source) {
          const bool is_refused =
              request.opcode == IoOpcode::kCopyRange && !disk_->options().can_copy_range;
          if (&changed == file && !is_refused) of_file.push_back({&request, source});
        });
    left->Create(path).Reset(file->AfterCrash(of_file, survives));
  }
  return left;
}

}  // namespace millrace
