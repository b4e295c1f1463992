// millrace commit: copies images down into the one they stand on.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/cli/chain.h"
#include "examples/cli/chain_job.h"
#include "examples/cli/commands.h"
#include "examples/cli/job_command.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/jobs/commit/commit_job.h"

namespace millrace {
namespace {

constexpr std::string_view kCommitHelp =
    "Copies what the images from --top down hold into the base below them; then whatever stood on\n"
    "the top stands on the base. The committed images are not needed by this chain any more. They\n"
    "and any other overlay of the base are useless afterwards: the base has changed below them.\n"
    "\n"
    "  before:  IMAGE <- top <- mid <- base        after:  IMAGE <- base\n"
    "\n"
    "  millrace commit --dry-run --top mid.qcow2 disk.qcow2\n"
    "  millrace commit --top mid.qcow2 --base base.qcow2 disk.qcow2\n"
    "\n"
    "The top must lie below IMAGE. Images are named by path, by file name, or as @1, @2 ... from "
    "the\n"
    "top. Ctrl-C cancels: the chain stays as it was and shows what it showed.";

struct CommitFlags : JobFlags {
  std::string top;
  std::string base;
};

struct CommitRange {
  size_t top = 0;
  size_t base = 0;
};

absl::StatusOr<CommitRange> FindRange(const std::vector<ChainLink>& chain,
                                      const CommitFlags& flags) {
  CommitRange range;
  MILLRACE_ASSIGN_OR_RETURN(range.top, FindInChain(chain, flags.top));
  range.base = chain.size() - 1;
  if (!flags.base.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(range.base, FindInChain(chain, flags.base));
  }
  if (range.top == 0) {
    return absl::UnimplementedError(
        StrCat("cannot commit '", chain[0].path,
               "', the uppermost image: only images below it; name one with --top, or make an "
               "overlay of it first and name that as IMAGE"));
  }
  if (range.base <= range.top) {
    return absl::InvalidArgumentError(StrCat("nothing to commit: '", chain[range.base].path,
                                             "' does not lie below '", chain[range.top].path,
                                             "'; name a base further down the chain"));
  }
  return range;
}

absl::StatusOr<CommitOptions> OptionsFor(const std::vector<ChainLink>& chain,
                                         const CommitRange& range, const CommitFlags& flags) {
  CommitOptions options;
  flags.ApplyTo(options.job, "commit");
  options.root = chain[0].node;
  options.top = chain[range.top].node;
  options.base = chain[range.base].node;
  options.backing_filename = flags.backing_file;
  if (options.backing_filename.empty()) {
    options.backing_filename = BackingNameFor(chain[range.top - 1], chain[range.base]);
  }
  return options;
}

class CommitCommand final : public ChainJob {
 public:
  explicit CommitCommand(const CommitFlags& flags) : flags_(flags) {}

  std::string_view name() const override { return "commit"; }
  const JobFlags& flags() const override { return flags_; }
  absl::Status CheckFlags() const override {
    if (!flags_.top.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "--top is missing: which image of the chain is to be committed? See 'millrace commit "
        "--help'");
  }

  absl::Status Choose(const std::vector<ChainLink>& chain) override {
    MILLRACE_ASSIGN_OR_RETURN(range_, FindRange(chain, flags_));
    MILLRACE_ASSIGN_OR_RETURN(options_, OptionsFor(chain, range_, flags_));
    return absl::OkStatus();
  }

  absl::Status CoPlan(Graph& graph, JobPlan* plan) override MILLRACE_MAY_SUSPEND {
    plan->refusal = Claim(graph, plan);
    plan->target = range_.base;
    plan->written = {range_.top - 1, range_.base};
    MILLRACE_ASSIGN_OR_RETURN(plan->copied_bytes,
                              CoBytesIn(graph, plan->before, range_.top, range_.base - 1));
    return absl::OkStatus();
  }

  absl::StatusOr<JobNumber> CoStart(Session& session) override MILLRACE_MAY_SUSPEND {
    return CoStartCommit(session.graph(), session.jobs(), std::move(options_));
  }

 private:
  absl::Status Claim(Graph& graph, JobPlan* plan) MILLRACE_OPENS_VIEW {
    absl::StatusOr<CommitProofs> proofs = ClaimForCommit(graph, options_, "commit");
    FindClaims(graph, plan);
    if (proofs.ok()) plan->after = After(graph, *proofs, plan->before[0].node);
    return proofs.status();
  }

  // The edit of the job's end is staged, looked at and let go of.
  static std::vector<ChainLink> After(Graph& graph, CommitProofs& proofs, NodeId shown)
      MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph);
    if (proofs.chain.is_held()) change.Show(proofs.chain);
    change.ReplaceNode(proofs.top, proofs.base);
    return ChainIn(change, shown);
  }

  const CommitFlags& flags_;
  CommitRange range_;
  CommitOptions options_;
};

}  // namespace

int RunCommit(Words words) {
  CommitFlags flags;
  CommandLine line("commit", "commit --top FILE [OPTION...] IMAGE", kCommitHelp);
  line.Option("top", "FILE", &flags.top, "the uppermost image to commit; below IMAGE");
  line.Option("base", "FILE", &flags.base, "commit into this image; the lowest one if absent");
  flags.AddTo(line);
  CommitCommand command(flags);
  return RunChainJob(command, line, words);
}

}  // namespace millrace
