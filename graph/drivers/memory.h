// The memory driver: a protocol whose file is a piece of memory.
//
// In a simulation every operation is one step of simulated I/O, so that the order in which requests
// complete, errors and crashes are choices; the effect takes place when the step is taken. On a
// real engine operations happen at once, without suspending. (CoMap takes no step in either.)
//
// The bytes belong to a MemoryImage that outlives the driver if the caller keeps it: opening it
// again, in the same graph or another one, is opening the same file. What a step has applied
// survives a simulated crash.
#ifndef MILLRACE_GRAPH_DRIVERS_MEMORY_H_
#define MILLRACE_GRAPH_DRIVERS_MEMORY_H_

#include <cstdint>
#include <memory>
#include <string>

#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/sparse_bytes.h"

namespace millrace {

struct MemoryImage {
  uint64_t bytes = 0;
  SparseBytes content;
};

struct MemoryOptions {
  uint64_t bytes = 0;                    // size of a new image; ignored if `image` is given
  std::shared_ptr<MemoryImage> image{};  // null: a new, empty one
  std::string filename{};                // what Driver::filename() answers
};

std::unique_ptr<ProtocolDriver> MakeMemoryDriver(MemoryOptions options);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_MEMORY_H_
