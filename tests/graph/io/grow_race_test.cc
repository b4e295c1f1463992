// A guest zeroes the end of a disk while somebody makes it longer: what is written
// behind the old end after that stays, although it may lie in the same cluster.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/open_image.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/simulation.h"

namespace millrace::grow_race_test {
namespace {

// Large, so that the start of a request, which is written in pieces, takes longer than growing.
constexpr uint64_t kCluster = 1 << 19;
constexpr uint64_t kOld = 2 * kCluster + 1024;
constexpr uint64_t kNew = 3 * kCluster - 5000;
constexpr uint64_t kFrom = 600;  // inside the first cluster, which has data

// The first cluster has data, and the last one.
absl::Status CoFill(Attachment& guest) MILLRACE_MAY_SUSPEND {
  const std::string data(kCluster, 'o');
  MILLRACE_RETURN_IF_ERROR(guest.CoWrite(0, IoVector::OfConst(data.data(), data.size())));
  return guest.CoWrite(2 * kCluster, IoVector::OfConst(data.data(), kOld - 2 * kCluster));
}

absl::Status CoRace(Attachment& guest, Attachment& resizer, ZeroFlags flags) MILLRACE_MAY_SUSPEND {
  const std::string fresh(kNew - kOld, 'n');
  TaskScope scope("both");
  scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
    return guest.CoWriteZeroes(ByteRange(kFrom, kOld - kFrom), flags);
  });
  scope.Spawn("resize", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(resizer.CoResize(kNew));
    return guest.CoWrite(kOld, IoVector::OfConst(fresh.data(), fresh.size()));
  });
  MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
  std::string content(kNew, '?');
  MILLRACE_RETURN_IF_ERROR(guest.CoRead(0, IoVector(content.data(), content.size())));
  EXPECT_EQ(content.substr(0, kFrom), std::string(kFrom, 'o'));
  EXPECT_TRUE(content.substr(kOld) == fresh) << "what was written behind the old end is lost";
  EXPECT_TRUE(content.substr(kFrom, kOld - kFrom) == std::string(kOld - kFrom, '\0'));
  return absl::OkStatus();
}

absl::StatusOr<Attachment> AttachResizer(Graph& graph, NodeId node) MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("monitor", "monitor");
  options.permissions = {kConsistentRead | kResize, kAllPermissions};
  return Attachment::Attach(graph, node, options);
}

class GrowRace : public testing::TestWithParam<bool> {
 protected:
  ZeroFlags flags() const { return {.may_unmap = GetParam()}; }
};

TEST_P(GrowRace, WhatIsWrittenBehindTheOldEndOfAQcow2ImageStays) {
  const CrashDisk disk = MakeImage({.bytes = kOld, .cluster_bytes = kCluster});
  const std::string image(disk.live().begin(), disk.live().end());
  Explore(
      [&](Engine& engine, uint64_t) {
        engine.simulated_io()->disk().Put("img", image);
        DriverRegistry registry;
        ASSERT_TRUE(RegisterBuiltinDrivers(registry).ok());
        Graph graph(engine);
        const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          const OpenImageOptions open{.path = "img", .format = "qcow2"};
          MILLRACE_ASSIGN_OR_RETURN(OpenedImage opened, CoOpenImage(graph, registry, open));
          AttachmentOptions device;
          device.holder = MakeHolder("guest", "block device");
          device.permissions = {kConsistentRead | kWrite, kAllPermissions};
          MILLRACE_ASSIGN_OR_RETURN(Attachment guest,
                                    Attachment::Attach(graph, opened.top(), device));
          MILLRACE_ASSIGN_OR_RETURN(Attachment resizer, AttachResizer(graph, opened.top()));
          absl::Status result = CoFill(guest);
          if (result.ok()) result = CoRace(guest, resizer, flags());
          resizer.CoDetach();
          guest.CoDetach();
          for (Attachment& hold : opened.holds) hold.CoDetach();
          graph.CoClose();
          return result;
        });
        EXPECT_TRUE(status.ok()) << status;
        // Five clusters of metadata and two of data: the one between takes no space.
        EXPECT_LT(engine.simulated_io()->disk().allocated_bytes(), 7 * kCluster + kCluster / 2);
      },
      /*cost=*/100);
}

TEST_P(GrowRace, WhatIsWrittenBehindTheOldEndOfAMemoryOverlayStays) {
  Explore(
      [&](Engine& engine, uint64_t) {
        Graph graph(engine);
        const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          MemoryChainOptions options;
          options.layers = 2;
          for (const uint64_t bytes : {kCluster, kOld}) {
            options.images.push_back(std::make_shared<MemoryOverlayImage>(bytes, kCluster));
          }
          MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(graph, options, false));
          MILLRACE_ASSIGN_OR_RETURN(Attachment resizer, AttachResizer(graph, chain.top()));
          absl::Status result = CoFill(chain.guest);
          if (result.ok()) result = CoRace(chain.guest, resizer, flags());
          resizer.CoDetach();
          chain.guest.CoDetach();
          graph.CoClose();
          return result;
        });
        EXPECT_TRUE(status.ok()) << status;
      },
      /*cost=*/100);
}

INSTANTIATE_TEST_SUITE_P(MayUnmap, GrowRace, testing::Bool());

// A discard that comes to a memory overlay with the end that the image had.
TEST(MemoryOverlayOldEnd, DiscardDoesNotReachBehindItsRange) {
  auto engine = SimulatedEngine();
  CrashDisk none;
  FakeDriverContext context(*engine, none);
  const std::unique_ptr<FormatDriver> driver =
      MakeMemoryOverlayDriver({.bytes = 2 * kCluster, .cluster_bytes = kCluster});
  const std::string data(2 * kCluster, 'd');
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(driver->CoOpen(context));
    MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Allocation> allocation,
                              driver->CoAllocate(ByteRange(0, 2 * kCluster), {}));
    MILLRACE_RETURN_IF_ERROR(
        driver->CoWriteOpaque(*allocation, 0, IoVector::OfConst(data.data(), data.size())));
    MILLRACE_RETURN_IF_ERROR(driver->CoLink(*allocation));
    allocation.reset();
    const ByteRange discarded(0, kCluster + 1024);
    MILLRACE_RETURN_IF_ERROR(driver->CoDiscard(discarded));
    MILLRACE_ASSIGN_OR_RETURN(const Extent first, driver->CoMap(ByteRange(0, kCluster)));
    MILLRACE_ASSIGN_OR_RETURN(const Extent last, driver->CoMap(ByteRange(kCluster, kCluster)));
    EXPECT_EQ(first.kind, ExtentKind::kZero);
    EXPECT_EQ(last.kind, ExtentKind::kOpaque);
    driver->CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace millrace::grow_race_test
