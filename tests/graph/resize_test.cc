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
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace {
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

absl::StatusOr<std::string> CoContent(Attachment& guest) MILLRACE_MAY_SUSPEND {
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
        MILLRACE_ASSIGN_OR_RETURN(std::string content, CoContent(chain.guest));
        EXPECT_EQ(content, std::string(old_bytes, 'b') + std::string(new_bytes - old_bytes, '\0'))
            << old_bytes << " to " << new_bytes;
        resizer.CoDetach();
        chain.guest.CoDetach();
        return absl::OkStatus();
      });
    }
  }
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
    MILLRACE_ASSIGN_OR_RETURN(std::string content, CoContent(user));
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
    MILLRACE_ASSIGN_OR_RETURN(std::string content, CoContent(chain.guest));
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
              MILLRACE_ASSIGN_OR_RETURN(std::string content, CoContent(chain.guest));
              EXPECT_EQ(content.find('b', kOld), std::string::npos);
            }
            return absl::OkStatus();
          });
          MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
          MILLRACE_ASSIGN_OR_RETURN(std::string content, CoContent(chain.guest));
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
    MILLRACE_ASSIGN_OR_RETURN(const std::string content, CoContent(disk.guest));
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

}  // namespace
}  // namespace millrace
