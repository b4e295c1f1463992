// All nodes as query-named-block-nodes shows them, as text. Every node shows all images below it,
// so the answer about a chain grows with the square of its length; here each image is described
// once, and the places where it is shown share its text.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_NODE_LIST_TEXT_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_NODE_LIST_TEXT_H_

#include <vector>

#include "examples/hypervisor/block/user_bitmaps.h"
#include "examples/hypervisor/qmp/text_rope.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/node_id.h"

namespace millrace {

// A JSON array of BlockDeviceInfo, in the order of `ids`: byte for byte what FormatJson makes of
// ImageQueries::DescribeNode(). Ids of no node are left out.
TextRope DescribeNodesAsText(const GraphReader& view, const UserBitmaps& bitmaps,
                             const std::vector<NodeId>& ids, bool flat);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_NODE_LIST_TEXT_H_
