// The null driver: a protocol of any size that keeps nothing. Writes vanish; reads take as long as
// asked and, unless told to return zeroes, leave the buffer as it was. For benchmarks, and as a
// target whose content does not matter.
#ifndef MILLRACE_GRAPH_DRIVERS_NULL_H_
#define MILLRACE_GRAPH_DRIVERS_NULL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "millrace/engine/scheduler/clock.h"
#include "millrace/graph/driver.h"

namespace millrace {

struct NullOptions {
  uint64_t bytes = uint64_t{1} << 30;
  Nanoseconds latency = 0;  // of every operation, in the engine's time
  bool read_zeroes = false;
  std::string driver_name = "null";
};

std::unique_ptr<ProtocolDriver> MakeNullDriver(NullOptions options);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_NULL_H_
