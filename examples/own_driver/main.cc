// Drivers of one's own: a protocol and a filter are registered by name, and opened by name as a
// tree of nodes, as users ask for them. While a guest is at work, another filter is put above the
// disk, as a job, and taken out again; neither is noticed by the guest.
//
//   own_driver [BLOB]      the disk's blob: there is one, "disk"
//
// Exit status: 0; 1: something failed, standard error says what.
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "examples/own_driver/blob_driver.h"
#include "examples/own_driver/heat_filter.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/open_tree.h"
#include "millrace/jobs/block_runtime.h"

namespace {

using namespace millrace;  // NOLINT: an example reads better without prefixes

constexpr uint64_t kDiskBytes = 8 << 20;

struct Given {
  std::string blob = "disk";
  example::Blobs blobs = {{"disk", example::Blob(kDiskBytes)}};
  std::vector<std::shared_ptr<example::Heat>> heats;
};

// As a user would say it: {driver: heat, part-size: 1M, file: {driver: blob, blob: ...}}.
NodeTree DiskTree(const std::string& blob) {
  auto disk = std::make_unique<NodeTree>();
  disk->driver = "blob";
  disk->node_name = "disk";
  disk->options = {{"blob", blob}};
  ChildTree below;
  below.name = "file";
  below.tree = std::move(disk);
  NodeTree top;
  top.driver = "heat";
  top.node_name = "heat0";
  top.options = {{"part-size", "1M"}};
  top.children.push_back(std::move(below));
  return top;
}

// Writes to the lower half of the disk, and reads what it wrote, until it is told to stop.
absl::Status CoGuest(Attachment& disk, const bool& stops) MILLRACE_MAY_SUSPEND {
  std::vector<char> block(4096);
  std::vector<char> seen(block.size());
  for (uint64_t i = 0; !stops; ++i) {
    const uint64_t offset = i * 7 * block.size() % (kDiskBytes / 2);
    std::fill(block.begin(), block.end(), static_cast<char>('a' + i % 26));
    MILLRACE_RETURN_IF_ERROR(disk.CoWrite(offset, IoVector(block)));
    MILLRACE_RETURN_IF_ERROR(disk.CoRead(offset, IoVector(seen)));
    if (seen != block) return absl::DataLossError("the guest reads what it did not write");
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(10 * kMicrosecond));
  }
  return absl::OkStatus();
}

absl::StatusOr<NodeId> FindNode(Graph& graph, std::string_view name) MILLRACE_OPENS_VIEW {
  GraphView view(graph);  // nothing can suspend while it lives
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Find(name));
  return node.id();
}

// Has another filter above the disk for a tenth of a second.
absl::Status CoMeasure(BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
  Graph& graph = blocks.graph();
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<FilterDriver> filter,
                            blocks.drivers().MakeFilter("heat", {{"part-size", "1M"}}));
  InsertFilterOptions insert;
  insert.spec.id = "insert";
  insert.filter_name = "heat1";
  MILLRACE_ASSIGN_OR_RETURN(insert.below, FindNode(graph, "disk"));
  MILLRACE_RETURN_IF_ERROR(blocks.CoStartInsertFilter(std::move(filter), insert).status());
  MILLRACE_RETURN_IF_ERROR(blocks.jobs().CoWaitUntilOver("insert"));
  MILLRACE_RETURN_IF_ERROR(CoSleepFor(100 * kMillisecond));
  RemoveFilterOptions remove;
  remove.spec.id = "remove";
  MILLRACE_ASSIGN_OR_RETURN(remove.filter, FindNode(graph, "heat1"));
  MILLRACE_RETURN_IF_ERROR(blocks.CoStartRemoveFilter(remove).status());
  return blocks.jobs().CoWaitUntilOver("remove");
}

absl::Status CoMeasureAGuest(BlockRuntime& blocks, Given& given) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(example::RegisterBlobDriver(blocks.drivers(), given.blobs));
  MILLRACE_RETURN_IF_ERROR(example::RegisterHeatFilter(blocks.drivers(), given.heats));
  MILLRACE_ASSIGN_OR_RETURN(const Attachment hold,
                            CoOpenTree(blocks.graph(), blocks.drivers(), DiskTree(given.blob), {}));
  MILLRACE_ASSIGN_OR_RETURN(Attachment guest, Attachment::Attach(blocks.graph(), hold.node(),
                                                                 GuestDeviceOptions("drive0")));
  bool stops = false;
  TaskScope scope("guest");
  scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return CoGuest(guest, stops); });
  absl::Status status = CoMeasure(blocks);
  stops = true;
  status.Update(scope.CoJoin());
  return status;
}

void Print(const example::Heat& all, const example::Heat& sample) {
  for (size_t part = 0; part < all.written.size(); ++part) {
    std::cout << "MiB " << part << ": " << all.written[part] << " bytes written";
    if (part < sample.written.size()) {
      std::cout << ", " << sample.written[part] << " below the second filter";
    }
    std::cout << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  Given given;
  if (argc > 1) given.blob = argv[1];
  const absl::Status status = BlockRuntime::Run({}, [&](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
    return CoMeasureAGuest(blocks, given);
  });
  if (!status.ok()) {
    std::cerr << status.message() << '\n';
    return 1;
  }
  Print(*given.heats[0], *given.heats[1]);
  return 0;
}
