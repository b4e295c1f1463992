// The driver's promises to the generic path, one by one.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/qcow2_info.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/seeds.h"

namespace millrace::driver_test {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr uint64_t kCluster = 4096;

// One image, open, and code that runs in a coroutine against it.
class Qcow2Driver : public testing::Test {
 protected:
  void Create(Qcow2CreateOptions options, std::vector<uint8_t> backing = {}) {
    options.cluster_bytes = options.extended_l2 ? 16384 : kCluster;
    if (options.bytes == 0) options.bytes = 64 * kCluster;
    disk_ = MakeImage(options);
    backing_ = std::move(backing);
  }
  // Opens, runs `body(node)`, closes.
  template <typename Body>
  void Use(Body&& body) {
    FormatNode node(context_, MakeQcow2Driver(), backing_);
    const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      absl::Status result = node.CoOpen();
      if (result.ok()) result = body(node);
      node.CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
  }
  void ExpectClean() {
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk_);
    EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
  }

  std::unique_ptr<Engine> engine_ = SimulatedEngine();
  CrashDisk disk_;
  FakeDriverContext context_{*engine_, disk_};
  std::vector<uint8_t> backing_;
};

absl::StatusOr<uint64_t> CoHostOf(FormatNode& node, uint64_t guest) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const Extent extent, node.driver().CoMap(ByteRange(guest, 1)));
  if (extent.kind != ExtentKind::kData) return absl::NotFoundError("no data there");
  return extent.host.value();
}

// Race R83: whoever was in flight when a cluster was freed may still be about to use it.
TEST_F(Qcow2Driver, AFreedClusterIsNotReusedWhileAnOlderRequestIsInFlight) {
  Create({});
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    const std::vector<uint8_t> data = Pattern(kCluster, 1);
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(0, data));
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t freed, CoHostOf(node, 0));
    const uint64_t reader = context_.BeginRequest();
    MILLRACE_RETURN_IF_ERROR(node.CoDiscard(ByteRange(0, kCluster)));
    for (uint64_t i = 1; i < 8; ++i) {
      MILLRACE_RETURN_IF_ERROR(node.CoFlush());
      MILLRACE_RETURN_IF_ERROR(node.CoWrite(i * kCluster, data));
      MILLRACE_ASSIGN_OR_RETURN(const uint64_t host, CoHostOf(node, i * kCluster));
      EXPECT_NE(host, freed);
    }
    context_.EndRequest(reader);
    // Now it comes back, once the tables that let go of it are durable.
    bool is_reused = false;
    for (uint64_t i = 8; i < 16; ++i) {
      MILLRACE_RETURN_IF_ERROR(node.CoFlush());
      MILLRACE_RETURN_IF_ERROR(node.CoWrite(i * kCluster, data));
      MILLRACE_ASSIGN_OR_RETURN(const uint64_t host, CoHostOf(node, i * kCluster));
      is_reused |= host == freed;
    }
    EXPECT_TRUE(is_reused);
    return absl::OkStatus();
  });
  ExpectClean();
}

TEST_F(Qcow2Driver, AFreedClusterIsNotReusedBeforeTheTablesAreDurable) {
  Create({});
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    const std::vector<uint8_t> data = Pattern(kCluster, 1);
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(0, data));
    MILLRACE_RETURN_IF_ERROR(node.CoFlush());
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t freed, CoHostOf(node, 0));
    MILLRACE_RETURN_IF_ERROR(node.CoDiscard(ByteRange(0, kCluster)));
    for (uint64_t i = 1; i < 8; ++i) {
      MILLRACE_RETURN_IF_ERROR(node.CoWrite(i * kCluster, data));
      MILLRACE_ASSIGN_OR_RETURN(const uint64_t host, CoHostOf(node, i * kCluster));
      EXPECT_NE(host, freed);
    }
    return absl::OkStatus();
  });
  ExpectClean();
}

TEST_F(Qcow2Driver, WritesInsideOneClusterRunSideBySideOnceItIsThere) {
  Create({});
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(0, Pattern(kCluster, 1)));
    FormatDriver& driver = node.driver();
    MILLRACE_ASSIGN_OR_RETURN(const auto first, driver.CoAllocate(ByteRange(0, 512), {}));
    MILLRACE_ASSIGN_OR_RETURN(const auto second, driver.CoAllocate(ByteRange(512, 512), {}));
    EXPECT_FALSE(first->needs_link());
    EXPECT_EQ(second->host() - first->host(), 512u);
    driver.CoAbandon(*first);
    return driver.CoLink(*second);
  });
}

TEST_F(Qcow2Driver, AllocationsOfOneClusterTakeTurnsAndOthersDoNotWait) {
  Create({});
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    FormatDriver& driver = node.driver();
    MILLRACE_ASSIGN_OR_RETURN(const auto first, driver.CoAllocate(ByteRange(0, 512), {}));
    EXPECT_TRUE(first->needs_link());
    EXPECT_EQ(first->fill_after(), ByteRange(512, kCluster - 512));
    bool second_is_done = false;
    TaskScope scope("second");
    scope.Spawn("second", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoWrite(1024, Pattern(512, 2)));
      second_is_done = true;
      return absl::OkStatus();
    });
    // A neighbour goes ahead.
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(kCluster, Pattern(kCluster, 3)));
    for (int i = 0; i < 10; ++i) CoYield();
    EXPECT_FALSE(second_is_done);
    MILLRACE_RETURN_IF_ERROR(driver.CoLink(*first));
    return scope.CoJoin();
  });
  ExpectClean();
}

TEST_F(Qcow2Driver, ALongWriteGetsOneRunOfHostClusters) {
  Create({.bytes = 256 * kCluster});
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const auto allocation,
                              node.driver().CoAllocate(ByteRange(512, 200 * kCluster), {}));
    EXPECT_EQ(allocation->bytes(), 200 * kCluster);
    EXPECT_EQ(allocation->fill_before(), ByteRange(0, 512));
    node.driver().CoAbandon(*allocation);
    return absl::OkStatus();
  });
  ExpectClean();
}

TEST_F(Qcow2Driver, PopulatingLeavesAloneWhatIsAllocated) {
  Create({}, Pattern(64 * kCluster, 9));
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoWriteZeroes(ByteRange(kCluster, kCluster)));
    const WriteFlags flags{.only_if_unallocated = true};
    MILLRACE_ASSIGN_OR_RETURN(auto allocation,
                              node.driver().CoAllocate(ByteRange(kCluster, 3 * kCluster), flags));
    EXPECT_EQ(allocation->bytes(), 0u);
    EXPECT_EQ(allocation->skip_bytes(), kCluster);
    MILLRACE_RETURN_IF_ERROR(node.driver().CoLink(*allocation));
    MILLRACE_ASSIGN_OR_RETURN(allocation,
                              node.driver().CoAllocate(ByteRange(0, 3 * kCluster), flags));
    EXPECT_EQ(allocation->bytes(), kCluster);
    node.driver().CoAbandon(*allocation);
    return absl::OkStatus();
  });
}

TEST_F(Qcow2Driver, ASubclusterWriteCopiesNoMoreThanItsSubcluster) {
  Create({.bytes = 1 << 20, .extended_l2 = true}, Pattern(1 << 20, 9));
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    EXPECT_EQ(node.driver().zero_granularity(), 512u);
    MILLRACE_ASSIGN_OR_RETURN(const auto allocation,
                              node.driver().CoAllocate(ByteRange(600, 10), {}));
    EXPECT_EQ(allocation->fill_before(), ByteRange(512, 88));
    EXPECT_EQ(allocation->fill_after(), ByteRange(610, 414));
    node.driver().CoAbandon(*allocation);
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(600, Pattern(10, 1)));
    MILLRACE_ASSIGN_OR_RETURN(const Extent before, node.driver().CoMap(ByteRange(0, 4096)));
    EXPECT_EQ(before.kind, ExtentKind::kUnallocated);
    EXPECT_EQ(before.bytes, 512u);
    return absl::OkStatus();
  });
  ExpectClean();
}

TEST_F(Qcow2Driver, LookupsThatHitTheCacheDoNoIo) {
  Create({});
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.driver().CoMap(ByteRange(0, kCluster)).status());
    disk_.FailAt(0, /*for_ever=*/true);
    MILLRACE_RETURN_IF_ERROR(node.driver().CoMap(ByteRange(0, kCluster)).status());
    EXPECT_EQ(disk_.operations(), 0u);
    disk_.FailNever();
    return absl::OkStatus();
  });
}

// An L1 entry that says "copied" and names no table, as damaged images have: the gap is told in one
// answer, and not byte by byte.
TEST_F(Qcow2Driver, AnL1EntryOfFlagsAloneIsAGapLikeOthers) {
  Create({});
  constexpr size_t kL1OffsetAt = 40;
  uint64_t l1_offset = 0;
  for (size_t i = 0; i < 8; ++i) l1_offset = l1_offset << 8 | disk_.live()[kL1OffsetAt + i];
  disk_.Write(l1_offset, {0x80});
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const Extent gap, node.driver().CoMap(ByteRange(0, 64 * kCluster)));
    EXPECT_EQ(gap.kind, ExtentKind::kUnallocated);
    EXPECT_EQ(gap.bytes, 64 * kCluster);
    return absl::OkStatus();
  });
}

TEST_F(Qcow2Driver, AFailedLoadIsTriedAgain) {
  Create({});
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    disk_.FailAt(0);
    EXPECT_TRUE(absl::IsUnavailable(node.driver().CoMap(ByteRange(0, kCluster)).status()));
    return node.driver().CoMap(ByteRange(0, kCluster)).status();
  });
}

TEST_F(Qcow2Driver, CoroutinesThatMissOnOneTableShareOneRead) {
  Create({});
  RandomDecider decider(1);
  auto engine = SimulatedEngine(&decider);
  FakeDriverContext context(*engine, disk_, /*simulate_io=*/true);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    disk_.FailAt(UINT64_MAX - 1);  // counts from here
    TaskScope scope("lookups");
    for (int i = 0; i < 8; ++i) {
      scope.Spawn("lookup", [&]() MILLRACE_MAY_SUSPEND {
        return node.driver().CoMap(ByteRange(0, kCluster)).status();
      });
    }
    const absl::Status joined = scope.CoJoin();
    EXPECT_EQ(disk_.operations(), 1u);
    node.CoClose();
    return joined;
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(Qcow2Driver, ClosingAnUntouchedImageWritesNothing) {
  Create({});
  const std::vector<uint8_t> before = disk_.live();
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> data(kCluster);
    return node.CoRead(0, absl::MakeSpan(data));
  });
  EXPECT_EQ(disk_.live(), before);
}

TEST_F(Qcow2Driver, TheBackingReferenceIsRewrittenInPlace) {
  Create({});
  const BackingReference references[] = {
      {"a.qcow2", "qcow2"}, {"a-much-longer-name-than-before.raw", "raw"}, {"b", ""}, {"", ""}};
  for (const BackingReference& reference : references) {
    Use([&](FormatNode& node)
            MILLRACE_MAY_SUSPEND { return node.driver().CoWriteBackingReference(reference); });
    Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
      EXPECT_EQ(node.driver().backing_reference(), reference);
      return absl::OkStatus();
    });
  }
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
    FormatDriver& driver = node.driver();
    EXPECT_TRUE(absl::IsInvalidArgument(driver.CoWriteBackingReference({"", "raw"})));
    EXPECT_TRUE(
        absl::IsInvalidArgument(driver.CoWriteBackingReference({std::string(1024, 'a'), ""})));
    return absl::OkStatus();
  });
  ExpectClean();
}

// A torn update shows the old reference or the new one, never a mixture.
TEST_F(Qcow2Driver, ACrashWhileTheBackingReferenceIsRewrittenLeavesTheOldOrTheNew) {
  Create({.backing_filename = "first.qcow2", .backing_format = "qcow2"}, Pattern(100, 1));
  disk_.RecordEvents();
  const BackingReference second{"second-name.raw", "raw"};
  Use([&](FormatNode& node)
          MILLRACE_MAY_SUSPEND { return node.driver().CoWriteBackingReference(second); });
  RandomStream random(1);
  int olds = 0;
  int news = 0;
  for (int i = 0; i < 200; ++i) {
    CrashDisk crashed(disk_.CrashImage(random.Below(disk_.event_count() + 1), random));
    const auto header = qcow2::ParseHeader(crashed.live());
    ASSERT_TRUE(header.ok()) << header.status();
    olds += header->backing == BackingReference{"first.qcow2", "qcow2"} ? 1 : 0;
    news += header->backing == second ? 1 : 0;
    EXPECT_EQ(olds + news, i + 1) << header->backing.filename << " " << header->backing.format;
  }
  EXPECT_GT(olds, 0);
  EXPECT_GT(news, 0);
}

// What was cut off does not come back by growing, and its space is free again.
TEST_F(Qcow2Driver, ShrinkingForgetsWhatItCutsOff) {
  for (const uint32_t version : {2u, 3u}) {
    Create({.bytes = 64 * kCluster, .version = version});
    Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoWrite(0, Pattern(64 * kCluster, 1)));
      MILLRACE_RETURN_IF_ERROR(node.CoResize(kCluster + 1000));
      EXPECT_EQ(node.driver().bytes(), kCluster + 1000);
      return node.CoResize(64 * kCluster);
    });
    Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
      std::vector<uint8_t> data(64 * kCluster);
      MILLRACE_RETURN_IF_ERROR(node.CoRead(0, absl::MakeSpan(data)));
      std::vector<uint8_t> wanted = Pattern(64 * kCluster, 1);
      std::fill(wanted.begin() + kCluster + 1000, wanted.end(), uint8_t{0});
      EXPECT_EQ(data, wanted);
      return absl::OkStatus();
    });
    ExpectClean();
  }
}

// The old size with the old content (or zeroes where it was cut off already), or the new size.
TEST_F(Qcow2Driver, ACrashWhileShrinkingLeavesNothingThatGrowingWouldBringBack) {
  Create({.bytes = 16 * kCluster});
  Use([&](FormatNode& node)
          MILLRACE_MAY_SUSPEND { return node.CoWrite(0, Pattern(16 * kCluster, 1)); });
  disk_.RecordEvents();
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND { return node.CoResize(4 * kCluster); });
  RandomStream random(1);
  std::vector<std::vector<uint8_t>> crashed;
  for (int i = 0; i < 300; ++i) {
    crashed.push_back(disk_.CrashImage(random.Below(disk_.event_count() + 1), random));
  }
  bool has_seen_old = false, has_seen_new = false;
  for (const std::vector<uint8_t>& image : crashed) {
    const auto header = qcow2::ParseHeader(image);
    ASSERT_TRUE(header.ok()) << header.status();
    has_seen_old |= header->bytes == 16 * kCluster;
    has_seen_new |= header->bytes == 4 * kCluster;
    if (header->bytes != 4 * kCluster) continue;
    disk_.live() = image;
    Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoResize(16 * kCluster));
      std::vector<uint8_t> data(12 * kCluster);
      MILLRACE_RETURN_IF_ERROR(node.CoRead(4 * kCluster, absl::MakeSpan(data)));
      EXPECT_EQ(data, std::vector<uint8_t>(12 * kCluster));
      return absl::OkStatus();
    });
  }
  EXPECT_TRUE(has_seen_old && has_seen_new);
}

TEST_F(Qcow2Driver, GrowingShowsZeroesEvenBehindAStaleTail) {
  Create({.bytes = 1000});
  // Somebody left garbage behind the end of the disk, inside its last cluster.
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND { return node.CoWrite(0, Pattern(1024, 1)); });
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t host, CoHostOf(node, 0));
    std::fill_n(disk_.live().begin() + static_cast<ptrdiff_t>(host + 1024), 1000, uint8_t{0xee});
    MILLRACE_RETURN_IF_ERROR(node.CoResize(64 * kCluster));
    std::vector<uint8_t> tail(kCluster);
    MILLRACE_RETURN_IF_ERROR(node.CoRead(1024, absl::MakeSpan(tail)));
    EXPECT_EQ(tail, std::vector<uint8_t>(kCluster));
    return absl::OkStatus();
  });
  ExpectClean();
}

TEST_F(Qcow2Driver, RaisesQemusEventsForMetadata) {
  Create({});
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(0, Pattern(512, 1)));
    MILLRACE_RETURN_IF_ERROR(node.CoFlush());
    for (const char* event : {"l1_update", "l2_alloc_write", "cluster_alloc", "refblock_load",
                              "refblock_update_part", "l2_update", "l2_load"}) {
      EXPECT_THAT(context_.events(), Contains(event));
    }
    return absl::OkStatus();
  });
}

// An L2 table of four slices, each of which tells of 4 MiB.
class Qcow2LongTable : public Qcow2Driver {
 protected:
  static constexpr uint64_t kStep = uint64_t{4} << 20;

  void SetUp() override {
    Create({.bytes = 4 * kStep, .extended_l2 = true});
    Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
      for (uint64_t i = 0; i < 4; ++i) {
        MILLRACE_RETURN_IF_ERROR(node.CoWrite(i * kStep, Pattern(512, i)));
      }
      return absl::OkStatus();
    });
  }
  int64_t Loads() {
    return std::count(context_.events().begin(), context_.events().end(), "l2_load");
  }
};

TEST_F(Qcow2LongTable, WhoWalksThroughItHasTheRestOfItReadAtOnce) {
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    const int64_t before = Loads();
    for (uint64_t i = 0; i < 4; ++i) MILLRACE_RETURN_IF_ERROR(CoHostOf(node, i * kStep).status());
    EXPECT_EQ(Loads() - before, 2);
    return absl::OkStatus();
  });
}

TEST_F(Qcow2LongTable, WhoJumpsAboutInItReadsOnlyWhatIsAskedFor) {
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    const int64_t before = Loads();
    for (const uint64_t i : {3u, 0u, 1u, 2u}) {
      MILLRACE_RETURN_IF_ERROR(CoHostOf(node, i * kStep).status());
    }
    // The last but one goes on from 0 and takes what is between that and 3.
    EXPECT_EQ(Loads() - before, 3);
    return absl::OkStatus();
  });
}

TEST_F(Qcow2LongTable, ErrorBelongsToTheSliceThatCannotBeRead) {
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(CoHostOf(node, 0).status());
    disk_.FailAt(0);  // the read of the rest; each by itself can be read
    for (uint64_t i = 1; i < 4; ++i) MILLRACE_RETURN_IF_ERROR(CoHostOf(node, i * kStep).status());
    return absl::OkStatus();
  });
}

TEST_F(Qcow2Driver, FlushingTwiceWritesOnce) {
  Create({});
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(0, Pattern(512, 1)));
    MILLRACE_RETURN_IF_ERROR(node.CoFlush());
    disk_.FailAt(UINT64_MAX - 1);
    MILLRACE_RETURN_IF_ERROR(node.CoFlush());
    EXPECT_EQ(disk_.operations(), 1u) << "the node's own flush of the file, and nothing else";
    return absl::OkStatus();
  });
}

// 64-bit refcounts and 512-byte clusters: a table of one cluster covers 2 MiB.
TEST(Qcow2Growth, TheRefcountTableGrowsWithTheFileAndSurvivesCrashes) {
  CrashDisk disk = MakeImage({.bytes = 5 << 20, .cluster_bytes = 512, .refcount_bits = 64});
  disk.RecordEvents();
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    absl::Status result;
    for (uint64_t offset = 0; offset < 5 << 20 && result.ok(); offset += 64 << 10) {
      result = node.CoWrite(offset, Pattern(64 << 10, offset));
    }
    node.CoClose();
    return result;
  });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_GT(
      qcow2::ParseHeader(absl::MakeConstSpan(disk.live()).first(512))->refcount_table_clusters, 1u);
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
  RandomStream random(1);
  for (int i = 0; i < 30; ++i) {
    CrashDisk crashed(disk.CrashImage(random.Below(disk.event_count() + 1), random));
    const absl::StatusOr<Qcow2CheckResult> after = CheckImage(crashed);
    ASSERT_TRUE(after.ok() && after->corruptions == 0) << Describe(after);
  }
}

// A job that copies much waits while the file of its target becomes longer.
TEST_F(Qcow2Driver, FileThatBatchesMakeLongerGrowsAllTheMoreAndIsCutOffInTheEnd) {
  constexpr uint64_t kBatches = 1000;
  Create({.bytes = kBatches * kCluster});
  const uint64_t empty = disk_.live().size();
  uint64_t steps = 0;
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t i = 0; i < kBatches; ++i) {
      const uint64_t before = disk_.live().size();
      const ByteRange range(i * kCluster, kCluster);
      MILLRACE_ASSIGN_OR_RETURN(const std::unique_ptr<BatchAllocation> batch,
                                node.driver().CoAllocateBatch({&range, 1}, {}));
      const uint64_t data_end = batch->places().back().host.value() + kCluster;
      const uint64_t now = disk_.live().size();
      EXPECT_LE(data_end, now);
      EXPECT_LE(now - empty, 2 * (data_end - empty) + 32 * kCluster) << "no more than twice";
      if (now > before) ++steps;
      MILLRACE_RETURN_IF_ERROR(node.driver().CoLinkBatch(*batch));
    }
    return absl::OkStatus();
  });
  EXPECT_LE(steps, 8u) << "twice as long each time";
  EXPECT_LE(disk_.live().size(), empty + (kBatches + kBatches / 100) * kCluster);
  ExpectClean();
}

TEST(Qcow2Growth, ALongL1TableIsMovedBehindEverything) {
  CrashDisk disk = MakeImage({.bytes = 1 << 20, .cluster_bytes = 512, .refcount_bits = 16});
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const uint64_t large = uint64_t{2} << 30;  // an L1 of 512 KiB, more than one block covers
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(1000, Pattern(5000, 1)));
    MILLRACE_RETURN_IF_ERROR(node.CoResize(large));
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(large - 5000, Pattern(5000, 2)));
    std::vector<uint8_t> data(5000);
    MILLRACE_RETURN_IF_ERROR(node.CoRead(1000, absl::MakeSpan(data)));
    EXPECT_EQ(data, Pattern(5000, 1));
    node.CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
}

TEST(Qcow2Create, RefusesOptionsThatDoNotGoTogether) {
  const Qcow2CreateOptions cases[] = {
      {.version = 4},
      {.cluster_bytes = 256},
      {.cluster_bytes = 4 << 20},
      {.cluster_bytes = 1000},
      {.refcount_bits = 3},
      {.refcount_bits = 128},
      {.version = 2, .refcount_bits = 8},
      {.version = 2, .lazy_refcounts = true},
      {.cluster_bytes = 8192, .extended_l2 = true},
      {.backing_format = "raw"},
      {.backing_filename = std::string(1024, 'a')},
      {.bytes = uint64_t{1} << 60},
      {.bytes = 1 << 20, .preallocation = Qcow2Preallocation::kMetadata, .backing_filename = "a"},
  };
  auto engine = SimulatedEngine();
  for (const Qcow2CreateOptions& options : cases) {
    CrashDisk disk(std::vector<uint8_t>(10, 1));
    DiskFile file(disk);
    const absl::Status status =
        engine->Run([&]() MILLRACE_MAY_SUSPEND { return CoCreateQcow2(file, options); });
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(disk.live(), std::vector<uint8_t>(10, 1));
  }
}

TEST(Qcow2Info, TellsWhatTheImageSaysOfItself) {
  CrashDisk disk = MakeImage({.bytes = 1 << 20,
                              .cluster_bytes = 32768,
                              .refcount_bits = 32,
                              .extended_l2 = true,
                              .lazy_refcounts = true,
                              .compression = Qcow2Compression::kZstd,
                              .backing_filename = "base",
                              .backing_format = "raw"});
  DiskFile file(disk);
  auto engine = SimulatedEngine();
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const Qcow2Info info, CoReadQcow2Info(file));
    EXPECT_EQ(info.bytes, 1u << 20);
    EXPECT_EQ(info.cluster_bytes, 32768u);
    EXPECT_EQ(info.refcount_bits, 32u);
    EXPECT_TRUE(info.has_extended_l2 && info.has_lazy_refcounts);
    EXPECT_EQ(info.compression, Qcow2Compression::kZstd);
    EXPECT_EQ(info.backing, (BackingReference{"base", "raw"}));
    EXPECT_THAT(info.unknown_features, IsEmpty());
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

// ---- Resizes --------------------------------------------------------------------------------------

// One L1 entry is for 2 MiB here. Of two that grow the table at once, the smaller may come second,
// and must not cut off entries that the larger has made.
TEST(Qcow2DriverExplored, OfTwoGrowthsOfTheL1TableTheLargerStays) {
  for (const uint64_t seed : Seeds(/*cost=*/10)) {
    SCOPED_TRACE(StrCat("seed ", seed));
    RandomDecider decider(seed);
    const std::unique_ptr<Engine> engine = SimulatedEngine(&decider);
    CrashDisk disk = MakeImage({.bytes = 64 * kCluster, .cluster_bytes = kCluster});
    FakeDriverContext context(*engine, disk);
    FormatNode node(context, MakeQcow2Driver(), {});
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      TaskScope scope("both");
      for (const uint64_t mebibytes : {8u, 4u}) {
        scope.Spawn("resize", [&node, mebibytes]() MILLRACE_MAY_SUSPEND {
          return node.driver().CoResize(mebibytes << 20, {});
        });
      }
      const absl::Status result = scope.CoJoin();
      node.CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
    constexpr size_t kL1SizeAt = 36;
    ASSERT_GT(disk.live().size(), kL1SizeAt + 4);
    EXPECT_EQ(disk.live()[kL1SizeAt + 3], 4);
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
    EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
    if (HasFailure()) return;
  }
}

TEST_F(Qcow2Driver, SaysSomethingHarmlessOfItselfBeforeItIsOpen) {
  const std::unique_ptr<FormatDriver> driver = MakeQcow2Driver();
  EXPECT_EQ(driver->bytes(), 0u);
  EXPECT_EQ(driver->cluster_bytes(), 1u);
  EXPECT_EQ(driver->zero_granularity(), 1u);
  EXPECT_EQ(driver->backing_reference(), BackingReference());
  EXPECT_TRUE(driver->facts().empty());
  EXPECT_FALSE(driver->is_marked_dirty());
}

}  // namespace
}  // namespace millrace::driver_test
