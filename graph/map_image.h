// What is where in a chain of images: which layer decides each byte, and at which place of which
// file it lies. What `qemu-img map` shows.
#ifndef MILLRACE_GRAPH_MAP_IMAGE_H_
#define MILLRACE_GRAPH_MAP_IMAGE_H_

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/node_id.h"

namespace millrace {

// A run of guest bytes of one kind.
struct MapExtent {
  uint64_t offset = 0;  // in the guest's disk
  uint64_t bytes = 0;
  uint32_t depth = 0;  // of the layer that decides: 0 is the uppermost image; filters do not count
  NodeId layer;        // that layer
  // How many nodes down from 1 what decides lies, filters counted, those right above it excepted;
  // 0 if nobody decides. Where an image ends below a longer one, the end decides.
  uint32_t allocation_depth = 0;
  bool is_present = false;  // some layer has it allocated
  bool is_zero = false;     // reads as zeroes, without reading
  bool is_data = false;     // has to be read
  bool is_compressed = false;
  std::optional<uint64_t>
      host_offset;  // in that layer's file, where the bytes lie there as they are

  friend bool operator==(const MapExtent&, const MapExtent&) = default;
};

// Calls `found` for run after run of the disk that `disk` shows, from its start to its end;
// neighbours of one kind are merged. `found` must not suspend. Errors as of reading metadata;
// CancelledError before the next run if the coroutine's scope is cancelled.
absl::Status CoMapImage(const Attachment& disk, absl::FunctionRef<void(const MapExtent&)> found)
    MILLRACE_MAY_SUSPEND;

// The run at the start of `range`, which is not empty and lies inside the disk; it is cut at the
// range's end, and may end before a neighbour of the same kind does.
absl::StatusOr<MapExtent> CoMapStart(const Attachment& disk, ByteRange range) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_MAP_IMAGE_H_
