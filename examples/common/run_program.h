// Running another program and reading what it prints, for examples that ask QEMU's tools.
#ifndef MILLRACE_EXAMPLES_COMMON_RUN_PROGRAM_H_
#define MILLRACE_EXAMPLES_COMMON_RUN_PROGRAM_H_

#include <string>
#include <vector>

namespace millrace {

struct ProgramResult {
  // The exit status; 128 if a signal ended it; -errno (mostly -ENOENT) if it could not be started.
  int status = 0;
  std::string output;  // both standard output and standard error
};

// Runs it to its end, its standard input empty. Blocks the thread. The words are the program,
// looked for in PATH, and its arguments.
ProgramResult RunProgram(std::vector<std::string> words);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_COMMON_RUN_PROGRAM_H_
