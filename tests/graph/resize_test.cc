// Growing an overlay: what a longer backing holds behind the old end must not come to light.
// Shrinking a node: what is cut off is not written meanwhile.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/event.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/null.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::resize_test {
namespace {

constexpr uint64_t kCluster = 512;

// "n1 <- n0": n0 has `base_bytes` of 'b', n1 is an empty overlay of `top_bytes`.
absl::StatusOr<MemoryChain> CoMake(Graph& graph, uint64_t base_bytes, uint64_t top_bytes)
    MILLRACE_MAY_SUSPEND {
  MemoryChainOptions options;
  options.layers = 2;
  for (uint64_t bytes : {base_bytes, top_bytes}) {
    options.images.push_back(std::make_shared<MemoryOverlayImage>(bytes, kCluster));
  }
  MemoryOverlayImage& base = *options.images[0];
  const std::string content(base_bytes, 'b');
  base.content.Write(0, IoVector::OfConst(content.data(), content.size()));
  for (MemoryOverlayImage::Cluster& cluster : base.map) {
    cluster = MemoryOverlayImage::Cluster::kData;
  }
  return CoMakeMemoryChain(graph, options, false);
}

absl::StatusOr<Attachment> AttachResizer(Graph& graph, NodeId node) MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("monitor", "monitor");
  options.permissions = {kConsistentRead | kResize, kAllPermissions};
  return Attachment::Attach(graph, node, options);
}

absl::StatusOr<std::string> CoTextOf(Attachment& guest) MILLRACE_MAY_SUSPEND {
  std::string content(guest.bytes(), '?');
  MILLRACE_RETURN_IF_ERROR(guest.CoRead(0, IoVector(content.data(), content.size())));
  return content;
}

using ResizeTest = GraphFixture;

TEST_F(ResizeTest, WhatIsGainedReadsAsZeroesAboveALongerBacking) {
  for (uint64_t old_bytes : {kCluster, kCluster + 1, 2 * kCluster - 1}) {
    for (uint64_t new_bytes : {old_bytes + 1, 3 * kCluster, 8 * kCluster, 20 * kCluster + 7}) {
      Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMake(*graph_, 8 * kCluster, old_bytes));
        MILLRACE_ASSIGN_OR_RETURN(Attachment resizer, AttachResizer(*graph_, chain.top()));
        MILLRACE_RETURN_IF_ERROR(resizer.CoResize(new_bytes));
        MILLRACE_ASSIGN_OR_RETURN(std::string content, CoTextOf(chain.guest));
        EXPECT_EQ(content, std::string(old_bytes, 'b') + std::string(new_bytes - old_bytes, '\0'))
            << old_bytes << " to " << new_bytes;
        resizer.CoDetach();
        chain.guest.CoDetach();
        return absl::OkStatus();
      });
    }
  }
}

TEST_F(ResizeTest, NoNodeIsMadeLargerThanOffsetsCanTell) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Attachment resizer;
    {
      GraphTransaction change(*graph_);
      AttachmentOptions options;
      options.holder = MakeHolder("monitor", "monitor");
      options.permissions = {kConsistentRead | kResize, kAllPermissions};
      resizer = change.Attach(change.AddNode(MakeNullDriver({.bytes = kCluster}), {.name = "n0"}),
                              options);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, resizer.node()));
    for (uint64_t bytes : {kBytesMax + 1, UINT64_MAX}) {
      ExpectConflict(resizer.CoResize(bytes), ConflictReason::kOutOfRange, "n0");
      EXPECT_EQ(resizer.bytes(), kCluster);
    }
    MILLRACE_RETURN_IF_ERROR(resizer.CoResize(kBytesMax));
    EXPECT_EQ(resizer.bytes(), kBytesMax);
    resizer.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ResizeTest, ShrinkingWaitsForWritesOfTheSameAttachment) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMake(*graph_, 8 * kCluster, 8 * kCluster));
    AttachmentOptions keep;
    keep.holder = MakeHolder("monitor", "monitor");
    MILLRACE_ASSIGN_OR_RETURN(Attachment keeper, Attachment::Attach(*graph_, chain.top(), keep));
    chain.guest.CoDetach();
    AttachmentOptions options;
    options.holder = MakeHolder("user", "device");
    options.permissions = {kConsistentRead | kWrite | kResize, kAllPermissions};
    MILLRACE_ASSIGN_OR_RETURN(Attachment user, Attachment::Attach(*graph_, chain.top(), options));
    graph_->engine().simulated_io()->SetLatency(kMillisecond);
    const std::string data(kCluster, 'w');
    TaskScope writer("writer");
    writer.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND {
      return user.CoWrite(6 * kCluster, IoVector::OfConst(data.data(), data.size()));
    });
    CoYield();
    MILLRACE_RETURN_IF_ERROR(user.CoResize(4 * kCluster));
    MILLRACE_RETURN_IF_ERROR(writer.CoJoin());
    MILLRACE_RETURN_IF_ERROR(user.CoResize(8 * kCluster));
    MILLRACE_ASSIGN_OR_RETURN(std::string content, CoTextOf(user));
    EXPECT_EQ(content, std::string(4 * kCluster, 'b') + std::string(4 * kCluster, '\0'));
    user.CoDetach();
    keeper.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ResizeTest, ThroughAFilterAsWell) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMake(*graph_, 8 * kCluster, kCluster));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter,
                              CoInsertPass("pass", chain.top(), MakeHolder("monitor", "monitor")));
    MILLRACE_ASSIGN_OR_RETURN(Attachment resizer, AttachResizer(*graph_, filter));
    MILLRACE_RETURN_IF_ERROR(resizer.CoResize(4 * kCluster));
    MILLRACE_ASSIGN_OR_RETURN(std::string content, CoTextOf(chain.guest));
    EXPECT_EQ(content, std::string(kCluster, 'b') + std::string(3 * kCluster, '\0'));
    resizer.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ResizeTest, NothingIsWrittenWhereNothingCouldShowThrough) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMake(*graph_, kCluster + 1, kCluster + 1));
    MILLRACE_ASSIGN_OR_RETURN(Attachment resizer, AttachResizer(*graph_, chain.top()));
    MILLRACE_RETURN_IF_ERROR(resizer.CoResize(8 * kCluster));
    for (MemoryOverlayImage::Cluster cluster : chain.images[1]->map) {
      EXPECT_EQ(cluster, MemoryOverlayImage::Cluster::kUnallocated);
    }
    resizer.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST(Resize, AGuestThatWritesMeanwhileKeepsItsDataAndNeverSeesTheBackingsTail) {
  Explore([](Engine& engine, uint64_t) {
    Graph graph(engine);
    const absl::Status status =
        RunChecked(engine, graph, false, [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          constexpr uint64_t kOld = kCluster + 100;
          MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMake(graph, 8 * kCluster, kOld));
          MILLRACE_ASSIGN_OR_RETURN(Attachment resizer, AttachResizer(graph, chain.top()));
          TaskScope scope("both");
          scope.Spawn("resize",
                      [&]() MILLRACE_MAY_SUSPEND { return resizer.CoResize(8 * kCluster); });
          scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
            const std::string data(50, 'g');
            MILLRACE_RETURN_IF_ERROR(
                chain.guest.CoWrite(kOld - 50, IoVector::OfConst(data.data(), data.size())));
            for (int i = 0; i < 5; ++i) {
              MILLRACE_ASSIGN_OR_RETURN(std::string content, CoTextOf(chain.guest));
              EXPECT_EQ(content.find('b', kOld), std::string::npos);
            }
            return absl::OkStatus();
          });
          MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
          MILLRACE_ASSIGN_OR_RETURN(std::string content, CoTextOf(chain.guest));
          EXPECT_EQ(content, std::string(kOld - 50, 'b') + std::string(50, 'g') +
                                 std::string(8 * kCluster - kOld, '\0'));
          resizer.CoDetach();
          chain.guest.CoDetach();
          graph.CoClose();
          return absl::OkStatus();
        });
    EXPECT_TRUE(status.ok()) << status;
  });
}

// ---- Shrinking ---------------------------------------------------------------------------------

// Keeps writes on their way to its child until it is told to let them go.
class HoldingFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "holding"; }
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    has_one.Set();
    let_go.CoWait();
    return FilterDriver::CoWrite(offset, source, flags);
  }

  Event has_one{"a write is held"};
  Event let_go{"writes are let go"};
};

// A filter that holds writes, above `bytes` of memory, and its two users.
struct HeldDisk {
  HoldingFilter* filter = nullptr;  // the node's
  Attachment guest;
  Attachment resizer;

  absl::Status CoWrite(uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    const std::string data(bytes, 'g');
    return guest.CoWrite(offset, IoVector::OfConst(data.data(), data.size()));
  }
  void CoDetach() MILLRACE_MAY_SUSPEND {
    resizer.CoDetach();
    guest.CoDetach();
  }
};

absl::StatusOr<NodeId> StageHeldDisk(Graph& graph, uint64_t bytes, HeldDisk* disk, NodeId* memory)
    MILLRACE_OPENS_VIEW {
  auto filter = std::make_unique<HoldingFilter>();
  disk->filter = filter.get();
  GraphTransaction change(graph);
  *memory = change.AddNode(MakeMemoryDriver({.bytes = bytes}), {.name = "memory"});
  const NodeId top = change.AddNode(std::move(filter), {.name = "top"});
  change.AddChild(top, Role::kFiltered, *memory);
  AttachmentOptions guest{.holder = MakeHolder("guest", "block device")};
  guest.permissions = {kConsistentRead | kWrite, kAllPermissions};
  disk->guest = change.Attach(top, std::move(guest));
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return top;
}

absl::Status CoMakeHeldDisk(Graph& graph, uint64_t bytes, HeldDisk* disk) MILLRACE_MAY_SUSPEND {
  NodeId memory;
  MILLRACE_ASSIGN_OR_RETURN(const NodeId top, StageHeldDisk(graph, bytes, disk, &memory));
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, memory));
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, top));
  MILLRACE_ASSIGN_OR_RETURN(disk->resizer, AttachResizer(graph, top));
  return absl::OkStatus();
}

TEST_F(ResizeTest, ShrinkingWaitsForAWriteUnderWayToWhatItCutsOff) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    HeldDisk disk;
    MILLRACE_RETURN_IF_ERROR(CoMakeHeldDisk(*graph_, 8 * kCluster, &disk));
    absl::Status written = absl::UnknownError("not yet");
    absl::Status shrunk = absl::UnknownError("not yet");
    TaskScope scope("both");
    scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
      written = disk.CoWrite(6 * kCluster, kCluster);
      return absl::OkStatus();
    });
    disk.filter->has_one.CoWait();
    scope.Spawn("resize", [&]() MILLRACE_MAY_SUSPEND {
      shrunk = disk.resizer.CoResize(4 * kCluster);
      return absl::OkStatus();
    });
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));  // whatever can happen has happened
    EXPECT_EQ(disk.guest.bytes(), 8 * kCluster) << "cut off under a write";
    disk.filter->let_go.Set();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_TRUE(written.ok()) << written;
    EXPECT_TRUE(shrunk.ok()) << shrunk;
    EXPECT_EQ(disk.guest.bytes(), 4 * kCluster);
    // What the write left there is gone for good.
    MILLRACE_RETURN_IF_ERROR(disk.resizer.CoResize(8 * kCluster));
    MILLRACE_ASSIGN_OR_RETURN(const std::string content, CoTextOf(disk.guest));
    EXPECT_EQ(content, std::string(8 * kCluster, '\0'));
    disk.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ResizeTest, AWriteThatComesWhileANodeShrinksIsJudgedByTheNewSize) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    HeldDisk disk;
    MILLRACE_RETURN_IF_ERROR(CoMakeHeldDisk(*graph_, 8 * kCluster, &disk));
    std::vector<absl::Status> written(3);
    absl::Status shrunk;
    TaskScope scope("all");
    const auto write = [&](size_t number, uint64_t offset) {
      scope.Spawn("guest", [&, number, offset]() MILLRACE_MAY_SUSPEND {
        written[number] = disk.CoWrite(offset, kCluster);
        return absl::OkStatus();
      });
    };
    write(0, 0);
    disk.filter->has_one.CoWait();
    scope.Spawn("resize", [&]() MILLRACE_MAY_SUSPEND {
      shrunk = disk.resizer.CoResize(4 * kCluster);
      return absl::OkStatus();
    });
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
    write(1, 6 * kCluster);  // held at the drain, and then behind the end
    write(2, 2 * kCluster);
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
    disk.filter->let_go.Set();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_TRUE(shrunk.ok()) << shrunk;
    EXPECT_TRUE(written[0].ok()) << written[0];
    EXPECT_TRUE(absl::IsInvalidArgument(written[1])) << written[1];
    EXPECT_TRUE(written[2].ok()) << written[2];
    disk.CoDetach();
    return absl::OkStatus();
  });
}

// ---- Several at once -----------------------------------------------------------------------------

// Notes each resize that reaches it, and whether the node was drained then.
class ResizeSpy final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "spy"; }
  absl::Status CoResize(uint64_t bytes) override MILLRACE_MAY_SUSPEND {
    EXPECT_FALSE(is_in_resize) << "two at a time";
    is_in_resize = true;
    const bool cuts = bytes < this->bytes();
    const bool is_drained = GraphInternals::Of(*graph).FindByName("spy")->is_quiesced();
    if (cuts && !is_drained) cut_without_drain = true;
    CoYield("spy");
    absl::Status status = FilterDriver::CoResize(bytes);
    is_in_resize = false;
    return status;
  }

  Graph* graph = nullptr;
  bool is_in_resize = false;
  bool cut_without_drain = false;
};

// The spy above `bytes` of memory; every user below may resize.
struct SpiedDisk {
  ResizeSpy* spy = nullptr;
  NodeId top;
  Attachment keeper;

  absl::StatusOr<Attachment> Attach(HolderRef holder, bool queues) MILLRACE_OPENS_VIEW {
    AttachmentOptions options;
    options.holder = std::move(holder);
    options.permissions = {kConsistentRead | kWrite | kResize, kAllPermissions};
    options.queues_requests = queues;
    return Attachment::Attach(*spy->graph, top, options);
  }
};

absl::StatusOr<NodeId> StageSpiedDisk(Graph& graph, uint64_t bytes, SpiedDisk* disk)
    MILLRACE_OPENS_VIEW {
  auto spy = std::make_unique<ResizeSpy>();
  disk->spy = spy.get();
  disk->spy->graph = &graph;
  GraphTransaction change(graph);
  const NodeId memory = change.AddNode(MakeMemoryDriver({.bytes = bytes}), {.name = "memory"});
  disk->top = change.AddNode(std::move(spy), {.name = "spy"});
  change.AddChild(disk->top, Role::kFiltered, memory);
  disk->keeper = change.Attach(disk->top, {.holder = MakeHolder("keeper", "test")});
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return memory;
}

absl::Status CoMakeSpiedDisk(Graph& graph, uint64_t bytes, SpiedDisk* disk) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const NodeId memory, StageSpiedDisk(graph, bytes, disk));
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, memory));
  return CoOpenNode(graph, disk->top);
}

// It was to grow when it came, and would cut by the time it has its turn.
TEST_F(ResizeTest, AGrowthThatWaitedLooksAgainAndDrainsIfItCutsByNow) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    SpiedDisk disk;
    MILLRACE_RETURN_IF_ERROR(CoMakeSpiedDisk(*graph_, 4 * kCluster, &disk));
    const HolderRef owner = MakeHolder("owner", "test job");
    MILLRACE_ASSIGN_OR_RETURN(Attachment late, disk.Attach(MakeHolder("late", "test"), true));
    MILLRACE_ASSIGN_OR_RETURN(Attachment owners, disk.Attach(owner, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {disk.top}, {owner}));
    TaskScope scope("late");
    scope.Spawn("late", [&]() MILLRACE_MAY_SUSPEND { return late.CoResize(8 * kCluster); });
    CoYield();  // it queues
    MILLRACE_RETURN_IF_ERROR(owners.CoResize(12 * kCluster));
    drained.End();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(late.bytes(), 8 * kCluster);
    EXPECT_FALSE(disk.spy->cut_without_drain);
    owners.CoDetach();
    late.CoDetach();
    disk.keeper.CoDetach();
    return absl::OkStatus();
  });
}

TEST(Resize, OfSeveralAtOnceNoneCutsWithoutADrainAndTheNodeHasTheSizeOfTheLast) {
  Explore([](Engine& engine, uint64_t) {
    Graph graph(engine);
    const absl::Status status =
        RunChecked(engine, graph, false, [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          SpiedDisk disk;
          MILLRACE_RETURN_IF_ERROR(CoMakeSpiedDisk(graph, 4 * kCluster, &disk));
          std::vector<Attachment> users;
          for (const char* name : {"a", "b", "c"}) {
            MILLRACE_ASSIGN_OR_RETURN(Attachment user, disk.Attach(MakeHolder(name, "test"), true));
            users.push_back(std::move(user));
          }
          const uint64_t sizes[] = {8 * kCluster, 12 * kCluster, 6 * kCluster};
          uint64_t last = 0;
          TaskScope scope("users");
          for (size_t i = 0; i < users.size(); ++i) {
            scope.Spawn("user", [&, i]() MILLRACE_MAY_SUSPEND -> absl::Status {
              MILLRACE_RETURN_IF_ERROR(users[i].CoResize(sizes[i]));
              last = sizes[i];
              return absl::OkStatus();
            });
          }
          MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
          EXPECT_FALSE(disk.spy->cut_without_drain);
          EXPECT_EQ(disk.keeper.bytes(), last);
          for (Attachment& user : users) user.CoDetach();
          disk.keeper.CoDetach();
          graph.CoClose();
          return absl::OkStatus();
        });
    EXPECT_TRUE(status.ok()) << status;
  });
}

TEST_F(ResizeTest, AShrinkInsideASectionOfItsOwnUserIsRefusedAndDoesNotWaitForEver) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    SpiedDisk disk;
    MILLRACE_RETURN_IF_ERROR(CoMakeSpiedDisk(*graph_, 4 * kCluster, &disk));
    const HolderRef me = MakeHolder("me", "embedder");
    MILLRACE_ASSIGN_OR_RETURN(Attachment user, disk.Attach(me, true));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {disk.top}, {me}));
    ExpectConflict(user.CoResize(kCluster), ConflictReason::kNodeInUse, "spy");
    EXPECT_EQ(user.bytes(), 4 * kCluster);
    MILLRACE_RETURN_IF_ERROR(user.CoResize(6 * kCluster));  // growing is no trouble
    drained.End();
    MILLRACE_RETURN_IF_ERROR(user.CoResize(kCluster));
    EXPECT_EQ(user.bytes(), kCluster);
    user.CoDetach();
    disk.keeper.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::resize_test
