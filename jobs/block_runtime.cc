#include "millrace/jobs/block_runtime.h"

#include <utility>

#include "millrace/engine/base/check.h"

namespace millrace {

BlockRuntime::BlockRuntime(Engine& engine, BuiltinDriverServices services)
    : graph_(engine), committer_(graph_), jobs_(engine, committer_) {
  const absl::Status status = RegisterBuiltinDrivers(drivers_, std::move(services));
  MILLRACE_CHECK(status.ok(), status.ToString());  // the registry is new: every name is free
}

void BlockRuntime::CoEnd() {
  jobs_.CoShutdown();
  graph_.CoClose();
}

}  // namespace millrace
