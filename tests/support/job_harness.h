// What tests of jobs share: a job whose every hook is scripted, an observer that writes down what
// clients would see, and a committer without a graph.
//
//   BareJobWorld world(*engine);
//   ScriptedJob::Script script;  script.pieces = 3;
//   world.Run([&]() MILLRACE_MAY_SUSPEND { JobNumber job = world.CoStart("a", script); ... });
//   EXPECT_EQ(world.log(), ...);
#ifndef MILLRACE_TESTS_SUPPORT_JOB_HARNESS_H_
#define MILLRACE_TESTS_SUPPORT_JOB_HARNESS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_manager.h"

namespace millrace {

// Writes down job events as lines, in order: "a: status running", "a: completed 3/3".
class JobEventLog final : public EngineObserver {
 public:
  void OnJobEvent(const JobEvent& event) override;
  // Only the lines that begin with "<id>: ", without that; all lines for an empty id.
  std::vector<std::string> Of(std::string_view id) const;
  const std::vector<std::string>& lines() const { return lines_; }
  const std::vector<JobEvent>& events() const { return events_; }
  void Clear();

 private:
  std::vector<JobEvent> events_;
  std::vector<std::string> lines_;
};

// Calls StageEdit() of every member; may be told to fail, to suspend or to put it off first.
class PlainCommitter final : public JobCommitter {
 public:
  absl::StatusOr<CommitOutcome> CoCommit(absl::Span<JobBody* const> members)
      MILLRACE_MAY_SUSPEND override;

  // Called before anything is staged, and may suspend; its error is the commit's.
  std::function<absl::Status()> before = nullptr;
  int commits = 0;
  int put_offs = 0;  // yet to come
};

// What a ScriptedJob did, shared with the test because the body dies with the job.
struct JobTrace {
  Quiescable* quiescable = nullptr;  // the job, as drains see it; while it exists
  std::vector<std::string> calls;    // hooks, in order: "run", "prepare", "stage", "clean"
  uint64_t pieces_done = 0;
  std::vector<std::pair<Nanoseconds, uint64_t>> moved;  // when, how many bytes
  uint64_t Count(std::string_view hook) const;
  bool is_destroyed = false;
  bool has_io_in_flight = false;
  std::string leftovers;  // what it says it still holds
};

class ScriptedJob final : public JobBody {
 public:
  struct Script {
    std::string type = "scripted";
    uint64_t pieces = 2;
    uint64_t piece_bytes = 1;
    // Steps that a piece and each completion hook take: so many yield points.
    int yields = 1;
    // Ends like a mirror: becomes ready after its pieces and idles until completed or cancelled.
    bool has_ready_phase = false;
    // After its pieces, idles until it is cancelled.
    bool idles = false;
    // A fault: it comes to its pause points with a request under way.
    bool forgets_io = false;
    absl::Status set_up, created, run, complete, prepare, follow_up;
    // Called in CoRun() before each piece with its index; an error goes through `on_error`.
    std::function<absl::Status(uint64_t piece)> io = nullptr;
    OnError on_error = OnError::kReport;
    IoOperation operation = IoOperation::kRead;
    // Called in the middle of CoRun() and of each completion hook, with the hook's name; and with
    // "ready" when the job has become so.
    std::function<void(std::string_view hook, JobContext& context)> in_hook = nullptr;
  };

  ScriptedJob(Script script, std::shared_ptr<JobTrace> trace)
      : script_(std::move(script)), trace_(std::move(trace)) {}
  ~ScriptedJob() override;

  std::string_view type() const override { return script_.type; }
  absl::Status CoSetUp() MILLRACE_MAY_SUSPEND override;
  absl::Status OnCreated() override;
  absl::Status CoRun(JobContext& context) MILLRACE_MAY_SUSPEND override;
  absl::Status CoPrepare() MILLRACE_MAY_SUSPEND override;
  void StageEdit(JobEdit& edit) override;
  absl::Status CoFollowUp() MILLRACE_MAY_SUSPEND override;
  void CoAbort() MILLRACE_MAY_SUSPEND override;
  void CoClean() MILLRACE_MAY_SUSPEND override;
  size_t CountRequestsInFlight() override { return trace_->has_io_in_flight ? 1 : 0; }
  std::string DescribeLeftovers() override { return trace_->leftovers; }
  void CoStopIo() MILLRACE_MAY_SUSPEND override;
  void OnRestartIo() override;
  bool can_complete() const override { return script_.has_ready_phase; }
  absl::Status CheckComplete() const override { return script_.complete; }
  void OnComplete() override;
  absl::Status CheckChange(const JobChange&) const override { return absl::OkStatus(); }
  void OnChange(const JobChange& change) override;
  bool OnCancel(bool force) override;
  void OnUserResume() override;
  void OnSetSpeed(int64_t bytes_per_second) override;

 private:
  void CoHook(std::string_view name) MILLRACE_MAY_SUSPEND;
  absl::Status CoPieces(JobContext& context) MILLRACE_MAY_SUSPEND;
  absl::Status CoReadyPhase(JobContext& context) MILLRACE_MAY_SUSPEND;

  const Script script_;
  const std::shared_ptr<JobTrace> trace_;
  bool is_completion_wanted_ = false;
};

// Jobs without a graph. An engine's observer has to be there before the engine, so the world makes
// both.
class BareJobWorld {
 public:
  explicit BareJobWorld(Decider* decider = nullptr);
  // On an engine made elsewhere, whose own observer hears nothing.
  explicit BareJobWorld(Engine& engine);
  // Shuts the jobs down and checks that nothing is left.
  ~BareJobWorld();

  Engine& engine() { return *engine_; }
  JobManager& jobs() { return *jobs_; }
  JobEventLog& events() { return events_; }
  PlainCommitter& committer() { return committer_; }
  const std::vector<std::string>& log() const { return events_.lines(); }

  // Runs `main` as a coroutine; fails the test if it returns an error.
  void Run(const std::function<void()>& main);
  // Runs until nothing can happen any more.
  void Settle();
  // Takes at most so many steps; false if nothing can happen any more.
  bool Step(uint64_t steps = 1);
  // Takes the steps that take no time.
  void RunReady();

  // Both fail the test if the job cannot be had. `spec.id` is set from `id`.
  JobNumber CoCreate(std::string id, ScriptedJob::Script script, JobSpec spec = {})
      MILLRACE_MAY_SUSPEND;
  JobNumber CoStart(std::string id, ScriptedJob::Script script, JobSpec spec = {})
      MILLRACE_MAY_SUSPEND;
  // The same from host code.
  JobNumber Create(std::string id, ScriptedJob::Script script, JobSpec spec = {});
  JobNumber Start(std::string id, ScriptedJob::Script script, JobSpec spec = {});

  JobTrace& trace(JobNumber job);
  JobState StateOf(JobKey key);  // kNull if there is no such job

 private:
  JobEventLog events_;
  PlainCommitter committer_;
  std::unique_ptr<Engine> own_engine_;
  Engine* engine_;
  std::unique_ptr<JobManager> jobs_;
  std::vector<std::pair<JobNumber, std::shared_ptr<JobTrace>>> traces_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_JOB_HARNESS_H_
