// SimulatedIo: I/O without a host, on the files of a SimulatedDisk.
//
// Every request waits until the simulation takes it as a step; in which order, and how each ends,
// the Decider chooses: ok, error before or after its effect, no space, torn at a sector. Without a
// decider requests complete in the order in which they were submitted, and succeed. A request's
// effect happens at one moment, when it completes: reads see what completed before them. With a
// latency a request completes once virtual time has reached it.
//
// Opening, closing and describing files are steps too. Test controls make the N-th operation fail,
// count operations, and crash the machine. The same controls reach kMemory requests, whose effect
// is the caller's `apply`.
//
// Stricter than a host, to find bugs: a file closed while requests are in flight is a failed check.
#ifndef MILLRACE_ENGINE_IO_SIMULATED_IO_H_
#define MILLRACE_ENGINE_IO_SIMULATED_IO_H_

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/function_ref.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {

// What can fail and be counted. The first ones are the opcodes.
enum class SimulatedOperation : uint8_t {
  kRead,
  kWrite,
  kSync,
  kDiscard,
  kWriteZeroes,
  kTruncate,
  kCopyRange,
  kMemory,
  kOpen,
  kStat,
  kFindExtent,
  kClose,  // takes effect whatever it reports
};
inline constexpr size_t kSimulatedOperations = 12;

// Makes an operation fail. Matching operations are counted as they complete, from the moment the
// failure is set.
struct IoFailure {
  std::optional<SimulatedOperation> operation{};  // any but kClose if absent
  std::string path{};                             // any if empty; the label of kMemory requests
  uint64_t nth = 1;
  int error_number = EIO;
  bool is_persistent = false;  // the N-th and all that follow
  bool is_after_effect = false;
};

class SimulatedIo final : public IoBackend, public StepSource {
 public:
  // `disk` must outlive this; null for an empty disk of one's own.
  explicit SimulatedIo(Scheduler& scheduler, SimulatedDisk* disk = nullptr);
  ~SimulatedIo() override;

  // ---- Test controls ----------------------------------------------------------------------------
  SimulatedDisk& disk() { return *disk_; }
  void Fail(IoFailure failure) { failures_.push_back({std::move(failure), 0}); }
  void ClearFailures() { failures_.clear(); }
  // How many operations Fail() has made fail: 0 ends a loop over N.
  uint64_t failed() const { return failed_; }
  uint64_t completed(SimulatedOperation operation) const {
    return completed_[static_cast<size_t>(operation)];
  }
  // Virtual time from submission to completion; 0 at first.
  void SetLatency(SimulatedOperation operation, Nanoseconds latency) {
    latency_[static_cast<size_t>(operation)] = latency;
  }
  void SetLatency(Nanoseconds latency) { latency_.fill(latency); }
  // Lets the decider choose how long each request takes (kLatency): as set, some milliseconds,
  // many, or that its file stalls, so that whatever is asked of the file meanwhile ends later
  // still.
  void SetLatencyChoices(bool are_on) { has_latency_choices_ = are_on; }

  // The machine stops. Returns the disk as found afterwards: what is durable and, of all that was
  // completed but not flushed or in flight, the pieces that `survives` keeps. From here on every
  // request fails with EIO and without effect, so that coroutines unwind and the engine can go.
  std::unique_ptr<SimulatedDisk> Crash(Survives survives);
  bool is_crashed() const { return is_crashed_; }
  // Requests on files that have not completed, in order of submission; `source` is null unless
  // bytes are copied between files. A crash may keep parts of what they would do.
  void ForEachInFlight(absl::FunctionRef<void(const IoRequest& request, const SimulatedFile& file,
                                              const SimulatedFile* source)>
                           visit) const;
  // Lets the decider crash the machine before and after every effect on the disk (kCrash). It
  // chooses, too, what survives (kData): of up to ten pieces each one, so every subset; of more,
  // none, all, or one of two in some pattern. The crashed disk waits in TakeCrashedDisk().
  void SetCrashPoints(bool are_on) { has_crash_points_ = are_on; }
  std::unique_ptr<SimulatedDisk> TakeCrashedDisk() { return std::move(crashed_disk_); }

  // ---- IoBackend --------------------------------------------------------------------------------
  std::string_view name() const override { return "simulated"; }
  bool is_simulated() const override { return true; }
  void Submit(IoRequest& request) override;
  void Flush() override {}
  size_t Poll() override { return 0; }
  void Block(Nanoseconds) override {}
  void Interrupt() override {}
  int PollFd() override { return -1; }
  size_t open_files() const {
    return static_cast<size_t>(std::count_if(
        opens_.begin(), opens_.end(), [](const Open& open) { return open.file != nullptr; }));
  }
  size_t in_flight() const override { return ready_.size() + delayed_.size(); }
  absl::StatusOr<IoFile> CoOpen(const std::string& path, const OpenOptions& options) override
      MILLRACE_MAY_SUSPEND;
  absl::StatusOr<IoFile> Adopt(int descriptor) override;
  void CoClose(IoFile file) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<FileInfo> CoStat(IoFile file) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<FileExtent> CoFindExtent(IoFile file, uint64_t offset) override
      MILLRACE_MAY_SUSPEND;
  // One step, as a copy is; what a power failure leaves of it are sectors, as of a copy.
  int64_t CoCloneRange(IoFile source, uint64_t source_offset, IoFile target, uint64_t target_offset,
                       uint64_t bytes) override MILLRACE_MAY_SUSPEND;
  absl::Status LockBytes(IoFile file, absl::Span<const uint64_t> shared_bytes) override;
  void UnlockBytes(IoFile file, absl::Span<const uint64_t> bytes) override;
  absl::Status CheckLockBytes(IoFile file, absl::Span<const uint64_t> shared_bytes) override;
  absl::Status ProbeLocks(IoFile file, absl::Span<const uint64_t> bytes) override;

  // ---- StepSource -------------------------------------------------------------------------------
  size_t EnabledSteps() const override { return ready_.size(); }
  Option DescribeStep(size_t index) const override;
  void TakeStep(size_t index) override;

 private:
  // An open of a file; its index is the IoFile's number and is not used again.
  struct Open {
    SimulatedFile* file = nullptr;  // null once closed
    uint64_t number = 0;            // on the disk, for locks
    bool is_writable = false;
    bool is_direct = false;
    uint32_t in_flight = 0;
  };
  struct PlannedFailure {
    IoFailure failure;
    uint64_t matched = 0;
  };
  // How a request ends.
  struct Outcome {
    bool has_effect = true;
    bool is_torn = false;
    int error_number = 0;
  };

  static SimulatedOperation OperationOf(const IoRequest& request);
  static void OnTimer(void* self) { static_cast<SimulatedIo*>(self)->ReleaseDue(); }
  void ReleaseDue();
  Open* Find(IoFile file);
  const Open* Find(IoFile file) const { return const_cast<SimulatedIo*>(this)->Find(file); }
  std::string_view ObjectOf(const IoRequest& request);

  Nanoseconds ChooseLatency(const IoRequest& request);
  Outcome ChooseOutcome(IoRequest& request, SimulatedOperation operation);
  const IoFailure* MatchFailure(IoRequest& request, SimulatedOperation operation);
  uint64_t ChooseTear(const IoRequest& request);
  void Finish(IoRequest& request);
  // For recordings: what begins, and what becomes of it, is noted in the step where that happens.
  void NoteBegin(const IoRequest& request);
  void NoteEnd(const IoRequest& request, const Outcome& outcome);
  // Whether the decider crashed the machine.
  bool MayCrash(const IoRequest& request, std::string_view when);

  // The effect of a request on its file; what its result is, if nothing else goes wrong.
  int64_t Perform(IoRequest& request, bool is_torn);
  int64_t Validate(IoRequest& request, Open*& open, Open*& source);
  bool HasSpace(const SimulatedFile& file, uint64_t offset, uint64_t bytes) const;
  int64_t Read(const IoRequest& request, const SimulatedFile& file) const;
  int64_t CopyRange(const IoRequest& request, const SimulatedFile& source, SimulatedFile& target);
  int64_t CoCall(SimulatedOperation operation, std::string_view label,
                 absl::FunctionRef<void()> function) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<IoFile> OpenNow(const std::string& path, const OpenOptions& options);

  Scheduler& scheduler_;
  std::unique_ptr<SimulatedDisk> own_disk_;
  SimulatedDisk* disk_;
  std::vector<Open> opens_;
  std::vector<IoRequest*> ready_;  // may complete now, in order of submission
  IoRequestList delayed_;          // in order of due time
  Timer timer_;                    // for the first of delayed_
  uint64_t next_ordinal_ = 1;
  std::vector<PlannedFailure> failures_;
  uint64_t failed_ = 0;
  std::array<uint64_t, kSimulatedOperations> completed_ = {};
  std::array<Nanoseconds, kSimulatedOperations> latency_ = {};
  std::vector<char> scratch_;
  bool has_latency_choices_ = false;
  absl::btree_map<std::string, Nanoseconds> stalled_until_;  // by file, or label of kMemory
  bool has_crash_points_ = false;
  bool is_crashed_ = false;
  std::unique_ptr<SimulatedDisk> crashed_disk_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_SIMULATED_IO_H_
