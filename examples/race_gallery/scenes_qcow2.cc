// A qcow2 image on a simulated host's disk.
#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"

namespace millrace::gallery {
namespace {

constexpr char kPath[] = "disk.qcow2";

// An empty image of 16 sectors, one to a cluster, and a guest on it.
struct Qcow2Guest {
  absl::Status CoOpen(Stage& stage) MILLRACE_MAY_SUSPEND;
  void CoClose() MILLRACE_MAY_SUSPEND {
    disk.CoDetach();
    image.holds.clear();
  }

  DriverRegistry registry;
  OpenedImage image;
  Attachment disk;
};

absl::Status Qcow2Guest::CoOpen(Stage& stage) {
  MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry));
  CreateImageOptions create;
  create.path = kPath;
  create.qcow2.bytes = Stage::kBytes;
  create.qcow2.cluster_bytes = TaggedDisk::kSector;
  MILLRACE_RETURN_IF_ERROR(CoCreateImage(stage.graph(), registry, create));
  OpenImageOptions open;
  open.path = kPath;
  open.format = "qcow2";
  MILLRACE_ASSIGN_OR_RETURN(image, CoOpenImage(stage.graph(), registry, open));
  AttachmentOptions guest;
  guest.holder = MakeHolder("drive0", "block device");
  guest.permissions = {kConsistentRead | kWrite, kAllPermissions};
  MILLRACE_ASSIGN_OR_RETURN(disk, Attachment::Attach(stage.graph(), image.top(), guest));
  return absl::OkStatus();
}

// What is read at a sector is that sector's, whichever version, or zeroes.
void CoReadOwn(Stage& stage, Attachment& disk, uint64_t sector) MILLRACE_MAY_SUSPEND {
  std::array<uint8_t, TaggedDisk::kSector> bytes = {};
  stage.RequireOk(disk.CoRead(sector * bytes.size(), IoVector(bytes.data(), bytes.size())), "I2",
                  "a read failed");
  uint64_t written_to = 0;
  uint32_t version = 0;
  std::memcpy(&written_to, bytes.data(), sizeof(written_to));
  std::memcpy(&version, bytes.data() + sizeof(written_to), sizeof(version));
  stage.Require(version == 0 || written_to == sector, "I2",
                StrCat("sector ", sector, " shows what was written to sector ", written_to));
}

// One reads, one discards what is read, one writes elsewhere.
absl::Status CoReuseUnderReader(Stage& stage) MILLRACE_MAY_SUSPEND {
  Qcow2Guest guest;
  MILLRACE_RETURN_IF_ERROR(guest.CoOpen(stage));
  TaggedDisk& model = stage.disk();
  MILLRACE_RETURN_IF_ERROR(model.CoWrite(guest.disk, 0, 8));
  // The reader's requests are slow, and know where their cluster was when they began.
  stage.engine().simulated_io()->SetLatency(SimulatedOperation::kRead, 10 * kMillisecond);
  TaskScope users("users");
  users.Spawn("reader", [&]() MILLRACE_MAY_SUSPEND {
    for (uint64_t sector = 0; sector < 8; ++sector) CoReadOwn(stage, guest.disk, sector);
  });
  users.Spawn("discarder", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t sector = 0; sector < 8; ++sector) {
      MILLRACE_RETURN_IF_ERROR(model.CoZero(guest.disk, sector, 1, true));
    }
    return absl::OkStatus();
  });
  users.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t sector = 8; sector < 16; ++sector) {
      MILLRACE_RETURN_IF_ERROR(model.CoWrite(guest.disk, sector, 1));
    }
    return absl::OkStatus();
  });
  MILLRACE_RETURN_IF_ERROR(users.CoJoin());
  stage.RequireOk(model.CoVerifyAll(guest.disk), "I2", "what the guest reads in the end");
  guest.CoClose();
  return absl::OkStatus();
}

}  // namespace

void AddQcow2Entries(std::vector<Entry>& entries) {
  entries.push_back({Mutant::kR83,
                     "R83",
                     "a host cluster is used again while a request knows it by its old mapping",
                     {"reuse-under-reader", {.layers = 0}, &CoReuseUnderReader},
                     Script()});
}

}  // namespace millrace::gallery
