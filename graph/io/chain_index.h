// ChainIndex: which layer below a long chain's top decides what, kept from read to read, so that a
// guest's random read costs the same at 200 layers as at one. Internal; not installed.
//
// It learns a window of the image at a time, by asking the whole chain at once
// (CoAllocationsInChain), and keeps the windows that were used last, within a bounded memory. The
// top itself is always looked at anew: that is where guests write. What lies between it and a layer
// must be as it was when the answer was found, which the layer's revision tells (ChainRevisions):
// an edit of the chain or a change of a mapping above the layer makes an answer void. Where answers
// become void faster than they are used, it stops learning for a while, and reads go layer by
// layer; likewise where some layer cannot be asked.
//
// Home thread. Lives in the node at whose top reads arrive; made by the first of them.
#ifndef MILLRACE_GRAPH_IO_CHAIN_INDEX_H_
#define MILLRACE_GRAPH_IO_CHAIN_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/node_id.h"

namespace millrace {

struct Node;

class ChainIndex {
 public:
  // Of an image: a slice of an L2 table with clusters of 64 KiB.
  static constexpr uint64_t kWindowBytes = uint64_t{32} << 20;
  static constexpr size_t kWindowsMax = 64;
  static constexpr size_t kRunsMax = 32 * 1024;  // in all windows: 1 MiB of memory
  // A chain of fewer layers below its top is not worth it.
  static constexpr size_t kLayersMin = 8;

  // The index of a node that a request is in flight on; null if it has no long chain below, or is
  // itself a layer that others read through.
  static ChainIndex* Of(Node& start);

  // The layer that decides the start of `range`, shortening the range to what it decides; null if
  // that is not known. Valid until the caller suspends. May suspend first, to learn.
  Node* CoFind(Node& start, ByteRange& range) MILLRACE_MAY_SUSPEND;

 private:
  struct Run {
    uint64_t end = 0;
    NodeId layer;
    uint64_t revision = 0;  // 0: not known
  };
  struct Window {
    uint64_t begin = 0;
    uint64_t last_use = 0;
    std::vector<Run> runs;
  };

  Window* WindowAt(uint64_t offset);
  // Shortens `range`; null if there is no valid answer.
  static Node* Look(const Window& window, Node& start, ByteRange& range);
  void CoLearn(Node& start, uint64_t offset) MILLRACE_MAY_SUSPEND;
  void Keep(Window window);
  void Forget(const Window& window);

  std::vector<Window> windows_;
  size_t runs_ = 0;
  uint64_t uses_ = 0;
  bool is_learning_ = false;
  uint64_t pause_ = 0;       // reads before it learns again
  uint64_t next_pause_ = 1;  // grows with each answer that was void
  // Grows with each window that could not be learnt, and shrinks with each that could.
  uint64_t next_error_pause_ = 1;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_CHAIN_INDEX_H_
