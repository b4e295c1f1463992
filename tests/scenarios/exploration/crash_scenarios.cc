// Power fails while a guest and a job work on a chain of small qcow2 images: where, which requests
// have come through and which unflushed sectors are left, the explorer chooses. Then every image
// has to open and check clean, every header to name an image that is there, and every sector of the
// guest's disk to hold what was flushed last or something that was written to it since.
// tests/campaign/job_crash_campaign.cc looks at more disks, of fewer schedules.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/image_tools.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/support/crash_case.h"
#include "tests/support/image_examiner.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

constexpr uint64_t kSector = TaggedDisk::kSector;
constexpr uint64_t kSectors = 96;        // of two L2 tables
constexpr uint64_t kFilledSectors = 32;  // of the first
// Two parties write to it at once; a flush of one says nothing of the other's.
constexpr uint64_t kContended = 20;
constexpr uint64_t kClusterBytes = 512;

// What a sector of the guest's disk may hold after a crash.
struct SectorFate {
  uint64_t flushed = 0;
  std::vector<uint64_t> later;  // values written since, in order

  bool Allows(uint64_t value) const {
    return value == flushed || std::find(later.begin(), later.end(), value) != later.end();
  }
};
using Fates = std::vector<SectorFate>;

// The images before a run, made once: every run begins with a copy.
struct CrashStage {
  CrashCase crash_case;
  DriverRegistry registry;
  SimulatedDisk disk;
  Fates fates = Fates(kSectors);
  // Whether the job of the run that is under way has moved the guest's disk.
  bool has_moved = false;
  // Outlives the engines of the run that is under way.
  std::unique_ptr<SimulatedDisk> disk_of_run;
};

absl::StatusOr<Attachment> AttachGuest(Graph& graph, NodeId node) MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("guest", "block device");
  options.device_name = "guest";
  options.permissions = {kConsistentRead | kWrite, kConsistentRead | kWriteUnchanged | kResize};
  return Attachment::Attach(graph, node, options);
}

absl::Status CoWriteSector(Attachment& disk, uint64_t sector, uint32_t version)
    MILLRACE_MAY_SUSPEND {
  const std::vector<uint8_t> content = TaggedDisk::Content(sector, version);
  return disk.CoWrite(sector * kSector, IoVector::OfConst(content.data(), content.size()));
}

// Layer i holds the sectors that leave i when divided by the number of layers, of every other such
// group; their version is layer + 1.
absl::Status CoMakeImage(CrashStage& stage, Graph& graph, size_t layer) MILLRACE_MAY_SUSPEND {
  CreateImageOptions create;
  create.path = CrashCase::PathOf(layer);
  create.qcow2 = stage.crash_case.images[layer];
  MILLRACE_RETURN_IF_ERROR(CoCreateImage(graph, stage.registry, create));
  OpenImageOptions open;
  open.path = create.path;
  open.format = "qcow2";
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph, stage.registry, open));
  absl::StatusOr<Attachment> writer = AttachGuest(graph, image.top());
  absl::Status result = writer.status();
  for (uint64_t sector = layer; sector < kFilledSectors && result.ok();
       sector += 2 * stage.crash_case.layers) {
    const auto version = static_cast<uint32_t>(layer + 1);
    result = CoWriteSector(*writer, sector, version);
    stage.fates[sector].flushed = version;
  }
  if (writer.ok()) writer->CoDetach();
  for (Attachment& hold : image.holds) hold.CoDetach();
  return result;
}

// Which layers the job works on. Those that move the guest's disk do it on a chain of four.
CrashCase CaseOf(CrashJob job) {
  CrashCase crash_case;
  crash_case.job = job;
  crash_case.layers = job == CrashJob::kActiveCommit || job == CrashJob::kMirror ? 4 : 3;
  crash_case.sectors = crash_case.lowest_sectors = kSectors;
  crash_case.top = 1;
  if (job == CrashJob::kStream) crash_case.top = 2;
  if (job == CrashJob::kCommit) crash_case.base = 0;
  if (job == CrashJob::kActiveCommit) {
    crash_case.top = 3;
    crash_case.base = 1;
  }
  return crash_case;
}

absl::Status CoMakeTarget(CrashStage& stage, Graph& graph) MILLRACE_MAY_SUSPEND {
  CreateImageOptions create;
  create.path = CrashCase::kTargetPath;
  create.qcow2.cluster_bytes = kClusterBytes;
  create.qcow2.bytes = kSectors * kSector;
  return CoCreateImage(graph, stage.registry, create);
}

std::shared_ptr<CrashStage> MakeStage(CrashJob job) {
  auto stage = std::make_shared<CrashStage>();
  CrashCase& crash_case = stage->crash_case;
  crash_case = CaseOf(job);
  for (size_t layer = 0; layer < crash_case.layers; ++layer) {
    Qcow2CreateOptions image;
    image.cluster_bytes = kClusterBytes;
    image.bytes = kSectors * kSector;
    if (layer > 0) {
      image.backing_filename = CrashCase::PathOf(layer - 1);
      image.backing_format = "qcow2";
    }
    crash_case.images.push_back(image);
  }
  MILLRACE_CHECK(RegisterBuiltinDrivers(stage->registry).ok(), "the drivers have one name each");
  const std::unique_ptr<Engine> engine = SimulatedEngine({.disk = &stage->disk});
  const absl::Status made = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    Graph graph(*engine);
    absl::Status result;
    for (size_t layer = 0; layer < crash_case.layers && result.ok(); ++layer) {
      result = CoMakeImage(*stage, graph, layer);
    }
    if (result.ok() && job == CrashJob::kMirror) result = CoMakeTarget(*stage, graph);
    graph.CoClose();
    return result;
  });
  MILLRACE_CHECK(made.ok(), FromAbsl(made.message()));
  return stage;
}

// ---- The run ------------------------------------------------------------------------------------

absl::Status CoWriteRun(Attachment& disk, Fates& fates, uint64_t first, uint64_t count,
                        uint32_t version) MILLRACE_MAY_SUSPEND {
  std::vector<uint8_t> data;
  for (uint64_t sector = first; sector < first + count; ++sector) {
    const std::vector<uint8_t> content = TaggedDisk::Content(sector, version);
    data.insert(data.end(), content.begin(), content.end());
    fates[sector].later.push_back(version);
  }
  return disk.CoWrite(first * kSector, IoVector::OfConst(data.data(), data.size()));
}

absl::Status CoFlushDisk(Attachment& disk, Fates& fates) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(disk.CoFlush());
  for (uint64_t sector = 0; sector < kSectors; ++sector) {
    SectorFate& fate = fates[sector];
    if (sector == kContended || fate.later.empty()) continue;
    fate.flushed = fate.later.back();
    fate.later.clear();
  }
  return absl::OkStatus();
}

absl::Status CoUseDisk(Attachment& disk, Fates& fates) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoWriteRun(disk, fates, 1, 2, 101));
  MILLRACE_RETURN_IF_ERROR(CoWriteRun(disk, fates, kContended, 1, 102));
  MILLRACE_RETURN_IF_ERROR(CoFlushDisk(disk, fates));
  MILLRACE_RETURN_IF_ERROR(CoWriteRun(disk, fates, kContended, 1, 103));
  MILLRACE_RETURN_IF_ERROR(CoWriteRun(disk, fates, 70, 1, 104));
  MILLRACE_RETURN_IF_ERROR(CoFlushDisk(disk, fates));
  return CoWriteRun(disk, fates, 1, 1, 105);
}

absl::Status CoTrimDisk(Attachment& disk, Fates& fates) MILLRACE_MAY_SUSPEND {
  fates[kContended].later.push_back(0);
  for (int i = 0; i < 2; ++i) {
    MILLRACE_RETURN_IF_ERROR(
        disk.CoWriteZeroes(ByteRange(kContended * kSector, kSector), {.may_unmap = true}));
  }
  return absl::OkStatus();
}

absl::Status CoWork(JobWorld& world, CrashStage& stage, const OpenCrashCase& open, Fates& fates)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(Attachment guest, AttachGuest(world.graph(), open.chain.top()));
  TaskScope scope("guest");
  scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return CoUseDisk(guest, fates); });
  scope.Spawn("trim", [&]() MILLRACE_MAY_SUSPEND { return CoTrimDisk(guest, fates); });
  const NodeId moved = open.MovedNode(world.graph(), stage.crash_case);
  absl::Status result = CoRunCrashJobs(world, stage.crash_case, open);
  result.Update(scope.CoJoin());
  stage.has_moved = moved.is_valid() && guest.node() == moved;
  guest.CoDetach();
  return result;
}

absl::Status CoRunUntilCrash(ScenarioRun& run, Engine& engine, CrashStage& stage, Fates& fates)
    MILLRACE_MAY_SUSPEND {
  JobWorld world(engine);
  absl::StatusOr<OpenCrashCase> open = CoOpenCrashCase(
      world.graph(), stage.registry, stage.crash_case, stage.crash_case.root_path());
  absl::Status result = open.status();
  if (result.ok()) {
    run.SetFaults(true);
    engine.simulated_io()->SetCrashPoints(true);
    result = CoWork(world, stage, *open, fates);
    open->CoClose();
  }
  world.jobs().CoShutdown();
  world.graph().CoClose();
  run.SetFaults(false);
  // Without power everything fails, as it should.
  return engine.simulated_io()->is_crashed() ? absl::OkStatus() : result;
}

// ---- What is left -------------------------------------------------------------------------------

absl::Status CheckView(const std::vector<std::string>& paths,
                       const std::vector<ExaminedImage>& images, const std::string& root,
                       const Fates& fates) {
  std::vector<uint64_t> shown(kSectors, kSectorFromBelow);
  size_t depth = 0;
  for (std::string path = root; !path.empty();) {
    const auto found = std::find(paths.begin(), paths.end(), path);
    if (found == paths.end() || ++depth > paths.size()) {
      return absl::DataLossError(StrCat("O8: a header names '", path, "', which leads nowhere"));
    }
    const ExaminedImage& image = images[static_cast<size_t>(found - paths.begin())];
    for (uint64_t i = 0; i < kSectors; ++i) {
      if (shown[i] == kSectorFromBelow) shown[i] = image.sectors[i];
    }
    path = image.backing_filename;
  }
  for (uint64_t i = 0; i < kSectors; ++i) {
    const uint64_t value = shown[i] == kSectorFromBelow ? 0 : shown[i];
    if (fates[i].Allows(value)) continue;
    return absl::DataLossError(StrCat("O8: a sector holds what it must not: number ", i,
                                      ": version ", value, ", flushed was ", fates[i].flushed));
  }
  return absl::OkStatus();
}

absl::Status CheckWhatIsLeft(const CrashStage& stage, const SimulatedDisk& disk, const Fates& fates,
                             bool has_crashed) {
  const std::vector<std::string> paths = disk.Paths();
  std::vector<ExaminedImage> images;
  // Nothing is to be chosen here.
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  MILLRACE_RETURN_IF_ERROR(engine->Run([&]() MILLRACE_MAY_SUSPEND {
    for (const std::string& path : paths) {
      images.push_back(CoExamineImage(*engine, disk.Find(path)->current()));
    }
    return absl::OkStatus();
  }));
  for (size_t i = 0; i < paths.size(); ++i) {
    if (images[i].status.ok()) continue;
    return absl::DataLossError(
        StrCat("O8: an image is damaged: ", paths[i], ": ", images[i].status.ToString()));
  }
  const absl::Status status = CheckView(paths, images, stage.crash_case.root_path(), fates);
  if (!stage.has_moved) return status;
  // The power failed before the guest's disk was moved, or after it.
  const absl::Status moved = CheckView(paths, images, stage.crash_case.moved_path(), fates);
  return has_crashed && status.ok() ? status : moved;
}

Scenario Crash(CrashJob job) {
  // Made by the first run: most of those who list the scenarios run none of these.
  const auto made = std::make_shared<std::shared_ptr<CrashStage>>();
  Scenario scenario;
  scenario.name = StrCat("power fails: ", CrashJobName(job));
  scenario.explored = ChoiceKinds::Schedule()
                          .With(ChoiceKind::kCrash)
                          .With(ChoiceKind::kBuggify)
                          .With(ChoiceKind::kLatency);
  scenario.choices_max = 200'000;  // who polls while a file stalls makes many
  scenario.body = [job, made](ScenarioRun& run) -> absl::Status {
    run.SetFaults(false);
    if (*made == nullptr) *made = MakeStage(job);
    const std::shared_ptr<CrashStage> stage = *made;
    stage->has_moved = false;
    stage->disk_of_run = stage->disk.Clone();
    Fates fates = stage->fates;
    Engine& engine = run.NewEngine(stage->disk_of_run.get());
    engine.simulated_io()->SetLatencyChoices(true);
    const absl::Status driven = run.DriveOn(
        engine, [&]() MILLRACE_MAY_SUSPEND { return CoRunUntilCrash(run, engine, *stage, fates); });
    const std::unique_ptr<SimulatedDisk> crashed = engine.simulated_io()->TakeCrashedDisk();
    const bool has_crashed = crashed != nullptr;
    // What is lost counts for more than an error that somebody was told of.
    const absl::Status left =
        CheckWhatIsLeft(*stage, has_crashed ? *crashed : *stage->disk_of_run, fates, has_crashed);
    return left.ok() ? driven : left;
  };
  return scenario;
}

}  // namespace

std::vector<Scenario> CrashScenarios() {
  std::vector<Scenario> scenarios;
  for (const CrashJob job : {CrashJob::kNone, CrashJob::kStream, CrashJob::kCommit,
                             CrashJob::kInsertFilter, CrashJob::kActiveCommit, CrashJob::kMirror}) {
    scenarios.push_back(Crash(job));
  }
  return scenarios;
}

}  // namespace millrace
