// Finding a layer of a backing chain by its file name: what `base` and `top` of QMP commands
// say.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_LAYER_NAME_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_LAYER_NAME_H_

#include <optional>
#include <string>
#include <string_view>

#include "millrace/graph/graph_view.h"

namespace millrace {

// The first image below `top` (filters skipped) that the name means: literally the file name of the
// image or the string in its overlay's header, or another name of the same file, relative ones
// taken from the overlay's folder. Looks at the host's folders; suspends nowhere.
std::optional<NodeId> FindLayerBelow(const GraphReader& reader, NodeId top, std::string_view name);

// Whether the image itself, filters skipped, is what the name means.
bool IsNamed(const GraphReader& reader, NodeId image, std::string_view name);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_LAYER_NAME_H_
