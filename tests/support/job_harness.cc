#include "tests/support/job_harness.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {

void JobEventLog::OnJobEvent(const JobEvent& event) {
  events_.push_back(event);
  lines_.push_back(ToString(event));
}

std::vector<std::string> JobEventLog::Of(std::string_view id) const {
  std::vector<std::string> found;
  for (size_t i = 0; i < events_.size(); ++i) {
    if (events_[i].id == id) found.push_back(lines_[i].substr(id.size() + 2));
  }
  return found;
}

void JobEventLog::Clear() {
  events_.clear();
  lines_.clear();
}

absl::StatusOr<CommitOutcome> PlainCommitter::CoCommit(absl::Span<JobBody* const> members) {
  CoYield("commit");
  if (before != nullptr) {
    if (absl::Status status = before(); !status.ok()) return status;
  }
  if (put_offs > 0) {
    --put_offs;
    return CommitOutcome::kPutOff;
  }
  class NoEdit final : public JobEdit {};
  NoEdit edit;
  for (JobBody* member : members) member->StageEdit(edit);
  ++commits;
  return CommitOutcome::kApplied;
}

uint64_t JobTrace::Count(std::string_view hook) const {
  return static_cast<uint64_t>(std::count(calls.begin(), calls.end(), hook));
}

// ---- ScriptedJob --------------------------------------------------------------------------------

ScriptedJob::~ScriptedJob() { trace_->is_destroyed = true; }

void ScriptedJob::CoHook(std::string_view name) {
  trace_->calls.emplace_back(name);
  for (int i = 0; i < script_.yields; ++i) CoYield("hook");
  if (script_.in_hook) script_.in_hook(name, context());
}

absl::Status ScriptedJob::CoSetUp() {
  trace_->quiescable = &context().quiescable();
  for (int i = 0; i < script_.yields; ++i) CoYield("hook");
  return script_.set_up;
}

absl::Status ScriptedJob::OnCreated() {
  trace_->calls.emplace_back("created");
  return script_.created;
}

absl::Status ScriptedJob::CoRun(JobContext& context) {
  CoHook("run");
  context.SetRemaining(script_.pieces * script_.piece_bytes);
  absl::Status status = CoPieces(context);
  if (status.ok() && script_.has_ready_phase && !context.is_cancelled()) {
    status = CoReadyPhase(context);
  }
  if (status.ok() && script_.idles) {
    while (!context.is_cancelled()) context.CoIdle();
  }
  return status.ok() ? script_.run : status;
}

absl::Status ScriptedJob::CoPieces(JobContext& context) {
  for (uint64_t piece = 0; piece < script_.pieces;) {
    trace_->has_io_in_flight = script_.forgets_io;
    context.CoBeforePiece();
    if (context.is_cancelled()) return absl::OkStatus();
    trace_->has_io_in_flight = true;
    for (int i = 0; i < script_.yields; ++i) CoYield("piece");
    trace_->has_io_in_flight = false;
    if (script_.io != nullptr) {
      const absl::Status status = script_.io(piece);
      if (!status.ok()) {
        switch (context.HandleError(script_.on_error, script_.operation, status)) {
          case ErrorAction::kReport:
            return status;
          case ErrorAction::kStop:
            continue;  // parks before the next piece, and tries again
          case ErrorAction::kIgnore:
            break;
        }
      }
    }
    context.AccountBytes(script_.piece_bytes);
    context.Advance(script_.piece_bytes);
    trace_->moved.emplace_back(Scheduler::Current()->Now(), script_.piece_bytes);
    ++trace_->pieces_done;
    ++piece;
  }
  return absl::OkStatus();
}

absl::Status ScriptedJob::CoReadyPhase(JobContext& context) {
  context.BecomeReady();
  if (script_.in_hook) script_.in_hook("ready", context);
  while (!is_completion_wanted_ && !context.is_cancel_requested()) context.CoIdle();
  return absl::OkStatus();
}

absl::Status ScriptedJob::CoPrepare() {
  CoHook("prepare");
  return script_.prepare;
}

void ScriptedJob::StageEdit(JobEdit&) { trace_->calls.emplace_back("stage"); }

absl::Status ScriptedJob::CoFollowUp() {
  CoHook("follow-up");
  return script_.follow_up;
}

void ScriptedJob::CoAbort() { CoHook("abort"); }
void ScriptedJob::CoClean() { CoHook("clean"); }

void ScriptedJob::CoStopIo() {
  EXPECT_FALSE(trace_->has_io_in_flight);
  trace_->calls.emplace_back("stop-io");
}

void ScriptedJob::OnRestartIo() { trace_->calls.emplace_back("restart-io"); }

void ScriptedJob::OnComplete() { is_completion_wanted_ = true; }

void ScriptedJob::OnChange(const JobChange&) { trace_->calls.emplace_back("change"); }

bool ScriptedJob::OnCancel(bool force) {
  trace_->calls.emplace_back(force ? "cancel-force" : "cancel-soft");
  return force || !script_.has_ready_phase || !context().is_ready();
}

void ScriptedJob::OnUserResume() { trace_->calls.emplace_back("user-resume"); }

void ScriptedJob::OnSetSpeed(int64_t bytes_per_second) {
  trace_->calls.emplace_back(StrCat("speed ", bytes_per_second));
}

// ---- BareJobWorld -----------------------------------------------------------------------------------

BareJobWorld::BareJobWorld(Decider* decider)
    : own_engine_(Engine::Create({.simulated = true, .decider = decider}).value()),
      engine_(own_engine_.get()),
      jobs_(std::make_unique<JobManager>(engine_->scheduler(), events_, committer_)) {}

BareJobWorld::BareJobWorld(Engine& engine)
    : engine_(&engine),
      jobs_(std::make_unique<JobManager>(engine_->scheduler(), events_, committer_)) {}

BareJobWorld::~BareJobWorld() {
  Run([&]() MILLRACE_NO_ANALYSIS { jobs_->CoShutdown(); });
  EXPECT_EQ(jobs_->live_jobs(), 0u);
  jobs_.reset();
  EXPECT_EQ(engine_->scheduler().live_coroutines(), 0u);
  for (const auto& [job, trace] : traces_) EXPECT_TRUE(trace->is_destroyed);
}

void BareJobWorld::Run(const std::function<void()>& main) {
  const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND { main(); });
  EXPECT_TRUE(status.ok()) << status;
}

void BareJobWorld::Settle() {
  engine_->RunUntil([] { return false; });
}

bool BareJobWorld::Step(uint64_t steps) {
  for (; steps > 0; --steps) {
    if (!engine_->scheduler().RunOneStep()) return false;
  }
  return true;
}

void BareJobWorld::RunReady() {
  while (engine_->scheduler().has_ready()) Step();
}

JobNumber BareJobWorld::CoCreate(std::string id, ScriptedJob::Script script, JobSpec spec) {
  auto trace = std::make_shared<JobTrace>();
  spec.id = std::move(id);
  absl::StatusOr<JobNumber> job =
      jobs_->CoCreate(std::move(spec), std::make_unique<ScriptedJob>(std::move(script), trace));
  MILLRACE_CHECK(job.ok(), job.status().ToString());
  traces_.emplace_back(*job, std::move(trace));
  return *job;
}

JobNumber BareJobWorld::CoStart(std::string id, ScriptedJob::Script script, JobSpec spec) {
  const JobNumber job = CoCreate(std::move(id), std::move(script), std::move(spec));
  const absl::Status status = jobs_->CoStart(job);
  EXPECT_TRUE(status.ok()) << status;
  return job;
}

JobNumber BareJobWorld::Create(std::string id, ScriptedJob::Script script, JobSpec spec) {
  JobNumber job;
  Run([&]() MILLRACE_NO_ANALYSIS { job = CoCreate(std::move(id), std::move(script), spec); });
  return job;
}

JobNumber BareJobWorld::Start(std::string id, ScriptedJob::Script script, JobSpec spec) {
  JobNumber job;
  Run([&]() MILLRACE_NO_ANALYSIS { job = CoStart(std::move(id), std::move(script), spec); });
  return job;
}

JobTrace& BareJobWorld::trace(JobNumber job) {
  for (auto& [number, trace] : traces_) {
    if (number == job) return *trace;
  }
  MILLRACE_CHECK(false, "no such job");
}

JobState BareJobWorld::StateOf(JobKey key) {
  absl::StatusOr<JobInfo> info = jobs_->Query(key);
  return info.ok() ? info->state : JobState::kNull;
}

}  // namespace millrace
