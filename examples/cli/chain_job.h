// A command that runs one job on the chain of an image, or says what the job would do: the story
// that stream and commit share. Each fills in what is its own.
#ifndef MILLRACE_EXAMPLES_CLI_CHAIN_JOB_H_
#define MILLRACE_EXAMPLES_CLI_CHAIN_JOB_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/cli/chain.h"
#include "examples/cli/command_line.h"
#include "examples/cli/commands.h"
#include "examples/cli/job_command.h"
#include "examples/cli/session.h"
#include "millrace/engine/base/capabilities.h"

namespace millrace {

// The calls come in this order, once each: Choose, then either CoPlan or CoStart.
class ChainJob {
 public:
  virtual ~ChainJob() = default;

  virtual std::string_view name() const = 0;  // "stream"
  virtual const JobFlags& flags() const = 0;
  // InvalidArgument: flags that are missing or exclude each other. Before anything else.
  virtual absl::Status CheckFlags() const { return absl::OkStatus(); }
  // Whether the image that was named must be opened for writing. A job makes others writable.
  virtual bool writes_to_top() const { return false; }

  // Finds the images that take part. InvalidArgument, Unimplemented: the flags name others.
  virtual absl::Status Choose(const std::vector<ChainLink>& chain) = 0;
  // Fills in what the job would do to plan->before, and plan->refusal by taking every proof that
  // the job would take, and letting go of them again.
  virtual absl::Status CoPlan(Graph& graph, JobPlan* plan) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::StatusOr<JobNumber> CoStart(Session& session) MILLRACE_MAY_SUSPEND = 0;
};

// Reads the words into the job's flags, answers --help and wrong usage; else opens the chain, runs
// the job to its end or plans it, and reports. Returns the exit code.
int RunChainJob(ChainJob& job, CommandLine& line, Words words);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_CLI_CHAIN_JOB_H_
