// Requests for many ranges of a chain: they show and change what single ones do, know a layer only
// as long as that holds, and reach a file as few operations or, where somebody must see each of
// them, one by one.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/graph/change_record.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/filters/copy_on_read.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_image.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/write_threshold.h"
#include "tests/graph/io/images.h"
#include "tests/support/job_fixture.h"
#include "tests/support/seeds.h"
#include "tests/support/simulation.h"

namespace millrace::chain_parts_test {
namespace {

constexpr uint64_t kCluster = Images::kCluster;
constexpr uint64_t kClusters = Images::kClusters;
constexpr uint64_t kBytes = Images::kBytes;

// Passes everything, and counts.
class CountingFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "counting"; }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    ++reads;
    return FilterDriver::CoRead(offset, target);
  }
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    ++writes;
    return FilterDriver::CoWrite(offset, source, flags);
  }

  uint64_t reads = 0;
  uint64_t writes = 0;
};

std::vector<ChainPart> EverySecondCluster(size_t count) {
  std::vector<ChainPart> parts;
  for (uint64_t i = 0; i < count; ++i) {
    ChainPart part;
    part.range = ByteRange(2 * i * kCluster, kCluster);
    parts.push_back(part);
  }
  return parts;
}

std::vector<ByteRange> RangesOf(const std::vector<ChainPart>& parts) {
  std::vector<ByteRange> ranges;
  for (const ChainPart& part : parts) ranges.push_back(part.range);
  return ranges;
}

// Of the image and of its file, whether a request is one piece, many at once, or zeroes.
TEST(ChainParts, CountForWriteThresholds) {
  RunImages([](Images& images) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(images.CoMake(1));
    MILLRACE_RETURN_IF_ERROR(images.CoOpen(0));
    MILLRACE_RETURN_IF_ERROR(images.CoFill(1, 1));  // tables are there
    const NodeId image = images.top.node();
    const NodeId file = images.FileOf(image);
    const auto end_of = [&](NodeId node) MILLRACE_OPENS_VIEW {
      GraphView view(images.graph());
      return view.Resolve(node)->highest_write_end();
    };
    const uint64_t file_end = end_of(file);
    uint64_t told = 0;
    MILLRACE_RETURN_IF_ERROR(SetWriteThreshold(images.graph(), file, file_end + 4 * kCluster,
                                               [&](uint64_t by) { told = by; }));
    const std::vector<ByteRange> ranges = RangesOf(EverySecondCluster(8));
    std::vector<uint8_t> data(8 * kCluster, 7);
    MILLRACE_RETURN_IF_ERROR(
        images.top.CoWriteParts(ranges, IoVector(data.data(), data.size()), {}));
    EXPECT_EQ(end_of(image), ranges.back().end());
    EXPECT_GE(end_of(file), file_end + 8 * kCluster);
    EXPECT_GT(told, 0u);
    MILLRACE_RETURN_IF_ERROR(
        images.top.CoWriteZeroes(ByteRange((kClusters - 1) * kCluster, kCluster), {}));
    EXPECT_EQ(end_of(image), kBytes);
    return absl::OkStatus();
  });
}

// A filter that stands aside for writes above the image, open.
absl::StatusOr<Attachment> AddAsideFilter(Graph& graph, NodeId image) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  const NodeId filter = change.AddNode(MakeCopyOnReadDriver({}), {.name = "aside"});
  change.AddChild(filter, Role::kFiltered, image);
  AttachmentOptions options;
  options.holder = MakeHolder("guest", "block device");
  options.permissions = {kConsistentRead | kWrite, kAllPermissions};
  Attachment user = change.Attach(filter, options);
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return user;
}

// What is noted must not depend on how a write gets there.
TEST(ChainParts, AreNotedByTheRecordsOfEveryNodeTheyPass) {
  RunImages([](Images& images) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(images.CoMake(1));
    MILLRACE_RETURN_IF_ERROR(images.CoOpen(0));
    MILLRACE_RETURN_IF_ERROR(images.CoFill(1, 1));  // tables are there
    const NodeId image = images.top.node();
    images.top.CoDetach();
    MILLRACE_ASSIGN_OR_RETURN(Attachment user, AddAsideFilter(images.graph(), image));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(images.graph(), user.node()));
    const NodeId file = images.FileOf(image);
    std::vector<std::unique_ptr<ChangeRecord>> records;
    for (const NodeId node : {user.node(), image, file}) {
      MILLRACE_ASSIGN_OR_RETURN(auto record, ChangeRecord::Start(images.graph(), node, 512));
      records.push_back(std::move(record));
    }
    const std::vector<ByteRange> ranges = RangesOf(EverySecondCluster(8));
    std::vector<uint8_t> data(8 * kCluster, 7);
    const absl::Status status = user.CoWriteParts(ranges, IoVector(data.data(), data.size()), {});
    for (const size_t i : {0u, 1u}) {
      const DirtyBitmap& noted = records[i]->bitmap();
      EXPECT_EQ(noted.dirty_bytes(), 8 * kCluster) << "record " << i;
      for (const ByteRange& range : ranges) {
        EXPECT_TRUE(noted.IsDirty(range.offset) && noted.IsDirty(range.end() - 1)) << range.offset;
      }
    }
    EXPECT_GE(records[2]->bitmap().dirty_bytes(), 8 * kCluster) << "the file's";
    user.CoDetach();
    return status;
  });
}

// What lies behind the old end is the most of what is written to the file of a growing image.
TEST(ChainParts, GrowTheRecordOfAFileThatGrows) {
  RunImages([](Images& images) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(images.CoMake(1));
    MILLRACE_RETURN_IF_ERROR(images.CoOpen(0));
    const NodeId file = images.FileOf(images.top.node());
    MILLRACE_ASSIGN_OR_RETURN(const auto record, ChangeRecord::Start(images.graph(), file, 512));
    const uint64_t before = record->bitmap().bytes();
    MILLRACE_RETURN_IF_ERROR(images.CoFill(7, 7));
    EXPECT_GT(record->bitmap().bytes(), before);
    const std::optional<ByteRange> behind = record->bitmap().NextDirty(before, kBytes);
    EXPECT_TRUE(behind && behind->bytes >= kCluster);
    return absl::OkStatus();
  });
}

// ---- How many operations -----------------------------------------------------------------------

TEST(ChainParts, ClustersThatLieSideBySideAreOneWriteAndOneRead) {
  RunImages([](Images& images) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(images.CoMake(1));
    MILLRACE_RETURN_IF_ERROR(images.CoOpen(0));
    MILLRACE_RETURN_IF_ERROR(images.CoFill(kClusters - 1, 1));  // tables are there
    const std::vector<ChainPart> parts = EverySecondCluster(8);
    std::vector<uint8_t> data(8 * kCluster, 7);
    const IoVector memory(data.data(), data.size());
    const uint64_t writes = images.io().completed(SimulatedOperation::kWrite);
    MILLRACE_RETURN_IF_ERROR(images.top.CoWriteParts(RangesOf(parts), memory));
    EXPECT_EQ(images.io().completed(SimulatedOperation::kWrite) - writes, 1u);
    const uint64_t reads = images.io().completed(SimulatedOperation::kRead);
    std::fill(data.begin(), data.end(), 0);
    MILLRACE_RETURN_IF_ERROR(images.top.CoReadParts(parts, memory));
    EXPECT_EQ(images.io().completed(SimulatedOperation::kRead) - reads, 1u);
    EXPECT_EQ(std::count(data.begin(), data.end(), 7), static_cast<ptrdiff_t>(data.size()));
    return absl::OkStatus();
  });
}

TEST(ChainParts, FilterThatActsSeesEveryRangeByItself) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  JobWorld world(*engine);
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(
        MemoryChain chain,
        CoMakeMemoryChain(world.graph(), {.layers = 1, .bytes = kBytes, .cluster_bytes = kCluster},
                          false));
    auto owned = std::make_unique<CountingFilter>();
    CountingFilter& filter = *owned;
    Attachment above;
    {
      GraphTransaction change(world.graph());
      const NodeId id = change.AddNode(std::move(owned), {.name = "f"});
      change.AddChild(id, Role::kFiltered, chain.nodes[0]);
      AttachmentOptions options;
      options.holder = chain.monitor_holder;
      options.permissions = {kConsistentRead, kAllPermissions};
      above = change.Attach(id, options);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(world.graph(), above.node()));
    std::vector<uint8_t> data(5 * kCluster);
    MILLRACE_RETURN_IF_ERROR(
        above.CoReadParts(EverySecondCluster(5), IoVector(data.data(), data.size())));
    EXPECT_EQ(filter.reads, 5u);
    above.CoDetach();
    world.CoClose(chain);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

// ---- What is known of a chain ------------------------------------------------------------------

TEST(ChainParts, LayerIsNotBelievedOnceOneAboveItHasChanged) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  JobWorld world(*engine);
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(
        MemoryChain chain,
        CoMakeMemoryChain(world.graph(), {.layers = 3, .bytes = kBytes, .cluster_bytes = kCluster},
                          false));
    std::vector<uint8_t> old(kCluster, 1);
    chain.images[0]->content.Write(0, IoVector(old.data(), old.size()));
    chain.images[0]->map[0] = MemoryOverlayImage::Cluster::kData;
    std::vector<AllocationRun> runs;
    MILLRACE_RETURN_IF_ERROR(
        chain.guest.CoAllocations(ByteRange(0, kBytes), NodeId(), NodeId(), &runs));
    if (runs.size() != 2) return absl::InternalError("expected two runs");
    EXPECT_EQ(runs[0].layer, chain.nodes[0]);
    EXPECT_NE(runs[0].revision, 0u);
    ChainPart part;
    part.range = ByteRange(0, kCluster);
    part.layer = runs[0].layer;
    part.revision = runs[0].revision;

    // Somebody fills the layer in the middle, with what is not there by any rule.
    AttachmentOptions options;
    options.holder = chain.monitor_holder;
    options.permissions = {kWriteUnchanged, kAllPermissions};
    MILLRACE_ASSIGN_OR_RETURN(Attachment filler,
                              Attachment::Attach(world.graph(), chain.nodes[1], options));
    std::vector<uint8_t> foreign(kCluster, 2);
    MILLRACE_RETURN_IF_ERROR(
        filler.CoWrite(0, IoVector(foreign.data(), foreign.size()), {.only_if_unallocated = true}));
    std::vector<uint8_t> seen(kCluster);
    MILLRACE_RETURN_IF_ERROR(
        chain.guest.CoReadParts({&part, 1}, IoVector(seen.data(), seen.size())));
    EXPECT_EQ(seen, foreign);
    filler.CoDetach();
    world.CoClose(chain);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

// The same where a job fills it, in a batch.
TEST(ChainParts, LayerIsNotBelievedOnceABatchHasFilledOneAboveIt) {
  RunImages([](Images& images) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(images.CoMake(3));
    MILLRACE_RETURN_IF_ERROR(images.CoOpen(0));
    for (const uint64_t cluster : {0u, 2u}) {
      MILLRACE_RETURN_IF_ERROR(images.CoFill(cluster, 1));
    }
    images.CoClose();
    MILLRACE_RETURN_IF_ERROR(images.CoOpen(2));
    std::vector<AllocationRun> runs;
    MILLRACE_RETURN_IF_ERROR(
        images.top.CoAllocations(ByteRange(0, kCluster), NodeId(), NodeId(), &runs));
    EXPECT_NE(runs[0].revision, 0u);
    ChainPart part;
    part.range = ByteRange(0, kCluster);
    part.layer = runs[0].layer;
    part.revision = runs[0].revision;

    AttachmentOptions options;
    options.holder = MakeHolder("job", "job");
    options.permissions = {kWriteUnchanged, kAllPermissions};
    const NodeId middle = images.layer(1);
    MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(images.graph(), middle, false, options.holder));
    MILLRACE_ASSIGN_OR_RETURN(Attachment filler,
                              Attachment::Attach(images.graph(), middle, options));
    std::vector<uint8_t> foreign(2 * kCluster, 2);
    const absl::Status status = filler.CoWriteParts(RangesOf(EverySecondCluster(2)),
                                                    IoVector(foreign.data(), foreign.size()),
                                                    {.only_if_unallocated = true});
    filler.CoDetach();
    MILLRACE_RETURN_IF_ERROR(status);
    std::vector<uint8_t> seen(kCluster);
    MILLRACE_RETURN_IF_ERROR(
        images.top.CoReadParts({&part, 1}, IoVector(seen.data(), seen.size())));
    EXPECT_EQ(seen, std::vector<uint8_t>(kCluster, 2));
    return absl::OkStatus();
  });
}

// Lets reads pass, and counts who asks whether it does: walks along the chain.
class Milestone final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "milestone"; }
  bool is_transparent_for_reads() const override {
    ++asked;
    return true;
  }

  mutable uint64_t asked = 0;
};

absl::Status StageAbove(Graph& graph, const DrainedSection& drained, const HolderRef& me,
                        NodeId node, std::unique_ptr<FilterDriver> filter) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.OnBehalfOf(me).Show(drained);
  change.InsertFilter(change.AddNode(std::move(filter), {.name = "milestone"}), node);
  return change.Commit().status();
}

absl::StatusOr<const Milestone*> CoPutMilestone(Graph& graph, const HolderRef& me, NodeId above)
    MILLRACE_MAY_SUSPEND {
  auto owned = std::make_unique<Milestone>();
  const Milestone* const milestone = owned.get();
  MILLRACE_ASSIGN_OR_RETURN(const DrainedSection drained,
                            DrainedSection::CoBegin(graph, {above}, {me}));
  MILLRACE_RETURN_IF_ERROR(StageAbove(graph, drained, me, above, std::move(owned)));
  return milestone;
}

// Data in one cluster of a layer of the chain.
void PutCluster(MemoryChain& chain, size_t layer, uint64_t cluster, uint8_t value) {
  std::vector<uint8_t> data(kCluster, value);
  chain.images[layer]->content.Write(cluster * kCluster, IoVector(data.data(), data.size()));
  chain.images[layer]->map[cluster] = MemoryOverlayImage::Cluster::kData;
}

TEST(ChainParts, NobodyWalksDownBeyondTheLayersThatAreNamed) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  JobWorld world(*engine);
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(
        MemoryChain chain,
        CoMakeMemoryChain(world.graph(), {.layers = 5, .bytes = kBytes, .cluster_bytes = kCluster},
                          false));
    for (const size_t layer : {2u, 3u}) PutCluster(chain, layer, layer, 5);
    MILLRACE_ASSIGN_OR_RETURN(const Milestone* const milestone,
                              CoPutMilestone(world.graph(), chain.monitor_holder, chain.nodes[1]));
    milestone->asked = 0;
    std::vector<AllocationRun> runs;
    MILLRACE_RETURN_IF_ERROR(
        chain.guest.CoAllocations(ByteRange(0, kBytes), chain.nodes[3], chain.nodes[2], &runs));
    EXPECT_EQ(milestone->asked, 0u) << "the survey";
    std::vector<ChainPart> parts;
    uint64_t at = 0;
    for (const AllocationRun& run : runs) {
      if (run.is_allocated) parts.push_back({ByteRange(at, run.bytes), run.layer, run.revision});
      at += run.bytes;
    }
    EXPECT_EQ(parts.size(), 2u);
    for (const ChainPart& part : parts) EXPECT_NE(part.revision, 0u);
    std::vector<uint8_t> seen(2 * kCluster);
    const IoVector memory(seen.data(), seen.size());
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoReadParts(parts, memory));
    EXPECT_EQ(seen, std::vector<uint8_t>(2 * kCluster, 5));
    EXPECT_EQ(milestone->asked, 0u) << "the read";
    // The topmost layer is looked at anew anyway.
    MILLRACE_RETURN_IF_ERROR(
        chain.guest.CoAllocations(ByteRange(0, kBytes), chain.top(), chain.top(), &runs));
    EXPECT_EQ(milestone->asked, 0u) << "the survey of the topmost layer alone";
    // One part that names nobody: the chain is walked for what it reads, and for nothing else.
    parts.resize(1);
    parts[0].layer = NodeId();
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoReadParts(parts, memory.Slice(0, kCluster)));
    EXPECT_EQ(milestone->asked, 0u) << "a read that knows nothing";
    world.CoClose(chain);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

// ---- Sharing -----------------------------------------------------------------------------------

// Whoever then reads the bytes maps them again.
TEST(ChainParts, SourceIsNotMappedForATargetThatTheHostDoesNotShareInto) {
  RunImages([](Images& images) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(images.CoMake(1));
    MILLRACE_RETURN_IF_ERROR(images.CoOpen(0));
    ChainPart part;
    part.range = ByteRange(0, kCluster);
    std::vector<uint8_t> data(kCluster);
    const IoVector memory(data.data(), data.size());
    {
      images.io().disk().Put("from", std::string(kCluster, 'f'));
      OpenImageOptions open;
      open.path = "from";
      open.format = "raw";
      open.is_read_only = true;
      MILLRACE_ASSIGN_OR_RETURN(OpenedImage from, images.CoOpenBeside(open));
      AttachmentOptions options;
      options.holder = MakeHolder("reader", "job");
      options.permissions = {kConsistentRead, kAllPermissions};
      MILLRACE_ASSIGN_OR_RETURN(Attachment reader,
                                Attachment::Attach(images.graph(), from.top(), options));
      images.io().Fail({.operation = SimulatedOperation::kCopyRange});
      EXPECT_FALSE(reader.CoTryShareParts({&part, 1}, images.top, memory));
      EXPECT_EQ(images.io().failed(), 1u) << "the host was asked, and would not";
      reader.CoDetach();
      from.holds[0].CoDetach();
    }
    MILLRACE_ASSIGN_OR_RETURN(
        MemoryChain source,
        CoMakeMemoryChain(
            images.graph(),
            {.layers = 2, .bytes = kBytes, .cluster_bytes = kCluster, .map_takes_step = true},
            false));
    const Scheduler& scheduler = images.graph().engine().scheduler();
    const uint64_t before = scheduler.steps();
    EXPECT_FALSE(source.guest.CoTryShareParts({&part, 1}, images.top, memory));
    EXPECT_EQ(scheduler.steps() - before, 0u);
    source.guest.CoDetach();
    return absl::OkStatus();
  });
}

// ---- The same as single requests ---------------------------------------------------------------

// Random content in three layers, then rounds of changes to the top; parts are read by what was
// known before the change.
absl::Status CoCompare(Images& images, uint64_t seed) MILLRACE_MAY_SUSPEND {
  RandomStream random(seed, "chain parts");
  MILLRACE_RETURN_IF_ERROR(images.CoMake(3));
  for (size_t layer = 0; layer < 3; ++layer) {
    MILLRACE_RETURN_IF_ERROR(images.CoOpen(layer));
    for (int i = 0; i < 20; ++i) {
      const uint64_t cluster = random.Below(kClusters);
      MILLRACE_RETURN_IF_ERROR(
          random.OneIn(5) ? images.top.CoWriteZeroes(ByteRange(cluster * kCluster, kCluster))
                          : images.CoFill(cluster, static_cast<uint8_t>(1 + random.Below(200))));
    }
    if (layer < 2) images.CoClose();
  }
  for (int round = 0; round < 8; ++round) {
    std::vector<AllocationRun> runs;
    MILLRACE_RETURN_IF_ERROR(
        images.top.CoAllocations(ByteRange(0, kBytes), NodeId(), NodeId(), &runs));
    std::vector<ChainPart> parts;
    uint64_t bytes = 0;
    uint64_t at = 0;
    for (const AllocationRun& run : runs) {
      if (!random.OneIn(3)) {
        parts.push_back({ByteRange(at, run.bytes), run.layer, run.revision});
        bytes += run.bytes;
      }
      at += run.bytes;
    }
    EXPECT_EQ(at, kBytes);
    const uint64_t changed = random.Below(kClusters);
    MILLRACE_RETURN_IF_ERROR(images.CoFill(changed, static_cast<uint8_t>(201 + round)));
    std::vector<uint8_t> together(bytes);
    MILLRACE_RETURN_IF_ERROR(
        images.top.CoReadParts(parts, IoVector(together.data(), together.size())));
    std::vector<uint8_t> single;
    for (const ChainPart& part : parts) {
      std::vector<uint8_t> piece(part.range.bytes);
      MILLRACE_RETURN_IF_ERROR(
          images.top.CoRead(part.range.offset, IoVector(piece.data(), piece.size())));
      single.insert(single.end(), piece.begin(), piece.end());
    }
    EXPECT_TRUE(together == single) << "seed " << seed << ", round " << round;
  }
  return absl::OkStatus();
}

TEST(ChainParts, ReadsOfManyRangesShowWhatSingleReadsShow) {
  for (const uint64_t seed : Seeds(/*cost=*/20)) {
    RunImages([seed](Images& images) MILLRACE_MAY_SUSPEND { return CoCompare(images, seed); });
    if (testing::Test::HasFailure()) return;
  }
}

TEST(ChainParts, FillingLeavesAloneWhatIsThere) {
  RunImages([](Images& images) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(images.CoMake(1));
    MILLRACE_RETURN_IF_ERROR(images.CoOpen(0));
    MILLRACE_RETURN_IF_ERROR(images.CoFill(2, 1));
    std::vector<uint8_t> data(4 * kCluster, 9);
    const std::vector<ByteRange> ranges = RangesOf(EverySecondCluster(4));
    MILLRACE_RETURN_IF_ERROR(images.top.CoWriteParts(ranges, IoVector(data.data(), data.size()),
                                                     {.only_if_unallocated = true}));
    std::vector<uint8_t> seen(8 * kCluster);
    MILLRACE_RETURN_IF_ERROR(images.top.CoRead(0, IoVector(seen.data(), seen.size())));
    const uint8_t wanted[] = {9, 0, 1, 0, 9, 0, 9, 0};
    for (size_t i = 0; i < 8; ++i) EXPECT_EQ(seen[i * kCluster], wanted[i]) << i;
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::chain_parts_test
