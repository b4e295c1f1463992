// Millrace in a program that has an event loop of its own: everything below a qcow2 image is
// streamed into it while a guest reads its disk, and the program polls the engine's one descriptor
// next to whatever else it waits for.
//
//   embed IMAGE
#include <poll.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/stream/stream_job.h"

namespace {

using namespace millrace;  // NOLINT: an example reads better without prefixes

absl::Status CoStreamUnderAGuest(Graph& graph, const DriverRegistry& drivers, JobManager& jobs,
                                 const std::string& path) MILLRACE_MAY_SUSPEND {
  // README: begin
  OpenImageOptions image;
  image.path = path;
  image.format = "qcow2";  // what lies below it is opened as its header says
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage disk, CoOpenImage(graph, drivers, image));
  AttachmentOptions device;
  device.holder = MakeHolder("drive0", "guest device");
  device.device_name = "drive0";
  device.permissions = {kConsistentRead | kWrite, kConsistentRead | kWriteUnchanged};
  MILLRACE_ASSIGN_OR_RETURN(Attachment guest, Attachment::Attach(graph, disk.top(), device));

  StreamOptions stream;
  stream.top = disk.top();  // the job is called "drive0", as its device
  absl::Status status = CoStartStream(graph, jobs, stream).status();
  TaskScope scope("guest");
  scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
    std::vector<char> sector(512);  // the guest goes on while the job works
    return guest.CoRead(0, IoVector(sector.data(), sector.size()));
  });
  status.Update(jobs.CoWaitUntilOver("drive0"));
  status.Update(scope.CoJoin());
  // README: end
  guest.CoDetach();
  for (Attachment& hold : disk.holds) hold.CoDetach();
  return status;
}

absl::Status CoMain(Engine& engine, const std::string& path) MILLRACE_MAY_SUSPEND {
  DriverRegistry drivers;
  MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(drivers));
  Graph graph(engine);
  BlockJobCommitter committer(graph);
  JobManager jobs(engine, committer);
  absl::Status status = CoStreamUnderAGuest(graph, drivers, jobs, path);
  jobs.CoShutdown();
  graph.CoClose();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: embed IMAGE\n";
    return 2;
  }
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create({});
  if (!engine.ok()) {
    std::cerr << engine.status() << '\n';
    return 1;
  }
  TaskScope scope((*engine)->scheduler(), "embed");
  scope.Spawn("embed/main", [&]() MILLRACE_MAY_SUSPEND { return CoMain(**engine, argv[1]); });
  for (;;) {
    const bool has_more = (*engine)->PollOnce();
    if (scope.live() == 0) break;
    pollfd wait = {(*engine)->PollFd(), POLLIN, 0};
    poll(&wait, 1, has_more ? 0 : -1);  // nothing here has a deadline: see NextDeadline()
  }
  absl::Status status = scope.Finish();
  if (!status.ok()) std::cerr << status << '\n';
  return status.ok() ? 0 : 1;
}
