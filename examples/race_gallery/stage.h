// Stage: what a scene is played on: a simulated engine's graph with a filled chain of images in
// memory, a guest at work, jobs; and the oracles that know when something went wrong.
//
// A scene is a function that starts jobs and waits for what becomes of them. It never looks for a
// particular bug. What it must say is what is allowed (the chain's final shapes); the rest holds
// for every scene and is looked at by the stage: the guest reads what it wrote last, every image
// shows by its headers what it should, jobs end without an error, G1-G9 hold before every step,
// images are read-only again, everything ends, nothing is left.
//
//   absl::Status CoStreamAboveCommit(Stage& stage) {
//     MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Commit("c", 2, 0)));
//     MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.StreamToBottom("s", 4, 3)));
//     stage.CoEndsWell("s");
//     stage.CoEndsWell("c");
//     stage.RequireShape({"n5 <- n4 <- n0"});
//     return absl::OkStatus();
//   }
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_STAGE_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_STAGE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "examples/scenario_kit/chain_jobs.h"
#include "examples/scenario_kit/layer_views.h"
#include "examples/scenario_kit/memory_chain.h"
#include "examples/scenario_kit/tagged_disk.h"
#include "examples/scenario_kit/user_verbs.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/observer.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph.h"
#include "millrace/jobs/block_job.h"

namespace millrace::gallery {

inline void CoYieldTimes(int times) MILLRACE_MAY_SUSPEND {
  for (int i = 0; i < times; ++i) CoYield();
}

struct StageOptions {
  size_t layers = 4;  // 0: no chain; the scene makes what it needs
  // Whether a monitor holds every node, so that nodes a job drops from the chain live on.
  bool is_owned = false;
  bool is_read_only = true;        // all images but the top
  bool map_takes_step = false;     // looking into an image's map suspends
  int guest_rounds = 4;            // of a write and a read each; 0: no guest
  bool guest_never_stops = false;  // it goes on until the scene is over
  uint64_t guest_sectors = 14;     // where its writes begin: below this
  bool guest_retries = false;      // what failed: the fault may be the scene's
  bool checks_views = true;        // what the images say, in the end
  bool checks_read_only = true;    // in the end
  uint64_t steps_max = 20'000;     // more than that is no progress (I11)
};

// What clients hear.
class EventLog final : public EngineObserver {
 public:
  void OnJobEvent(const JobEvent& event) override { events_.push_back(event); }
  const std::vector<JobEvent>& events() const { return events_; }

 private:
  std::vector<JobEvent> events_;
};

class Stage final : public ChainJobs {
 public:
  static constexpr uint64_t kSectors = 16;
  static constexpr uint64_t kBytes = kSectors * TaggedDisk::kSector;

  Stage(Engine& engine, const EventLog& events, const StageOptions& options);

  Engine& engine() { return engine_; }
  Graph& graph() override { return graph_; }
  JobManager& jobs() override { return *jobs_; }
  // The same for the scene's user, whose words are recorded.
  UserVerbs user() { return UserVerbs(engine_.scheduler(), *jobs_); }
  MemoryChain& chain() override { return chain_; }
  TaggedDisk& disk() { return disk_; }
  LayerViews& views() { return *views_; }
  const EventLog& events() const { return events_; }
  const StageOptions& options() const { return options_; }

  // ---- Oracles ----------------------------------------------------------------------------------
  // An invariant (graph/INVARIANTS.md) does not hold. The first word counts, and ends the play.
  void Fail(std::string_view invariant, std::string text);
  void Require(bool holds, std::string_view invariant, std::string text) {
    if (!holds) Fail(invariant, std::move(text));
  }
  // I11: the play has taken all its steps, and is not over.
  void FailAsEndless();
  void RequireOk(const absl::Status& status, std::string_view invariant, std::string_view what);
  // I15: the chain is now one of these, which are what the jobs one after the other make of it.
  void RequireShape(std::initializer_list<std::string_view> allowed) MILLRACE_OPENS_VIEW;
  // I5: every image's header names an image and a format that somebody can open later.
  void RequireHeaders();
  // G1-G9, as they are now.
  void LookAtGraph() MILLRACE_OPENS_VIEW;
  // Hears of the first failure at once; needs not return.
  using FailureListener = std::function<void(std::string_view invariant, const std::string& text)>;
  void SetFailureListener(FailureListener listener) { on_failure_ = std::move(listener); }

  // ---- Jobs -------------------------------------------------------------------------------------
  // How the job ended; waits for that.
  absl::Status CoOver(std::string id) MILLRACE_MAY_SUSPEND;
  // Waits until the job is over, and it must have completed.
  void CoEndsWell(std::string id) MILLRACE_MAY_SUSPEND;
  // False if the job ended without becoming so.
  bool CoWaitForState(std::string id, JobState wanted) MILLRACE_MAY_SUSPEND;
  // kNull if there is no such job.
  JobState StateOf(std::string id) const;
  // A target for mirrors beside the chain: an empty image "t".
  absl::StatusOr<MirrorOptions> CoMirrorTo(std::string target_name) MILLRACE_MAY_SUSPEND;
  std::vector<Attachment>& keepers() { return keepers_; }

  // ---- Actors -----------------------------------------------------------------------------------
  // One more party; the play waits for it.
  template <typename Body>
  void Spawn(std::string_view name, Body&& body) {
    actors_->Spawn(name, std::forward<Body>(body));
  }
  void StopGuest() { guest_is_stopped_ = true; }
  uint64_t guest_operations() const { return guest_operations_; }
  // A choice of the scene's own, of a number below `count`; 0 in production's order. `what` is read
  // by people: "power fails after".
  size_t Draw(size_t count, std::string_view what);
  // The machine stops here. The disk keeps what was flushed; of the rest every piece is kept, as in
  // production, or lost, as the explorer chooses. Scene::after_power_cut is played on what is left.
  void CutPower();
  bool power_is_cut() const { return disk_left_ != nullptr; }
  std::unique_ptr<SimulatedDisk> TakeDiskLeft() { return std::move(disk_left_); }
  void CoSleep(Nanoseconds duration) MILLRACE_MAY_SUSPEND { CoSleepFor(duration).IgnoreError(); }

  // ---- The play ---------------------------------------------------------------------------------
  // Everything from building the chain to the last look.
  void CoPlay(absl::Status (*scene)(Stage&)) MILLRACE_MAY_SUSPEND;

 private:
  // The failure is named by the rule that is broken: "G7".
  void RequireSoundGraph(std::string_view when) MILLRACE_OPENS_VIEW;
  absl::Status CoBuild() MILLRACE_MAY_SUSPEND;
  absl::Status CoGuest() MILLRACE_MAY_SUSPEND;
  // An operation of the guest's, again until it succeeds if the guest retries.
  template <typename Operation>
  absl::Status CoTry(Operation operation) MILLRACE_MAY_SUSPEND;
  void CoLastLook() MILLRACE_MAY_SUSPEND;
  // By its name.
  std::string NodeOfGuest() MILLRACE_OPENS_VIEW;
  void CoTakeDown() MILLRACE_MAY_SUSPEND;

  Engine& engine_;
  const EventLog& events_;
  const StageOptions options_;
  Graph graph_;
  BlockJobCommitter committer_;
  std::optional<JobManager> jobs_;
  MemoryChain chain_;
  TaggedDisk disk_{kSectors};
  std::optional<LayerViews> views_;
  std::vector<Attachment> keepers_;
  std::shared_ptr<MemoryOverlayImage> target_image_;
  std::optional<TaskScope> actors_;
  bool guest_is_stopped_ = false;
  uint64_t guest_operations_ = 0;
  std::unique_ptr<SimulatedDisk> disk_left_;
  bool has_failed_ = false;
  FailureListener on_failure_;
};

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_STAGE_H_
