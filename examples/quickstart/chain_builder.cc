#include "examples/quickstart/chain_builder.h"

#include <algorithm>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"

namespace millrace {
namespace {

constexpr uint64_t kPieceBytes = 256 * 1024;
constexpr uint64_t kPiecesInFlight = 4;

absl::Status CoCreateLayer(Graph& graph, const DriverRegistry& registry, const ChainShape& shape,
                           const std::string& path, const std::string& backing)
    MILLRACE_MAY_SUSPEND {
  CreateImageOptions options;
  options.path = path;
  options.qcow2.bytes = shape.disk_bytes;
  options.qcow2.backing_filename = backing;
  if (!backing.empty()) options.qcow2.backing_format = "qcow2";
  return CoCreateImage(graph, registry, options);
}

// Each layer's own piece, which no other hides: whatever a job copies, it has that to copy.
ByteRange OwnPiece(uint64_t layer) { return ByteRange(layer * kPieceBytes, kPieceBytes); }

// Somewhere behind those: mostly whole pieces, now and then a few sectors, so that clusters are
// shared by several layers. Writers keep to stripes of their own.
ByteRange ChooseRange(const ChainShape& shape, RandomStream& random, uint64_t writer) {
  const uint64_t stripes = shape.disk_bytes / kPieceBytes / kPiecesInFlight;
  const uint64_t first_stripe = shape.images / kPiecesInFlight + 1;
  const uint64_t stripe = first_stripe + random.Below(stripes - first_stripe);
  uint64_t offset = (stripe * kPiecesInFlight + writer) * kPieceBytes;
  uint64_t bytes = kPieceBytes;
  if (random.OneIn(4)) {
    const uint64_t sectors = kPieceBytes / DiskModel::kSectorBytes;
    const uint64_t first = random.Below(sectors);
    offset += first * DiskModel::kSectorBytes;
    bytes = (1 + random.Below(sectors - first)) * DiskModel::kSectorBytes;
  }
  return ByteRange(offset, bytes);
}

absl::Status CoWriteTagged(Attachment& disk, DiskModel& model, ByteRange range,
                           std::vector<uint8_t>& memory) MILLRACE_MAY_SUSPEND {
  const uint32_t tag = model.NewTag();
  DiskModel::Fill(range, tag, memory.data());
  MILLRACE_RETURN_IF_ERROR(
      disk.CoWrite(range.offset, IoVector::OfConst(memory.data(), range.bytes)));
  model.Write(range, tag);
  return absl::OkStatus();
}

absl::Status CoFillLayer(Attachment& disk, DiskModel& model, const ChainShape& shape,
                         uint64_t layer) MILLRACE_MAY_SUSPEND {
  uint64_t pieces = std::max<uint64_t>(1, shape.bytes_per_image / kPieceBytes);
  TaskScope scope("fill");
  for (uint64_t writer = 0; writer < kPiecesInFlight; ++writer) {
    scope.Spawn("fill/writer", [&, writer]() MILLRACE_MAY_SUSPEND -> absl::Status {
      RandomStream random(shape.seed, StrCat(shape.name, layer, "/", writer));
      std::vector<uint8_t> memory(kPieceBytes);
      if (writer == 0) {
        MILLRACE_RETURN_IF_ERROR(CoWriteTagged(disk, model, OwnPiece(layer), memory));
      }
      while (pieces > 0) {
        if (Coroutine::Current()->is_cancelled()) return absl::CancelledError("cancelled");
        --pieces;
        const ByteRange range = ChooseRange(shape, random, writer);
        MILLRACE_RETURN_IF_ERROR(CoWriteTagged(disk, model, range, memory));
      }
      return absl::OkStatus();
    });
  }
  return scope.CoJoin();
}

absl::Status CoBuildLayer(Graph& graph, const DriverRegistry& registry, const ChainShape& shape,
                          uint64_t layer, BuiltChain& chain) MILLRACE_MAY_SUSPEND {
  const std::string path =
      StrCat(shape.folder, "/", shape.name, "-", layer < 10 ? "0" : "", layer, ".qcow2");
  const std::string backing = chain.paths.empty() ? "" : chain.paths.back();
  MILLRACE_RETURN_IF_ERROR(CoCreateLayer(graph, registry, shape, path, backing));
  chain.paths.push_back(path);
  OpenImageOptions open;
  open.path = path;
  open.format = "qcow2";
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph, registry, open));
  AttachmentOptions writer;
  writer.holder = MakeHolder("builder", "program");
  writer.permissions.used = kConsistentRead | kWrite;
  absl::StatusOr<Attachment> disk = Attachment::Attach(graph, image.top(), std::move(writer));
  absl::Status status = disk.status();
  if (status.ok()) status = CoFillLayer(*disk, chain.model, shape, layer);
  if (status.ok()) status = disk->CoFlush();
  if (disk.ok()) disk->CoDetach();
  image.holds[0].CoDetach();
  chain.digests.push_back(chain.model.Digest());
  return status;
}

}  // namespace

absl::StatusOr<BuiltChain> CoBuildChain(Graph& graph, const DriverRegistry& registry,
                                        const ChainShape& shape) {
  BuiltChain chain{shape.name, {}, {}, DiskModel(shape.disk_bytes)};
  for (uint64_t layer = 0; layer < shape.images; ++layer) {
    MILLRACE_RETURN_IF_ERROR(CoBuildLayer(graph, registry, shape, layer, chain));
  }
  return chain;
}

}  // namespace millrace
