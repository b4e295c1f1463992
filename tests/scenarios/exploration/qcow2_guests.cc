// A small qcow2 image and a guest who does several things at a time: what one request has looked up
// another changes meanwhile. Sectors are clusters, and there are few of them, so that they are used
// again soon.
#include <array>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "examples/scenario_kit/tagged_disk.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/story_scenario.h"

namespace millrace {
namespace {

constexpr uint64_t kGuestSectors = 16;
constexpr uint64_t kGuestSector = TaggedDisk::kSector;
constexpr char kPath[] = "disk.qcow2";

// The image, open, and its guest's disk with what it must show.
struct Qcow2Disk {
  explicit Qcow2Disk(Engine& its_engine) : engine(its_engine), graph(its_engine) {}

  absl::Status CoOpenNew(uint64_t sectors, uint64_t cluster_bytes) MILLRACE_MAY_SUSPEND;
  absl::Status CoCheckAndClose() MILLRACE_MAY_SUSPEND;
  // What is read at a sector was written to that sector, whichever version, or is zeroes.
  absl::Status CoReadOwn(uint64_t sector) MILLRACE_MAY_SUSPEND;

  Engine& engine;
  Graph graph;
  DriverRegistry registry;
  OpenedImage image;
  Attachment disk;
  TaggedDisk model{kGuestSectors};
};

absl::Status Qcow2Disk::CoOpenNew(uint64_t sectors, uint64_t cluster_bytes) {
  MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry));
  CreateImageOptions create;
  create.path = kPath;
  create.qcow2.bytes = sectors * kGuestSector;
  create.qcow2.cluster_bytes = cluster_bytes;
  MILLRACE_RETURN_IF_ERROR(CoCreateImage(graph, registry, create));
  OpenImageOptions open;
  open.path = kPath;
  open.format = "qcow2";
  MILLRACE_ASSIGN_OR_RETURN(image, CoOpenImage(graph, registry, open));
  AttachmentOptions guest;
  guest.holder = MakeHolder("guest", "block device");
  guest.permissions = {kConsistentRead | kWrite | kResize, kAllPermissions};
  MILLRACE_ASSIGN_OR_RETURN(disk, Attachment::Attach(graph, image.top(), guest));
  return absl::OkStatus();
}

absl::Status Qcow2Disk::CoCheckAndClose() {
  disk.CoDetach();
  image.holds.clear();
  graph.CoClose();
  const absl::StatusOr<Qcow2CheckResult> check =
      CoCheckImage(graph, registry, {.path = kPath, .format = "qcow2"}, {});
  MILLRACE_RETURN_IF_ERROR(check.status());
  if (check->corruptions == 0) return absl::OkStatus();
  return absl::DataLossError(StrCat("I20: the image is corrupt: ",
                                    check->findings.empty() ? "" : check->findings.front()));
}

absl::Status Qcow2Disk::CoReadOwn(uint64_t sector) {
  std::array<uint8_t, kGuestSector> bytes = {};
  MILLRACE_RETURN_IF_ERROR(
      disk.CoRead(sector * kGuestSector, IoVector(bytes.data(), bytes.size())));
  uint64_t written_to = 0;
  std::memcpy(&written_to, bytes.data(), sizeof(written_to));
  const bool is_zero = IoVector(bytes.data(), bytes.size()).IsZero();
  if (is_zero || written_to == sector) return absl::OkStatus();
  return absl::DataLossError(
      StrCat("I2: sector ", sector, " shows what was written to sector ", written_to));
}

using Party = std::function<absl::Status(Qcow2Disk&)>;

struct GuestOptions {
  bool verifies = true;  // all that the disk shows in the end
  uint64_t sectors = kGuestSectors;
  uint64_t cluster_bytes = kGuestSector;
};

// Sectors 0-7 are written; then the parties come, each with a coroutine of its own.
Scenario GuestThat(std::string what, std::vector<Party> parties, GuestOptions options = {}) {
  return {StrCat("a qcow2 image whose guest ", what),
          [parties = std::move(parties), options](ScenarioRun& run) {
            return WithExpectations(run, [&]() {
              return run.Drive([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                run.SetFaults(false);
                Qcow2Disk disk(run.engine());
                absl::Status status = disk.CoOpenNew(options.sectors, options.cluster_bytes);
                const bool is_open = status.ok();
                if (status.ok()) status = disk.model.CoWrite(disk.disk, 0, 8);
                run.SetFaults(true);
                TaskScope scope("guest");
                for (const Party& party : parties) {
                  if (!status.ok()) break;
                  scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return party(disk); });
                }
                status.Update(scope.CoJoin());
                run.SetFaults(false);
                // What is lost counts for more than an error that somebody was told of.
                if (options.verifies && is_open) {
                  const absl::Status seen = disk.model.CoVerifyAll(disk.disk);
                  if (!seen.ok() && (status.ok() || absl::IsDataLoss(seen))) status = seen;
                }
                const absl::Status closed = disk.CoCheckAndClose();
                if (!closed.ok() && !absl::IsDataLoss(status)) status = closed;
                return status;
              });
            });
          }};
}

// ---- The parties --------------------------------------------------------------------------------

Party Writes(uint64_t first, uint64_t end) {
  return [=](Qcow2Disk& disk) MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t sector = first; sector < end; ++sector) {
      MILLRACE_RETURN_IF_ERROR(disk.model.CoWrite(disk.disk, sector, 1));
    }
    return absl::OkStatus();
  };
}

Party Discards(uint64_t first, uint64_t end) {
  return [=](Qcow2Disk& disk) MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t sector = first; sector < end; ++sector) {
      MILLRACE_RETURN_IF_ERROR(disk.model.CoZero(disk.disk, sector, 1, true));
    }
    return absl::OkStatus();
  };
}

Party Reads(uint64_t first, uint64_t end) {
  return [=](Qcow2Disk& disk) MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t sector = first; sector < end; ++sector) {
      MILLRACE_RETURN_IF_ERROR(disk.CoReadOwn(sector));
    }
    return absl::OkStatus();
  };
}

Party Flushes(int times) {
  return [=](Qcow2Disk& disk) MILLRACE_MAY_SUSPEND -> absl::Status {
    for (int i = 0; i < times; ++i) MILLRACE_RETURN_IF_ERROR(disk.disk.CoFlush());
    return absl::OkStatus();
  };
}

// Fills what nobody has written yet, two clusters at a time, as a copier does.
Party Fills(uint64_t first, uint64_t end) {
  return [=](Qcow2Disk& disk) MILLRACE_MAY_SUSPEND -> absl::Status {
    std::array<uint8_t, 2 * kGuestSector> zeroes = {};
    for (uint64_t sector = first; sector + 1 < end; sector += 2) {
      MILLRACE_RETURN_IF_ERROR(disk.disk.CoWriteParts(
          {ByteRange(sector * kGuestSector, 2 * kGuestSector)},
          IoVector(zeroes.data(), zeroes.size()), {.only_if_unallocated = true}));
    }
    return absl::OkStatus();
  };
}

// Cuts the second half off, and adds it again.
absl::Status CoShrinkAndGrow(Qcow2Disk& disk) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(disk.disk.CoResize(kGuestSectors / 2 * kGuestSector));
  MILLRACE_RETURN_IF_ERROR(disk.disk.CoResize(kGuestSectors * kGuestSector));
  return absl::OkStatus();
}

// Writes to what may be cut off at the moment.
absl::Status CoWriteWhereItShrinks(Qcow2Disk& disk) MILLRACE_MAY_SUSPEND {
  const std::vector<uint8_t> content = TaggedDisk::Content(12, 1);
  const IoVector memory = IoVector::OfConst(content.data(), content.size());
  disk.disk.CoWrite(12 * kGuestSector, memory).IgnoreError();
  return disk.CoReadOwn(4);
}

// The last cluster holds two sectors of which the image has one, and then both.
absl::Status CoZeroTheEnd(Qcow2Disk& disk) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(disk.model.CoWrite(disk.disk, kGuestSectors - 4, 2));
  return disk.model.CoZero(disk.disk, kGuestSectors - 3, 2, false);
}

absl::Status CoGrowAndWrite(Qcow2Disk& disk) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(disk.disk.CoResize(kGuestSectors * kGuestSector));
  MILLRACE_RETURN_IF_ERROR(disk.model.CoWrite(disk.disk, kGuestSectors - 1, 1));
  return disk.disk.CoFlush();
}

}  // namespace

std::vector<Scenario> Qcow2Guests() {
  return {
      GuestThat("reads, discards and writes", {Reads(0, 6), Discards(0, 6), Writes(8, 14)}),
      GuestThat("writes and flushes", {Writes(6, 10), Flushes(3), Flushes(2)}),
      GuestThat("discards, writes and flushes", {Discards(2, 5), Writes(8, 11), Flushes(3)}),
      GuestThat("writes where a copier fills", {Writes(8, 12), Fills(8, 12)}),
      GuestThat("resizes and writes", {&CoShrinkAndGrow, &CoWriteWhereItShrinks},
                {.verifies = false}),
      GuestThat("zeroes the end of a disk that grows", {&CoZeroTheEnd, &CoGrowAndWrite},
                {.sectors = kGuestSectors - 1, .cluster_bytes = 2 * kGuestSector}),
  };
}

}  // namespace millrace
