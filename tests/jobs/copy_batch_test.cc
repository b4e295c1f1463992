// Batches over qcow2 images: many clusters read, allocated, written and linked together, with a
// guest that writes between them. Explored over completion orders; afterwards the guest's view is
// right, and the images, reopened from their headers alone, are free of corruption and leaks.
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/change_record.h"
#include "millrace/graph/file_name.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/counting_observer.h"
#include "tests/support/job_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::copy_batch_test {
namespace {

constexpr uint64_t kClusterBytes = 1024;
constexpr uint64_t kSectors = 96;
constexpr size_t kLayers = 4;

std::string PathOf(size_t layer) { return StrCat("img-", layer); }

class BatchWorld {
 public:
  explicit BatchWorld(Engine& engine) : world_(engine), disk_(kSectors) {
    EXPECT_TRUE(RegisterBuiltinDrivers(registry_).ok());
  }

  void ExpectLeaks() { may_leak_ = true; }

  // `job` starts the job "j"; its images are from the top down.
  using StartJob = std::function<absl::Status(JobWorld&, const std::vector<NodeId>& images)>;

  absl::Status CoRun(StartJob start, bool has_guest) MILLRACE_MAY_SUSPEND {
    for (size_t layer = 0; layer < kLayers; ++layer) {
      MILLRACE_RETURN_IF_ERROR(CoMakeImage(layer));
    }
    OpenImageOptions open;
    open.path = PathOf(kLayers - 1);
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(world_.graph(), registry_, open));
    MILLRACE_ASSIGN_OR_RETURN(Attachment guest, Attach(image.top(), true));
    TaskScope scope("guest");
    if (has_guest) {
      scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return CoGuest(guest); });
    }
    absl::Status result = start(world_, image.images);
    if (result.ok()) result = world_.jobs().CoWaitUntilOver("j");
    result.Update(scope.CoJoin());
    result.Update(disk_.CoVerifyAll(guest));
    const std::string shown = PathBelow(guest);
    world_.jobs().CoShutdown();
    guest.CoDetach();
    for (Attachment& hold : image.holds) hold.CoDetach();
    world_.graph().CoWaitForReaper();
    result.Update(CoCheck(shown));
    world_.graph().CoClose();
    return result;
  }

 private:
  absl::StatusOr<Attachment> Attach(NodeId node, bool writes) MILLRACE_OPENS_VIEW {
    AttachmentOptions options;
    options.holder = MakeHolder("guest", "block device");
    options.device_name = "guest";
    options.permissions.used = writes ? kConsistentRead | kWrite : PermissionSet(kConsistentRead);
    options.permissions.shared = kConsistentRead | kWriteUnchanged | kResize;
    return Attachment::Attach(world_.graph(), node, options);
  }

  // Layers hold single clusters, so that nothing is contiguous for the guest, a longer run, and
  // some zero clusters.
  absl::Status CoMakeImage(size_t layer) MILLRACE_MAY_SUSPEND {
    CreateImageOptions create;
    create.path = PathOf(layer);
    create.qcow2.bytes = kSectors * TaggedDisk::kSector;
    create.qcow2.cluster_bytes = kClusterBytes;
    if (layer > 0) {
      create.qcow2.backing_filename = PathOf(layer - 1);
      create.qcow2.backing_format = "qcow2";
    }
    MILLRACE_RETURN_IF_ERROR(CoCreateImage(world_.graph(), registry_, create));
    OpenImageOptions open;
    open.path = PathOf(layer);
    open.format = "qcow2";
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(world_.graph(), registry_, open));
    MILLRACE_ASSIGN_OR_RETURN(Attachment writer, Attach(image.top(), true));
    absl::Status result;
    for (uint64_t sector = 2 * layer; sector + 2 <= kSectors && result.ok(); sector += 8) {
      result = disk_.CoWrite(writer, sector, 2);
    }
    if (result.ok()) result = disk_.CoWrite(writer, 60 + 2 * layer, 9);
    if (result.ok()) result = disk_.CoZero(writer, 20 + 2 * layer, 2, false);
    writer.CoDetach();
    for (Attachment& hold : image.holds) hold.CoDetach();
    world_.graph().CoWaitForReaper();
    return result;
  }

  absl::Status CoGuest(Attachment& guest) MILLRACE_MAY_SUSPEND {
    for (uint64_t i = 0; i < 12; ++i) {
      const uint64_t sector = (i * 29) % (kSectors - 3);
      MILLRACE_RETURN_IF_ERROR(i % 4 == 3 ? disk_.CoZero(guest, sector, 3, /*discard=*/false)
                                          : disk_.CoWrite(guest, sector, 1 + i % 3));
      MILLRACE_RETURN_IF_ERROR(disk_.CoVerify(guest, (sector + 40) % (kSectors - 3), 3));
    }
    return absl::OkStatus();
  }

  // The image that the guest is on: a mirror has moved it, and what it left behind is as old as
  // that.
  std::string PathBelow(const Attachment& guest) MILLRACE_OPENS_VIEW {
    GraphView view(world_.graph());
    const absl::StatusOr<NodeView> node = view.Resolve(guest.node());
    return node.ok() ? HostPath(*node) : std::string();
  }

  absl::Status CoCheck(const std::string& shown) MILLRACE_MAY_SUSPEND {
    for (size_t layer = 0; layer < kLayers; ++layer) {
      ImagePathOptions path;
      path.path = PathOf(layer);
      path.format = "qcow2";
      MILLRACE_ASSIGN_OR_RETURN(const Qcow2CheckResult check,
                                CoCheckImage(world_.graph(), registry_, path, {}));
      EXPECT_EQ(check.corruptions, 0u) << path.path;
      EXPECT_TRUE(may_leak_ || check.leaks == 0) << path.path << ": " << check.leaks;
    }
    OpenImageOptions open;
    open.path = shown;
    open.is_read_only = true;
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(world_.graph(), registry_, open));
    MILLRACE_ASSIGN_OR_RETURN(Attachment reader, Attach(image.top(), false));
    absl::Status result = disk_.CoVerifyAll(reader);
    reader.CoDetach();
    for (Attachment& hold : image.holds) hold.CoDetach();
    return result;
  }

  JobWorld world_;
  DriverRegistry registry_;
  TaggedDisk disk_;
  bool may_leak_ = false;
};

// Beside the guest they are flushed every now and then.
constexpr CopyTuning kSmallBatches = {
    .batches_max = 3, .batch_bytes = 6 * kClusterBytes, .flush_bytes = 8 * kClusterBytes};

absl::Status CoStreamWith(JobWorld& world, const std::vector<NodeId>& images,
                          const CopyTuning& copy) MILLRACE_MAY_SUSPEND {
  StreamOptions options;
  options.job.spec.id = "j";
  options.top = images[0];
  options.base = images[3];
  options.job.copy = copy;
  return CoStartStream(world.graph(), world.jobs(), options).status();
}

absl::Status CoStreamPart(JobWorld& world, const std::vector<NodeId>& images) MILLRACE_MAY_SUSPEND {
  return CoStreamWith(world, images, kSmallBatches);
}

absl::Status CoCommitWith(JobWorld& world, const std::vector<NodeId>& images,
                          const CopyTuning& copy) MILLRACE_MAY_SUSPEND {
  CommitOptions options;
  options.job.spec.id = "j";
  options.root = images[0];
  options.top = images[1];
  options.base = images[3];
  options.job.copy = copy;
  return CoStartCommit(world.graph(), world.jobs(), options).status();
}

absl::Status CoCommitPart(JobWorld& world, const std::vector<NodeId>& images) MILLRACE_MAY_SUSPEND {
  return CoCommitWith(world, images, kSmallBatches);
}

absl::Status CoActiveCommit(JobWorld& world, const std::vector<NodeId>& images)
    MILLRACE_MAY_SUSPEND {
  CommitOptions options;
  options.job.spec.id = "j";
  options.root = images[0];
  options.top = images[0];
  options.base = images[2];
  options.job.copy = kSmallBatches;
  MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), options).status());
  for (absl::StatusOr<JobInfo> info = world.jobs().Query("j"); info.ok() && !info->is_ready;) {
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
    info = world.jobs().Query("j");
  }
  return world.jobs().Complete("j");
}

class CopyBatch : public testing::TestWithParam<BatchWorld::StartJob> {};

TEST_P(CopyBatch, LeavesSoundImagesThatShowWhatTheGuestWrote) {
  for (const bool has_guest : {false, true}) {
    Explore(
        [&](Engine& engine, uint64_t) {
          BatchWorld world(engine);
          const absl::Status status =
              engine.Run([&]() MILLRACE_MAY_SUSPEND { return world.CoRun(GetParam(), has_guest); });
          EXPECT_TRUE(status.ok()) << status;
        },
        /*cost=*/20);
  }
}

INSTANTIATE_TEST_SUITE_P(Jobs, CopyBatch,
                         testing::Values(&CoStreamPart, &CoCommitPart, &CoActiveCommit));

SimulatedIo& SimulatedIoOf(Engine& engine) { return static_cast<SimulatedIo&>(engine.io()); }

NodeId FileOf(Graph& graph, NodeId image) MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  return view.Resolve(image)->Child(Role::kPrimary)->id();
}

// What goes from one file of the host to another need not pass through the job's memory.
TEST(SharedBatch, IsCopiedByTheHost) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  BatchWorld world(*engine);
  std::unique_ptr<ChangeRecord> record;
  std::unique_ptr<ChangeRecord> record_of_file;
  const auto start = [&](JobWorld& jobs, const std::vector<NodeId>& images)
                         MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(record, ChangeRecord::Start(jobs.graph(), images[3], kClusterBytes));
    MILLRACE_ASSIGN_OR_RETURN(
        record_of_file,
        ChangeRecord::Start(jobs.graph(), FileOf(jobs.graph(), images[3]), kClusterBytes));
    return CoCommitPart(jobs, images);
  };
  const absl::Status status =
      engine->Run([&]() MILLRACE_MAY_SUSPEND { return world.CoRun(start, false); });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(record->bitmap().is_clean()) << "what the host copies is a write, too";
  const uint64_t copied = SimulatedIoOf(*engine).completed(SimulatedOperation::kCopyRange);
  EXPECT_GE(record_of_file->bitmap().dirty_bytes(), copied * kClusterBytes);
  EXPECT_GT(copied, 0u);
}

TEST(SharedBatch, IsReadAndWrittenWhereTheHostWillNotCopy) {
  for (const int error : {EXDEV, EIO}) {
    Explore(
        [&](Engine& engine, uint64_t seed) {
          SimulatedIo& io = SimulatedIoOf(engine);
          // The first, or one after some that went well; with its effect or without.
          io.Fail({.operation = SimulatedOperation::kCopyRange,
                   .nth = 1 + seed % 5,
                   .error_number = error,
                   .is_persistent = true,
                   .is_after_effect = seed % 2 == 1});
          BatchWorld world(engine);
          const absl::Status status =
              engine.Run([&]() MILLRACE_MAY_SUSPEND { return world.CoRun(&CoCommitPart, true); });
          EXPECT_TRUE(status.ok()) << status;
        },
        /*cost=*/20);
  }
}

// A stream looks at what it copies, for zeroes; where both files can use the same blocks there is
// nothing to be gained by it.
TEST(SharedBatch, OfAStreamUsesTheSameBlocksWhereTheHostCan) {
  uint64_t bytes_read[2] = {};
  for (const bool can_clone : {false, true}) {
    CountingObserver counts;
    const std::unique_ptr<Engine> engine = SimulatedEngine(Engine::Options{.observer = &counts});
    SimulatedIo& io = SimulatedIoOf(*engine);
    io.disk().options().can_clone = can_clone;
    BatchWorld world(*engine);
    uint64_t before = 0;
    const auto start = [&](JobWorld& jobs, const std::vector<NodeId>& images)
                           MILLRACE_MAY_SUSPEND -> absl::Status {
      before = counts.Of(Counter::kIoReadBytes);
      MILLRACE_RETURN_IF_ERROR(CoStreamPart(jobs, images));
      const absl::Status status = jobs.jobs().CoWaitUntilOver("j");
      bytes_read[can_clone] = counts.Of(Counter::kIoReadBytes) - before;
      return status;
    };
    const absl::Status status =
        engine->Run([&]() MILLRACE_MAY_SUSPEND { return world.CoRun(start, false); });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(io.completed(SimulatedOperation::kCopyRange) > 0, can_clone);
  }
  EXPECT_LT(bytes_read[true], bytes_read[false] / 2);
}

TEST(SharedBatch, OfAStreamKeepsWhatTheGuestWritesAndReadsWhereTheHostFails) {
  Explore(
      [&](Engine& engine, uint64_t seed) {
        SimulatedIo& io = SimulatedIoOf(engine);
        io.disk().options().can_clone = true;
        if (seed % 4 != 0) {
          io.Fail({.operation = SimulatedOperation::kCopyRange,
                   .nth = 1 + seed % 5,
                   .error_number = EIO,
                   .is_persistent = seed % 4 == 1,
                   .is_after_effect = seed % 2 == 1});
        }
        BatchWorld world(engine);
        const absl::Status status =
            engine.Run([&]() MILLRACE_MAY_SUSPEND { return world.CoRun(&CoStreamPart, true); });
        EXPECT_TRUE(status.ok()) << status;
      },
      /*cost=*/20);
}

using StartWith = std::function<absl::Status(JobWorld&, const std::vector<NodeId>& images,
                                             const CopyTuning& copy)>;

class FlushBesideAGuest : public testing::TestWithParam<StartWith> {};

// Most of what a job has written must not be flushed at its very end, while the guest waits.
TEST_P(FlushBesideAGuest, ComesNowAndThen) {
  uint64_t flushes[2] = {};
  for (const bool is_small : {false, true}) {
    CountingObserver counts;
    const std::unique_ptr<Engine> engine = SimulatedEngine(Engine::Options{.observer = &counts});
    SimulatedIoOf(*engine).SetLatency(kMicrosecond);
    BatchWorld world(*engine);
    const auto start = [&](JobWorld& jobs, const std::vector<NodeId>& images)
                           MILLRACE_MAY_SUSPEND -> absl::Status {
      CopyTuning copy = kSmallBatches;
      if (!is_small) copy.flush_bytes = kSectors * TaggedDisk::kSector;
      const uint64_t before = counts.Of(Counter::kIoFlushes);
      MILLRACE_RETURN_IF_ERROR(GetParam()(jobs, images, copy));
      const absl::Status status = jobs.jobs().CoWaitUntilOver("j");
      flushes[is_small] = counts.Of(Counter::kIoFlushes) - before;
      return status;
    };
    const absl::Status status =
        engine->Run([&]() MILLRACE_MAY_SUSPEND { return world.CoRun(start, true); });
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_GT(flushes[true], flushes[false]);
}

// The host tells only once that it has lost something.
TEST_P(FlushBesideAGuest, EndsTheJobIfItFails) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  SimulatedIo& io = SimulatedIoOf(*engine);
  io.SetLatency(kMicrosecond);
  BatchWorld world(*engine);
  world.ExpectLeaks();  // what was being written is not linked
  const auto start = [&](JobWorld& jobs, const std::vector<NodeId>& images)
                         MILLRACE_MAY_SUSPEND -> absl::Status {
    io.Fail({.operation = SimulatedOperation::kSync, .error_number = EIO});
    return GetParam()(jobs, images, kSmallBatches);
  };
  const absl::Status status =
      engine->Run([&]() MILLRACE_MAY_SUSPEND { return world.CoRun(start, true); });
  EXPECT_EQ(ErrnoOf(status), EIO) << status;
}

INSTANTIATE_TEST_SUITE_P(Jobs, FlushBesideAGuest, testing::Values(&CoStreamWith, &CoCommitWith));

}  // namespace
}  // namespace millrace::copy_batch_test
