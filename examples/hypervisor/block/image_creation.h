// Making images for blockdev-create. Refusals are in QEMU's words and order, and come from the
// running job, as there.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_IMAGE_CREATION_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_IMAGE_CREATION_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "examples/hypervisor/block/block_layer.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_context.h"
#include "millrace/graph/drivers/qcow2/qcow2_create.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/node_tree.h"

namespace millrace {

// CoCreateImage() for commands that make an image by the way: what is about to be made is told on
// stdout, whatever comes of it, as clients that compare QEMU's output expect.
absl::Status CoFormatImage(BlockLayer& layer, const CreateImageOptions& image) MILLRACE_MAY_SUSPEND;
// "Formatting '/b.qcow2', fmt=qcow2 cluster_size=65536 ... size=1048576 ...\n"
std::string FormattingLine(const CreateImageOptions& image);

struct FileImageRequest {
  std::string path;
  uint64_t bytes = 0;
  bool is_allocated = false;  // no holes: the host has given all of its space
};

struct Qcow2ImageRequest {
  std::string file;                    // a node or device that there is, or
  std::shared_ptr<NodeTree> new_file;  // one to be opened for the time of the job; it is moved from
  Qcow2CreateOptions options;          // its refcount width is taken from
  int64_t refcount_bits = 16;          // this, unchecked
  bool is_allocated = false;
  bool has_data_file = false;
  bool wants_raw_data_file = false;
};

// Both stop in the middle of filling the image if the job is cancelled.
absl::Status CoCreateFileImage(BlockLayer& layer, const FileImageRequest& request,
                               JobContext& context) MILLRACE_MAY_SUSPEND;
absl::Status CoCreateQcow2Image(BlockLayer& layer, const Qcow2ImageRequest& request,
                                JobContext& context) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_IMAGE_CREATION_H_
