// What commands that run a job have in common: options, watching the job, the dry run, the report.
#ifndef MILLRACE_EXAMPLES_CLI_JOB_COMMAND_H_
#define MILLRACE_EXAMPLES_CLI_JOB_COMMAND_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "examples/cli/chain.h"
#include "examples/cli/session.h"

namespace millrace {

struct JobFlags {
  SessionFlags session;
  std::string image;
  std::string backing_file;  // what the header is to say; empty: derived
  std::string on_error = "report";
  uint64_t speed = 0;
  bool is_dry_run = false;
  bool is_quiet = false;

  void AddTo(CommandLine& line);
  // Copies what they say into a job's options.
  void ApplyTo(BlockJobOptions& options, std::string_view id) const;
  // Options to open the chain with for a dry run: read-only, and nobody who has it open keeps us
  // from looking, for CoFindOtherPrograms() asks who is in the way.
  OpenImageOptions OptionsToPlan() const;
};

// What a job would do; indices count from the top of the chain.
struct JobPlan {
  std::string job;  // "stream"
  std::vector<ChainLink> before;
  std::vector<ChainLink> after;
  uint64_t copied_bytes = 0;
  size_t target = 0;            // the image that is filled
  std::vector<size_t> written;  // images whose files are written to
  std::vector<size_t> claimed;  // images on which no other job could start meanwhile
  std::vector<size_t> locked;   // images to which no other program could write meanwhile
  absl::Status refusal;         // why it could not start; OK: it could
};

// How a job ended, or how far it came, and the chain as it is then.
struct JobOutcome {
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
  std::vector<ChainLink> chain;
};

// Waits until the job is over, with a progress bar; Ctrl-C cancels it, also one that came before.
// CancelledError if it did; else what the job ended with.
absl::Status CoWatchJob(Session& session, const JobFlags& flags, JobNumber job, JobOutcome* outcome)
    MILLRACE_MAY_SUSPEND;

// Fills in what the graph and the files say: claims and locks while the proofs that the job would
// take are held; and who else has the files open, or which of those to be written is marked
// corrupt. The chain must be closed for the second.
void FindClaims(Graph& graph, JobPlan* plan) MILLRACE_OPENS_VIEW;
void CoFindOtherPrograms(Session& session, const JobFlags& flags, JobPlan* plan)
    MILLRACE_MAY_SUSPEND;

// How many bytes of data the images [first, last] of the chain hold that nothing above in
// [first, last] hides.
absl::StatusOr<uint64_t> CoBytesIn(Graph& graph, const std::vector<ChainLink>& chain, size_t first,
                                   size_t last) MILLRACE_MAY_SUSPEND;

// Prints a plan; returns the exit code.
int ReportPlan(const JobPlan& plan, bool as_json);
// Prints how the job ended; returns the exit code.
int ReportJob(std::string_view job, const JobFlags& flags, const JobOutcome& outcome,
              const absl::Status& status);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_CLI_JOB_COMMAND_H_
