// millraced: a hypervisor's block layer without the hypervisor. Drives and guest devices, live
// block jobs, controlled by QMP. README.md tells the rest.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/introspect/introspection.h"
#include "examples/hypervisor/nbd/nbd_part.h"
#include "examples/hypervisor/process/command_line.h"
#include "examples/hypervisor/process/daemon.h"

int main(int argc, char** argv) {
  const absl::StatusOr<millrace::CommandLine> line =
      millrace::ParseCommandLine(std::vector<std::string>(argv, argv + argc));
  if (!line.ok()) {
    const std::string path = argc > 0 ? argv[0] : "millraced";
    std::fprintf(stderr, "%s: %s\n", path.substr(path.find_last_of('/') + 1).c_str(),
                 std::string(line.status().message()).c_str());
    return 1;
  }
  if (line->wants_help || line->wants_version) {
    std::fputs((line->wants_help ? millrace::HelpText(line->program)
                                 : millrace::VersionText(line->program))
                   .c_str(),
               stdout);
    return 0;
  }
  millrace::BlockLayer* layer = nullptr;
  return millrace::RunDaemon(*line, {[&](millrace::HypervisorHost& host) {
                                       auto made = std::make_unique<millrace::BlockLayer>(host);
                                       layer = made.get();
                                       return made;
                                     },
                                     [&](millrace::HypervisorHost& host) {
                                       return std::make_unique<millrace::NbdPart>(host, *layer);
                                     },
                                     [&](millrace::HypervisorHost&) {
                                       return std::make_unique<millrace::Introspection>(*layer);
                                     }});
}
