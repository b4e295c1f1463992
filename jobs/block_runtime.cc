#include "millrace/jobs/block_runtime.h"

#include <string>
#include <utility>

#include "millrace/engine/base/check.h"

namespace millrace {

BlockRuntime::BlockRuntime(Engine& engine, BuiltinDriverServices services)
    : graph_(engine), committer_(graph_), jobs_(engine, committer_) {
  const absl::Status status = RegisterBuiltinDrivers(drivers_, std::move(services));
  MILLRACE_CHECK(status.ok(), status.ToString());  // the registry is new: every name is free
}

absl::StatusOr<Attachment> BlockRuntime::CoOpenDevice(std::string name,
                                                      const OpenImageOptions& options) {
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(options));
  absl::StatusOr<Attachment> device =
      Attachment::Attach(graph_, image.top(),
                         GuestDeviceOptions(std::move(name), /*is_writable=*/!options.is_read_only,
                                            engine().clock().Now()));
  if (device.ok()) return device;
  for (Attachment& hold : image.holds) hold.CoDetach();  // a second try finds the files closed
  return device;
}

void BlockRuntime::CoEnd() {
  jobs_.CoShutdown();
  graph_.CoClose();
}

}  // namespace millrace
