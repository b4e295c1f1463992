// CoMemoryStep: one operation on bytes that live in memory, as an I/O. Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_MEMORY_STEP_H_
#define MILLRACE_GRAPH_DRIVERS_MEMORY_STEP_H_

#include <string_view>

#include "absl/status/status.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/driver.h"

namespace millrace {

// Performs `effect`, a function of no arguments that does not suspend. In a simulation it happens
// when the Decider says, and the outcome is a choice: an error may come before or after the effect.
// On a real engine it happens at once. `what` is for error texts: "write".
template <typename Effect>
absl::Status CoMemoryStep(DriverContext& context, std::string_view what, ByteRange range,
                          Effect effect) MILLRACE_MAY_SUSPEND {
  IoBackend& io = context.engine().io();
  if (!io.is_simulated()) {
    effect();
    return absl::OkStatus();
  }
  IoRequest request;
  request.opcode = IoOpcode::kMemory;
  request.offset = range.offset;
  request.bytes = range.bytes;
  request.label = context.node_name();
  request.deed = what;
  request.apply = [](IoRequest& applied) { (*static_cast<Effect*>(applied.apply_context))(); };
  request.apply_context = &effect;
  const int64_t result = CoSubmit(io, request);
  if (result >= 0) return absl::OkStatus();
  return ErrnoStatus(static_cast<int>(-result),
                     StrCat(what, " '", context.node_name(), "' at ", range.offset));
}

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_MEMORY_STEP_H_
