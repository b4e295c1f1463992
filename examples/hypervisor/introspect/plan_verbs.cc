// Plans of verbs: the job manager is asked what it would say.
#include <string>

#include "examples/hypervisor/block/job_verbs.h"
#include "examples/hypervisor/introspect/plan.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/job/job_manager.h"

namespace millrace {
namespace {

JobVerb VerbNamed(std::string_view name) {
  size_t verb = 0;
  while (kJobVerbNames[verb] != name) ++verb;
  return static_cast<JobVerb>(verb);
}

bool IsLegacy(std::string_view command) { return command.starts_with("block-job-"); }

PlanResult PlanVerb(BlockLayer& layer, std::string_view command, const json::object& arguments) {
  const bool is_legacy = IsLegacy(command);
  const std::string_view verb_name = command.substr(is_legacy ? 10 : 4);
  const JobVerb verb = VerbNamed(verb_name);
  ArgumentReader reader(arguments);
  // The older commands name a job by "device", where they have not got "id" as well.
  const std::string id = reader.OptionalString("id").value_or("");
  const std::string device = reader.OptionalString("device").value_or("");
  const bool force = !is_legacy || reader.OptionalBool("force").value_or(false);
  const std::string& job = id.empty() ? device : id;
  MILLRACE_RETURN_IF_ERROR(CheckKnowsJob(layer, job, is_legacy));
  absl::Status refusal = layer.jobs().CheckVerb(job, verb, force);
  MILLRACE_RETURN_IF_ERROR(InVerbWords(std::move(refusal), job, is_legacy));
  const int64_t speed = reader.OptionalInteger("speed").value_or(0);
  MILLRACE_RETURN_IF_ERROR(JobManager::CheckSpeed(job, speed));
  return PlanOfStep(StrCat(verb_name, " job '", job, "'"));
}

}  // namespace

void SetVerbPlanners(BlockLayer& layer) {
  for (const std::string_view command :
       {"job-pause", "job-resume", "job-cancel", "job-complete", "job-finalize", "job-dismiss",
        "block-job-pause", "block-job-resume", "block-job-cancel", "block-job-complete",
        "block-job-finalize", "block-job-dismiss", "block-job-set-speed"}) {
    layer.host().commands.SetPlanner(std::string(command),
                                     [&layer, command](const json::object& arguments) {
                                       return PlanVerb(layer, command, arguments);
                                     });
  }
}

}  // namespace millrace
