// Millrace in a program that has an event loop of its own: everything below a qcow2 image is
// streamed into it while a guest reads its disk, and the program polls the engine's one descriptor
// next to whatever else it waits for.
#include <poll.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "millrace/jobs/block_runtime.h"

using namespace millrace;  // NOLINT: an example reads better without prefixes

absl::Status CoStreamUnderAGuest(BlockRuntime& blocks, const std::string& path)
    MILLRACE_MAY_SUSPEND {
  // README: begin
  // What lies below the image is opened as its header says.
  OpenImageOptions image{.path = path, .format = "qcow2", .names_nodes_after_files = true};
  MILLRACE_ASSIGN_OR_RETURN(Attachment guest, blocks.CoOpenDevice("drive0", image));
  // The job is called "drive0", as its device.
  MILLRACE_RETURN_IF_ERROR(blocks.CoStartStream({.top = guest.node()}).status());

  TaskScope scope("guest");
  scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
    std::vector<char> sector(512);  // the guest goes on while the job works
    return guest.CoRead(0, IoVector(sector));
  });
  absl::Status status = blocks.jobs().CoWaitUntilOver("drive0");
  status.Update(scope.CoJoin());  // before `guest` goes: nothing of it may be under way then
  std::cout << DescribeChain(blocks.graph(), guest.node()) << '\n';
  return status;
  // README: end
}

// The library prints nothing; what happens to jobs is told here, in order.
class EventPrinter final : public EngineObserver {
  void OnJobEvent(const JobEvent& event) override { std::cout << ToString(event) << '\n'; }
};

absl::Status RunLoop(const std::string& path) {
  EventPrinter events;
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create({.observer = &events}));
  TaskScope scope(engine->scheduler(), "embed");
  scope.Spawn("embed/main", [&]() MILLRACE_MAY_SUSPEND {
    BlockRuntime blocks(*engine);  // whichever way it ends: its jobs are ended, its images closed
    return blocks.CoRun([&]() MILLRACE_MAY_SUSPEND { return CoStreamUnderAGuest(blocks, path); });
  });
  for (engine->PollOnce(); scope.live() > 0; engine->PollOnce()) {
    pollfd wait = {engine->PollFd(), POLLIN, 0};  // here come the program's own descriptors
    poll(&wait, 1, engine->PollTimeoutMs());
  }
  return scope.Finish();
}

int main(int argc, char** argv) {
  const absl::Status status =
      argc == 2 ? RunLoop(argv[1]) : absl::InvalidArgumentError("usage: embed IMAGE");
  if (!status.ok()) std::cerr << status.message() << '\n';
  return status.ok() ? 0 : 1;
}
