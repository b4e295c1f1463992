// The subcommands of `millrace`: each takes the words after its name and returns an exit code
// (examples/cli/exit_code.h).
#ifndef MILLRACE_EXAMPLES_CLI_COMMANDS_H_
#define MILLRACE_EXAMPLES_CLI_COMMANDS_H_

#include <string>

#include "absl/types/span.h"

namespace millrace {

using Words = absl::Span<const std::string>;

int RunCreate(Words words);
int RunInfo(Words words);
int RunMap(Words words);
int RunCheck(Words words);
int RunGraph(Words words);
int RunStream(Words words);
int RunCommit(Words words);
int RunJobs(Words words);
int RunExplain(Words words);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_CLI_COMMANDS_H_
