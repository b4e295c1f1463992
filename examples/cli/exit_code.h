// The exit codes of `millrace`, and what each means for a script. `millrace --help` shows them.
#ifndef MILLRACE_EXAMPLES_CLI_EXIT_CODE_H_
#define MILLRACE_EXAMPLES_CLI_EXIT_CODE_H_

namespace millrace {

enum ExitCode : int {
  kExitSuccess = 0,
  kExitFailure = 1,        // the operation failed; standard error says why
  kExitUsage = 2,          // the command line was not understood; nothing was touched
  kExitLeaks = 3,          // check: clusters are leaked: space is lost, no data
  kExitCorrupt = 4,        // check: the image is corrupt
  kExitRefused = 5,        // --dry-run: the job would be refused
  kExitInterrupted = 130,  // Ctrl-C or SIGTERM: work was cancelled, the images are valid
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_CLI_EXIT_CODE_H_
