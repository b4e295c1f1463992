// The images of an open chain as people know them: by their files.
#ifndef MILLRACE_EXAMPLES_CLI_CHAIN_H_
#define MILLRACE_EXAMPLES_CLI_CHAIN_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/node_id.h"

namespace millrace {

// One image, filters left out.
struct ChainLink {
  NodeId node;
  std::string node_name;
  std::string path;
  std::string format;
  uint64_t bytes = 0;
  bool is_read_only = false;
  BackingReference header;  // what its header says about the image below
};

// The images from `top` down, as the graph has them now; as a view shows them, or a transaction
// with what it has staged.
std::vector<ChainLink> ChainOf(Graph& graph, NodeId top) MILLRACE_OPENS_VIEW;
std::vector<ChainLink> ChainIn(const GraphReader& reader, NodeId top);

// Which image of the chain somebody means: by its path, its path made absolute, its file's name if
// no other has it, or "@N" (the N-th from the top, which is @0). NotFound lists what there is.
absl::StatusOr<size_t> FindInChain(const std::vector<ChainLink>& chain, std::string_view name);

// How the header of `overlay` should name `base`, in the style of the name it has now: relative to
// the overlay's folder, or absolute.
std::string BackingNameFor(const ChainLink& overlay, const ChainLink& base);

// "top.qcow2 <- mid.qcow2 <- base.img".
std::string ChainInWords(const std::vector<ChainLink>& chain);
void WriteChain(JsonWriter& json, const std::vector<ChainLink>& chain);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_CLI_CHAIN_H_
