// The verbs of jobs, in both spellings: block-job-pause {device} and job-pause {id}. They differ in
// how an unknown job is called, and block-job-cancel in being soft.
#include "examples/hypervisor/block/job_verbs.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/create_job.h"
#include "examples/hypervisor/block/job_events.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace {
namespace {

using Verb = std::function<absl::Status(JobManager& jobs, const std::string& id)>;

CommandResult Call(BlockLayer& layer, const Verb& verb, const std::string& id, bool is_legacy) {
  MILLRACE_RETURN_IF_ERROR(CheckKnowsJob(layer, id, is_legacy));
  MILLRACE_RETURN_IF_ERROR(InVerbWords(verb(layer.jobs(), id), id, is_legacy));
  return json::object();
}

void RegisterPair(BlockLayer& layer, const std::string& name, const Verb& verb,
                  const std::string& legacy_key = "device") {
  layer.host().commands.Register(
      {.name = StrCat("job-", name),
       .arguments = {{{"id", ArgumentType::kString}}},
       .handler = [&layer, verb](const json::object& arguments) -> CommandResult {
         ArgumentReader reader(arguments);
         return Call(layer, verb, reader.String("id"), false);
       }});
  layer.host().commands.Register(
      {.name = StrCat("block-job-", name),
       .arguments = {{{legacy_key, ArgumentType::kString}}},
       .handler = [&layer, verb, legacy_key](const json::object& arguments) -> CommandResult {
         ArgumentReader reader(arguments);
         return Call(layer, verb, reader.String(legacy_key), true);
       }});
}

bool IsParked(BlockLayer& layer, const std::string& id) {
  const absl::StatusOr<JobInfo> job = layer.jobs().Query(id);
  return job.ok() && (job->state == JobState::kPaused || job->state == JobState::kStandby);
}

// QEMU lets the job act on it at once, so that a job that sleeps or is parked tells of its new
// state before the reply. One that waits for its disk is not waited for.
CommandResult CoCallAndLetAct(BlockLayer& layer, const Verb& verb, const std::string& id,
                              bool is_legacy) MILLRACE_MAY_SUSPEND {
  constexpr int kTurns = 4;
  const bool was_parked = IsParked(layer, id);
  MILLRACE_ASSIGN_OR_RETURN(json::value done, Call(layer, verb, id, is_legacy));
  for (int turn = 0; turn < kTurns && IsParked(layer, id) == was_parked; ++turn) {
    if (!CoSleepFor(0).ok()) break;  // the daemon ends
  }
  return done;
}

void RegisterPauseOrResume(BlockLayer& layer, const std::string& name, const Verb& verb) {
  for (const bool is_legacy : {false, true}) {
    const std::string key = is_legacy ? "device" : "id";
    layer.host().commands.Register(
        {.name = StrCat(is_legacy ? "block-job-" : "job-", name),
         .arguments = {{{key, ArgumentType::kString}}},
         .handler = [&layer, verb, key, is_legacy](const json::object& arguments)
                        MILLRACE_MAY_SUSPEND -> CommandResult {
           ArgumentReader reader(arguments);
           return CoCallAndLetAct(layer, verb, reader.String(key), is_legacy);
         }});
  }
}

// With the job go the nodes that it alone kept: the reply waits until they are closed.
CommandResult CoDismiss(BlockLayer& layer, const std::string& id, bool is_legacy)
    MILLRACE_MAY_SUSPEND {
  const std::vector<NodeId> before = layer.graph().NodesBeingClosed();
  const auto dismiss = [](JobManager& jobs, const std::string& job) { return jobs.Dismiss(job); };
  MILLRACE_ASSIGN_OR_RETURN(json::value done, Call(layer, dismiss, id, is_legacy));
  std::vector<NodeId> dropped = layer.graph().NodesBeingClosed();
  std::erase_if(
      dropped, [&](NodeId node) { return std::binary_search(before.begin(), before.end(), node); });
  layer.graph().CoWaitForClosed(dropped);
  return done;
}

void RegisterDismiss(BlockLayer& layer) {
  for (const bool is_legacy : {false, true}) {
    layer.host().commands.Register({.name = is_legacy ? "block-job-dismiss" : "job-dismiss",
                                    .arguments = {{{"id", ArgumentType::kString}}},
                                    .handler = [&layer, is_legacy](const json::object& arguments)
                                                   MILLRACE_MAY_SUSPEND -> CommandResult {
                                      ArgumentReader reader(arguments);
                                      return CoDismiss(layer, reader.String("id"), is_legacy);
                                    }});
  }
}

void RegisterCancel(BlockLayer& layer) {
  layer.host().commands.Register(
      {.name = "job-cancel",
       .arguments = {{{"id", ArgumentType::kString}}},
       .handler = [&layer](const json::object& arguments) -> CommandResult {
         ArgumentReader reader(arguments);
         return Call(
             layer, [](JobManager& jobs, const std::string& id) { return jobs.Cancel(id, true); },
             reader.String("id"), false);
       },
       .replies_first = true});
  layer.host().commands.Register(
      {.name = "block-job-cancel",
       .arguments = {{{"device", ArgumentType::kString}, {"force", ArgumentType::kBool, true}}},
       .handler = [&layer](const json::object& arguments) -> CommandResult {
         ArgumentReader reader(arguments);
         const std::string id = reader.String("device");
         const bool force = reader.OptionalBool("force").value_or(false);
         return Call(
             layer,
             [force](JobManager& jobs, const std::string& job) { return jobs.Cancel(job, force); },
             id, true);
       },
       .replies_first = true});
}

void RegisterSetSpeed(BlockLayer& layer) {
  layer.host().commands.Register(
      {.name = "block-job-set-speed",
       .arguments = {{{"device", ArgumentType::kString}, {"speed", ArgumentType::kInteger}}},
       .handler = [&layer](const json::object& arguments) -> CommandResult {
         ArgumentReader reader(arguments);
         const std::string id = reader.String("device");
         const int64_t speed = reader.Integer("speed");
         return Call(
             layer,
             [speed](JobManager& jobs, const std::string& job) {
               return jobs.SetSpeed(job, speed);
             },
             id, true);
       }});
}

void RegisterQueries(BlockLayer& layer) {
  layer.host().commands.Register({.name = "query-block-jobs",
                                  .arguments = {{}},
                                  .handler = [&layer](const json::object&) -> CommandResult {
                                    json::array jobs;
                                    for (const JobInfo& job : layer.jobs().QueryAll()) {
                                      if (!job.is_internal && job.type != kCreateJobType) {
                                        jobs.push_back(
                                            DescribeBlockJob(layer.job_notes().Told(job)));
                                      }
                                    }
                                    return jobs;
                                  }});
  layer.host().commands.Register({.name = "query-jobs",
                                  .arguments = {{}},
                                  .handler = [&layer](const json::object&) -> CommandResult {
                                    json::array jobs;
                                    for (const JobInfo& job : layer.jobs().QueryAll()) {
                                      if (!job.is_internal) jobs.push_back(DescribeJob(job));
                                    }
                                    return jobs;
                                  }});
}

}  // namespace

absl::Status CheckKnowsJob(BlockLayer& layer, const std::string& id, bool is_legacy) {
  const absl::StatusOr<JobInfo> job = layer.jobs().Query(id);
  MILLRACE_RETURN_IF_ERROR(InVerbWords(job.status(), id, is_legacy));
  if (!is_legacy || job->type != kCreateJobType) return absl::OkStatus();
  return QmpError("DeviceNotActive", StrCat("Block job '", id, "' not found"),
                  DescribeRefusal({.reason = "unknown-job",
                                   .object = id,
                                   .next_step = "use the command that begins with 'job-'"}));
}

absl::Status InVerbWords(absl::Status status, const std::string& id, bool is_legacy) {
  if (!absl::IsNotFound(status)) return status;
  const std::optional<Conflict> conflict = ConflictOf(status);
  if (!conflict || conflict->reason != ConflictReason::kUnknownJob) return status;
  const absl::Status told = is_legacy ? DeviceNotActive(StrCat("Block job '", id, "' not found"))
                                      : GenericError("Job not found");
  return WithConflictOf(told, status);
}

void RegisterJobVerbs(BlockLayer& layer) {
  RegisterPauseOrResume(layer, "pause",
                        [](JobManager& jobs, const std::string& id) { return jobs.Pause(id); });
  RegisterPauseOrResume(layer, "resume",
                        [](JobManager& jobs, const std::string& id) { return jobs.Resume(id); });
  RegisterPair(layer, "complete",
               [](JobManager& jobs, const std::string& id) { return jobs.Complete(id); });
  RegisterPair(
      layer, "finalize", [](JobManager& jobs, const std::string& id) { return jobs.Finalize(id); },
      "id");
  RegisterDismiss(layer);
  RegisterCancel(layer);
  RegisterSetSpeed(layer);
  RegisterQueries(layer);
}

}  // namespace millrace
