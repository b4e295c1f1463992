// What every image of a memory chain shows, read from the images alone: the oracle of job tests.
//
// A view is computed from the images' maps and from the backing files that their *headers* name, as
// somebody who opens them later would see it, never through the graph. So it finds data that a job
// lost, data that a job put where it must not show, and headers that fell behind the graph.
#ifndef MILLRACE_EXAMPLES_SCENARIO_KIT_LAYER_VIEWS_H_
#define MILLRACE_EXAMPLES_SCENARIO_KIT_LAYER_VIEWS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "examples/scenario_kit/memory_chain.h"
#include "examples/scenario_kit/tagged_disk.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/graph.h"

namespace millrace {

class LayerViews {
 public:
  // Remembers what every layer shows now.
  explicit LayerViews(const MemoryChain& chain);

  // A commit of `top` into `base` has succeeded: base shows from here on what top showed.
  void OnCommitted(size_t top, size_t base) {
    shown_[base] = shown_[top];
    is_unknown_[base] = is_unknown_[top];
  }
  // What the layer shows is not known any more: the guest writes to it, or a commit into it or
  // below it, from above it, was given up half-way.
  void OnWritten(size_t layer) { is_unknown_[layer] = true; }

  // Every layer that is still in the chain below the guest shows what it should, and its header
  // names the layer that is below it in the graph. DataLoss otherwise.
  absl::Status Check(const MemoryChain& chain, Graph& graph) const MILLRACE_OPENS_VIEW;

  // The headers alone (O4): a job that has failed at one may have left it behind.
  static absl::Status CheckHeaders(const MemoryChain& chain, Graph& graph) MILLRACE_OPENS_VIEW;

  // What layers show alone (O2), but for those that `may_differ`, of which there is one entry per
  // layer: also while jobs are at work, whose headers may be a step behind.
  absl::Status CheckShown(const MemoryChain& chain, Graph& graph,
                          const std::vector<bool>& may_differ) const MILLRACE_OPENS_VIEW;

  // Of the guest's own layer, if it stands on one: what that shows is what the model of its disk
  // says, sector by sector (O1). Also while jobs and guests are at work.
  static absl::Status CheckGuests(const MemoryChain& chain, Graph& graph, const TaggedDisk& disk)
      MILLRACE_OPENS_VIEW;

  // The layers below the guest as the graph is, from the top down.
  static std::vector<size_t> LayersInUse(const MemoryChain& chain, Graph& graph)
      MILLRACE_OPENS_VIEW;
  // What `layer` shows to somebody who follows the headers.
  static std::vector<uint8_t> ViewByHeaders(const MemoryChain& chain, size_t layer);

 private:
  std::vector<std::vector<uint8_t>> shown_;
  std::vector<bool> is_unknown_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_SCENARIO_KIT_LAYER_VIEWS_H_
