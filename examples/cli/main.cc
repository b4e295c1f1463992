// millrace: block jobs and image tools on the command line, for one's own images.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "examples/cli/commands.h"
#include "examples/cli/exit_code.h"
#include "millrace/engine/version.h"

namespace millrace {
namespace {

struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(Words);
};

constexpr Command kCommands[] = {
    {"create", "make a new qcow2 or raw image", &RunCreate},
    {"info", "say what an image is: sizes, features, backing chain", &RunInfo},
    {"map", "say where each byte of the disk comes from", &RunMap},
    {"check", "look for corruption and leaked space, and repair it", &RunCheck},
    {"graph", "show the nodes of an image, or of a daemon, as text or a picture", &RunGraph},
    {"stream", "copy what lies below an image up into it", &RunStream},
    {"commit", "copy images down into the one they stand on", &RunCommit},
    {"jobs", "watch the jobs of a running millraced", &RunJobs},
    {"explain", "say who holds what in a running millraced, and who waits", &RunExplain},
};

void PrintHelp(FILE* out) {
  fputs(
      "usage: millrace COMMAND [OPTION...] IMAGE\n"
      "       millrace jobs|graph|explain --socket PATH [OPTION...]\n\n"
      "Works on qcow2 and raw disk images, with QEMU's rules and QEMU's locks: an image that a\n"
      "virtual machine has open is refused, and while millrace works on one, others are.\n\n"
      "Commands:\n",
      out);
  for (const Command& command : kCommands) {
    fprintf(out, "  %-8s %s\n", std::string(command.name).c_str(),
            std::string(command.summary).c_str());
  }
  fputs(
      "\n'millrace COMMAND --help' tells about each, with examples. info, map, graph and check\n"
      "without --repair never write to an image; neither does --dry-run.\n\n"
      "Exit codes:\n"
      "  0    done\n"
      "  1    it failed; standard error says why and what to do next\n"
      "  2    the command line was not understood; nothing was touched\n"
      "  3    check: the image leaks space (no data is at risk)\n"
      "  4    check: the image is corrupt\n"
      "  5    --dry-run: the job would be refused\n"
      "  130  interrupted by Ctrl-C or SIGTERM: what was not over was cancelled, and the images "
      "are "
      "valid\n",
      out);
}

// Where nothing but printing, or a look at a daemon, is going on. While an engine is at work an
// InterruptibleRun listens instead.
void OnSignal(int) {
  constexpr char kText[] = "millrace: interrupted\n";
  [[maybe_unused]] const ssize_t told = write(STDERR_FILENO, kText, sizeof(kText) - 1);
  _exit(kExitInterrupted);
}

void EndOnSignals() {
  for (const int number : {SIGINT, SIGTERM}) {
    // Whoever started us may have wanted it ignored, as nohup does.
    if (signal(number, &OnSignal) == SIG_IGN) signal(number, SIG_IGN);
  }
}

int Main(const std::vector<std::string>& words) {
  if (words.empty()) {
    PrintHelp(stderr);
    return kExitUsage;
  }
  if (words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    PrintHelp(stdout);
    return kExitSuccess;
  }
  if (words[0] == "--version") {
    printf("millrace %s\n", MILLRACE_VERSION_STRING);
    return kExitSuccess;
  }
  for (const Command& command : kCommands) {
    if (command.name == words[0]) return command.run(Words(words).subspan(1));
  }
  fprintf(stderr, "millrace: there is no command '%s'; see 'millrace --help'\n", words[0].c_str());
  return kExitUsage;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  millrace::EndOnSignals();
  return millrace::Main(std::vector<std::string>(argv + 1, argv + argc));
}
