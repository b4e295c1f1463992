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

absl::Status CoRunOn(const OpenedImage& image, Session& session, ChainJob& job, JobOutcome* outcome)
    MILLRACE_MAY_SUSPEND {
  outcome->chain = ChainOf(session.graph(), image.top());
  MILLRACE_RETURN_IF_ERROR(job.Choose(outcome->chain));
  MILLRACE_RETURN_IF_ERROR(StopIfInterrupted());
  // From here on it is the job that is cancelled, which ends in its own way.
  session.run().OnInterrupt([] { SayHeard("cancelling the job"); });
  MILLRACE_ASSIGN_OR_RETURN(const JobNumber number, job.CoStart(session));
  absl::Status status = CoWatchJob(session, job.flags(), number, outcome);
  outcome->chain = ChainOf(session.graph(), image.top());
  return status;
}

// Fills `plan` if that is asked for, else runs the job and tells how it ended.
absl::Status CoDo(Session& session, ChainJob& job, JobPlan* plan, JobOutcome* outcome)
    MILLRACE_MAY_SUSPEND {
  const JobFlags& flags = job.flags();
  const OpenImageOptions options =
      flags.is_dry_run ? flags.OptionsToPlan()
                       : flags.session.OpenOptions(flags.image, !job.writes_to_top());
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image,
                            CoOpenImage(session.graph(), session.registry(), options));
  absl::Status status = flags.is_dry_run ? CoPlanOn(image, session, job, plan)
                                         : CoRunOn(image, session, job, outcome);
  image.holds[0].CoDetach();
  if (!flags.is_dry_run || !status.ok()) return status;
  // Only now that the chain is closed: it was opened without locks, so this asks for all of them.
  CoFindOtherPrograms(session, flags, plan);
  return StopIfInterrupted();
}

int ReportDryRun(const JobPlan& plan, const JobFlags& flags, absl::Status status) {
  if (status.ok()) return ReportPlan(plan, flags.session.json);
  if (absl::IsCancelled(status)) {
    status = absl::CancelledError("the plan is not whole; the images were only read");
  }
  return ReportError(status, flags.session);
}

}  // namespace

int RunChainJob(ChainJob& job, CommandLine& line, Words words) {
  if (absl::Status usage = line.Parse(words); !usage.ok()) return ReportUsage(usage);
  if (line.wants_help()) return fputs(line.Help().c_str(), stdout), kExitSuccess;
  if (absl::Status usage = job.CheckFlags(); !usage.ok()) return ReportUsage(usage);
  const JobFlags& flags = job.flags();
  Session session;
  JobPlan plan;
  JobOutcome outcome;
  absl::Status status = session.Start(flags.session);
  if (status.ok()) {
    status = session.Run([&]() MILLRACE_MAY_SUSPEND { return CoDo(session, job, &plan, &outcome); },
                         /*changes_images=*/!flags.is_dry_run);
  }
  if (flags.is_dry_run) return ReportDryRun(plan, flags, status);
  return ReportJob(job.name(), flags, outcome, status);
}

}  // namespace millrace
