#include "millrace/graph/drivers/memory_overlay.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drivers/memory.h"
#include "tests/support/simple_driver_context.h"

namespace millrace::memory_overlay_test {
namespace {

using Cluster = MemoryOverlayImage::Cluster;

class MemoryOverlay : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = Engine::Create({.simulated = true});
    ASSERT_TRUE(created.ok());
    engine_ = *std::move(created);
    context_ = std::make_unique<SimpleDriverContext>(*engine_, "overlay");
  }

  // Opens a driver over `image_` and runs `body` on it as a coroutine.
  template <typename Body>
  void Run(Body body) {
    driver_ = MakeMemoryOverlayDriver({.image = image_});
    const auto run = [&]() MILLRACE_MAY_SUSPEND {
      MILLRACE_RETURN_IF_ERROR(driver_->CoOpen(*context_));
      return body();
    };
    const absl::Status status = engine_->Run(run);
    EXPECT_TRUE(status.ok()) << status;
  }

  // What the generic path does for a write of `value`, with zeroes as surroundings. Returns how
  // many bytes were covered.
  absl::StatusOr<uint64_t> CoWriteBytes(ByteRange range, uint8_t value, WriteFlags flags = {})
      MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(auto allocation, driver_->CoAllocate(range, flags));
    if (allocation->bytes() == 0) return uint64_t{0};
    const ByteRange& before = allocation->fill_before();
    std::vector<uint8_t> data(before.bytes, 0);
    data.insert(data.end(), allocation->bytes(), value);
    data.insert(data.end(), allocation->fill_after().bytes, 0);
    MILLRACE_RETURN_IF_ERROR(driver_->CoWriteOpaque(*allocation, range.offset - before.bytes,
                                                    IoVector::OfConst(data.data(), data.size())));
    MILLRACE_RETURN_IF_ERROR(driver_->CoLink(*allocation));
    return allocation->bytes();
  }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<SimpleDriverContext> context_;
  std::shared_ptr<MemoryOverlayImage> image_ = std::make_shared<MemoryOverlayImage>(8 * 512, 512);
  std::unique_ptr<FormatDriver> driver_;
};

TEST_F(MemoryOverlay, MapsRunsOfOneKind) {
  image_->map = {Cluster::kUnallocated, Cluster::kUnallocated, Cluster::kData, Cluster::kData,
                 Cluster::kZero,        Cluster::kUnallocated, Cluster::kData, Cluster::kData};
  Run([&]() MILLRACE_MAY_SUSPEND {
    struct Row {
      uint64_t offset, bytes;
      ExtentKind kind;
    };
    for (const Row& row :
         {Row{0, 1024, ExtentKind::kUnallocated}, Row{1100, 948, ExtentKind::kOpaque},
          Row{2048, 512, ExtentKind::kZero}, Row{3072, 1024, ExtentKind::kOpaque}}) {
      auto extent = driver_->CoMap(ByteRange(row.offset, 4096 - row.offset));
      MILLRACE_RETURN_IF_ERROR(extent.status());
      EXPECT_EQ(extent->kind, row.kind) << row.offset;
      EXPECT_EQ(extent->bytes, row.bytes) << row.offset;
    }
    return absl::OkStatus();
  });
}

TEST_F(MemoryOverlay, NewClustersNameTheirSurroundings) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(auto allocation, driver_->CoAllocate(ByteRange(700, 1000), {}));
    EXPECT_TRUE(allocation->needs_link());
    EXPECT_EQ(allocation->bytes(), 1000u);
    EXPECT_EQ(allocation->fill_before(), ByteRange(512, 188));
    EXPECT_EQ(allocation->fill_after(), ByteRange(1700, 348));
    driver_->CoAbandon(*allocation);
    return absl::OkStatus();
  });
  EXPECT_EQ(image_->map, std::vector<Cluster>(8, Cluster::kUnallocated));
}

TEST_F(MemoryOverlay, SurroundingsEndWithTheImage) {
  image_ = std::make_shared<MemoryOverlayImage>(700, 512);
  Run([&]() MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(auto allocation, driver_->CoAllocate(ByteRange(600, 50), {}));
    EXPECT_EQ(allocation->fill_after(), ByteRange(650, 50));
    driver_->CoAbandon(*allocation);
    return absl::OkStatus();
  });
}

TEST_F(MemoryOverlay, OneAllocationDoesNotMixNewAndUsedClusters) {
  image_->map[2] = Cluster::kData;
  Run([&]() MILLRACE_MAY_SUSPEND {
    EXPECT_EQ(*CoWriteBytes(ByteRange(512, 2048), 1), 512u);  // up to the used one
    EXPECT_EQ(*CoWriteBytes(ByteRange(600, 1448), 2), 936u);  // both are used, the next is not
    return absl::OkStatus();
  });
}

TEST_F(MemoryOverlay, OnlyIfUnallocatedSkipsZeroAndData) {
  image_->map[0] = Cluster::kData;
  image_->map[1] = Cluster::kZero;
  Run([&]() MILLRACE_MAY_SUSPEND {
    const WriteFlags fill{.only_if_unallocated = true};
    MILLRACE_ASSIGN_OR_RETURN(auto allocation, driver_->CoAllocate(ByteRange(100, 2000), fill));
    EXPECT_EQ(allocation->bytes(), 0u);
    EXPECT_EQ(allocation->skip_bytes(), 924u);
    driver_->CoAbandon(*allocation);
    allocation.reset();
    EXPECT_EQ(*CoWriteBytes(ByteRange(1024, 1024), 3, fill), 1024u);
    return absl::OkStatus();
  });
  EXPECT_EQ(image_->map[1], Cluster::kZero);
  EXPECT_EQ(image_->map[2], Cluster::kData);
}

// A copy-on-read that found a cluster unallocated must not overwrite a guest's write that came
// first: the second allocation waits, then sees the first one's link.
TEST_F(MemoryOverlay, AllocationsOfOneClusterSerialise) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    uint64_t filled = 99;
    scope.Spawn("guest",
                [&]() MILLRACE_MAY_SUSPEND { return CoWriteBytes(ByteRange(10, 5), 7).status(); });
    scope.Spawn("fill", [&]() MILLRACE_MAY_SUSPEND {
      auto covered = CoWriteBytes(ByteRange(0, 512), 9, {.only_if_unallocated = true});
      MILLRACE_RETURN_IF_ERROR(covered.status());
      filled = *covered;
      return absl::OkStatus();
    });
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(filled, 0u);
    uint8_t byte = 0;
    MILLRACE_RETURN_IF_ERROR(driver_->CoReadEncoded(ByteRange(12, 1), IoVector(&byte, 1)));
    EXPECT_EQ(byte, 7);
    return absl::OkStatus();
  });
}

TEST_F(MemoryOverlay, DiscardHidesTheBacking) {
  auto base = MakeMemoryDriver({.bytes = 4096});
  image_->map[0] = Cluster::kData;
  Run([&]() MILLRACE_MAY_SUSPEND { return driver_->CoDiscard(ByteRange(0, 1024)); });
  EXPECT_EQ(image_->map[0], Cluster::kZero);
  EXPECT_EQ(image_->map[1], Cluster::kUnallocated);
  context_->SetChild(Role::kBacking, *base);
  Run([&]() MILLRACE_MAY_SUSPEND { return driver_->CoDiscard(ByteRange(512, 512)); });
  EXPECT_EQ(image_->map[1], Cluster::kZero);
}

TEST_F(MemoryOverlay, ZeroesOnlyIfUnallocatedKeepData) {
  image_->map[0] = Cluster::kData;
  Run([&]() MILLRACE_MAY_SUSPEND {
    return driver_->CoWriteZeroes(ByteRange(0, 1024), {.only_if_unallocated = true});
  });
  EXPECT_EQ(image_->map[0], Cluster::kData);
  EXPECT_EQ(image_->map[1], Cluster::kZero);
}

TEST_F(MemoryOverlay, ShrinkingAndGrowingBringsNothingBack) {
  image_ = std::make_shared<MemoryOverlayImage>(2048, 512);
  Run([&]() MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(CoWriteBytes(ByteRange(0, 2048), 5).status());
    MILLRACE_RETURN_IF_ERROR(driver_->CoResize(700, {}));
    MILLRACE_RETURN_IF_ERROR(driver_->CoResize(2048, {}));
    uint8_t bytes[2] = {9, 9};
    MILLRACE_RETURN_IF_ERROR(driver_->CoReadEncoded(ByteRange(699, 2), IoVector(bytes, 2)));
    EXPECT_EQ(bytes[0], 5);
    EXPECT_EQ(bytes[1], 0);
    return absl::OkStatus();
  });
  EXPECT_EQ(image_->map[1], Cluster::kData);
  EXPECT_EQ(image_->map[2], Cluster::kUnallocated);
}

TEST_F(MemoryOverlay, TheHeaderSurvivesReopening) {
  const BackingReference reference{.filename = "base.img", .format = "raw"};
  Run([&]() MILLRACE_MAY_SUSPEND { return driver_->CoWriteBackingReference(reference); });
  Run([&]() MILLRACE_MAY_SUSPEND { return absl::OkStatus(); });
  EXPECT_EQ(driver_->backing_reference(), reference);
}

TEST_F(MemoryOverlay, RefusesMoreClustersThanItsMapMayHave) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    EXPECT_EQ(driver_->CoResize(uint64_t{1} << 60, {}).code(),
              absl::StatusCode::kResourceExhausted);
    return absl::OkStatus();
  });
  EXPECT_EQ(driver_->bytes(), 4096u);
}

}  // namespace
}  // namespace millrace::memory_overlay_test
