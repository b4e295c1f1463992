// millrace stream: copies what lies below an image up into it.
#include <optional>
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
#include "millrace/jobs/stream/stream_job.h"

namespace millrace {
namespace {

constexpr std::string_view kStreamHelp =
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
struct StreamRange {
  size_t top = 0;
  size_t lowest = 0;           // that is copied from
  std::optional<size_t> base;  // the new backing
};

absl::StatusOr<StreamRange> FindRange(const std::vector<ChainLink>& chain,
                                      const StreamFlags& flags) {
  StreamRange range;
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
    if (range.lowest < range.top) {
      return absl::InvalidArgumentError(StrCat("'", flags.bottom, "' lies above '",
                                               chain[range.top].path,
                                               "'; name an image at or below that"));
    }
    if (range.lowest + 1 < chain.size()) range.base = range.lowest + 1;
  }
  return range;
}

absl::StatusOr<StreamOptions> OptionsFor(const std::vector<ChainLink>& chain,
                                         const StreamRange& range, const StreamFlags& flags) {
  StreamOptions options;
  flags.ApplyTo(options.job, "stream");
  options.top = chain[range.top].node;
  // Also of --bottom: with that alone the library takes no name for the header, which is to keep
  // its style here.
  if (range.base) options.base = chain[*range.base].node;
  options.backing_filename = flags.backing_file;
  if (options.backing_filename.empty() && range.base) {
    options.backing_filename = BackingNameFor(chain[range.top], chain[*range.base]);
  }
  return options;
}

class StreamCommand final : public ChainJob {
 public:
  explicit StreamCommand(const StreamFlags& flags) : flags_(flags) {}

  std::string_view name() const override { return "stream"; }
  const JobFlags& flags() const override { return flags_; }
  absl::Status CheckFlags() const override {
    if (flags_.base.empty() || flags_.bottom.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("--base and --bottom exclude each other");
  }
  bool writes_to_top() const override {
    return flags_.top.empty() || flags_.top == flags_.image || flags_.top == "@0";
  }

  absl::Status Choose(const std::vector<ChainLink>& chain) override {
    MILLRACE_ASSIGN_OR_RETURN(range_, FindRange(chain, flags_));
    MILLRACE_ASSIGN_OR_RETURN(options_, OptionsFor(chain, range_, flags_));
    return absl::OkStatus();
  }

  absl::Status CoPlan(Graph& graph, JobPlan* plan) override MILLRACE_MAY_SUSPEND {
    plan->refusal = Claim(graph, plan);
    plan->target = range_.top;
    plan->written = {range_.top};
    if (range_.lowest > range_.top) {
      // What the images below the top hold, less what the top hides.
      MILLRACE_ASSIGN_OR_RETURN(const uint64_t all,
                                CoBytesIn(graph, plan->before, range_.top, range_.lowest));
      MILLRACE_ASSIGN_OR_RETURN(const uint64_t own,
                                CoBytesIn(graph, plan->before, range_.top, range_.top));
      plan->copied_bytes = all - own;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<JobNumber> CoStart(Session& session) override MILLRACE_MAY_SUSPEND {
    return CoStartStream(session.graph(), session.jobs(), std::move(options_));
  }

 private:
  absl::Status Claim(Graph& graph, JobPlan* plan) MILLRACE_OPENS_VIEW {
    absl::StatusOr<StreamProofs> proofs = ClaimForStream(graph, options_, "stream");
    FindClaims(graph, plan);
    if (proofs.ok()) plan->after = After(graph, *proofs, plan->before[0].node);
    return proofs.status();
  }

  // The edit of the job's end is staged, looked at and let go of.
  static std::vector<ChainLink> After(Graph& graph, StreamProofs& proofs, NodeId shown)
      MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph);
    if (proofs.chain.is_held()) change.Show(proofs.chain);
    const absl::StatusOr<NodeView> overlay = change.Resolve(proofs.overlay);
    if (overlay.ok() && overlay->Backing()) {
      change.SetBacking(proofs.overlay, proofs.chain.Below(change), std::nullopt);
    }
    return ChainIn(change, shown);
  }

  const StreamFlags& flags_;
  StreamRange range_;
  StreamOptions options_;
};

}  // namespace

int RunStream(Words words) {
  StreamFlags flags;
  CommandLine line("stream", "stream [OPTION...] IMAGE", kStreamHelp);
  line.Option("base", "FILE", &flags.base,
              "stop above this image, and keep it as the backing file");
  line.Option("bottom", "FILE", &flags.bottom, "instead of --base: the lowest image to copy from");
  line.Option("top", "FILE", &flags.top, "fill this image of the chain instead of IMAGE");
  flags.AddTo(line);
  StreamCommand command(flags);
  return RunChainJob(command, line, words);
}

}  // namespace millrace
