// Images and nodes as queries show them: QAPI's ImageInfo and BlockDeviceInfo.
//
// One object answers one query: names of nodes depend on what is below them, and are worked out
// once. Lives inside a view; nothing suspends.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_IMAGE_QUERIES_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_IMAGE_QUERIES_H_

#include <string>

#include "examples/hypervisor/block/user_bitmaps.h"
#include "examples/hypervisor/qmp/json.h"
#include "millrace/graph/file_name.h"
#include "millrace/graph/graph_view.h"

namespace millrace {

class ImageQueries {
 public:
  // Both must outlive it, unchanged.
  ImageQueries(const GraphReader& reader, const UserBitmaps& bitmaps)
      : names_(reader), bitmaps_(bitmaps) {}

  // ImageInfo of one node, without what is below it.
  json::object DescribeImage(const NodeView& node);

  struct NodeStyle {
    bool flat = false;  // without the images below
    // As a drive shows it: nodes that jobs put there are left out.
    bool hides_implicit = false;
    bool writes_back = true;
  };
  // BlockDeviceInfo.
  json::object DescribeNode(const NodeView& node, const NodeStyle& style);
  // The same with `image` in the place of what is told about its images, of which `depth` are below
  // the node's own.
  json::object DescribeNodeAround(const NodeView& node, const NodeStyle& style, json::value image,
                                  int64_t depth);

 private:
  // With what is below it, nested; `depth`: how many that are.
  json::object DescribeChain(const NodeView& node, const NodeStyle& style, int64_t* depth);

  FileNames names_;
  const UserBitmaps& bitmaps_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_IMAGE_QUERIES_H_
