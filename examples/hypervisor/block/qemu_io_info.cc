// What qemu-io says about an image, and what changes its size.
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

std::string SizeText(uint64_t bytes) { return IoSizeText(static_cast<double>(bytes)); }

// The uppermost image below the back end: what alloc and map ask about.
NodeId ImageOf(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() ? SkipFilters(*node).id() : id;
}

void PrintInfo(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Resolve(id);
  if (!node.ok()) return;
  std::string text = StrCat("format name: ", node->driver_name(), "\n");
  if (node->cluster_bytes() > 1) {
    StrAppend(&text, "cluster size: ", SizeText(node->cluster_bytes()), "\n");
  }
  PrintLikeQemuIo(text);
}

// Walks [offset, offset + bytes), run by run.
template <typename Visit>
absl::Status CoWalk(BlockLayer& layer, Attachment& backend, ByteRange range, const Visit& visit)
    MILLRACE_MAY_SUSPEND {
  const NodeId image = ImageOf(layer, backend.node());
  while (!range.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(const AllocationRun run, backend.CoAllocation(range, image, image));
    visit(ByteRange(range.offset, run.bytes), run.is_allocated);
    range = ByteRange(range.offset + run.bytes, range.bytes - run.bytes);
  }
  return absl::OkStatus();
}

void CoMap(BlockLayer& layer, Attachment& backend) MILLRACE_MAY_SUSPEND {
  if (backend.bytes() == 0) return;
  struct Run {
    ByteRange range;
    bool is_allocated;
  };
  std::vector<Run> runs;
  const absl::Status status = CoWalk(
      layer, backend, ByteRange(0, backend.bytes()), [&](ByteRange range, bool is_allocated) {
        if (!runs.empty() && runs.back().is_allocated == is_allocated) {
          runs.back().range =
              ByteRange(runs.back().range.offset, runs.back().range.bytes + range.bytes);
        } else {
          runs.push_back({range, is_allocated});
        }
      });
  if (!status.ok()) {
    return ComplainLikeQemuIo(
        StrCat("Failed to get allocation status: ", ErrnoText(ErrnoOf(status)), "\n"));
  }
  for (const Run& run : runs) {
    PrintLikeQemuIo(absl::StrFormat("%s (0x%x) bytes %s at offset %s (0x%x)\n",
                                    SizeText(run.range.bytes), run.range.bytes,
                                    run.is_allocated ? "    allocated" : "not allocated",
                                    SizeText(run.range.offset), run.range.offset));
  }
}

void CoAlloc(BlockLayer& layer, Attachment& backend, const std::vector<std::string>& words)
    MILLRACE_MAY_SUSPEND {
  const std::optional<uint64_t> offset = words.size() > 1 ? ParseIoNumber(words[1]) : std::nullopt;
  const std::optional<uint64_t> asked = words.size() > 2 ? ParseIoNumber(words[2]) : 512;
  if (!offset || !asked || words.size() > 3) {
    return ComplainLikeQemuIo("bad arguments to alloc, expected an offset and a length\n");
  }
  const uint64_t from = std::min(*offset, backend.bytes());
  const uint64_t bytes = std::min(*asked, backend.bytes() - from);
  uint64_t allocated = 0;
  const absl::Status status =
      CoWalk(layer, backend, ByteRange(from, bytes), [&](ByteRange range, bool is_allocated) {
        if (is_allocated) allocated += range.bytes;
      });
  if (!status.ok()) {
    return ComplainLikeQemuIo(StrCat("is_allocated failed: ", ErrnoText(ErrnoOf(status)), "\n"));
  }
  PrintLikeQemuIo(
      StrCat(allocated, "/", *asked, " bytes allocated at offset ", SizeText(*offset), "\n"));
}

absl::StatusOr<Attachment> TakeResizer(BlockLayer& layer, NodeId node) MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("", "block device");
  options.purpose = "root";
  options.permissions.used = kResize;
  return Attachment::Attach(layer.graph(), node, std::move(options));
}

void CoTruncate(BlockLayer& layer, Attachment& backend, const std::vector<std::string>& words)
    MILLRACE_MAY_SUSPEND {
  const std::optional<uint64_t> bytes = words.size() == 2 ? ParseIoNumber(words[1]) : std::nullopt;
  if (!bytes) return ComplainLikeQemuIo("bad arguments to truncate, expected a size\n");
  absl::StatusOr<Attachment> user = TakeResizer(layer, backend.node());
  absl::Status status = user.status();
  if (user.ok()) {
    status = user->CoResize(*bytes);
    user->CoDetach();
  }
  if (!status.ok()) ComplainLikeQemuIo(StrCat(RenderRefusal(status).desc, "\n"));
}

}  // namespace

bool CoRunInfoCommand(BlockLayer& layer, const QemuIoTarget& target,
                      const std::vector<std::string>& words) {
  Attachment& backend = *target.backend;
  const std::string& name = words[0];
  if (name == "length" || name == "l") {
    PrintLikeQemuIo(StrCat(SizeText(backend.bytes()), "\n"));
  } else if (name == "info" || name == "i") {
    PrintInfo(layer, backend.node());
  } else if (name == "map") {
    CoMap(layer, backend);
  } else if (name == "alloc") {
    CoAlloc(layer, backend, words);
  } else if (name == "truncate" || name == "t") {
    CoTruncate(layer, backend, words);
  } else if (name == "sleep") {
    const std::optional<uint64_t> milliseconds =
        words.size() == 2 ? ParseIoNumber(words[1]) : std::nullopt;
    if (!milliseconds || *milliseconds > 600000) {
      ComplainLikeQemuIo("bad arguments to sleep, expected milliseconds\n");
    } else {
      CoSleepFor(static_cast<Nanoseconds>(*milliseconds) * kMillisecond).IgnoreError();
    }
  } else {
    return false;
  }
  return true;
}

}  // namespace millrace
