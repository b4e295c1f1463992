// NodeIoOptions: how a node's I/O is treated before its driver sees it. Plain data.
#ifndef MILLRACE_GRAPH_NODE_IO_OPTIONS_H_
#define MILLRACE_GRAPH_NODE_IO_OPTIONS_H_

#include <cstdint>

namespace millrace {

// Whether writes of nothing but zeroes become zero writes.
enum class DetectZeroes : uint8_t {
  kOff,
  kOn,
  kUnmap,  // and may give their space back
};

struct NodeIoOptions {
  // Discards succeed without effect.
  bool ignores_discards = false;
  // Flushes end at this node: what was written is as durable as the host makes it by itself.
  bool ignores_flushes = false;
  // The driver bypasses the host's page cache; for those who ask.
  bool is_direct = false;
  DetectZeroes detect_zeroes = DetectZeroes::kOff;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_NODE_IO_OPTIONS_H_
