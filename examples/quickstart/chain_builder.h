// Builds a chain of real qcow2 images with our own driver, layer by layer, each with data of its
// own, and knows what every one of them shows.
#ifndef MILLRACE_EXAMPLES_QUICKSTART_CHAIN_BUILDER_H_
#define MILLRACE_EXAMPLES_QUICKSTART_CHAIN_BUILDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/quickstart/disk_model.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"

namespace millrace {

struct ChainShape {
  std::string folder;
  std::string name;  // file names start with it
  size_t images = 12;
  uint64_t disk_bytes = 0;
  uint64_t bytes_per_image = 0;
  uint64_t seed = 0;
};

struct BuiltChain {
  std::string name;
  std::vector<std::string> paths;  // from the root, which is 0, up
  std::vector<uint64_t> digests;   // of what each shows (DiskModel::Digest)
  DiskModel model;                 // of what the uppermost shows
};

// CancelledError if the coroutine's scope is cancelled meanwhile; then the chain is not whole.
absl::StatusOr<BuiltChain> CoBuildChain(Graph& graph, const DriverRegistry& registry,
                                        const ChainShape& shape) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_QUICKSTART_CHAIN_BUILDER_H_
