// NodeIoOptions: how a node's I/O is treated before its driver sees it. Plain data.
#ifndef MILLRACE_GRAPH_NODE_IO_OPTIONS_H_
#define MILLRACE_GRAPH_NODE_IO_OPTIONS_H_

#include <cstdint>
#include <string>

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
  // Whatever its users withhold from others, the node withholds nothing from those who share its
  // children: for looking at an image that somebody else writes. Read-only nodes only.
  bool shares_by_force = false;
};

// One of the options that a user gave a node's driver, as it was written.
struct ToldOption {
  std::string name{};  // "size", "inject-error.0.event"
  std::string text{};  // "1048576", "read_aio"
  std::string json{};  // the same as a JSON value: "1048576", "\"read_aio\""
  // Whether it changes what is read: then it is a part of the node's name (graph/file_name.h).
  bool changes_content = false;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_NODE_IO_OPTIONS_H_
