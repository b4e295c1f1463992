// mirror: makes a target equal to a source while a guest goes on writing to the source, and then,
// at the user's word, puts the target in the source's place.
//
//   mirror          guest -> [filter] -> source   ... target    after complete:  guest -> target
//   active commit   guest -> [filter] -> top <- mid <- base     after complete:  guest -> base
//
// Active commit is the mirror of a chain's top into the base below it: a job of type "commit" that
// needs the guest's writes tracked, because its top is the active layer. One core serves both.
//
// What changes in what the source shows is marked after each write, whatever became of it, also
// where somebody writes past the source, to its file or its backing; the job clears an area's
// marks, then reads it, then writes it to the target. So whatever is written while an area is being
// copied is copied again (race R29), and what the job has not copied is marked at any time (I17).
// When nothing is marked any more the job is ready, and keeps up until the user
//   completes it   in one drained section the last changes are copied and flushed, and whoever
//                  stands on the source stands on the target; no write can come between the two
//                  (race R10);
//   cancels it     softly: the same, but the guest stays with the source; the target is what the
//                  source was at that moment. By force: it stops where it is.
// Copying goes on after the last look at the marks outside the section, and what was copied is
// flushed there, so a manual finalize does not stop the guest meanwhile. Errors in these last
// copies end the job, whatever the policy; all others follow the policy of their side, and what was
// not copied is tried again.
//
// Guests that write faster than the job copies would keep it from becoming ready, and from its end,
// for ever. Once it has copied all that there was to copy when it began to copy, or when the user
// ended it, and kFreePassBytes more, what they write is copied before their writes return, as in
// a write-blocking mirror, until there is nothing left; not under a speed limit, which such copies
// do not keep. Nobody holds those back who write below the source: if they write faster than the
// job copies, the end comes all the same, and what is left is copied in its section.
//
// Somebody may open a raw source anew with another length meanwhile. The job goes on with the
// length that it began with; what the source has lost is zeroes. While the lengths differ it takes
// no `complete`, and does not end well: the guest stays on the source (kSizeMismatch). QEMU moves
// the disk to a target of the old length.
//
// What it owns: the source, its filter (nobody may lease a link to it) and the target, whose
// operations are claimed; in a commit, all of [top .. base], leased. The target is nobody else's to
// read or write while the job lives.
#ifndef MILLRACE_JOBS_MIRROR_MIRROR_JOB_H_
#define MILLRACE_JOBS_MIRROR_MIRROR_JOB_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/graph/graph_view.h"
#include "millrace/jobs/block_job.h"
#include "millrace/jobs/copy_set_up.h"
#include "millrace/jobs/mirror/mirror_copier.h"
#include "millrace/jobs/mirror/mirror_filter.h"

namespace millrace {

// What is copied to begin with; what the guest writes is copied in any case.
enum class MirrorSync : uint8_t {
  kFull,  // all that is visible; what reads as zeroes in the source does so in the target
  kTop,   // what the topmost image holds itself; without a backing image this is kFull
  kNone,  // nothing
};

// When what the guest writes reaches the target.
enum class MirrorCopyMode : uint8_t {
  kBackground,     // when the job gets to it; see "Guests that write faster" above
  kWriteBlocking,  // before the guest's write returns, while the job runs and is not paused
};

// What the target stands on once it has taken the source's place.
enum class MirrorBacking : uint8_t {
  kAsItIs,  // what it stands on, or does not
  // What the source stands on (kTop), the source itself (kNone), nothing (kFull): for a target that
  // was made for this mirror and opened without its backing image. Headers stay as they are.
  kOfSource,
};

inline constexpr uint64_t kMirrorGranularityMin = 512;
inline constexpr uint64_t kMirrorGranularityMax = 64 * 1024 * 1024;
// Of marks where the target is to show all that the source does.
inline constexpr uint64_t kMirrorGranularityWhole = 4 * 1024;
inline constexpr int64_t kMirrorBufferBytes = 16 * 1024 * 1024;

struct MirrorOptions {
  NodeId source{};  // the device: a node with users and no parent nodes
  NodeId target{};  // open, writable, of the same size
  MirrorSync sync = MirrorSync::kFull;
  MirrorBacking backing = MirrorBacking::kAsItIs;
  // A failure to write the target never fails the guest's write: the change stays marked, and the
  // error follows the target's policy.
  MirrorCopyMode copy_mode = MirrorCopyMode::kBackground;
  // Of the marks; a power of two, kMirrorGranularityMin to kMirrorGranularityMax; 0: 4 KiB where
  // all of the source is copied, else the target's cluster size, at least 4 KiB and at most 64 KiB.
  uint64_t granularity = 0;
  // Memory for pieces in flight, at least one granule; 0: kMirrorBufferBytes.
  int64_t buffer_bytes = 0;
  OnError on_source_error = OnError::kReport;
  OnError on_target_error = OnError::kReport;
  // The node to put the target in the place of; empty: the source, without implicit filters on it.
  std::string replaces{};
  // Whether zeroes may be written to the target by giving space back.
  bool unmap = true;
  // Of an active commit: it ends by itself as soon as source and target are equal; guests stay
  // where they are, and the source, below which the target lies, says nothing any more.
  bool empties_source = false;
  // Whether the target is known to read as zeroes, so that nothing need be zeroed before a full
  // copy.
  bool target_is_zero = false;
  BlockJobOptions job{};  // but its on_error: each side has a policy of its own
};

// What a mirror has in its hands once nobody can get in its way any more, and what it is to do.
struct MirrorProofs : BlockJobProofs {
  std::string_view type;  // "mirror" or "commit"
  NodeId source;
  NodeId target;
  NodeId replaced;  // gets out of the target's way in the end; mostly the source
  // Whether the target is the base of the source's own chain; then `lowest` is the image above it.
  bool is_target_below = false;
  NodeId lowest;
  // What to mark to begin with: what is allocated down to this image (invalid: in all of them).
  bool marks_allocated = true;
  NodeId marked_down_to;
  bool is_whole = false;       // in the end the target holds all that the source shows
  bool zeroes_target = false;  // before anything is copied
  // What is zeroes in the target from then on counts as progress.
  bool counts_all = false;
  uint64_t granularity = 0;
  uint64_t target_cluster_bytes = 0;
  uint64_t buffer_bytes = 0;
};

// Takes every proof a mirror needs, or names who is in the way. The order of the checks is
// QEMU's: clients see it in the errors.
absl::StatusOr<MirrorProofs> ClaimForMirror(Graph& graph, const MirrorOptions& options,
                                            std::string_view job_id) MILLRACE_OPENS_VIEW;
// The same for a job that `manager` is to run: its filter's name and its id (the holder's) are new
// as well, or the device's name lends the id.
absl::StatusOr<MirrorProofs> ClaimForNewMirror(Graph& graph, const JobManager& manager,
                                               const MirrorOptions& options) MILLRACE_OPENS_VIEW;

// For a dry run: stages a target that is not in the graph yet, held, with the same outcome each
// time; returns its uppermost node.
using StageMirrorTarget = std::function<NodeId(GraphTransaction& change)>;
// ClaimForMirror() as if the target were there; `options.target` is not looked at, and nothing of
// the target is claimed.
absl::StatusOr<MirrorProofs> ClaimForMirrorInto(Graph& graph, const MirrorOptions& options,
                                                std::string_view job_id,
                                                const StageMirrorTarget& stage_target)
    MILLRACE_OPENS_VIEW;
// The same of ClaimForNewMirror().
absl::StatusOr<MirrorProofs> ClaimForNewMirrorInto(Graph& graph, const JobManager& manager,
                                                   const MirrorOptions& options,
                                                   const StageMirrorTarget& stage_target)
    MILLRACE_OPENS_VIEW;

// What an active commit is to do, from what its claim has taken: its lease on [top .. base].
absl::StatusOr<MirrorProofs> ProofsForActiveCommit(Graph& graph, BlockJobProofs taken,
                                                   NodeId lowest) MILLRACE_OPENS_VIEW;

// Whether a mirror of `source` may take the place of `replaced`: only where that shows the same.
// FailedPrecondition (kViewWouldChange; the detail is the source's name).
absl::Status CheckMirrorMayReplace(const NodeView& source, const NodeView& replaced);

// Claims, sets up, creates and starts a mirror job. On error nothing of it is left. A difference in
// size is found by the running job, as in QEMU: it ends with kSizeMismatch.
absl::StatusOr<JobNumber> CoStartMirror(Graph& graph, JobManager& manager, MirrorOptions options)
    MILLRACE_MAY_SUSPEND;

// What a commit job hands over when its top turns out to be the active layer: its lease on
// [top .. base] and its claims are in `proofs`, checks are done.
absl::StatusOr<JobNumber> CoStartActiveCommit(Graph& graph, JobManager& manager,
                                              BlockJobProofs proofs, NodeId lowest,
                                              const BlockJobOptions& options, bool empties_source)
    MILLRACE_MAY_SUSPEND;

// Whether CoStartMirror() would be refused while it sets up what `proofs` allow; all of that is let
// go of again. Nothing is changed, and nothing suspends: what only the host can tell, as whether a
// file can be opened for writing, is not asked. `stage_target`, if any, is ClaimForMirrorInto()'s.
absl::Status RehearseMirrorStart(Graph& graph, MirrorProofs proofs, const MirrorOptions& options,
                                 StageMirrorTarget stage_target = nullptr) MILLRACE_OPENS_VIEW;
// The same of CoStartActiveCommit().
absl::Status RehearseActiveCommitStart(Graph& graph, BlockJobProofs proofs, NodeId lowest,
                                       const BlockJobOptions& options, bool empties_source)
    MILLRACE_OPENS_VIEW;

// The edit by which a mirror's target takes the place of `replaced` in the end. `options` name
// source and target. Who stands on the target in the place of `replaced` gets its new header.
void StageMirrorTakeover(GraphTransaction& change, const MirrorOptions& options, NodeId replaced);

// What JobManager::Change() can change of a mirror. Only from background to write-blocking;
// anything else but what it is already is FailedPrecondition (kChangeUnsupported). An active
// commit, which has no mode, is refused altogether.
struct MirrorChange final : JobChange {
  MirrorCopyMode copy_mode = MirrorCopyMode::kWriteBlocking;
};

class MirrorJob final : public BlockJob {
 public:
  // More than one pass may take of a guest that writes little.
  static constexpr uint64_t kFreePassBytes = uint64_t{1} << 20;
  // More than this is not copied in the section if another pass may leave less.
  static constexpr uint64_t kMuchAtTheEnd = uint64_t{16} << 20;

  static absl::StatusOr<std::unique_ptr<MirrorJob>> CoCreate(Graph& graph, MirrorProofs proofs,
                                                             MirrorOptions options)
      MILLRACE_MAY_SUSPEND;
  ~MirrorJob() override;

  std::string_view type() const override { return type_; }
  absl::Status OnCreated() override;
  absl::Status CoRun(JobContext& context) override MILLRACE_MAY_SUSPEND;
  absl::Status CoPrepare() override MILLRACE_MAY_SUSPEND;
  std::vector<NodeId> NodesToDrain(const GraphReader& reader) const override;
  absl::Status CoCatchUp() override MILLRACE_MAY_SUSPEND;
  bool IsCaughtUp(const GraphReader& reader) override;
  bool PutsOffTheEdit() override;
  bool edit_shows_the_same() const override { return true; }
  void StageGraphEdit(GraphTransaction& change) override;
  absl::Status CoFollowUp() override MILLRACE_MAY_SUSPEND;
  void CoAbort() override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<bool> StagePlannedEnd(GraphTransaction& change, JobEnd end,
                                       bool restores) override;

  void CoStopIo() override MILLRACE_MAY_SUSPEND;
  void OnRestartIo() override;
  // Of a mirror that is no commit also "actively-synced": 1 if what guests write is in the target
  // when their writes return, as a write-blocking mirror that is ready has it.
  void Describe(JobInfo& info) const override;
  bool can_complete() const override { return true; }
  absl::Status CheckComplete() const override;
  void OnComplete() override;
  bool OnCancel(bool force) override;
  absl::Status CheckChange(const JobChange& change) const override;
  void OnChange(const JobChange& change) override;

 private:
  struct SetUp : CopySetUp {
    std::shared_ptr<MirrorChanges> changes;  // shared with the filter
  };
  static absl::Status CoSetUpNodes(Graph& graph, MirrorProofs& proofs, const MirrorOptions& options,
                                   SetUp* set_up) MILLRACE_MAY_SUSPEND;

  MirrorJob(Graph& graph, MirrorProofs proofs, SetUp set_up, MirrorOptions options);
  std::vector<Attachment*> IoAttachments() override;
  DirtyBitmap& dirty() { return set_up_.changes->bitmap(); }

  // ---- The parts of CoRun ----------------------------------------------------------------------
  absl::Status CoFitTarget() MILLRACE_MAY_SUSPEND;
  absl::Status CoZeroTarget(JobContext& context) MILLRACE_MAY_SUSPEND;
  absl::Status CoMarkAllocated(JobContext& context) MILLRACE_MAY_SUSPEND;
  absl::Status CoMirror(JobContext& context, TaskScope& scope) MILLRACE_MAY_SUSPEND;
  // Has guests' writes wait for their copies from now on, or no longer.
  void PaceGuests(const JobContext& context);
  bool AreGuestsPaced() const;
  void NoteWhetherSynced(const JobContext& context);
  // Starts to copy `area`, or a part of it, when the speed limit allows.
  void CoStartPiece(JobContext& context, TaskScope& scope, ByteRange area) MILLRACE_MAY_SUSPEND;
  uint64_t BatchBytesMax(const JobContext& context);
  void CoBecomeReady(JobContext& context) MILLRACE_MAY_SUSPEND;
  void CoWaitForChanges(JobContext& context) MILLRACE_MAY_SUSPEND;
  void CoFlushTarget() MILLRACE_MAY_SUSPEND;
  // What has been written so far; false: the policy has been asked what to do.
  bool CoFlushSoFar() MILLRACE_MAY_SUSPEND;
  // In the guest's request: copies what is marked in the range.
  void CoSyncWrite(ByteRange range) MILLRACE_MAY_SUSPEND;
  // Where in the guest's range there may be something to wait for or to copy next: behind `at`, and
  // at `marked` at the latest, where the next free mark is.
  uint64_t NextToSync(uint64_t at, uint64_t marked) const;
  void CountGuestCopy(const MirrorPiece& piece, ByteRange written);
  void CoEndSync() MILLRACE_MAY_SUSPEND;
  bool MustWaitForPieces(bool is_done) const;
  bool MustFlush() const;
  std::optional<ByteRange> NextArea();
  // Copies about so much of what is marked, and flushes it; outside the section.
  absl::Status CoCopyPass(uint64_t bytes) MILLRACE_MAY_SUSPEND;
  // At the end: copies what is marked, about `bytes` of it at most, whatever guests do meanwhile.
  // Returns how much was begun with; all of it has ended.
  absl::StatusOr<uint64_t> CoCopyRest(uint64_t bytes) MILLRACE_MAY_SUSPEND;
  void OnPieceDone(const MirrorPiece& piece);
  void CountEndWork(const MirrorPiece& piece);
  void ApplyPolicy(IoOperation operation, const absl::Status& status);
  uint64_t BytesLeft() { return dirty().dirty_bytes() + copier_.bytes_in_flight(); }
  // What may be copied under the drain without anybody noticing.
  uint64_t LittleBytes();
  // Whether what is left is to be copied under the drain: it is little, or does not become less.
  bool IsNearlyClean();
  void CountPasses(const JobContext& context, uint64_t left);
  bool is_ending() const { return is_completing_ || context().is_cancel_requested(); }
  // Whether the source has the length that the marks have, and the target the one it needs.
  absl::Status CheckLengths() const;
  // `takes_over`: the target, the place of what it replaces.
  absl::Status CheckMayEnd(const GraphReader& reader, bool takes_over) const;
  absl::Status CheckMayEndNow() MILLRACE_OPENS_VIEW;
  void StageOwnEnd(GraphTransaction& change, bool takes_over);
  bool BecomesReadOnly(bool takes_over) const;
  absl::Status CoEmptySource() MILLRACE_MAY_SUSPEND;

  const MirrorOptions options_;
  const std::string_view type_;
  const NodeId source_;
  const NodeId target_;
  const NodeId replaced_;
  const bool is_target_below_;
  const bool marks_allocated_;
  const NodeId marked_down_to_;
  const bool zeroes_target_;
  const bool counts_all_;
  const uint64_t buffer_bytes_;
  bool source_was_read_only_ = false;
  SetUp set_up_;
  MirrorCopier copier_;

  absl::Status failure_;        // the first error that the policy reports
  bool must_back_off_ = false;  // an error was ignored: do not try again at once
  bool is_at_rest_ = false;     // between CoStopIo() and OnRestartIo()
  size_t guest_syncs_ = 0;      // requests of the guest in CoSyncWrite()
  size_t guest_pieces_ = 0;     // of the pieces in flight
  Condition guest_sync_done_{"guest writes to a mirror"};
  MirrorCopyMode copy_mode_;
  bool is_copying_ = false;  // guests' writes may be copied: between the scan and the end
  bool is_actively_synced_ = false;
  bool are_guests_held_ = false;        // a background mirror's, for as long as they outrun it
  std::optional<uint64_t> free_pass_;   // bytes yet to be copied before guests may be held
  bool is_own_work_flushed_ = false;    // nothing of the job's own since the last flush
  bool is_idle_ = false;                // asleep until something is marked
  bool is_completing_ = false;          // the user said `complete`
  std::optional<uint64_t> end_work_;    // bytes yet to be copied before the end may come
  uint64_t pass_bytes_ = 0;             // what the job's latest pass at the end began with
  uint64_t pass_left_ = 0;              // of it, what the job itself is yet to copy
  bool is_outrun_ = false;              // passes do not leave less and less, though guests are held
  uint64_t put_off_bytes_ = kBytesMax;  // what was left when the edit was put off
  ByteRange paced_;                     // what the speed limit has let pass and is not started yet
  bool is_emptied_ = false;             // the source, since the last copy
  uint64_t cursor_ = 0;                 // where to look for the next area
  std::optional<bool> is_path_plain_;   // as looked at since the graph may last have changed
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_MIRROR_MIRROR_JOB_H_
