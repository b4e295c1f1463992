// A chain of in-memory overlays for tests: "n0 <- n1 <- n2", bottom first.
#ifndef MILLRACE_EXAMPLES_SCENARIO_KIT_MEMORY_CHAIN_H_
#define MILLRACE_EXAMPLES_SCENARIO_KIT_MEMORY_CHAIN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/drivers/memory_overlay.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/holder.h"

namespace millrace {

struct MemoryChainOptions {
  size_t layers = 3;
  uint64_t bytes = 16 * 512;
  uint64_t cluster_bytes = 512;
  uint64_t bottom_bytes = 0;    // of the bottom-most image; 0: as the others
  bool is_read_only = false;    // all but the top one
  bool map_takes_step = false;  // see MemoryOverlayOptions
  std::string device_name = "drive0";
  // Used again if not empty: the images of an earlier chain, bottom first.
  std::vector<std::shared_ptr<MemoryOverlayImage>> images;
};

struct MemoryChain {
  std::vector<NodeId> nodes;  // bottom first
  std::vector<std::shared_ptr<MemoryOverlayImage>> images;
  HolderRef guest_holder;
  HolderRef monitor_holder;
  Attachment guest;                 // on the top node: reads, writes
  std::vector<Attachment> monitor;  // keep every node, as a monitor that owns named nodes does

  NodeId top() const { return nodes.back(); }
  // "n2 <- n1 <- n0" as the graph is now, from the guest down; filters in brackets.
  std::string Shape(Graph& graph) const MILLRACE_OPENS_VIEW;
  // What the images say: the backing file of n<i>, "" for none.
  std::string Header(size_t layer) const { return images[layer]->backing.filename; }
};

// The image of n<i> is called "img-<i>". `is_owned_by_monitor`: keep the nodes alive by
// attachments.
absl::StatusOr<MemoryChain> CoMakeMemoryChain(Graph& graph, const MemoryChainOptions& options,
                                              bool is_owned_by_monitor) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_SCENARIO_KIT_MEMORY_CHAIN_H_
