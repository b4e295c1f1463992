// TryAllocate: the one gate for memory whose size depends on input or load (I/O buffers, tables the
// size of an image). Where it says no, callers return ResourceExhausted; an explored engine makes
// it say no at will, so that every such path is run.
#ifndef MILLRACE_ENGINE_IO_TRY_ALLOCATE_H_
#define MILLRACE_ENGINE_IO_TRY_ALLOCATE_H_

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"

namespace millrace {

class Scheduler;

// OK, or ResourceExhausted if the decider lets this allocation fail. `label` is for what.
absl::Status AskForMemory(Scheduler& scheduler, size_t bytes, std::string_view label);
// The error of an allocation that failed: ResourceExhausted, ENOMEM.
absl::Status OutOfMemory(size_t bytes, std::string_view label);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_TRY_ALLOCATE_H_
