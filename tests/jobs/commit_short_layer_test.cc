// Commits of a layer that is shorter than its neighbours. What the overlay shows must not change.
//
// QEMU 7.2, asked with `block-commit` on "over (512 KiB) <- top (128 KiB) <- base (512 KiB of
// data)": the overlay shows zeroes beyond the top's end before, and the base's data afterwards.
// Ours writes zeroes to the base there.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/commit/commit_job.h"
#include "tests/support/job_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::commit_short_layer_test {
namespace {

constexpr uint64_t kCluster = 512;
constexpr uint64_t kLong = 8 * kCluster;
constexpr uint64_t kShort = 2 * kCluster + 100;

std::shared_ptr<MemoryOverlayImage> Image(uint64_t bytes, size_t layer,
                                          uint64_t cluster_bytes = kCluster) {
  auto image = std::make_shared<MemoryOverlayImage>(bytes, cluster_bytes);
  if (layer > 0) {
    image->backing = {"img-" + std::to_string(layer - 1), "memory-overlay"};
    return image;
  }
  const std::string content(bytes, 'b');
  image->content.Write(0, IoVector::OfConst(content.data(), content.size()));
  for (MemoryOverlayImage::Cluster& cluster : image->map) {
    cluster = MemoryOverlayImage::Cluster::kData;
  }
  return image;
}

using Body = std::function<absl::Status(JobWorld&, MemoryChain&)>;

// Commits the layer below the top into the bottom-most.
void CommitOver(const std::vector<uint64_t>& sizes, OnError on_error, const Body& meanwhile) {
  Explore([&](Engine& engine, uint64_t) {
    JobWorld world(engine);
    const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MemoryChainOptions options;
      options.layers = sizes.size();
      options.is_read_only = true;
      for (size_t i = 0; i < sizes.size(); ++i) options.images.push_back(Image(sizes[i], i));
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                                CoMakeMemoryChain(world.graph(), options, false));
      MILLRACE_ASSIGN_OR_RETURN(const std::string before, CoContent(chain.guest));
      CommitOptions commit;
      commit.job.spec.id = "c";
      commit.root = chain.top();
      commit.top = chain.nodes[sizes.size() - 2];
      commit.base = chain.nodes[0];
      commit.job.on_error = on_error;
      MILLRACE_RETURN_IF_ERROR(
          CoStartCommit(world.graph(), world.jobs(), std::move(commit)).status());
      MILLRACE_RETURN_IF_ERROR(meanwhile(world, chain));
      MILLRACE_ASSIGN_OR_RETURN(const std::string after, CoContent(chain.guest));
      EXPECT_EQ(after, before);
      world.CoClose(chain);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
  });
}

absl::Status CoOver(JobWorld& world, MemoryChain&) MILLRACE_MAY_SUSPEND {
  EXPECT_TRUE(world.jobs().CoWaitUntilOver("c").ok());
  return absl::OkStatus();
}

TEST(CommitShortLayer, TheZeroesBehindTheTopAreKept) {
  CommitOver({kLong, kShort, kLong}, OnError::kReport, CoOver);
  CommitOver({kLong, kLong, kShort, kLong}, OnError::kReport, CoOver);
  CommitOver({kLong, kShort, kShort + kCluster}, OnError::kReport, CoOver);
}

TEST(CommitShortLayer, TheZeroesBehindALowerLayerAreKept) {
  CommitOver({kLong, kShort, kLong, kLong}, OnError::kReport, CoOver);
}

// What no overlay shows stays.
TEST(CommitShortLayer, WhatTheOverlayIsTooShortToShowIsLeftAlone) {
  CommitOver({kLong, kShort, kShort}, OnError::kReport,
             [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
               MILLRACE_RETURN_IF_ERROR(CoOver(world, chain));
               EXPECT_EQ(chain.images[0]->bytes, kLong);
               EXPECT_EQ(chain.images[0]->map.back(), MemoryOverlayImage::Cluster::kData);
               return absl::OkStatus();
             });
}

// ---- The rest, while the graph changes ---------------------------------------------------------

struct OneCommit {
  std::vector<uint64_t> sizes;
  uint64_t cluster_bytes = kCluster;
  OnError on_error = OnError::kReport;
  int64_t speed = 0;
  bool finalizes_automatically = true;
};

// Once, in production's order; `before` the commit starts, `meanwhile` afterwards.
void CommitOnce(const OneCommit& c, const Body& before, const Body& meanwhile) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  JobWorld world(*engine);
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MemoryChainOptions options;
    options.layers = c.sizes.size();
    options.is_read_only = true;
    for (size_t i = 0; i < c.sizes.size(); ++i) {
      options.images.push_back(Image(c.sizes[i], i, c.cluster_bytes));
    }
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(world.graph(), options, false));
    MILLRACE_RETURN_IF_ERROR(before(world, chain));
    CommitOptions commit;
    commit.job.spec.id = "c";
    commit.job.spec.speed = c.speed;
    commit.job.spec.finalizes_automatically = c.finalizes_automatically;
    commit.root = chain.top();
    commit.top = chain.nodes[c.sizes.size() - 2];
    commit.base = chain.nodes[0];
    commit.job.on_error = c.on_error;
    commit.job.filter_name = "filter";
    MILLRACE_RETURN_IF_ERROR(
        CoStartCommit(world.graph(), world.jobs(), std::move(commit)).status());
    absl::Status result = meanwhile(world, chain);
    world.CoClose(chain);
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
}

absl::Status CoNothing(JobWorld&, MemoryChain&) MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }

void CoWaitForState(JobWorld& world, JobState wanted) MILLRACE_MAY_SUSPEND {
  for (;;) {
    const absl::StatusOr<JobInfo> info = world.jobs().Query("c");
    EXPECT_TRUE(info.ok()) << "it has ended";
    if (!info.ok() || info->state == wanted) return;
    CoSleepFor(kMillisecond).IgnoreError();
  }
}

absl::Status AskForResize(Graph& graph, const Attachment& user) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.SetPermissions(user,
                        {kConsistentRead | kWrite | kResize, kConsistentRead | kWriteUnchanged});
  return change.Commit().status();
}

// The job is paused by an error, for a long time: what is to be zeroed is asked afterwards.
TEST(CommitShortLayer, WhatTheOverlayShowsNoLongerAfterAPauseIsLeftAlone) {
  CommitOnce(
      {.sizes = {kLong, kShort, kLong}, .on_error = OnError::kStop},
      [](JobWorld& world, MemoryChain&) MILLRACE_MAY_SUSPEND -> absl::Status {
        world.engine().simulated_io()->Fail({.path = "n0"});
        return absl::OkStatus();
      },
      [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
        CoWaitForState(world, JobState::kPaused);
        MILLRACE_RETURN_IF_ERROR(AskForResize(world.graph(), chain.guest));
        MILLRACE_RETURN_IF_ERROR(chain.guest.CoResize(4 * kCluster));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("c"));
        MILLRACE_RETURN_IF_ERROR(CoOver(world, chain));
        EXPECT_NE(chain.images[0]->map[3], MemoryOverlayImage::Cluster::kData);
        EXPECT_EQ(chain.images[0]->map[4], MemoryOverlayImage::Cluster::kData);
        return absl::OkStatus();
      });
}

// It copies no longer: what it is let go for needs none of the memory that copying jobs share.
TEST(CommitShortLayer, AJobThatOnlyZeroesIsNotCountedAsOneThatCopies) {
  CommitOnce(
      {.sizes = {kLong, kShort, kLong}, .on_error = OnError::kStop},
      [](JobWorld& world, MemoryChain&) MILLRACE_MAY_SUSPEND -> absl::Status {
        SimulatedIo& io = *world.engine().simulated_io();
        io.SetLatency(3 * kMillisecond);
        io.Fail({.operation = SimulatedOperation::kMemory, .path = "n0", .is_persistent = true});
        return absl::OkStatus();
      },
      [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
        CoWaitForState(world, JobState::kPaused);
        EXPECT_EQ(world.graph().guest_load().copiers(), 0u);
        // It fails again, and is paused again, on its way through the pause point.
        MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("c"));
        size_t most = 0;
        for (bool is_paused = false; !is_paused;) {
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
          most = std::max(most, world.graph().guest_load().copiers());
          is_paused = world.jobs().Query("c")->state == JobState::kPaused;
        }
        world.engine().simulated_io()->ClearFailures();
        MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("c"));
        MILLRACE_RETURN_IF_ERROR(CoOver(world, chain));
        EXPECT_EQ(most, 0u);
        return absl::OkStatus();
      });
}

TEST(CommitShortLayer, AnErrorOfTheZeroesIsReportedOrTriedAgain) {
  for (const OnError on_error : {OnError::kReport, OnError::kIgnore}) {
    CommitOnce(
        {.sizes = {kLong, kShort, kLong}, .on_error = on_error},
        [](JobWorld& world, MemoryChain&) MILLRACE_MAY_SUSPEND -> absl::Status {
          world.engine().simulated_io()->Fail({.path = "n0"});
          return absl::OkStatus();
        },
        [&](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
          world.jobs().CoWaitUntilOver("c").IgnoreError();
          const bool is_done = on_error == OnError::kIgnore;
          EXPECT_EQ(chain.Shape(world.graph()), is_done ? "n2 <- n0" : "n2 <- n1 <- n0");
          MILLRACE_ASSIGN_OR_RETURN(const std::string after, CoContent(chain.guest));
          EXPECT_EQ(after.substr(kShort), std::string(kLong - kShort, '\0'));
          return absl::OkStatus();
        });
  }
}

TEST(CommitShortLayer, TheZeroesKeepTheSpeedLimit) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  CommitOnce({.sizes = {3 * kMiB, 64 * 1024, 3 * kMiB}, .cluster_bytes = 64 * 1024, .speed = kMiB},
             CoNothing,
             [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
               const Nanoseconds begin = world.engine().clock().Now();
               MILLRACE_RETURN_IF_ERROR(CoOver(world, chain));
               EXPECT_GE(world.engine().clock().Now() - begin, 2 * kSecond);
               return absl::OkStatus();
             });
}

// An overlay on the commit's filter: it shows what the top does, and zeroes behind that.
absl::StatusOr<Attachment> CoAddOverlay(JobWorld& world, const std::string& name, uint64_t bytes)
    MILLRACE_MAY_SUSPEND {
  Attachment user;
  {
    GraphTransaction change(world.graph());
    MILLRACE_ASSIGN_OR_RETURN(const NodeView filter, change.Find("filter"));
    MemoryOverlayOptions driver;
    driver.image = Image(bytes, 2);
    const NodeId id = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), {.name = name});
    change.SetBacking(id, filter.id(), std::nullopt);
    AttachmentOptions options;
    options.holder = MakeHolder(name, "user");
    options.permissions = {kConsistentRead, kAllPermissions};
    user = change.Attach(id, options);
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(world.graph(), user.node()));
  return user;
}

// One comes before the last look at the overlays, and the next during the flush that it leads to.
TEST(CommitShortLayer, AnOverlayThatComesDuringTheLastFlushKeepsItsZeroes) {
  constexpr uint64_t kEnd = 2 * kCluster;
  CommitOnce({.sizes = {kLong, kEnd, kEnd}, .finalizes_automatically = false}, CoNothing,
             [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
               CoWaitForState(world, JobState::kPending);
               MILLRACE_ASSIGN_OR_RETURN(Attachment first,
                                         CoAddOverlay(world, "first", 5 * kCluster));
               world.engine().simulated_io()->SetLatency(kSecond);
               MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("c"));
               while (chain.images[0]->map[4] != MemoryOverlayImage::Cluster::kZero) {
                 MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond / 4));
               }
               EXPECT_EQ(chain.Shape(world.graph()), "n2 <- [filter] <- n1 <- n0");
               MILLRACE_ASSIGN_OR_RETURN(Attachment second, CoAddOverlay(world, "second", kLong));
               MILLRACE_RETURN_IF_ERROR(CoOver(world, chain));
               EXPECT_EQ(chain.Shape(world.graph()), "n2 <- n0");
               for (Attachment* user : {&first, &second}) {
                 MILLRACE_ASSIGN_OR_RETURN(const std::string shown, CoContent(*user));
                 EXPECT_EQ(shown.substr(kEnd), std::string(user->bytes() - kEnd, '\0'));
                 user->CoDetach();
               }
               return absl::OkStatus();
             });
}

}  // namespace
}  // namespace millrace::commit_short_layer_test
