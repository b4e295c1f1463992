#include "millrace/graph/io/parts_reader.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/io/chain_parts.h"
#include "millrace/graph/io/format_io.h"
#include "millrace/graph/io/node_drivers.h"
#include "millrace/graph/io/node_io.h"
#include "millrace/graph/io/protocol_io.h"

namespace millrace {
namespace {

// Pieces of memory that one read or write may have; well below the host's limit.
constexpr size_t kPiecesMax = 256;

}  // namespace

Node* PlainPrimary(const Node& node) {
  Edge* const edge = node.FindChild(Role::kPrimary);
  if (edge == nullptr || !IsProtocol(*edge->child)) return nullptr;
  return edge->child;
}

void PartsReader::Hold(Node& node) {
  if (std::find(held_.begin(), held_.end(), &node) != held_.end()) return;
  held_.push_back(&node);
  requests_.emplace_back().Begin(node);
}

bool PartsReader::IsOutOfFiles() {
  if (purpose_ == Purpose::kRead) return false;
  is_plain_ = false;
  return true;
}

void PartsReader::Add(Node& file, uint64_t offset, const IoVector& memory) {
  Hold(file);
  auto found = std::find_if(files_.begin(), files_.end(),
                            [&](const File& each) { return each.node == &file; });
  if (found == files_.end()) found = files_.insert(files_.end(), File{&file, {}});
  found->parts.push_back({offset, memory});
}

absl::Status PartsReader::CoCollectParts(Node& top, absl::Span<const ChainPart> parts,
                                         const IoVector& memory) {
  // Before anything can suspend: what changes from here on changes during this request.
  const std::vector<Node*> deciding = ChainRevisions::FindAll(top, parts);
  uint64_t done = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const ByteRange range = parts[i].range;
    MILLRACE_RETURN_IF_ERROR(CoCollect(top, deciding[i], range, memory.Slice(done, range.bytes)));
    done += range.bytes;
  }
  return absl::OkStatus();
}

absl::Status PartsReader::CoCollect(Node& layer, Node* deciding, ByteRange range,
                                    const IoVector& memory) {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(layer));
  Hold(layer);
  if (IsProtocol(layer)) {
    Add(layer, range.offset, memory);
    return absl::OkStatus();
  }
  FormatDriver& driver = AsFormat(layer);
  for (uint64_t done = 0; done < range.bytes;) {
    const ByteRange rest(range.offset + done, range.bytes - done);
    MILLRACE_ASSIGN_OR_RETURN(const Extent extent, driver.CoMap(rest));
    MILLRACE_CHECK(extent.bytes > 0 && extent.bytes <= rest.bytes,
                   "a driver mapped nothing, or more than asked");
    MILLRACE_RETURN_IF_ERROR(
        CoCollectExtent(layer, deciding, extent, rest.offset, memory.Slice(done, extent.bytes)));
    done += extent.bytes;
  }
  return absl::OkStatus();
}

absl::Status PartsReader::CoCollectExtent(Node& layer, Node* deciding, const Extent& extent,
                                          uint64_t offset, const IoVector& memory) {
  if (extent.kind == ExtentKind::kZero) {
    if (!IsOutOfFiles()) memory.FillZero();
    return absl::OkStatus();
  }
  if (extent.kind == ExtentKind::kUnallocated && deciding != nullptr) {
    const uint64_t decided_bytes = deciding->driver->bytes();
    if (offset + extent.bytes <= decided_bytes) {
      return CoCollect(*deciding, nullptr, ByteRange(offset, extent.bytes), memory);
    }
  }
  if (extent.kind == ExtentKind::kUnallocated) return CoCollectBelow(layer, offset, memory);
  Node* const primary = PlainPrimary(layer);
  if (extent.kind == ExtentKind::kData && primary != nullptr) {
    Add(*primary, extent.host.value(), memory);
    return absl::OkStatus();
  }
  if (IsOutOfFiles()) return absl::OkStatus();
  return CoReadFormat(layer, AsFormat(layer), offset, memory);
}

// What the layers below show; zeroes beyond their end, or without any.
absl::Status PartsReader::CoCollectBelow(Node& layer, uint64_t offset, const IoVector& memory) {
  Node* below = NodeBelow(layer);
  while (below != nullptr && below->is_filter() && AsFilter(*below).is_transparent_for_reads()) {
    Hold(*below);
    below = NodeBelow(*below);
  }
  uint64_t inside = 0;
  if (below != nullptr && offset < below->driver->bytes()) {
    inside = std::min(memory.bytes(), below->driver->bytes() - offset);
  }
  if (inside < memory.bytes() && !IsOutOfFiles()) {
    memory.Fill(inside, 0, memory.bytes() - inside);
  }
  if (inside == 0) return absl::OkStatus();
  const IoVector part = memory.Slice(0, inside);
  if (below->is_filter()) {
    return IsOutOfFiles() ? absl::OkStatus() : CoReadNode(*below, offset, part);
  }
  return CoCollect(*below, nullptr, ByteRange(offset, inside), part);
}

std::vector<IoPart> InFileOrder(std::vector<IoPart> parts) {
  std::sort(parts.begin(), parts.end(),
            [](const IoPart& a, const IoPart& b) { return a.offset < b.offset; });
  std::vector<IoPart> merged;
  for (IoPart& part : parts) {
    if (!merged.empty() && merged.back().offset + merged.back().memory.bytes() == part.offset &&
        merged.back().memory.pieces().size() < kPiecesMax) {
      merged.back().memory.Append(part.memory);
    } else {
      merged.push_back(std::move(part));
    }
  }
  return merged;
}

absl::Status PartsReader::CoReadFile(File& file) {
  return CoReadProtocolParts(*file.node, AsProtocol(*file.node),
                             InFileOrder(std::move(file.parts)));
}

absl::Status PartsReader::CoRead() {
  if (files_.empty()) return absl::OkStatus();
  if (files_.size() == 1) return CoReadFile(files_.front());
  // A chain's layers side by side: none has to wait for another.
  absl::Status status;
  TaskScope scope("read parts");
  for (File& file : files_) {
    const auto main = [&]() MILLRACE_MAY_SUSPEND { status.Update(CoReadFile(file)); };
    // No stack for one more coroutine: this one does it.
    if (!scope.Spawn("read parts", main)) main();
  }
  scope.CoJoin().IgnoreError();
  return status;
}

}  // namespace millrace
