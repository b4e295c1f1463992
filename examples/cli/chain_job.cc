#include "examples/cli/chain_job.h"

#include <cstdio>

#include "examples/cli/exit_code.h"
#include "millrace/engine/base/status_macros.h"

namespace millrace {
namespace {

absl::Status CoPlanOn(const OpenedImage& image, Session& session, ChainJob& job, JobPlan* plan)
    MILLRACE_MAY_SUSPEND {
  plan->job = std::string(job.name());
  plan->before = ChainOf(session.graph(), image.top());
  MILLRACE_RETURN_IF_ERROR(job.Choose(plan->before));
  return job.CoPlan(session.graph(), plan);
}

absl::Status CoRunOn(const OpenedImage& image, Session& session, ChainJob& job,
                     std::vector<ChainLink>* chain) MILLRACE_MAY_SUSPEND {
  *chain = ChainOf(session.graph(), image.top());
  MILLRACE_RETURN_IF_ERROR(job.Choose(*chain));
  MILLRACE_ASSIGN_OR_RETURN(const JobNumber number, job.CoStart(session));
  absl::Status status = CoWatchJob(session, job.flags(), number);
  *chain = ChainOf(session.graph(), image.top());
  return status;
}

// Fills `plan` if that is asked for, else runs the job and tells how the chain looks then.
absl::Status CoDo(Session& session, ChainJob& job, JobPlan* plan, std::vector<ChainLink>* chain)
    MILLRACE_MAY_SUSPEND {
  const JobFlags& flags = job.flags();
  const OpenImageOptions options =
      flags.is_dry_run ? flags.OptionsToPlan()
                       : flags.session.OpenOptions(flags.image, !job.writes_to_top());
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image,
                            CoOpenImage(session.graph(), session.registry(), options));
  absl::Status status =
      flags.is_dry_run ? CoPlanOn(image, session, job, plan) : CoRunOn(image, session, job, chain);
  image.holds[0].CoDetach();
  // Only now that the chain is closed: it was opened without locks, so this asks for all of them.
  if (status.ok() && flags.is_dry_run) CoFindOtherPrograms(session, flags, plan);
  return status;
}

}  // namespace

int RunChainJob(ChainJob& job, CommandLine& line, Words words) {
  if (absl::Status usage = line.Parse(words); !usage.ok()) return ReportUsage(usage);
  if (line.wants_help()) return fputs(line.Help().c_str(), stdout), kExitSuccess;
  if (absl::Status usage = job.CheckFlags(); !usage.ok()) return ReportUsage(usage);
  const JobFlags& flags = job.flags();
  Session session;
  JobPlan plan;
  std::vector<ChainLink> chain;
  absl::Status status = session.Start(flags.session);
  if (status.ok()) {
    status = session.Run([&]() MILLRACE_MAY_SUSPEND { return CoDo(session, job, &plan, &chain); });
  }
  if (status.ok() && flags.is_dry_run) return ReportPlan(plan, flags.session.json);
  return ReportJob(job.name(), flags, chain, status, session.run().was_interrupted());
}

}  // namespace millrace
