// What the tests of mirrors share: a chain with a guest that writes all the while, a target beside
// it, and the question whether an image is what the guest's disk was at some moment.
#ifndef MILLRACE_TESTS_JOBS_MIRROR_SUPPORT_H_
#define MILLRACE_TESTS_JOBS_MIRROR_SUPPORT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "tests/support/job_fixture.h"
#include "tests/support/simulation.h"

namespace millrace {

constexpr uint64_t kSectors = 16;
constexpr uint64_t kBytes = kSectors * TaggedDisk::kSector;

// Events as clients see them.
class MirrorEventLog final : public EngineObserver {
 public:
  void OnJobEvent(const JobEvent& event) override {
    events.push_back(event);
    std::string line = ToString(event);
    if (event.kind == JobEventKind::kError) {
      StrAppend(&line, " ", IoOperationName(event.operation), " ", ErrorActionName(event.action));
    }
    lines.push_back(std::move(line));
  }
  uint64_t Count(JobEventKind kind) const {
    uint64_t count = 0;
    for (const JobEvent& event : events) count += event.kind == kind ? 1 : 0;
    return count;
  }
  // The event that ended the job.
  const JobEvent* End() const {
    for (const JobEvent& event : events) {
      if (event.kind == JobEventKind::kCompleted || event.kind == JobEventKind::kCancelled) {
        return &event;
      }
    }
    return nullptr;
  }

  std::vector<JobEvent> events;
  std::vector<std::string> lines;
};

// A guest that writes, zeroes, discards and verifies until it is stopped. After every operation it
// remembers what its disk holds. An operation that fails is done again: the I/O that failed may be
// the guest's own.
class MirrorGuest {
 public:
  MirrorGuest(Attachment& attachment, TaggedDisk& disk, TaskScope& scope)
      : attachment_(attachment), disk_(disk), scope_(scope) {}

  void Start() {
    history_.push_back(disk_.versions());
    scope_.Spawn("guest", [this]() MILLRACE_MAY_SUSPEND { return CoMain(); });
  }
  void Stop() { is_stopped_ = true; }
  // How many operations have ended.
  size_t operations() const { return history_.size() - 1; }
  // Whether an image's own sectors, read as zeroes where it has none, are what the disk held after
  // some operation that was not over before number `first`.
  bool WasOnce(const MemoryOverlayImage& image, size_t first) const {
    for (size_t i = first; i < history_.size(); ++i) {
      if (Holds(image, history_[i])) return true;
    }
    return false;
  }
  static bool Holds(const MemoryOverlayImage& image, const std::vector<uint32_t>& versions);

 private:
  absl::Status CoMain() MILLRACE_MAY_SUSPEND;
  absl::Status CoOperation(uint64_t number) MILLRACE_MAY_SUSPEND;

  Attachment& attachment_;
  TaggedDisk& disk_;
  TaskScope& scope_;
  bool is_stopped_ = false;
  std::vector<std::vector<uint32_t>> history_;
};

inline bool MirrorGuest::Holds(const MemoryOverlayImage& image,
                               const std::vector<uint32_t>& versions) {
  for (uint64_t sector = 0; sector < versions.size(); ++sector) {
    const uint64_t offset = sector * TaggedDisk::kSector;
    std::vector<uint8_t> found(TaggedDisk::kSector, 0);
    const bool is_data = offset < image.bytes && image.map[offset / image.cluster_bytes] ==
                                                     MemoryOverlayImage::Cluster::kData;
    if (is_data) image.content.Read(offset, IoVector(found.data(), found.size()));
    if (found != TaggedDisk::Content(sector, versions[sector])) return false;
  }
  return true;
}

inline absl::Status MirrorGuest::CoOperation(uint64_t number) {
  const uint64_t count = 1 + number % 3;
  const uint64_t sector = (number * 5) % (kSectors - count);
  if (number % 7 == 3) return disk_.CoZero(attachment_, sector, count, false);
  if (number % 7 == 5) return disk_.CoZero(attachment_, sector, count, true);
  return disk_.CoWrite(attachment_, sector, count);
}

inline absl::Status MirrorGuest::CoMain() {
  for (uint64_t number = 0; !is_stopped_; ++number) {
    while (!CoOperation(number).ok()) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
    history_.push_back(disk_.versions());
    absl::Status seen;
    do {
      seen = disk_.CoVerify(attachment_, (number * 3) % (kSectors - 2), 2);
    } while (!seen.ok() && !absl::IsDataLoss(seen));
    MILLRACE_RETURN_IF_ERROR(seen);
    if (number % 2 == 0) {
      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond * static_cast<int64_t>(number % 5)));
    }
  }
  return absl::OkStatus();
}

// A world with a filled chain "n<layers-1> <- … <- n0".
struct MirrorWorld {
  explicit MirrorWorld(Engine& engine) : jobs_world(engine), disk(kSectors) {}

  Graph& graph() { return jobs_world.graph(); }
  JobManager& jobs() { return jobs_world.jobs(); }
  JobState StateOf(JobKey job) {
    absl::StatusOr<JobInfo> info = jobs().Query(job);
    return info.ok() ? info->state : JobState::kNull;
  }
  // False if the job ended without becoming so.
  bool CoWaitForState(JobKey job, JobState wanted) MILLRACE_MAY_SUSPEND {
    for (;;) {
      const JobState state = StateOf(job);
      if (state == wanted) return true;
      if (state == JobState::kNull || state == JobState::kConcluded) return false;
      CoSleepFor(kMillisecond).IgnoreError();
    }
  }
  bool CoWaitUntilReady(JobKey job) MILLRACE_MAY_SUSPEND {
    return CoWaitForState(job, JobState::kReady);
  }
  // What waiting for a job returns, if it is gone already: how it ended is in the events.
  absl::Status CoWaitUntilOver(JobKey job) MILLRACE_MAY_SUSPEND {
    return jobs().CoWaitUntilOver(job);
  }
  std::string Shape() MILLRACE_OPENS_VIEW { return chain.Shape(graph()); }
  bool IsReadOnly(NodeId node) MILLRACE_OPENS_VIEW { return millrace::IsReadOnly(graph(), node); }

  // Adds an image beside the chain, held by `keepers`.
  absl::StatusOr<NodeId> CoAddImage(std::string name, std::shared_ptr<MemoryOverlayImage> image)
      MILLRACE_MAY_SUSPEND;
  // A mirror of the chain's top to the image "t", which is added.
  absl::StatusOr<MirrorOptions> CoMirrorToImage(uint64_t bytes = kBytes) MILLRACE_MAY_SUSPEND;

  JobWorld jobs_world;
  MemoryChain chain;
  TaggedDisk disk;
  std::vector<Attachment> keepers;
  std::shared_ptr<MemoryOverlayImage> target;
};

// Adds a node that stands on `children`, held by the world's keepers.
inline absl::StatusOr<NodeId> CoAdd(MirrorWorld& world, std::string name,
                                    std::unique_ptr<Driver> driver,
                                    const std::vector<std::pair<Role, NodeId>>& children = {})
    MILLRACE_MAY_SUSPEND {
  NodeId id;
  {
    GraphTransaction change(world.graph());
    id = change.AddNode(std::move(driver), {.name = std::move(name)});
    for (const auto& [role, child] : children) change.AddChild(id, role, child);
    AttachmentOptions keep;
    keep.holder = world.chain.monitor_holder;
    keep.stays_at_node = true;
    world.keepers.push_back(change.Attach(id, keep));
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(world.graph(), id));
  return id;
}

inline absl::StatusOr<NodeId> MirrorWorld::CoAddImage(std::string name,
                                                      std::shared_ptr<MemoryOverlayImage> image) {
  MemoryOverlayOptions driver;
  driver.image = std::move(image);
  driver.filename = StrCat("img-", name);
  return CoAdd(*this, std::move(name), MakeMemoryOverlayDriver(std::move(driver)));
}

inline absl::StatusOr<MirrorOptions> MirrorWorld::CoMirrorToImage(uint64_t bytes) {
  target = std::make_shared<MemoryOverlayImage>(bytes, 512);
  MirrorOptions options;
  options.job.spec.id = "m";
  options.source = chain.top();
  options.granularity = 512;
  MILLRACE_ASSIGN_OR_RETURN(options.target, CoAddImage("t", target));
  return options;
}

inline CommitOptions ActiveCommit(const MirrorWorld& world, size_t base) {
  CommitOptions options;
  options.job.spec.id = "c";
  options.root = world.chain.top();
  options.top = world.chain.top();
  options.base = world.chain.nodes[base];
  return options;
}

struct MirrorScenario {
  size_t layers = 4;
  bool is_owned_by_monitor = false;
  bool is_read_only = true;  // all layers but the top
  bool has_guest = true;
  bool map_takes_step = false;  // of the chain's images
};

using MirrorBody = std::function<absl::Status(MirrorWorld& world, MirrorGuest& guest)>;

// Runs `body` in a world of its own on `engine`, with the guest at work, and looks at everything
// afterwards: the guest's view, the graph's invariants, and that nothing is left.
inline void RunMirror(Engine& engine, const MirrorScenario& scenario, const MirrorBody& body) {
  MirrorWorld world(engine);
  absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MemoryChainOptions options;
    options.layers = scenario.layers;
    options.is_read_only = scenario.is_read_only;
    options.map_takes_step = scenario.map_takes_step;
    MILLRACE_ASSIGN_OR_RETURN(
        world.chain, CoMakeMemoryChain(world.graph(), options, scenario.is_owned_by_monitor));
    FillLayers(world.chain, world.disk);
    TaskScope scope("guest");
    MirrorGuest guest(world.chain.guest, world.disk, scope);
    if (scenario.has_guest) guest.Start();
    absl::Status result = body(world, guest);
    guest.Stop();
    result.Update(scope.CoJoin());
    engine.simulated_io()->ClearFailures();
    if (result.ok()) result = world.disk.CoVerifyAll(world.chain.guest);
    world.jobs().CoShutdown();
    world.keepers.clear();
    world.jobs_world.CoClose(world.chain);
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
}

// In production's order and under random schedules.
inline void ExploreMirror(const MirrorScenario& scenario, const MirrorBody& body,
                          uint64_t cost = 4) {
  Explore([&](Engine& engine, uint64_t) { RunMirror(engine, scenario, body); }, cost);
}

// Once, in production's order, with the events.
inline void RunMirrorOnce(const MirrorScenario& scenario, MirrorEventLog& log,
                          const MirrorBody& body) {
  const std::unique_ptr<Engine> engine = SimulatedEngine({.observer = &log});
  RunMirror(*engine, scenario, body);
}

// ---- Without a chain ---------------------------------------------------------------------------

using MirrorWorldBody = std::function<absl::Status(MirrorWorld& world)>;

// Runs `body` in a world of its own that is empty but for its holders, and looks afterwards that
// nothing is left.
inline void RunOn(Engine& engine, const MirrorWorldBody& body) {
  MirrorWorld world(engine);
  world.chain.guest_holder = MakeHolder("disk", "block device");
  world.chain.monitor_holder = MakeHolder("monitor", "monitor");
  const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    const absl::Status result = body(world);
    world.jobs().CoShutdown();
    world.keepers.clear();
    world.jobs_world.CoClose(world.chain);
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
}

// In production's order.
inline void RunOnce(const MirrorWorldBody& body, EngineObserver* observer = nullptr) {
  const std::unique_ptr<Engine> engine = SimulatedEngine({.observer = observer});
  RunOn(*engine, body);
}

}  // namespace millrace

#endif  // MILLRACE_TESTS_JOBS_MIRROR_SUPPORT_H_
