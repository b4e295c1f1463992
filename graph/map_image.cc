#include "millrace/graph/map_image.h"

#include <algorithm>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/io/node_drivers.h"
#include "millrace/graph/io/node_io.h"
#include "millrace/graph/node.h"

namespace millrace {
namespace {

// The same layer, kind and, where there is one, a place that goes on where the first ends.
bool GoesOn(const MapExtent& first, const MapExtent& second) {
  MapExtent expected = first;
  expected.offset += first.bytes;
  expected.bytes = second.bytes;
  if (expected.host_offset) *expected.host_offset += first.bytes;
  return expected == second;
}

// A raw image is as full of holes as its file; a format's own data are data, as its metadata say.
absl::Status CoLookForHole(Node& node, MapExtent* run) MILLRACE_MAY_SUSPEND {
  Edge* file = node.FindChild(Role::kPrimary);
  if (node.driver->driver_name() != "raw" || file == nullptr) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(const Extent below,
                            CoMapNode(*file->child, ByteRange(*run->host_offset, run->bytes)));
  run->bytes = std::min(run->bytes, below.bytes);
  run->is_zero = below.kind == ExtentKind::kZero;
  run->is_data = !run->is_zero;
  return absl::OkStatus();
}

absl::Status CoDescribeExtent(Node& node, const Extent& extent, MapExtent* run)
    MILLRACE_MAY_SUSPEND {
  run->is_present = true;
  run->is_zero = extent.kind == ExtentKind::kZero;
  run->is_data = !run->is_zero;
  run->is_compressed = extent.kind == ExtentKind::kEncoded;
  if (extent.kind != ExtentKind::kData) return absl::OkStatus();
  run->host_offset = extent.host.value();
  return CoLookForHole(node, run);
}

// The start of [offset, end) of the disk.
absl::StatusOr<MapExtent> CoFindRun(AttachmentCore& disk, uint64_t offset, uint64_t end)
    MILLRACE_MAY_SUSPEND {
  InFlightRequest request;  // keeps the chain as it is
  disk.CoEnter(request);
  MapExtent run;
  run.offset = offset;
  run.bytes = end - offset;
  bool is_first = true;
  uint32_t nodes = 0;           // as far as here, this one included
  uint32_t first_of_image = 0;  // of the image and the filters right above it
  for (Node* node = &request.node(); node != nullptr;) {
    Edge* down = node->FilteredOrBacking();
    Node* next = down == nullptr ? nullptr : down->child;
    ++nodes;
    if (first_of_image == 0) first_of_image = nodes;
    if (node->is_filter()) {
      MILLRACE_RETURN_IF_ERROR(AsFilter(*node).CoBeforeMap(ByteRange(offset, run.bytes)));
    }
    if (!node->is_filter()) {
      if (!is_first) ++run.depth;
      is_first = false;
      run.layer = node->id;
      MILLRACE_ASSIGN_OR_RETURN(const Extent extent,
                                CoMapNode(*node, ByteRange(offset, run.bytes)));
      run.bytes = std::min(run.bytes, extent.bytes);
      if (extent.is_allocated()) {
        run.allocation_depth = first_of_image;
        MILLRACE_RETURN_IF_ERROR(CoDescribeExtent(*node, extent, &run));
        return run;
      }
      // Nothing below, or nothing that reaches this far: zeroes, by nobody's decision.
      const uint64_t next_end = next == nullptr ? 0 : next->driver->bytes();
      if (offset >= next_end) {
        run.is_zero = true;
        if (next != nullptr) run.allocation_depth = nodes + 1;
        return run;
      }
      run.bytes = std::min(run.bytes, next_end - offset);
      first_of_image = 0;
    }
    node = next;
  }
  return run;
}

}  // namespace

absl::StatusOr<MapExtent> CoMapStart(const Attachment& disk, ByteRange range) {
  AttachmentCore& core = *AttachmentAccess::Core(disk);
  const AttachmentUse use(core);
  return CoFindRun(core, range.offset, range.end());
}

absl::Status CoMapImage(const Attachment& disk, absl::FunctionRef<void(const MapExtent&)> found) {
  MapExtent pending;
  for (uint64_t offset = 0; offset < disk.bytes();) {
    if (Coroutine::Current()->is_cancelled()) {
      return absl::CancelledError("map an image: it was cancelled");
    }
    MILLRACE_ASSIGN_OR_RETURN(const MapExtent run,
                              CoFindRun(*AttachmentAccess::Core(disk), offset, disk.bytes()));
    offset += run.bytes;
    if (pending.bytes > 0 && GoesOn(pending, run)) {
      pending.bytes += run.bytes;
      continue;
    }
    if (pending.bytes > 0) found(pending);
    pending = run;
  }
  if (pending.bytes > 0) found(pending);
  return absl::OkStatus();
}

}  // namespace millrace
