// Plans of verbs: the job manager is asked what it would say; and of those that end a job, the job
// itself what it would leave. Also of quit, which ends all.
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/job_verbs.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/introspect/plan.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "examples/hypervisor/qmp/json_fields.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/jobs/block_job.h"

namespace millrace {
namespace {

JobVerb VerbNamed(std::string_view name) {
  size_t verb = 0;
  while (kJobVerbNames[verb] != name) ++verb;
  return static_cast<JobVerb>(verb);
}

bool IsLegacy(std::string_view command) { return command.starts_with("block-job-"); }

// ---- How a job ends ----------------------------------------------------------------------------

struct VerbRequest {
  JobVerb verb = JobVerb::kPause;
  std::string job;
  bool force = false;
};

// A mirror that ends well, of which the rest is still to be copied.
std::optional<JobEnd> WhenDone(const JobInfo& job, JobEnd end, CommandPlan* plan) {
  if (job.finalizes_automatically) return end;
  plan->steps.push_back("wait for job-finalize, when the rest has been copied");
  return std::nullopt;
}

// Nothing: it goes on for now.
std::optional<JobEnd> EndAfter(const VerbRequest& request, const JobInfo& job, CommandPlan* plan) {
  switch (request.verb) {
    case JobVerb::kComplete:
      return WhenDone(job, JobEnd::kCompleted, plan);
    case JobVerb::kFinalize:
      return JobEnd::kDone;
    case JobVerb::kDismiss:
      return JobEnd::kDismissed;
    case JobVerb::kCancel:
      break;
    default:
      return std::nullopt;
  }
  if (job.is_finalizing) {
    plan->unknown.push_back("whether the job, which is ending by itself, still fails");
    return std::nullopt;
  }
  return job.is_ready && !request.force ? WhenDone(job, JobEnd::kDone, plan) : JobEnd::kUndone;
}

bool IsHeldBy(const json::value& holder, const Holder& job) {
  return holder.is_object() && TextOf(holder.get_object(), "id") == job.id &&
         TextOf(holder.get_object(), "type") == job.type;
}

// What the job holds besides attachments: its lease and, unless they stay, its claims.
void TakeProofsOut(const Holder& job, bool keeps_claims, json::value* graph) {
  for (json::value& node : graph->as_object()["nodes"].as_array()) {
    json::object& told = node.as_object();
    for (json::value& edge : told["edges"].as_array()) {
      json::value& lease = edge.as_object()["lease"];
      if (IsHeldBy(lease, job)) lease = nullptr;
    }
    json::array claims;
    for (const json::value& claim : told["claims"].as_array()) {
      if (keeps_claims || !IsHeldBy(claim.as_object().at("holder"), job)) claims.push_back(claim);
    }
    told["claims"] = std::move(claims);
  }
}

absl::Status RehearseEnd(BlockLayer& layer, BlockJob& job, JobEnd end, bool restores,
                         CommandPlan* plan) MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  change.OnBehalfOf(job.holder());
  const absl::StatusOr<bool> keeps_claims = job.StagePlannedEnd(change, end, restores);
  absl::Status refusal = keeps_claims.status();
  if (refusal.ok()) refusal = change.Rehearse();
  if (refusal.ok()) {
    LookAt(change, plan);
    TakeProofsOut(*job.holder(), *keeps_claims, &plan->graph);
  }
  job.DropPlannedEnd(end);
  return refusal;
}

// A node that the job has made writable, and that somebody else writes by now, stays so.
bool IsStillWritten(const absl::Status& refusal) {
  const std::optional<Conflict> conflict = ConflictOf(refusal);
  return conflict && conflict->reason == ConflictReason::kReadOnly;
}

void PlanEnd(BlockLayer& layer, BlockJob& job, JobEnd end, CommandPlan* plan) MILLRACE_OPENS_VIEW {
  absl::Status refusal = RehearseEnd(layer, job, end, /*restores=*/true, plan);
  if (IsStillWritten(refusal)) refusal = RehearseEnd(layer, job, end, /*restores=*/false, plan);
  if (refusal.ok()) return;
  plan->steps.push_back(StrCat("fail at its end, if that came now: ",
                               RenderError(refusal, layer.host().renderer).desc));
  if (end == JobEnd::kDone || end == JobEnd::kCompleted) {
    PlanEnd(layer, job, JobEnd::kUndone, plan);
  }
}

// ---- Verbs -------------------------------------------------------------------------------------

absl::StatusOr<VerbRequest> ReadVerb(BlockLayer& layer, std::string_view command,
                                     const json::object& arguments) {
  const bool is_legacy = IsLegacy(command);
  ArgumentReader reader(arguments);
  // The older commands name a job by "device", where they have not got "id" as well.
  const std::string id = reader.OptionalString("id").value_or("");
  const std::string device = reader.OptionalString("device").value_or("");
  VerbRequest request;
  request.verb = VerbNamed(command.substr(is_legacy ? 10 : 4));
  request.job = id.empty() ? device : id;
  request.force = !is_legacy || reader.OptionalBool("force").value_or(false);
  MILLRACE_RETURN_IF_ERROR(CheckKnowsJob(layer, request.job, is_legacy));
  absl::Status refusal = layer.jobs().CheckVerb(request.job, request.verb, request.force);
  MILLRACE_RETURN_IF_ERROR(InVerbWords(std::move(refusal), request.job, is_legacy));
  const int64_t speed = reader.OptionalInteger("speed").value_or(0);
  MILLRACE_RETURN_IF_ERROR(JobManager::CheckSpeed(request.job, speed));
  return request;
}

PlanResult PlanVerb(BlockLayer& layer, std::string_view command, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const VerbRequest request, ReadVerb(layer, command, arguments));
  CommandPlan plan = PlanOfStep(StrCat(JobVerbName(request.verb), " job '", request.job, "'"));
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo info, layer.jobs().Query(request.job));
  const std::optional<JobEnd> end = EndAfter(request, info, &plan);
  MILLRACE_ASSIGN_OR_RETURN(JobBody* const body, layer.jobs().FindBody(request.job));
  auto* const job = dynamic_cast<BlockJob*>(body);
  if (!end || job == nullptr) return plan;
  PlanEnd(layer, *job, *end, &plan);
  if (*end == JobEnd::kDone || *end == JobEnd::kCompleted) {
    plan.unknown.push_back("whether its last writes succeed; if not, it takes down what it set up");
  }
  return plan;
}

// ---- quit --------------------------------------------------------------------------------------

std::string_view EndByQuit(const JobInfo& job) {
  if (job.state == JobState::kConcluded) return "dismiss";
  return job.is_finalizing ? "wait for the end of" : "cancel";
}

PlanResult PlanQuit(BlockLayer& layer) {
  CommandPlan plan;
  if (const CommandPlanner* stop = layer.host().commands.FindPlanner("nbd-server-stop")) {
    PlanResult server = (*stop)({});
    if (server.ok()) plan.steps = std::move(server->steps);
  }
  for (const JobInfo& job : layer.jobs().QueryAll()) {
    if (!job.is_internal) plan.steps.push_back(StrCat(EndByQuit(job), " job '", job.id, "'"));
  }
  plan.steps.push_back("close all drives and nodes");
  plan.steps.push_back("end the program");
  plan.graph = json::object{{"revision", layer.graph().revision()},
                            {"nodes", json::array()},
                            {"sections", json::array()}};
  return plan;
}

}  // namespace

void SetVerbPlanners(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  for (const std::string_view command :
       {"job-pause", "job-resume", "job-cancel", "job-complete", "job-finalize", "job-dismiss",
        "block-job-pause", "block-job-resume", "block-job-cancel", "block-job-complete",
        "block-job-finalize", "block-job-dismiss", "block-job-set-speed"}) {
    commands.SetPlanner(std::string(command),
                        [&layer, command](const json::object& arguments)
                            MILLRACE_OPENS_VIEW { return PlanVerb(layer, command, arguments); });
  }
  commands.SetPlanner("quit", [&layer](const json::object&) { return PlanQuit(layer); });
}

}  // namespace millrace
