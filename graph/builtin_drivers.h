// Every driver of the library, registered under its name with its options as text. The one place
// that knows all of them; the graph's core includes none.
//
//   memory          size, filename
//   memory-overlay  size, cluster-size, backing, backing-format, filename
//   null            size, latency-ns, read-zeroes
//   file            filename, direct, locking (auto, on, off), open-root
//   raw             offset, size
#ifndef MILLRACE_GRAPH_BUILTIN_DRIVERS_H_
#define MILLRACE_GRAPH_BUILTIN_DRIVERS_H_

#include "absl/status/status.h"
#include "millrace/graph/driver_registry.h"

namespace millrace {

// AlreadyExists if the embedder has taken one of the names.
absl::Status RegisterBuiltinDrivers(DriverRegistry& registry);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_BUILTIN_DRIVERS_H_
