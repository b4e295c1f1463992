// A qcow2 image on a simulated host's disk.
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
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
  absl::Status CoCreateAndOpen(Stage& stage) MILLRACE_MAY_SUSPEND {
    return CoCreateAndOpen(stage, {.bytes = Stage::kBytes, .cluster_bytes = TaggedDisk::kSector});
  }
  absl::Status CoCreateAndOpen(Stage& stage, const Qcow2CreateOptions& options)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoOpen(Stage& stage) MILLRACE_MAY_SUSPEND;
  void CoClose() MILLRACE_MAY_SUSPEND {
    disk.CoDetach();
    image.holds.clear();
  }

  std::string path = kPath;
  PermissionSet used = kConsistentRead | kWrite;
  DriverRegistry registry;
  OpenedImage image;
  Attachment disk;
};

absl::Status Qcow2Guest::CoCreateAndOpen(Stage& stage, const Qcow2CreateOptions& options) {
  DriverRegistry drivers;
  MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(drivers));
  CreateImageOptions create;
  create.path = path;
  create.qcow2 = options;
  MILLRACE_RETURN_IF_ERROR(CoCreateImage(stage.graph(), drivers, create));
  return CoOpen(stage);
}

absl::Status Qcow2Guest::CoOpen(Stage& stage) {
  MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry));
  OpenImageOptions open;
  open.path = path;
  open.format = "qcow2";
  open.names_nodes_after_files = true;
  MILLRACE_ASSIGN_OR_RETURN(image, CoOpenImage(stage.graph(), registry, open));
  AttachmentOptions guest;
  guest.holder = MakeHolder("drive0", "block device");
  guest.permissions = {used, kAllPermissions};
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
  MILLRACE_RETURN_IF_ERROR(guest.CoCreateAndOpen(stage));
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

// A copier fills what nobody has written yet with what lies below, which is zeroes here; the guest
// writes at the same time, and what it writes stays.
absl::Status CoBatchesBesideGuest(Stage& stage) MILLRACE_MAY_SUSPEND {
  Qcow2Guest guest;
  MILLRACE_RETURN_IF_ERROR(guest.CoCreateAndOpen(stage));
  TaggedDisk& model = stage.disk();
  TaskScope users("users");
  users.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t sector = 0; sector < 8; ++sector) {
      MILLRACE_RETURN_IF_ERROR(model.CoWrite(guest.disk, (sector * 3) % 8, 1));
    }
    return absl::OkStatus();
  });
  users.Spawn("copier", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    std::array<uint8_t, 2 * TaggedDisk::kSector> zeroes = {};
    for (uint64_t sector = 0; sector < 8; sector += 2) {
      const ByteRange two(sector * TaggedDisk::kSector, zeroes.size());
      MILLRACE_RETURN_IF_ERROR(guest.disk.CoWriteParts(
          {two}, IoVector(zeroes.data(), zeroes.size()), {.only_if_unallocated = true}));
    }
    return absl::OkStatus();
  });
  MILLRACE_RETURN_IF_ERROR(users.CoJoin());
  stage.RequireOk(model.CoVerifyAll(guest.disk), "I2", "what the guest reads in the end");
  guest.CoClose();
  return absl::OkStatus();
}

// What lies here and there in one image is copied to another in one go, and that fails once.
absl::Status CoMirrorInBatches(Stage& stage) MILLRACE_MAY_SUSPEND {
  Qcow2Guest guest;
  MILLRACE_RETURN_IF_ERROR(guest.CoCreateAndOpen(stage));
  for (uint64_t sector = 0; sector < 12; sector += 2) {
    MILLRACE_RETURN_IF_ERROR(stage.disk().CoWrite(guest.disk, sector, 1));
  }
  Qcow2Guest copy;
  copy.path = "copy.qcow2";
  MILLRACE_RETURN_IF_ERROR(copy.CoCreateAndOpen(stage));
  copy.disk.CoDetach();
  SimulatedIo& io = *stage.engine().simulated_io();
  // A host that would copy from file to file by itself writes nothing that could fail.
  io.Fail({.operation = SimulatedOperation::kCopyRange, .is_persistent = true});
  io.Fail({.operation = SimulatedOperation::kWrite,
           .path = copy.path,
           .nth = 1 + stage.Draw(3, "write that fails")});
  MirrorOptions mirror;
  mirror.job.spec.id = "m";
  mirror.source = guest.image.top();
  mirror.target = copy.image.top();
  mirror.granularity = TaggedDisk::kSector;
  mirror.on_target_error = OnError::kIgnore;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(mirror));
  stage.Require(stage.CoWaitForState("m", JobState::kReady), "I11", "mirror 'm' never gets ready");
  MILLRACE_RETURN_IF_ERROR(stage.user().Complete("m"));
  stage.CoEndsWell("m");
  stage.RequireOk(stage.disk().CoVerifyAll(guest.disk), "I2", "what the guest reads in the end");
  guest.CoClose();
  copy.CoClose();
  return absl::OkStatus();
}

// ---- Flushing -----------------------------------------------------------------------------------

// Two flush, and one of them writes now and then: every flush comes to its end.
absl::Status CoFlushesBesideWrites(Stage& stage) MILLRACE_MAY_SUSPEND {
  Qcow2Guest guest;
  MILLRACE_RETURN_IF_ERROR(guest.CoCreateAndOpen(stage));
  TaskScope users("users");
  users.Spawn("flusher", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (int i = 0; i < 6; ++i) MILLRACE_RETURN_IF_ERROR(guest.disk.CoFlush());
    return absl::OkStatus();
  });
  users.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t sector = 0; sector < 4; ++sector) {
      MILLRACE_RETURN_IF_ERROR(stage.disk().CoWrite(guest.disk, sector, 1));
      MILLRACE_RETURN_IF_ERROR(guest.disk.CoFlush());
    }
    return absl::OkStatus();
  });
  MILLRACE_RETURN_IF_ERROR(users.CoJoin());
  stage.RequireOk(stage.disk().CoVerifyAll(guest.disk), "I2", "what the guest reads in the end");
  guest.CoClose();
  return absl::OkStatus();
}

// The refcount table has room for 4096 clusters, and the image takes nearly all of them: it has to
// grow when somebody writes to what has been added. Another one flushes.
absl::Status CoTableGrowsBesideFlushes(Stage& stage) MILLRACE_MAY_SUSPEND {
  constexpr uint64_t kClusters = 3964;
  Qcow2Guest guest;
  guest.used = guest.used | kResize;
  MILLRACE_RETURN_IF_ERROR(
      guest.CoCreateAndOpen(stage, {.bytes = kClusters * TaggedDisk::kSector,
                                    .cluster_bytes = TaggedDisk::kSector,
                                    .refcount_bits = 64,
                                    .preallocation = Qcow2Preallocation::kMetadata}));
  MILLRACE_RETURN_IF_ERROR(guest.disk.CoResize((kClusters + 16) * TaggedDisk::kSector));
  std::array<uint8_t, TaggedDisk::kSector> bytes = {1};
  const IoVector memory(bytes.data(), bytes.size());
  TaskScope users("users");
  users.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t cluster = kClusters; cluster < kClusters + 16; ++cluster) {
      MILLRACE_RETURN_IF_ERROR(guest.disk.CoWrite(cluster * bytes.size(), memory));
    }
    return absl::OkStatus();
  });
  for (int i = 0; i < 2; ++i) {
    users.Spawn("flusher", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      for (int round = 0; round < 8; ++round) MILLRACE_RETURN_IF_ERROR(guest.disk.CoFlush());
      return absl::OkStatus();
    });
  }
  MILLRACE_RETURN_IF_ERROR(users.CoJoin());
  guest.CoClose();
  return absl::OkStatus();
}

// ---- Resizing -----------------------------------------------------------------------------------

constexpr uint64_t kHalf = Stage::kBytes / 2;

// What was cut off reads as zeroes when the image grows again.
void CoGrowAndLook(Stage& stage, Attachment& disk) MILLRACE_MAY_SUSPEND {
  stage.RequireOk(disk.CoResize(Stage::kBytes), "I2", "growing");
  for (uint64_t offset = kHalf; offset < Stage::kBytes; offset += TaggedDisk::kSector) {
    std::array<uint8_t, TaggedDisk::kSector> bytes = {};
    const IoVector memory(bytes.data(), bytes.size());
    stage.RequireOk(disk.CoRead(offset, memory), "I2", "a read failed");
    stage.Require(memory.IsZero(), "I2",
                  StrCat("sector ", offset / bytes.size(),
                         " was cut off and shows data when the image has grown again"));
  }
}

// The second half is written while it is cut off.
absl::Status CoShrinkUnderWriter(Stage& stage) MILLRACE_MAY_SUSPEND {
  Qcow2Guest guest;
  guest.used = guest.used | kResize;
  MILLRACE_RETURN_IF_ERROR(guest.CoCreateAndOpen(stage));
  TaskScope users("users");
  users.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND {
    // Those that come too late are refused.
    for (uint64_t sector = 8; sector < 16; ++sector) {
      stage.disk().CoWrite(guest.disk, sector, 1).IgnoreError();
    }
  });
  users.Spawn("resizer", [&]() MILLRACE_MAY_SUSPEND {
    CoYield();
    return guest.disk.CoResize(kHalf);
  });
  MILLRACE_RETURN_IF_ERROR(users.CoJoin());
  CoGrowAndLook(stage, guest.disk);
  guest.CoClose();
  return absl::OkStatus();
}

// ---- Power cuts ---------------------------------------------------------------------------------

// Cuts the power at some moment of what the users do; what they do then fails.
absl::Status CoCutPowerDuring(Stage& stage, TaskScope& users) MILLRACE_MAY_SUSPEND {
  users.Spawn("power", [&stage]() MILLRACE_MAY_SUSPEND {
    const size_t steps = stage.Draw(32, "power fails after");
    for (size_t i = 0; i < steps; ++i) CoYield();
    stage.CutPower();
  });
  const absl::Status status = users.CoJoin();
  return stage.power_is_cut() ? absl::OkStatus() : status;
}

void CoRequireNoCorruption(Stage& stage) MILLRACE_MAY_SUSPEND {
  DriverRegistry drivers;
  stage.RequireOk(RegisterBuiltinDrivers(drivers), "scene", "drivers");
  const absl::StatusOr<Qcow2CheckResult> result =
      CoCheckImage(stage.graph(), drivers, {.path = kPath, .format = "qcow2"}, {});
  stage.RequireOk(result.status(), "I20", "checking what the power cut has left");
  if (!result.ok() || result->corruptions == 0) return;
  stage.Fail("I20", StrCat("after the power cut the image is corrupt: ",
                           result->findings.empty() ? "" : result->findings.front()));
}

// Sectors 0-7 are durable; then some of them are discarded, and others are written.
absl::Status CoPowerFails(Stage& stage) MILLRACE_MAY_SUSPEND {
  Qcow2Guest guest;
  MILLRACE_RETURN_IF_ERROR(guest.CoCreateAndOpen(stage));
  TaggedDisk& model = stage.disk();
  MILLRACE_RETURN_IF_ERROR(model.CoWrite(guest.disk, 0, 8));
  MILLRACE_RETURN_IF_ERROR(guest.disk.CoFlush());
  TaskScope users("users");
  users.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t sector = 0; sector < 4; ++sector) {
      MILLRACE_RETURN_IF_ERROR(model.CoZero(guest.disk, sector, 1, true));
      MILLRACE_RETURN_IF_ERROR(model.CoWrite(guest.disk, 8 + 2 * sector, 2));
      if (sector == 1) MILLRACE_RETURN_IF_ERROR(guest.disk.CoFlush());
    }
    return guest.disk.CoFlush();
  });
  MILLRACE_RETURN_IF_ERROR(CoCutPowerDuring(stage, users));
  guest.CoClose();
  return absl::OkStatus();
}

absl::Status CoAfterPowerFailed(Stage& stage) MILLRACE_MAY_SUSPEND {
  CoRequireNoCorruption(stage);
  Qcow2Guest guest;
  MILLRACE_RETURN_IF_ERROR(guest.CoOpen(stage));
  for (uint64_t sector = 0; sector < 16; ++sector) CoReadOwn(stage, guest.disk, sector);
  stage.RequireOk(stage.disk().CoVerify(guest.disk, 4, 4), "I20", "what was durable");
  guest.CoClose();
  return absl::OkStatus();
}

absl::Status CoPowerFailsWhileShrinking(Stage& stage) MILLRACE_MAY_SUSPEND {
  Qcow2Guest guest;
  guest.used = guest.used | kResize;
  MILLRACE_RETURN_IF_ERROR(guest.CoCreateAndOpen(stage));
  MILLRACE_RETURN_IF_ERROR(stage.disk().CoWrite(guest.disk, 0, 16));
  MILLRACE_RETURN_IF_ERROR(guest.disk.CoFlush());
  TaskScope users("users");
  users.Spawn("resizer", [&]() MILLRACE_MAY_SUSPEND { return guest.disk.CoResize(kHalf); });
  MILLRACE_RETURN_IF_ERROR(CoCutPowerDuring(stage, users));
  guest.CoClose();
  return absl::OkStatus();
}

absl::Status CoAfterPowerFailedWhileShrinking(Stage& stage) MILLRACE_MAY_SUSPEND {
  CoRequireNoCorruption(stage);
  Qcow2Guest guest;
  guest.used = guest.used | kResize;
  MILLRACE_RETURN_IF_ERROR(guest.CoOpen(stage));
  if (guest.disk.bytes() == kHalf) CoGrowAndLook(stage, guest.disk);
  guest.CoClose();
  return absl::OkStatus();
}

}  // namespace

void AddQcow2Entries(std::vector<Entry>& entries) {
  const StageOptions bare{.layers = 0};
  const Scene power{"power-cut", bare, &CoPowerFails, false, &CoAfterPowerFailed};
  const Scene batches{"batches-beside-guest", bare, &CoBatchesBesideGuest};
  entries.push_back({Mutant::kR31,
                     "R31",
                     "two flushes both lead, and the later one's number is overwritten",
                     {"flushes-beside-writes", bare, &CoFlushesBesideWrites},
                     Script{.recorded = "h22-65:flusher"}});
  entries.push_back({Mutant::kR47,
                     "R47",
                     "a flush takes two locks in the other order than growing does",
                     {"table-grows-beside-flushes", bare, &CoTableGrowsBesideFlushes},
                     Script()});
  entries.push_back({Mutant::kR74,
                     "R74",
                     "an image shrinks while somebody writes to what is cut off",
                     {"shrink-under-writer", bare, &CoShrinkUnderWriter},
                     Script()});
  entries.push_back({Mutant::kR83,
                     "R83",
                     "a host cluster is used again while a request knows it by its old mapping",
                     {"reuse-under-reader", bare, &CoReuseUnderReader},
                     Script()});
  entries.push_back({Mutant::kR84a, "R84a",
                     "tables are written in order, and nothing keeps the host to it", power,
                     Script{.first = {"*@write", "power fails after@4", "sector 16@lost"}}});
  entries.push_back({Mutant::kR84b, "R84b",
                     "a cluster is free before the entry that let go of it is on disk", power,
                     Script{.first = {"*@discard", "power fails after@28"}}});
  entries.push_back({Mutant::kM14,
                     "M14",
                     "pieces that travel together count as copied whatever became of them",
                     {"mirror-in-batches", bare, &CoMirrorInBatches},
                     Script()});
  entries.push_back(
      {Mutant::kM15, "M15", "a batch is planned before its range is held", batches, Script()});
  entries.push_back({Mutant::kM16, "M16",
                     "a batch lets go of its range before its clusters are linked", batches,
                     Script{.last = {"copier@io"}}});
  entries.push_back({Mutant::kM20,
                     "M20",
                     "an image's new size is on disk before the tables that forget the rest",
                     {"power-cut-while-shrinking", bare, &CoPowerFailsWhileShrinking, false,
                      &CoAfterPowerFailedWhileShrinking},
                     Script{.first = {"*@sync", "power fails after@6"}}});
}

}  // namespace millrace::gallery
