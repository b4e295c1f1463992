// Runs a command of the host and waits for it: for tests against QEMU's tools.
#ifndef MILLRACE_TESTS_SUPPORT_COMMAND_H_
#define MILLRACE_TESTS_SUPPORT_COMMAND_H_

#include <string>

namespace millrace {

struct CommandResult {
  int exit_code = -1;  // -1 if it did not exit by itself
  std::string output;  // stdout and stderr together
};

// Through the shell; quote what needs it.
CommandResult RunCommand(const std::string& command);

// Whether `program` is on the PATH. Tests that need one that is not there say so and skip.
bool HasProgram(const std::string& program);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_COMMAND_H_
