// millrace stream: copies what lies below an image up into it.
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "examples/cli/chain.h"
#include "examples/cli/commands.h"
#include "examples/cli/exit_code.h"
#include "examples/cli/job_command.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace {
namespace {

constexpr std::string_view kHelp =
    "Copies into an image what it shows from the images below it, down to a base, which becomes "
    "its\n"
    "backing file; without a base, everything, and the image stands alone. The images between are\n"
    "left as they are and are not needed by this chain any more.\n"
    "\n"
    "  before:  top <- mid <- base        after --base base.qcow2:  top <- base\n"
    "\n"
    "  millrace stream --dry-run --base base.qcow2 top.qcow2\n"
    "  millrace stream --base base.qcow2 top.qcow2\n"
    "  millrace stream --top mid.qcow2 top.qcow2      fill an image inside the chain of top.qcow2\n"
    "\n"
    "Images inside the chain are named by path, by file name, or as @1, @2 ... from the top. "
    "Ctrl-C\n"
    "cancels: the chain stays as it was, and what was copied stays copied.";

struct StreamFlags : JobFlags {
  std::string top;
  std::string base;
  std::string bottom;
};

// Which images take part; indices into the chain.
struct Range {
  size_t top = 0;
  size_t lowest = 0;           // that is copied from
  std::optional<size_t> base;  // the new backing
};

absl::StatusOr<Range> FindRange(const std::vector<ChainLink>& chain, const StreamFlags& flags) {
  Range range;
  if (!flags.top.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(range.top, FindInChain(chain, flags.top));
  }
  range.lowest = chain.size() - 1;
  if (!flags.base.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(range.base, FindInChain(chain, flags.base));
    if (*range.base <= range.top) {
      return absl::InvalidArgumentError(StrCat("'", flags.base, "' does not lie below '",
                                               chain[range.top].path,
                                               "'; name a base further down the chain"));
    }
    range.lowest = *range.base - 1;
  }
  if (!flags.bottom.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(range.lowest, FindInChain(chain, flags.bottom));
    if (range.lowest + 1 < chain.size()) range.base = range.lowest + 1;
  }
  return range;
}

absl::StatusOr<StreamOptions> OptionsFor(const std::vector<ChainLink>& chain, const Range& range,
                                         const StreamFlags& flags) {
  StreamOptions options;
  MILLRACE_RETURN_IF_ERROR(flags.ApplyTo(options, "stream"));
  options.top = chain[range.top].node;
  if (!flags.bottom.empty()) {
    options.bottom = chain[range.lowest].node;
  } else if (range.base) {
    options.base = chain[*range.base].node;
  }
  options.backing_filename = flags.backing_file;
  if (options.backing_filename.empty() && range.base) {
    options.backing_filename = BackingNameFor(chain[range.top], chain[*range.base]);
  }
  return options;
}

// Takes every proof the job would take, and lets go of them again.
absl::Status Claim(Graph& graph, const StreamOptions& options, JobPlan* plan) MILLRACE_OPENS_VIEW {
  absl::StatusOr<StreamProofs> proofs = ClaimForStream(graph, options, "stream");
  FindClaims(graph, plan);
  return proofs.status();
}

absl::Status CoPlan(Session& session, const StreamFlags& flags, JobPlan* plan)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image,
                            CoOpenImage(session.graph(), session.registry(),
                                        flags.session.OpenOptions(flags.image, true)));
  plan->job = "stream";
  plan->before = ChainOf(session.graph(), image.top());
  MILLRACE_ASSIGN_OR_RETURN(const Range range, FindRange(plan->before, flags));
  MILLRACE_ASSIGN_OR_RETURN(const StreamOptions options, OptionsFor(plan->before, range, flags));
  plan->refusal = Claim(session.graph(), options, plan);
  plan->target = range.top;
  plan->written = {range.top};
  if (range.lowest > range.top) {
    // What the images below the top hold, less what the top hides.
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t all,
                              CoBytesIn(session.graph(), plan->before, range.top, range.lowest));
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t own,
                              CoBytesIn(session.graph(), plan->before, range.top, range.top));
    plan->copied_bytes = all - own;
  }
  for (size_t i = 0; i < plan->before.size(); ++i) {
    if (i <= range.top || (range.base && i >= *range.base)) plan->after.push_back(plan->before[i]);
  }
  image.holds[0].CoDetach();
  CoFindOtherPrograms(session, flags, plan);
  return absl::OkStatus();
}

absl::Status CoStream(Session& session, const StreamFlags& flags, std::vector<ChainLink>* chain)
    MILLRACE_MAY_SUSPEND {
  // An image inside the chain is made writable by the job; then the top need not be.
  const bool is_top_filled = flags.top.empty() || flags.top == flags.image || flags.top == "@0";
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image,
                            CoOpenImage(session.graph(), session.registry(),
                                        flags.session.OpenOptions(flags.image, !is_top_filled)));
  *chain = ChainOf(session.graph(), image.top());
  MILLRACE_ASSIGN_OR_RETURN(const Range range, FindRange(*chain, flags));
  MILLRACE_ASSIGN_OR_RETURN(StreamOptions options, OptionsFor(*chain, range, flags));
  MILLRACE_ASSIGN_OR_RETURN(const JobNumber job,
                            CoStartStream(session.graph(), session.jobs(), std::move(options)));
  absl::Status status = CoWatchJob(session, flags, job);
  *chain = ChainOf(session.graph(), image.top());
  image.holds[0].CoDetach();
  return status;
}

}  // namespace

int RunStream(Words words) {
  StreamFlags flags;
  CommandLine line("stream", "stream [OPTION...] IMAGE", kHelp);
  line.Option("base", "FILE", &flags.base,
              "stop above this image, and keep it as the backing file");
  line.Option("bottom", "FILE", &flags.bottom, "instead of --base: the lowest image to copy from");
  line.Option("top", "FILE", &flags.top, "fill this image of the chain instead of IMAGE");
  flags.AddTo(line);
  if (absl::Status status = line.Parse(words); !status.ok()) return ReportUsage(status);
  if (line.wants_help()) return fputs(line.Help().c_str(), stdout), kExitSuccess;
  if (!flags.base.empty() && !flags.bottom.empty()) {
    return ReportUsage(absl::InvalidArgumentError("--base and --bottom exclude each other"));
  }
  Session session;
  JobPlan plan;
  std::vector<ChainLink> chain;
  absl::Status status = session.Start(flags.session);
  if (status.ok()) {
    status = session.Run([&]() MILLRACE_MAY_SUSPEND {
      return flags.is_dry_run ? CoPlan(session, flags, &plan) : CoStream(session, flags, &chain);
    });
  }
  if (status.ok() && flags.is_dry_run) return ReportPlan(plan, flags.session.json);
  return ReportJob("stream", flags, chain, status, session.run().was_interrupted());
}

}  // namespace millrace
