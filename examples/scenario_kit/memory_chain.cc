#include "examples/scenario_kit/memory_chain.h"

#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"

namespace millrace {
namespace {

absl::StatusOr<NodeId> AddLayer(Graph& graph, const MemoryChainOptions& options, size_t layer,
                                MemoryChain& chain) MILLRACE_OPENS_VIEW {
  std::shared_ptr<MemoryOverlayImage> image;
  if (layer < options.images.size()) {
    image = options.images[layer];
  } else {
    const bool is_short = layer == 0 && options.bottom_bytes > 0;
    image = std::make_shared<MemoryOverlayImage>(is_short ? options.bottom_bytes : options.bytes,
                                                 options.cluster_bytes);
    if (layer > 0) image->backing = {StrCat("img-", layer - 1), "memory-overlay"};
  }
  chain.images.push_back(image);
  MemoryOverlayOptions driver;
  driver.image = image;
  driver.filename = StrCat("img-", layer);
  driver.map_takes_step = options.map_takes_step;
  GraphTransaction change(graph);
  change.OnBehalfOf(chain.monitor_holder);
  NodeOptions node;
  node.name = StrCat("n", layer);
  node.is_read_only = options.is_read_only && layer + 1 < options.layers;
  const NodeId id = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), node);
  if (layer > 0) change.SetBacking(id, chain.nodes.back(), std::nullopt);
  AttachmentOptions keep;
  keep.holder = chain.monitor_holder;
  keep.stays_at_node = true;
  chain.monitor.push_back(change.Attach(id, keep));
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return id;
}

}  // namespace

std::string MemoryChain::Shape(Graph& graph) const {
  GraphView view(graph);
  std::string shape;
  absl::StatusOr<NodeView> start = view.Resolve(guest.node());
  if (!start.ok()) return "gone";
  for (NodeId id : ChainFrom(*start)) {
    absl::StatusOr<NodeView> node = view.Resolve(id);
    StrAppend(&shape, shape.empty() ? "" : " <- ",
              node->is_filter() ? StrCat("[", node->name(), "]") : node->name());
  }
  return shape;
}

absl::StatusOr<MemoryChain> CoMakeMemoryChain(Graph& graph, const MemoryChainOptions& options,
                                              bool is_owned_by_monitor) {
  MemoryChain chain;
  chain.guest_holder = MakeHolder(options.device_name, "block device");
  chain.monitor_holder = MakeHolder("monitor", "monitor");
  for (size_t layer = 0; layer < options.layers; ++layer) {
    MILLRACE_ASSIGN_OR_RETURN(NodeId id, AddLayer(graph, options, layer, chain));
    chain.nodes.push_back(id);
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, id));
  }
  AttachmentOptions guest;
  guest.holder = chain.guest_holder;
  guest.device_name = options.device_name;
  guest.permissions = {kConsistentRead | kWrite, kConsistentRead | kWriteUnchanged | kResize};
  MILLRACE_ASSIGN_OR_RETURN(chain.guest, Attachment::Attach(graph, chain.top(), guest));
  if (!is_owned_by_monitor) chain.monitor.clear();
  return chain;
}

}  // namespace millrace
