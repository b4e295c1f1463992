#include "tests/support/command.h"

#include <sys/wait.h>

#include <cstdio>

namespace millrace {

CommandResult RunCommand(const std::string& command) {
  CommandResult result;
  FILE* pipe = popen(("{ " + command + "; } 2>&1 </dev/null").c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[4096];
  while (size_t count = fread(buffer, 1, sizeof(buffer), pipe)) result.output.append(buffer, count);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  return result;
}

bool HasProgram(const std::string& program) {
  return RunCommand("command -v " + program).exit_code == 0;
}

}  // namespace millrace
