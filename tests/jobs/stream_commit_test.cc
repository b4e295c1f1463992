// Streams, commits and filter insertions on one chain, with a guest at work: the seed's cases.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/job_fixture.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

class PassFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "pass"; }
};

constexpr uint64_t kSectors = 16;

StreamOptions Stream(std::string id, NodeId top, std::optional<NodeId> base,
                     std::optional<NodeId> bottom = std::nullopt) {
  StreamOptions options;
  options.spec.id = std::move(id);
  options.top = top;
  options.base = base;
  options.bottom = bottom;
  return options;
}

CommitOptions Commit(std::string id, NodeId root, NodeId top, NodeId base) {
  CommitOptions options;
  options.spec.id = std::move(id);
  options.root = root;
  options.top = top;
  options.base = base;
  return options;
}

// A guest that writes and reads for as long as the jobs live.
absl::Status CoGuest(MemoryChain& chain, TaggedDisk& disk, int rounds) MILLRACE_MAY_SUSPEND {
  for (int i = 0; i < rounds; ++i) {
    const uint64_t sector = (static_cast<uint64_t>(i) * 5) % (kSectors - 2);
    MILLRACE_RETURN_IF_ERROR(disk.CoWrite(chain.guest, sector, 2));
    MILLRACE_RETURN_IF_ERROR(disk.CoVerify(chain.guest, (sector + 7) % (kSectors - 2), 2));
  }
  return absl::OkStatus();
}

// Runs `scenario` over a filled chain of `layers`, in production's order and under random
// schedules.
template <typename Body>
void ExploreChain(size_t layers, bool is_owned, Body body) {
  Explore([&](Engine& engine, uint64_t) {
    JobWorld world(engine);
    absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MemoryChainOptions options;
      options.layers = layers;
      options.is_read_only = true;
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                                CoMakeMemoryChain(world.graph(), options, is_owned));
      TaggedDisk disk(kSectors);
      FillLayers(chain, disk);
      TaskScope guest("guest");
      guest.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return CoGuest(chain, disk, 6); });
      absl::Status result = body(world, chain);
      result.Update(guest.CoJoin());
      if (result.ok()) result = disk.CoVerifyAll(chain.guest);
      world.CoClose(chain);
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
  });
}

TEST(StreamJob, CopiesWhatLiesBelowAndCutsTheChain) {
  ExploreChain(
      4, false, [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(
            CoStartStream(world.graph(), world.jobs(), Stream("s", chain.nodes[3], chain.nodes[0]))
                .status());
        EXPECT_TRUE(world.jobs().CoWaitUntilOver("s").ok());
        EXPECT_EQ(chain.Shape(world.graph()), "n3 <- n0");
        EXPECT_EQ(chain.Header(3), "img-0");
        EXPECT_EQ(world.graph().node_count(), 2u);
        return absl::OkStatus();
      });
}

TEST(StreamJob, ReadOnlyIntermediateBecomesWritableForTheJobOnly) {
  ExploreChain(
      4, true, [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(
            CoStartStream(world.graph(), world.jobs(), Stream("s", chain.nodes[2], std::nullopt))
                .status());
        EXPECT_TRUE(world.jobs().CoWaitUntilOver("s").ok());
        EXPECT_EQ(chain.Shape(world.graph()), "n3 <- n2");
        EXPECT_EQ(chain.Header(2), "");
        GraphView view(world.graph());
        EXPECT_TRUE(view.Resolve(chain.nodes[2])->is_read_only());
        return absl::OkStatus();
      });
}

TEST(CommitJob, MovesTheLayersIntoTheBaseAndDropsThem) {
  ExploreChain(5, false,
               [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
                 MILLRACE_RETURN_IF_ERROR(
                     CoStartCommit(world.graph(), world.jobs(),
                                   Commit("c", chain.nodes[4], chain.nodes[2], chain.nodes[0]))
                         .status());
                 EXPECT_TRUE(world.jobs().CoWaitUntilOver("c").ok());
                 EXPECT_EQ(chain.Shape(world.graph()), "n4 <- n3 <- n0");
                 EXPECT_EQ(chain.Header(3), "img-0");
                 EXPECT_EQ(world.graph().node_count(), 3u);
                 GraphView view(world.graph());
                 EXPECT_TRUE(view.Resolve(chain.nodes[0])->is_read_only());
                 return absl::OkStatus();
               });
}

// overlapping_5: the base of the stream is the filter of a commit that ends first or last.
TEST(StreamMeetsCommit, BaseThatIsTheCommitsFilterIsReplacedByWhatIsBelowIt) {
  ExploreChain(
      5, false, [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
        CommitOptions commit = Commit("c", chain.nodes[4], chain.nodes[2], chain.nodes[0]);
        commit.filter_name = "commit-filter";
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), commit).status());
        NodeId filter;
        {
          GraphView view(world.graph());
          absl::StatusOr<NodeView> found = view.Find("commit-filter");
          if (found.ok()) filter = found->id();
        }
        if (filter.is_valid()) {
          absl::StatusOr<JobNumber> started =
              CoStartStream(world.graph(), world.jobs(), Stream("s", chain.nodes[4], filter));
          if (started.ok()) {
            EXPECT_TRUE(world.jobs().CoWaitUntilOver("s").ok());
          }
        }
        world.jobs().CoWaitUntilOver("c").IgnoreError();
        const std::string shape = chain.Shape(world.graph());
        EXPECT_TRUE(shape == "n4 <- n0" || shape == "n4 <- n3 <- n0") << shape;
        EXPECT_EQ(chain.Header(4), shape == "n4 <- n0" ? "img-0" : "img-3");
        return absl::OkStatus();
      });
}

// overlapping_4: refused when it starts, on a writable chain too.
TEST(StreamMeetsCommit, RangeThatHoldsTheCommitsFilterIsRefusedAtTheStart) {
  auto engine = SimulatedEngine();
  JobWorld world(*engine);
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MemoryChainOptions options;
    options.layers = 6;
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(world.graph(), options, true));
    CommitOptions commit = Commit("c", chain.nodes[5], chain.nodes[2], chain.nodes[0]);
    commit.filter_name = "commit-filter";
    commit.spec.speed = 1;
    MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), commit).status());
    absl::StatusOr<JobNumber> refused =
        CoStartStream(world.graph(), world.jobs(), Stream("s", chain.nodes[4], chain.nodes[2]));
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
    std::optional<Conflict> conflict = ConflictOf(refused.status());
    EXPECT_TRUE(conflict.has_value());
    if (conflict) {
      EXPECT_EQ(conflict->reason, ConflictReason::kUnleasableFilter);
      EXPECT_EQ(conflict->object, "commit-filter");
      EXPECT_EQ(conflict->detail, "backing");
    }
    world.CoClose(chain);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(StreamMeetsCommit, TwoAdjacentStreamsAndACommitFinishTogether) {
  ExploreChain(
      9, false, [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
        Graph& graph = world.graph();
        JobManager& jobs = world.jobs();
        MILLRACE_RETURN_IF_ERROR(
            CoStartStream(graph, jobs, Stream("s4", chain.nodes[4], std::nullopt, chain.nodes[3]))
                .status());
        MILLRACE_RETURN_IF_ERROR(
            CoStartStream(graph, jobs, Stream("s2", chain.nodes[2], std::nullopt, chain.nodes[1]))
                .status());
        MILLRACE_RETURN_IF_ERROR(
            CoStartCommit(graph, jobs, Commit("c", chain.nodes[8], chain.nodes[7], chain.nodes[5]))
                .status());
        for (const char* id : {"s4", "s2", "c"}) {
          absl::Status over = jobs.CoWaitUntilOver(id);
          EXPECT_TRUE(over.ok() || absl::IsNotFound(over)) << over;
        }
        EXPECT_EQ(chain.Shape(graph), "n8 <- n5 <- n4 <- n2 <- n0");
        EXPECT_EQ(chain.Header(8), "img-5");
        EXPECT_EQ(chain.Header(4), "img-2");
        EXPECT_EQ(chain.Header(2), "img-0");
        EXPECT_EQ(graph.node_count(), 5u);
        return absl::OkStatus();
      });
}

TEST(InsertFilter, BetweenBottomAndBaseDuringAStreamSurvivesIt) {
  ExploreChain(
      4, false, [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
        StreamOptions stream = Stream("s", chain.nodes[3], std::nullopt, chain.nodes[1]);
        stream.spec.finalizes_automatically = false;
        stream.spec.dismisses_automatically = false;
        MILLRACE_RETURN_IF_ERROR(CoStartStream(world.graph(), world.jobs(), stream).status());
        InsertFilterOptions insert;
        insert.spec.id = "i";
        insert.below = chain.nodes[0];
        insert.filter_name = "pass";
        MILLRACE_RETURN_IF_ERROR(
            CoStartInsertFilter(world.graph(), world.jobs(), std::make_unique<PassFilter>(), insert)
                .status());
        absl::Status inserted = world.jobs().CoWaitUntilOver("i");
        EXPECT_TRUE(inserted.ok() || absl::IsNotFound(inserted)) << inserted;
        while (!world.jobs().Finalize("s").ok()) {
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
        }
        EXPECT_TRUE(world.jobs().CoWaitUntilOver("s").ok());
        EXPECT_EQ(chain.Shape(world.graph()), "n3 <- [pass] <- n0");
        EXPECT_EQ(chain.Header(3), "img-0");
        return absl::OkStatus();
      });
}

}  // namespace
}  // namespace millrace
