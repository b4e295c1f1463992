#include "examples/hypervisor/block/corruption_events.h"

#include <cstdio>
#include <string_view>
#include <utility>

#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

// As C's "%#x" has it.
std::string Hex(uint64_t number) {
  return number == 0 ? std::string("0") : StrCat("0x", absl::Hex(number));
}

std::string_view QemuName(std::string_view metadata) {
  constexpr std::pair<std::string_view, std::string_view> kTableNames[] = {
      {"header", "qcow2_header"},
      {"L1 table", "active L1 table"},
      {"L2 table", "active L2 table"},
      {"L1 table of a snapshot", "inactive L1 table"}};
  for (const auto& [ours, qemus] : kTableNames) {
    if (ours == metadata) return qemus;
  }
  return metadata;
}

std::string DeviceOf(BlockLayer& layer, const std::string& node) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  const absl::StatusOr<NodeView> found = view.Find(node);
  return found.ok() ? found->device_name() : std::string();
}

}  // namespace

std::string CorruptionText(const Qcow2Corruption& found) {
  using Kind = Qcow2Corruption::Kind;
  const std::string in_table =
      StrCat("(L2 offset: ", Hex(found.table), ", L2 index: ", Hex(found.index), ")");
  switch (found.kind) {
    case Kind::kL2Table:
      return StrCat("L2 table offset ", Hex(found.host), " unaligned (L1 index: ", Hex(found.index),
                    ")");
    case Kind::kData:
      if (found.guest_written) {
        return StrCat(found.is_zero ? "Preallocated zero" : "Data", " cluster offset ",
                      Hex(found.host), " unaligned (guest offset: ", Hex(*found.guest_written),
                      ")");
      }
      return StrCat("Cluster allocation offset ", Hex(found.host), " unaligned ", in_table);
    case Kind::kZeroFlag:
      return StrCat("Zero cluster entry found in pre-v3 image ", in_table);
    case Kind::kEntry:
      return StrCat("Invalid cluster entry found  ", in_table);
    case Kind::kRefcountBlock:
      return StrCat("Refblock offset ", Hex(found.host),
                    " unaligned (reftable index: ", Hex(found.index), ")");
    case Kind::kOverlap:
      return StrCat("Preventing invalid write on metadata (overlaps with ",
                    QemuName(found.metadata), ")");
    case Kind::kOther:
      break;
  }
  return found.words;
}

void EmitCorruption(BlockLayer& layer, const Qcow2Corruption& found) {
  const std::string text = CorruptionText(found);
  fprintf(stderr, "qcow2: %s: %s; further %scorruption events will be suppressed\n",
          found.is_fatal ? "Marking image as corrupt" : "Image is corrupt", text.c_str(),
          found.is_fatal ? "" : "non-fatal ");
  json::object data = {{"device", DeviceOf(layer, found.node)},
                       {"node-name", found.node},
                       {"msg", text},
                       {"fatal", found.is_fatal}};
  if (found.file_range) {
    data["offset"] = found.file_range->offset;
    data["size"] = found.file_range->bytes;
  }
  layer.host().events.Emit("BLOCK_IMAGE_CORRUPTED", std::move(data));
}

}  // namespace millrace
