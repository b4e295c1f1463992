// A driver of one's own: a filter that counts what passes is put above the disk of a guest that is
// at work, as a job, and taken out again; neither is noticed by the guest.
//
//   own_driver
//
// Everything is in memory. The same filter could be given a name (DriverRegistry::Register) and
// then be asked for by users (DriverRegistry::MakeFilter).
#include <cstdint>
#include <iostream>
#include <memory>
#include <vector>

#include "examples/own_driver/heat_filter.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/block_runtime.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"

namespace {

using namespace millrace;  // NOLINT: an example reads better without prefixes

constexpr uint64_t kDiskBytes = 8 << 20;
constexpr uint64_t kPartBytes = 1 << 20;

// Every part of the graph is made by a transaction: here a node and the guest's edge to it.
absl::StatusOr<Attachment> AddDisk(Graph& graph) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  const NodeId disk = change.AddNode(MakeMemoryDriver({.bytes = kDiskBytes}), {.name = "disk"});
  AttachmentOptions guest;
  guest.holder = MakeHolder("drive0", "guest device");
  guest.device_name = "drive0";
  guest.permissions = GuestDevicePermissions();
  Attachment attachment = change.Attach(disk, guest);
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return attachment;
}

// Writes to the lower half of the disk until it is told to stop.
absl::Status CoGuest(Attachment& disk, const bool& stops) MILLRACE_MAY_SUSPEND {
  std::vector<char> block(4096, 'g');
  for (uint64_t i = 0; !stops; ++i) {
    const uint64_t offset = i * 7 * block.size() % (kDiskBytes / 2);
    MILLRACE_RETURN_IF_ERROR(disk.CoWrite(offset, IoVector(block.data(), block.size())));
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(10 * kMicrosecond));
  }
  return absl::OkStatus();
}

absl::Status CoMeasure(Graph& graph, JobManager& jobs, NodeId disk,
                       const std::shared_ptr<example::Heat>& heat) MILLRACE_MAY_SUSPEND {
  InsertFilterOptions insert;
  insert.spec.id = "insert";
  insert.below = disk;
  insert.filter_name = "heat0";
  MILLRACE_RETURN_IF_ERROR(
      CoStartInsertFilter(graph, jobs, std::make_unique<example::HeatFilter>(heat), insert)
          .status());
  MILLRACE_RETURN_IF_ERROR(jobs.CoWaitUntilOver("insert"));
  MILLRACE_RETURN_IF_ERROR(CoSleepFor(100 * kMillisecond));
  RemoveFilterOptions remove;
  remove.spec.id = "remove";
  {
    GraphView view(graph);  // nothing can suspend while it lives
    MILLRACE_ASSIGN_OR_RETURN(const NodeView filter, view.Find("heat0"));
    remove.filter = filter.id();
  }
  MILLRACE_RETURN_IF_ERROR(CoStartRemoveFilter(graph, jobs, remove).status());
  return jobs.CoWaitUntilOver("remove");
}

absl::Status CoMeasureAGuest(Graph& graph, JobManager& jobs,
                             const std::shared_ptr<example::Heat>& heat) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(Attachment guest, AddDisk(graph));
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, guest.node()));
  bool stops = false;
  TaskScope scope("guest");
  scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return CoGuest(guest, stops); });
  absl::Status status = CoMeasure(graph, jobs, guest.node(), heat);
  stops = true;
  status.Update(scope.CoJoin());
  return status;
}

absl::Status CoMain(Engine& engine, const std::shared_ptr<example::Heat>& heat)
    MILLRACE_MAY_SUSPEND {
  BlockRuntime blocks(engine);
  return blocks.CoRun(
      [&]() MILLRACE_MAY_SUSPEND { return CoMeasureAGuest(blocks.graph(), blocks.jobs(), heat); });
}

}  // namespace

int main() {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create({});
  if (!engine.ok()) {
    std::cerr << engine.status().message() << '\n';
    return 1;
  }
  const auto heat = std::make_shared<example::Heat>(kPartBytes);
  const absl::Status status =
      (*engine)->Run([&]() MILLRACE_MAY_SUSPEND { return CoMain(**engine, heat); });
  if (!status.ok()) {
    std::cerr << status.message() << '\n';
    return 1;
  }
  for (size_t part = 0; part < heat->written.size(); ++part) {
    std::cout << "MiB " << part << ": " << heat->written[part] << " bytes written\n";
  }
  return heat->written.empty() ? 1 : 0;
}
