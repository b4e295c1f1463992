// A story about jobs on one chain: told over filled memory overlays with a guest at work, in
// production's order and under random schedules, and checked by the oracles that need no knowledge
// of the story: the guest's model (of what it reads, and of what its image holds), every layer's
// view by its headers, the graph's invariants, the counters of the harness (O6), an order in which
// the jobs may have ended (O4), and that nothing is left behind.
//
//   TellChainStory({.layers = 4}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
//     MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 3, 0)));
//     EXPECT_TRUE(story.CoOver("s").ok());
//     EXPECT_EQ(story.Shape(), "n3 <- n0");
//     return absl::OkStatus();
//   });
#ifndef MILLRACE_TESTS_SUPPORT_CHAIN_STORY_H_
#define MILLRACE_TESTS_SUPPORT_CHAIN_STORY_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "examples/scenario_kit/chain_jobs.h"
#include "examples/scenario_kit/layer_views.h"
#include "examples/scenario_kit/memory_chain.h"
#include "examples/scenario_kit/tagged_disk.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/job_fixture.h"
#include "tests/support/job_witness.h"
#include "tests/support/serial_chain.h"
#include "tests/support/shadow_counters.h"

namespace millrace {

class JobEventLog;

struct ChainStoryOptions {
  size_t layers = 4;
  // Whether a monitor holds every node, so that nodes a job drops from the chain live on.
  bool is_owned = false;
  bool is_read_only = true;  // all but the top
  int guest_rounds = 6;      // of two writes and reads each; 0: nobody uses the disk meanwhile
  // So many busy guests instead: each has sectors of its own to write, several requests in flight
  // together, reads of what it is writing among them, and goes on until the story is told.
  int busy_guests = 0;
  uint64_t cost = 1;  // see Seeds
  uint64_t bytes = 16 * 512;
  uint64_t cluster_bytes = 512;
  uint64_t bottom_bytes = 0;  // of the bottom-most image; 0: as the others
  // The observer of TellChainStory()'s engines; emptied when the story begins to be told.
  JobEventLog* events = nullptr;
};

// What busy guests have done.
struct GuestCounts {
  uint64_t requests = 0;  // that have ended
  uint64_t in_flight = 0;
  uint64_t in_flight_most = 0;
  uint64_t reads_beside_writes = 0;  // of the same sectors
};

class ChainStory final : public ChainJobs {
 public:
  ChainStory(JobWorld& world, MemoryChain& chain, TaggedDisk& disk,
             const ChainStoryOptions& options, uint64_t seed)
      : world_(world),
        chain_(chain),
        disk_(disk),
        views_(chain),
        shadow_(world.graph(), &world.jobs()),
        options_(options),
        seed_(seed) {}

  Graph& graph() override { return world_.graph(); }
  JobManager& jobs() override { return world_.jobs(); }
  MemoryChain& chain() override { return chain_; }
  // The model of the guest's disk, for a guest of the story's own.
  TaggedDisk& disk() { return disk_; }
  LayerViews& views() { return views_; }
  ShadowCounters& shadow() { return shadow_; }
  GuestCounts& guests() { return guests_; }
  uint64_t seed() const { return seed_; }
  // What jobs have told so far; whoever tells the story has given a log for it (checked).
  const JobEventLog& events() const;
  // Whether the guest of `guest_rounds` writes to the sector while the story is told.
  bool IsGuestsSector(uint64_t sector) const;
  // Called when the jobs and the guest are over, before all that the guest has written is read.
  void set_before_last_look(std::function<void()> before) { before_last_look_ = std::move(before); }
  void BeforeLastLook() const {
    if (before_last_look_) before_last_look_();
  }
  // Whether some job has failed (not: was cancelled), from somebody who has followed all of them.
  // Then what jobs have to leave behind (O4, I19) is judged whatever became of the story.
  void set_has_failed_job(bool has_failed) { has_failed_job_ = has_failed; }
  // What is undone makes an image read-only again, too, and nobody is told if that fails; so where
  // faults are planted, who has undone something may leave it writable.
  void set_may_stay_writable(bool may) { may_stay_writable_ = may; }
  bool has_refused_start() const { return has_refused_start_; }
  // From somebody who has followed all of them: how jobs that have run have ended, those of one id
  // in order. Then the chain must be what they make of it in some order (O4).
  void set_job_ends(std::vector<JobWitness::End> ends) { job_ends_ = std::move(ends); }
  // The story has done this to the chain by itself.
  void OnEdited(ChainEdit edit, const absl::Status& status = absl::OkStatus());
  // It does what nobody can tell the order of.
  void GiveUpOrder() { has_order_ = false; }
  // What is wrong with the chain when the jobs are over: "O2: ...", "O4: ...", "O6: ...", "I19:
  // ...".
  absl::Status LastLook(bool went_well) MILLRACE_OPENS_VIEW;
  // I19: images that were read-only are so again; all but the one that is now on top. OK if they
  // may stay writable.
  absl::Status CheckReadOnly() MILLRACE_OPENS_VIEW;

  // Puts a filter that passes everything, and counts (O6), above a node, as a job, and waits for
  // it.
  absl::Status CoInsertFilter(std::string name, NodeId below) MILLRACE_MAY_SUSPEND;
  absl::Status CoRemoveFilter(NodeId filter) MILLRACE_MAY_SUSPEND;
  absl::Status CoStart(StreamOptions options) MILLRACE_MAY_SUSPEND;
  absl::Status CoStart(MirrorOptions options) MILLRACE_MAY_SUSPEND;
  absl::Status CoStart(InsertFilterOptions options) MILLRACE_MAY_SUSPEND;
  // Remembered until CoOver(): what layers show changes below its top meanwhile.
  absl::Status CoStart(CommitOptions options) MILLRACE_MAY_SUSPEND;
  // How the job ended. Every layer that no commit is working on must show then what it should (the
  // last look tells if it did not); of a commit that has been waited for so, the views are told
  // here.
  absl::Status CoOver(JobKey key) MILLRACE_MAY_SUSPEND;
  // Waits until the job is pending, then finalizes it.
  absl::Status CoFinalize(JobKey key) MILLRACE_MAY_SUSPEND;

 private:
  struct StartedCommit {
    std::string id;
    size_t top = 0;
    size_t base = 0;
    bool is_active = false;
  };
  // What a job does to the chain if it ends well.
  struct StartedEdit {
    uint64_t number = 0;
    std::string job;  // "": it has taken place, or may have
    JobsEdit edit;
    bool may_be_moot = false;  // it may end well without
  };
  // O1, of the image that the guest is on now.
  absl::Status CheckGuestsImage() MILLRACE_OPENS_VIEW;
  template <typename Options>
  absl::Status CoStartShadowed(Options options) MILLRACE_MAY_SUSPEND;
  // The edit is that of the step in which the job claims what it needs, before it suspends.
  uint64_t BeginEdit(const JobSpec& spec, ChainEdit edit, bool may_be_moot = false);
  void EndStart(uint64_t number, const absl::Status& started);
  struct NodeBelow;
  std::vector<NodeBelow> NodesFrom(NodeId top) MILLRACE_OPENS_VIEW;
  // Of the first of them that stays when all jobs are over; "" if there is none.
  std::string FirstToStay(absl::Span<const NodeBelow> nodes) const;
  ChainEdit EditOf(const StreamOptions& options) MILLRACE_OPENS_VIEW;
  ChainEdit EditOf(const CommitOptions& options) MILLRACE_OPENS_VIEW;
  ChainEdit EditOf(const MirrorOptions& options) MILLRACE_OPENS_VIEW;
  ChainEdit EditOf(const InsertFilterOptions& options) MILLRACE_OPENS_VIEW;
  // Those that have taken place or may have; nothing if that is not known of all of them.
  std::optional<std::vector<JobsEdit>> EditsDone() const;
  absl::Status CheckOrder() MILLRACE_OPENS_VIEW;
  void TakeIn(const StartedCommit& commit, bool has_succeeded);
  // Layers between the top and the base of commits that were not waited for.
  std::vector<bool> LayersOfCommits() const;

  JobWorld& world_;
  MemoryChain& chain_;
  TaggedDisk& disk_;
  LayerViews views_;
  ShadowCounters shadow_;
  GuestCounts guests_;
  const ChainStoryOptions options_;
  const uint64_t seed_;
  std::optional<bool> has_failed_job_;
  bool has_refused_start_ = false;
  bool may_stay_writable_ = false;
  absl::Status seen_;  // in the middle of the story
  std::function<void()> before_last_look_ = nullptr;
  std::vector<StartedEdit> edits_;
  uint64_t edits_begun_ = 0;
  std::optional<std::vector<JobWitness::End>> job_ends_;
  bool has_order_ = true;
  std::vector<StartedCommit> commits_;  // that CoOver() was not asked about yet
};

using ChainStoryBody = absl::FunctionRef<absl::Status(ChainStory&)>;

// Once in production's order, and under the random schedules of Seeds(cost).
void TellChainStory(const ChainStoryOptions& options, ChainStoryBody body);

// The story once, in a coroutine of an engine that somebody else drives; `seed` is the story's.
absl::Status CoTellChainStory(Engine& engine, const ChainStoryOptions& options, uint64_t seed,
                              ChainStoryBody body) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_CHAIN_STORY_H_
