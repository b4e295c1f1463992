// Looks at what the jobs left behind, from outside: every image reopened from its header, every
// byte read, and QEMU's tools asked where they are installed. Where its scope is cancelled, a
// coroutine ends with CancelledError.
#ifndef MILLRACE_EXAMPLES_QUICKSTART_VERIFY_H_
#define MILLRACE_EXAMPLES_QUICKSTART_VERIFY_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/quickstart/chain_builder.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"

namespace millrace {

struct ExpectedChain {
  std::vector<size_t> images;          // that are left, from the top down
  std::map<size_t, uint64_t> digests;  // what each of them shows, but for the top: see the model
};

// Reopens the top from its header, checks that the chain is as expected, and compares what every
// image of it shows. DataLoss tells the first difference.
absl::Status CoVerifyChain(Graph& graph, const DriverRegistry& registry, const BuiltChain& chain,
                           const ExpectedChain& expected) MILLRACE_MAY_SUSPEND;

// Opens and closes each image by itself, those too that jobs took out of the chain, and checks its
// metadata with our own check.
absl::Status CoCheckImages(Graph& graph, const DriverRegistry& registry, const BuiltChain& chain)
    MILLRACE_MAY_SUSPEND;

// `qemu-img check` on every image, and `qemu-img compare` of the top with a raw copy of the model.
// "qemu-img is not installed" is a success that says so. Host code; blocks. CancelledError between
// two images if `must_stop` says so.
absl::StatusOr<std::string> VerifyWithQemu(const BuiltChain& chain,
                                           absl::FunctionRef<bool()> must_stop);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_QUICKSTART_VERIFY_H_
