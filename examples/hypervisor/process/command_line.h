// CommandLine: the words that the daemon was started with, sorted into options.
//
// As getopt_long() reads them: "--name VALUE" or "--name=VALUE", names may be cut short as long as
// they are unambiguous, "-h", "-V" and "-T" are short names. For QEMU's clients a whole name may
// have one dash, and what is said of the machine ("-M none", "-nodefaults") is passed over. No
// effects; any thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_COMMAND_LINE_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_COMMAND_LINE_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/engine.h"

namespace millrace {

struct GivenOption {
  std::string name;  // without dashes
  std::string argument;
  std::string spelled;  // as it was written: "-drive"
};

struct CommandLine {
  std::string program;  // basename of argv[0]
  bool wants_help = false;
  bool wants_version = false;
  bool daemonizes = false;
  std::optional<std::string> pid_file;
  bool open_gate_like_qemu = false;
  std::string open_root;
  bool tells_error_data = true;
  IoBackendKind io = IoBackendKind::kAutomatic;
  // What has an effect when it is run, in the order given.
  std::vector<GivenOption> options;
};

// "unrecognized option '--foo'", "option '--blockdev' requires an argument", ...
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& words);

std::string HelpText(std::string_view program);
std::string VersionText(std::string_view program);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_COMMAND_LINE_H_
