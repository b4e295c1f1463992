// The fault loop over whole jobs: the N-th I/O operation or fallible allocation after a job was
// asked for fails, for every N, on qcow2 images. Whatever fails, the job ends with an error or
// without one, the guest sees what it saw, nothing is left behind, and the images, reopened from
// their headers alone, are free of corruption and show the same.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "tests/support/chain_story.h"
#include "tests/support/job_fixture.h"
#include "tests/support/seeds.h"
#include "tests/support/simulation.h"

namespace millrace::job_fault_test {
namespace {

constexpr size_t kLayers = 5;  // each with every fifth sector
constexpr uint64_t kSectors = 64;
constexpr uint64_t kBytes = kSectors * TaggedDisk::kSector;

// Answers 0 until it is armed, and from then on counts what could fail.
class NthFault final : public Decider {
 public:
  struct Plan {
    uint64_t n = 0;      // counted from 1
    size_t outcome = 1;  // the option taken; the last one if there are fewer
    bool and_all_after = false;
  };

  void Arm(const Plan& plan) {
    plan_ = plan;
    is_armed_ = true;
  }
  // Whether something failed since.
  bool Disarm() {
    is_armed_ = false;
    return seen_ >= plan_.n;
  }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    if (!is_armed_ || (kind != ChoiceKind::kOutcome && kind != ChoiceKind::kFault)) return 0;
    ++seen_;
    const bool fails = seen_ == plan_.n || (plan_.and_all_after && seen_ > plan_.n);
    return fails ? std::min(plan_.outcome, options.size() - 1) : 0;
  }

 private:
  Plan plan_;
  bool is_armed_ = false;
  uint64_t seen_ = 0;
};

constexpr char kTarget[] = "target";

// How the job ended; OK if it is gone by now.
absl::Status CoOver(JobWorld& world, JobKey key) MILLRACE_MAY_SUSPEND {
  return world.jobs().CoWaitUntilOver(key);
}

absl::Status CoCompleteWhenReady(JobWorld& world) MILLRACE_MAY_SUSPEND {
  for (;;) {
    const absl::StatusOr<JobInfo> info = world.jobs().Query("job");
    if (info.ok() && info->state != JobState::kReady && info->state != JobState::kConcluded) {
      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
      continue;
    }
    if (info.ok() && info->state == JobState::kReady) {
      MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("job"));
    }
    return CoOver(world, "job");
  }
}

// Starts the job and waits until it is over; images are from the top down.
using Job = absl::Status (*)(JobWorld&, const std::vector<NodeId>& images);

absl::Status CoStreamPart(JobWorld& world, const std::vector<NodeId>& images) MILLRACE_MAY_SUSPEND {
  StreamOptions options;
  options.job.spec.id = "job";
  options.top = images[1];
  options.base = images[3];
  MILLRACE_RETURN_IF_ERROR(CoStartStream(world.graph(), world.jobs(), options).status());
  return world.jobs().CoWaitUntilOver("job");
}

absl::Status CoStreamAll(JobWorld& world, const std::vector<NodeId>& images) MILLRACE_MAY_SUSPEND {
  StreamOptions options;
  options.job.spec.id = "job";
  options.top = images[0];
  MILLRACE_RETURN_IF_ERROR(CoStartStream(world.graph(), world.jobs(), options).status());
  return world.jobs().CoWaitUntilOver("job");
}

absl::Status CoCommitPart(JobWorld& world, const std::vector<NodeId>& images) MILLRACE_MAY_SUSPEND {
  CommitOptions options;
  options.job.spec.id = "job";
  options.root = images[0];
  options.top = images[1];
  options.base = images[3];
  MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), options).status());
  return world.jobs().CoWaitUntilOver("job");
}

absl::Status CoInsertAndRemove(JobWorld& world, const std::vector<NodeId>& images)
    MILLRACE_MAY_SUSPEND {
  InsertFilterOptions insert;
  insert.spec.id = "job";
  insert.below = images[1];
  insert.filter_name = "pass";
  MILLRACE_RETURN_IF_ERROR(
      CoStartInsertFilter(world.graph(), world.jobs(), MakePassFilter(), insert).status());
  MILLRACE_RETURN_IF_ERROR(world.jobs().CoWaitUntilOver("job"));
  RemoveFilterOptions remove;
  remove.spec.id = "job";
  {
    GraphView view(world.graph());
    MILLRACE_ASSIGN_OR_RETURN(const NodeView filter, view.Find("pass"));
    remove.filter = filter.id();
  }
  MILLRACE_RETURN_IF_ERROR(CoStartRemoveFilter(world.graph(), world.jobs(), remove).status());
  return world.jobs().CoWaitUntilOver("job");
}

// The root is the active layer: the base takes its place when the job is complete.
absl::Status CoCommitActive(JobWorld& world, const std::vector<NodeId>& images)
    MILLRACE_MAY_SUSPEND {
  CommitOptions options;
  options.job.spec.id = "job";
  options.root = images[0];
  options.top = images[0];
  options.base = images[2];
  MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), options).status());
  return CoCompleteWhenReady(world);
}

absl::Status CoMirrorToTarget(JobWorld& world, const std::vector<NodeId>& images)
    MILLRACE_MAY_SUSPEND {
  MirrorOptions options;
  options.job.spec.id = "job";
  options.source = images[0];
  {
    GraphView view(world.graph());
    MILLRACE_ASSIGN_OR_RETURN(const NodeView target, view.Find(kTarget));
    options.target = target.id();
  }
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  return CoCompleteWhenReady(world);
}

// Neighbours: a stream of all below, a commit above it.
absl::Status CoStreamAndCommit(JobWorld& world, const std::vector<NodeId>& images)
    MILLRACE_MAY_SUSPEND {
  StreamOptions stream;
  stream.job.spec.id = "stream";
  stream.top = images[3];
  const absl::StatusOr<JobNumber> streamed =
      CoStartStream(world.graph(), world.jobs(), std::move(stream));
  CommitOptions commit;
  commit.job.spec.id = "job";
  commit.root = images[0];
  commit.top = images[1];
  commit.base = images[2];
  const absl::StatusOr<JobNumber> committed =
      CoStartCommit(world.graph(), world.jobs(), std::move(commit));
  absl::Status result = streamed.status();
  if (streamed.ok()) result = CoOver(world, *streamed);
  if (!committed.ok()) {
    result.Update(committed.status());
  } else {
    result.Update(CoOver(world, *committed));
  }
  return result;
}

std::string PathOf(size_t layer) { return StrCat("img-", layer); }

class JobFaultLoop : public testing::TestWithParam<Job> {
 protected:
  JobFaultLoop() : model_(kSectors) {
    EXPECT_TRUE(RegisterBuiltinDrivers(registry_).ok());
    InEngine(nullptr, [&](Engine& engine) MILLRACE_MAY_SUSPEND { return CoMakeImages(engine); });
  }

  // Runs `body` in an engine over the disk.
  template <typename Body>
  void InEngine(Decider* decider, Body body) {
    StackPool stacks;
    const std::unique_ptr<Engine> engine =
        SimulatedEngine({.decider = decider, .stacks = &stacks, .disk = disk_.get()},
                        /*steps_per_look=*/31);
    absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND { return body(*engine); });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(engine->scheduler().live_coroutines(), 0u);
    EXPECT_EQ(engine->simulated_io()->open_files(), 0u);
    EXPECT_EQ(stacks.in_use(), 0u);
  }

  // Every layer has a fifth of the sectors; clusters are of two sectors.
  absl::Status CoMakeImages(Engine& engine) MILLRACE_MAY_SUSPEND {
    Graph graph(engine);
    absl::Status result;
    for (size_t layer = 0; layer < kLayers && result.ok(); ++layer) {
      result = CoMakeImage(graph, layer);
    }
    CreateImageOptions target;
    target.path = kTarget;
    target.qcow2.bytes = kBytes;
    target.qcow2.cluster_bytes = 1024;
    target.qcow2.lazy_refcounts = is_lazy_;
    if (result.ok()) result = CoCreateImage(graph, registry_, target);
    graph.CoClose();
    return result;
  }
  absl::Status CoMakeImage(Graph& graph, size_t layer) MILLRACE_MAY_SUSPEND {
    CreateImageOptions create;
    create.path = PathOf(layer);
    create.qcow2.bytes = kBytes;
    create.qcow2.cluster_bytes = 1024;
    create.qcow2.lazy_refcounts = is_lazy_;
    if (layer > 0) {
      create.qcow2.backing_filename = PathOf(layer - 1);
      create.qcow2.backing_format = "qcow2";
    }
    MILLRACE_RETURN_IF_ERROR(CoCreateImage(graph, registry_, create));
    OpenImageOptions open;
    open.path = PathOf(layer);
    open.format = "qcow2";
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph, registry_, open));
    MILLRACE_ASSIGN_OR_RETURN(Attachment writer, Attach(graph, image.top(), true));
    absl::Status result;
    for (uint64_t sector = layer; sector + 1 < kSectors && result.ok(); sector += 5) {
      result = model_.CoWrite(writer, sector, 1);
    }
    writer.CoDetach();
    for (Attachment& hold : image.holds) hold.CoDetach();
    return result;
  }
  static absl::StatusOr<Attachment> Attach(Graph& graph, NodeId node, bool writes)
      MILLRACE_OPENS_VIEW {
    AttachmentOptions options;
    options.holder = MakeHolder("guest", "block device");
    options.device_name = "guest";
    options.permissions.used = writes ? kConsistentRead | kWrite : PermissionSet(kConsistentRead);
    options.permissions.shared = kConsistentRead | kWriteUnchanged | kResize;
    return Attachment::Attach(graph, node, options);
  }

  // A guest that does every write again until it succeeds: the failure may be its own.
  absl::Status CoGuest(Attachment& guest) MILLRACE_MAY_SUSPEND {
    for (uint64_t i = 0; i < 8; ++i) {
      while (!model_.CoWrite(guest, i * 7 % (kSectors - 3), 1 + i % 3).ok()) {
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
      }
      if (i % 3 == 2) (void)guest.CoFlush();
    }
    return absl::OkStatus();
  }

  // One job with one plan. Returns whether anything failed.
  bool RunJob(const NthFault::Plan& plan, bool has_guest) {
    NthFault faults;
    bool has_failed = false;
    InEngine(&faults, [&](Engine& engine) MILLRACE_MAY_SUSPEND -> absl::Status {
      JobWorld world(engine);
      OpenImageOptions open;
      open.path = PathOf(kLayers - 1);
      MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(world.graph(), registry_, open));
      OpenImageOptions beside;
      beside.path = kTarget;
      beside.node_names = {kTarget};
      MILLRACE_ASSIGN_OR_RETURN(OpenedImage target, CoOpenImage(world.graph(), registry_, beside));
      MILLRACE_ASSIGN_OR_RETURN(Attachment guest, Attach(world.graph(), image.top(), true));
      TaskScope scope("guest");
      if (has_guest) {
        scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return CoGuest(guest); });
      }
      faults.Arm(plan);
      const absl::Status job = GetParam()(world, image.images);
      has_failed = faults.Disarm();
      EXPECT_TRUE(has_failed || job.ok()) << job;
      absl::Status result = scope.CoJoin();
      root_path_ = guest.node() == image.images[2] ? PathOf(2) : PathOf(kLayers - 1);
      if (guest.node() == target.top()) root_path_ = kTarget;
      world.jobs().CoShutdown();
      result.Update(model_.CoVerifyAll(guest));
      // A host that failed to flush once keeps saying so: what was written since the last good
      // flush is not promised to anybody.
      is_durable_ = !has_guest || guest.CoFlush().ok();
      EXPECT_TRUE(world.graph().CheckInvariants().ok()) << world.graph().CheckInvariants();
      guest.CoDetach();
      for (Attachment& hold : image.holds) hold.CoDetach();
      for (Attachment& hold : target.holds) hold.CoDetach();
      world.graph().CoClose();
      EXPECT_EQ(world.graph().node_count(), 0u);
      return result;
    });
    return has_failed;
  }

  void CheckReopened() {
    InEngine(nullptr, [&](Engine& engine) MILLRACE_MAY_SUSPEND -> absl::Status {
      Graph graph(engine);
      absl::Status result = CoCheckReopened(graph);
      graph.CoClose();
      return result;
    });
  }
  // An image that was left dirty says nothing by its refcounts until they were made anew, as the
  // next writable open does.
  absl::Status CoRepair(Graph& graph, const ImagePathOptions& path) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(const Qcow2CheckResult repaired,
                              CoCheckImage(graph, registry_, path, {.repair = Qcow2Repair::kAll}));
    EXPECT_TRUE(repaired.is_clean_now()) << path.path;
    return absl::OkStatus();
  }
  absl::Status CoCheckReopened(Graph& graph) MILLRACE_MAY_SUSPEND {
    for (size_t layer = 0; layer <= kLayers; ++layer) {
      ImagePathOptions path;
      path.path = layer < kLayers ? PathOf(layer) : kTarget;
      path.format = "qcow2";
      if (is_lazy_) MILLRACE_RETURN_IF_ERROR(CoRepair(graph, path));
      MILLRACE_ASSIGN_OR_RETURN(const Qcow2CheckResult check,
                                CoCheckImage(graph, registry_, path, {}));
      EXPECT_EQ(check.corruptions, 0u) << path.path;  // leaks are allowed after a failure
    }
    OpenImageOptions open;
    open.path = root_path_;
    open.is_read_only = true;
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph, registry_, open));
    MILLRACE_ASSIGN_OR_RETURN(Attachment reader, Attach(graph, image.top(), false));
    absl::Status result;
    if (is_durable_) result = model_.CoVerifyAll(reader);
    reader.CoDetach();
    for (Attachment& hold : image.holds) hold.CoDetach();
    return result;
  }

  // All images anew, with refcounts that are written late.
  void UseLazyRefcounts() {
    is_lazy_ = true;
    disk_ = std::make_unique<SimulatedDisk>();
    model_ = TaggedDisk(kSectors);
    InEngine(nullptr, [&](Engine& engine) MILLRACE_MAY_SUSPEND { return CoMakeImages(engine); });
  }

  void Loop(size_t outcome, bool and_all_after, bool has_guest) {
    const TaggedDisk before = model_;
    const std::unique_ptr<SimulatedDisk> images = disk_->Clone();
    for (uint64_t n = 1;; n += CaseStride()) {
      SCOPED_TRACE(StrCat("failure ", n, ", outcome ", outcome));
      disk_ = images->Clone();
      model_ = before;
      const bool has_failed = RunJob({n, outcome, and_all_after}, has_guest);
      CheckReopened();
      if (!has_failed || HasFailure()) {
        EXPECT_GT(n, 3u) << "the loop saw hardly anything";
        return;
      }
    }
  }

  std::unique_ptr<SimulatedDisk> disk_ = std::make_unique<SimulatedDisk>();
  DriverRegistry registry_;
  TaggedDisk model_;
  bool is_durable_ = true;
  bool is_lazy_ = false;
  std::string root_path_;  // where the guest's disk was in the end
};

TEST_P(JobFaultLoop, TheNthOperationFailsWithoutEffect) { Loop(1, false, false); }
TEST_P(JobFaultLoop, TheNthOperationFailsAfterItsEffect) { Loop(2, false, false); }
TEST_P(JobFaultLoop, TheNthOperationFindsNoSpace) { Loop(3, false, false); }
TEST_P(JobFaultLoop, TheNthOperationFailsWhileAGuestWrites) { Loop(1, false, true); }
TEST_P(JobFaultLoop, TheNthOperationFailsAfterItsEffectWhileAGuestWrites) { Loop(2, false, true); }
TEST_P(JobFaultLoop, FromTheNthOperationOnAllFail) { Loop(1, true, false); }
TEST_P(JobFaultLoop, FromTheNthOperationOnAllFailAfterTheirEffect) { Loop(2, true, false); }

TEST_P(JobFaultLoop, TheNthOperationFailsOnImagesWithLazyRefcounts) {
  UseLazyRefcounts();
  Loop(1, false, false);
}
TEST_P(JobFaultLoop, FromTheNthOperationOnAllFailOnImagesWithLazyRefcounts) {
  UseLazyRefcounts();
  Loop(1, true, false);
}

INSTANTIATE_TEST_SUITE_P(Jobs, JobFaultLoop,
                         testing::Values(&CoStreamPart, &CoStreamAll, &CoCommitPart,
                                         &CoInsertAndRemove, &CoCommitActive, &CoMirrorToTarget,
                                         &CoStreamAndCommit));

}  // namespace
}  // namespace millrace::job_fault_test
