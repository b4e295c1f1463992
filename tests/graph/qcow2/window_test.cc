// A qcow2 image in a window of raw that is shorter than the image: what lies behind the window's
// end is out of reach, and no corruption.
//
// QEMU 7.2, asked likewise: data there read as zeroes, and writes find no space; compressed data
// cannot be read. An L2 table there it reads as zeroes, so that the backing shows instead of newer
// data: we refuse to read. For a refcount block there it marks the image corrupt.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/l2_entry.h"
#include "millrace/graph/drivers/qcow2/qcow2_driver.h"
#include "millrace/graph/drivers/raw.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/reopen_nodes.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/qcow2_images.h"

namespace millrace::window_test {
namespace {

using qcow2::LoadBig;
using qcow2::StoreBig;

constexpr uint64_t kCluster = 4096;
constexpr uint64_t kClusters = 16;
constexpr uint64_t kDataClusters = 4;

qcow2::Header HeaderOf(const std::vector<uint8_t>& file) {
  return *qcow2::ParseHeader(absl::MakeConstSpan(file).first(kCluster));
}

// A closed image whose first clusters have data, and its last one.
CrashDisk ImageWithData(uint64_t clusters = kClusters) {
  CrashDisk disk = MakeImage({.bytes = clusters * kCluster, .cluster_bytes = kCluster});
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    absl::Status result = node.CoWrite(0, Pattern(kDataClusters * kCluster, 1));
    result.Update(node.CoWrite((clusters - 1) * kCluster, Pattern(kCluster, 2)));
    node.CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  return disk;
}

uint64_t L2TableOf(const std::vector<uint8_t>& file) {
  return LoadBig<uint64_t>(&file[HeaderOf(file).l1_offset]) & qcow2::kEntryOffsetMask;
}
uint64_t DataOf(const std::vector<uint8_t>& file, uint64_t cluster) {
  return LoadBig<uint64_t>(&file[L2TableOf(file) + 8 * cluster]) & qcow2::kEntryOffsetMask;
}

// Where in the header these places stand.
constexpr uint64_t kL1OffsetField = 40;
constexpr uint64_t kRefcountTableOffsetField = 48;

// The cluster at `from` is at the end of the file from now on, and its refcount is right; `entry`
// is where in the file its place stands.
void MoveToEnd(std::vector<uint8_t>& file, uint64_t entry) {
  const uint64_t raw = LoadBig<uint64_t>(&file[entry]);
  const uint64_t from = raw & qcow2::kEntryOffsetMask;
  const uint64_t to = file.size();
  ASSERT_EQ(to % kCluster, 0u);
  file.resize(to + kCluster);
  std::copy_n(&file[from], kCluster, &file[to]);
  StoreBig<uint64_t>(&file[entry], to | (raw & ~qcow2::kEntryOffsetMask));
  const uint64_t table = HeaderOf(file).refcount_table_offset;
  const uint64_t block = LoadBig<uint64_t>(&file[table]);
  StoreBig<uint16_t>(&file[block + 2 * (from / kCluster)], 0);
  StoreBig<uint16_t>(&file[block + 2 * (to / kCluster)], 1);
}

// What stands between the image and its file.
enum class Below { kWindow, kRawOnWindow, kFilterOnWindow };

class Qcow2Window : public GraphFixture, public testing::WithParamInterface<Below> {
 protected:
  struct World {
    NodeId file, raw, image;
    std::vector<Attachment> owners;
    Attachment guest;
    Attachment reader;  // of the file

    void CoGo() MILLRACE_MAY_SUSPEND {
      guest.CoDetach();
      reader.CoDetach();
      for (Attachment& owner : owners) owner.CoDetach();
    }
  };

  // The image in its window, of which `window_bytes` are left.
  absl::StatusOr<World> CoOpenImage(const std::vector<uint8_t>& file, uint64_t window_bytes)
      MILLRACE_MAY_SUSPEND {
    World world;
    auto content = std::make_shared<MemoryImage>();
    content->bytes = file.size();
    content->content.Write(0, IoVector::OfConst(file.data(), file.size()));
    MILLRACE_ASSIGN_OR_RETURN(world.file,
                              CoAdd(world, "file", MakeMemoryDriver({.image = content})));
    MILLRACE_ASSIGN_OR_RETURN(world.raw, CoAdd(world, "raw", MakeRawDriver({0, window_bytes}),
                                               Role::kPrimary, world.file));
    NodeId below = world.raw;
    if (GetParam() == Below::kRawOnWindow) {
      MILLRACE_ASSIGN_OR_RETURN(below,
                                CoAdd(world, "outer", MakeRawDriver(), Role::kPrimary, below));
    } else if (GetParam() == Below::kFilterOnWindow) {
      MILLRACE_ASSIGN_OR_RETURN(
          below, CoAdd(world, "pass", std::make_unique<PassFilter>(), Role::kFiltered, below));
    }
    MILLRACE_ASSIGN_OR_RETURN(world.image,
                              CoAdd(world, "image", MakeQcow2Driver(), Role::kPrimary, below));
    MILLRACE_ASSIGN_OR_RETURN(world.guest, Use(world.image, kConsistentRead | kWrite));
    MILLRACE_ASSIGN_OR_RETURN(world.reader, Use(world.file, kNoPermissions));
    return world;
  }

  absl::Status CoRemoveWindow(const World& world) MILLRACE_MAY_SUSPEND {
    return CoReopenRaw(world, {});
  }
  absl::Status CoShortenWindow(const World& world, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    return CoReopenRaw(world, {0, bytes});
  }

  static absl::Status CoWrite(World& world, uint64_t cluster) MILLRACE_MAY_SUSPEND {
    const std::vector<uint8_t> data(kCluster, 'w');
    return world.guest.CoWrite(cluster * kCluster, IoVector::OfConst(data.data(), data.size()));
  }
  static absl::StatusOr<std::vector<uint8_t>> CoRead(World& world, uint64_t cluster)
      MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> data(kCluster, '?');
    MILLRACE_RETURN_IF_ERROR(
        world.guest.CoRead(cluster * kCluster, IoVector(absl::MakeSpan(data))));
    return data;
  }
  static std::vector<uint8_t> Written(uint64_t cluster) {
    const std::vector<uint8_t> all = Pattern(kDataClusters * kCluster, 1);
    const auto begin = all.begin() + static_cast<ptrdiff_t>(cluster * kCluster);
    return {begin, begin + kCluster};
  }
  // Behind the window nothing has changed, and the image is not marked.
  static absl::Status CoExpectUnharmed(World& world, const std::vector<uint8_t>& file,
                                       uint64_t window_bytes) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> now(file.size());
    MILLRACE_RETURN_IF_ERROR(world.reader.CoRead(0, IoVector(absl::MakeSpan(now))));
    EXPECT_FALSE(HeaderOf(now).is_corrupt());
    const auto behind = static_cast<ptrdiff_t>(window_bytes);
    EXPECT_TRUE(std::equal(now.begin() + behind, now.end(), file.begin() + behind));
    return absl::OkStatus();
  }
  static bool IsFull(const absl::Status& status) {
    return absl::IsResourceExhausted(status) && ErrnoOf(status) == ENOSPC;
  }
  static bool IsUnreadable(const absl::Status& status) {
    return CarriesErrno(status) && ErrnoOf(status) == EIO;
  }

  const HolderRef me_ = MakeHolder("me", "test");

 private:
  absl::Status CoReopenRaw(const World& world, RawOptions options) MILLRACE_MAY_SUSPEND {
    std::vector<NodeChange> changes(1);
    changes[0].node = world.raw;
    changes[0].fresh = MakeRawDriver(options);
    return CoReopenNodes(*graph_, std::move(changes), me_);
  }
  absl::StatusOr<NodeId> CoAdd(World& world, std::string name, std::unique_ptr<Driver> driver,
                               Role role = Role::kPrimary, NodeId below = {}) MILLRACE_MAY_SUSPEND {
    NodeId id;
    {
      GraphTransaction change(*graph_);
      id = change.AddNode(std::move(driver), {.name = std::move(name)});
      if (below.is_valid()) change.AddChild(id, role, below);
      world.owners.push_back(change.Attach(id, Keep(me_)));
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, id));
    return id;
  }
  absl::StatusOr<Attachment> Use(NodeId node, PermissionSet used) MILLRACE_OPENS_VIEW {
    AttachmentOptions options;
    options.holder = me_;
    options.permissions = {used, kAllPermissions};
    return Attachment::Attach(*graph_, node, std::move(options));
  }
};

// The window ends in the middle of a cluster.
TEST_P(Qcow2Window, DataBehindItAreZeroesAndTakeNoWrites) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    const std::vector<uint8_t> file = ImageWithData().live();
    const uint64_t window = DataOf(file, 1) + kCluster / 2;
    EXPECT_GT(DataOf(file, 2), window);
    MILLRACE_ASSIGN_OR_RETURN(World world, CoOpenImage(file, window));
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> inside, CoRead(world, 0));
    EXPECT_TRUE(inside == Written(0));
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> across, CoRead(world, 1));
    std::vector<uint8_t> half = Written(1);
    std::fill(half.begin() + kCluster / 2, half.end(), uint8_t{0});
    EXPECT_TRUE(across == half);
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> behind, CoRead(world, 2));
    EXPECT_TRUE(behind == std::vector<uint8_t>(kCluster, 0));
    for (const uint64_t cluster : {uint64_t{1}, uint64_t{2}, uint64_t{9}})
      EXPECT_TRUE(IsFull(CoWrite(world, cluster)));
    MILLRACE_RETURN_IF_ERROR(CoWrite(world, 0));
    MILLRACE_RETURN_IF_ERROR(world.guest.CoFlush());
    MILLRACE_RETURN_IF_ERROR(CoExpectUnharmed(world, file, window));
    MILLRACE_RETURN_IF_ERROR(CoRemoveWindow(world));
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> again, CoRead(world, 2));
    EXPECT_TRUE(again == Written(2));
    world.CoGo();
    return absl::OkStatus();
  });
}

TEST_P(Qcow2Window, AnL2TableBehindItCanNeitherBeReadNorChanged) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    std::vector<uint8_t> file = ImageWithData().live();
    const uint64_t window = file.size();
    MoveToEnd(file, HeaderOf(file).l1_offset);
    MILLRACE_ASSIGN_OR_RETURN(World world, CoOpenImage(file, window));
    const absl::Status refused = CoRead(world, 0).status();
    EXPECT_TRUE(IsUnreadable(refused)) << refused;
    EXPECT_TRUE(IsFull(CoWrite(world, 0)));
    EXPECT_TRUE(IsFull(CoWrite(world, 9)));
    EXPECT_TRUE(IsFull(world.guest.CoWriteZeroes(ByteRange(0, kCluster), {})));
    EXPECT_TRUE(IsFull(world.guest.CoDiscard(ByteRange(0, kCluster))));
    MILLRACE_RETURN_IF_ERROR(world.guest.CoFlush());
    MILLRACE_RETURN_IF_ERROR(CoExpectUnharmed(world, file, window));
    MILLRACE_RETURN_IF_ERROR(CoRemoveWindow(world));
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> again, CoRead(world, 3));
    EXPECT_TRUE(again == Written(3));
    MILLRACE_RETURN_IF_ERROR(CoWrite(world, 9));
    world.CoGo();
    return absl::OkStatus();
  });
}

TEST_P(Qcow2Window, ARefcountBlockBehindItMeansThatThereIsNoSpace) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    std::vector<uint8_t> file = ImageWithData().live();
    const uint64_t end = file.size();
    MoveToEnd(file, HeaderOf(file).refcount_table_offset);
    for (const uint64_t window : {end, end + kCluster / 2}) {
      MILLRACE_ASSIGN_OR_RETURN(World world, CoOpenImage(file, window));
      MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> inside, CoRead(world, 0));
      EXPECT_TRUE(inside == Written(0));
      const absl::Status refused = CoWrite(world, 9);
      EXPECT_TRUE(IsFull(refused)) << refused;
      MILLRACE_RETURN_IF_ERROR(CoWrite(world, 0));  // in its place
      MILLRACE_RETURN_IF_ERROR(world.guest.CoFlush());
      MILLRACE_RETURN_IF_ERROR(CoExpectUnharmed(world, file, window));
      MILLRACE_RETURN_IF_ERROR(CoRemoveWindow(world));
      MILLRACE_RETURN_IF_ERROR(CoWrite(world, 9));
      world.CoGo();
    }
    return absl::OkStatus();
  });
}

// Somebody shortens the window below an image that is open, whether or not it was written before.
// It ends before the L1 table, or in it. What cannot be read must not be taken for unallocated, nor
// be remembered as that.
TEST_P(Qcow2Window, AnL1TableThatIsBehindItByNowCanNeitherBeReadNorChanged) {
  constexpr uint64_t kManyClusters = 65 * (kCluster / 8);
  const auto shorten = [&](uint64_t bytes_left, bool is_written)
                           MILLRACE_MAY_SUSPEND -> absl::Status {
    std::vector<uint8_t> file = ImageWithData(kManyClusters).live();
    const uint64_t window = file.size() + bytes_left;
    MoveToEnd(file, kL1OffsetField);
    MILLRACE_ASSIGN_OR_RETURN(World world, CoOpenImage(file, file.size()));
    if (is_written) MILLRACE_RETURN_IF_ERROR(CoWrite(world, 1));
    MILLRACE_RETURN_IF_ERROR(CoShortenWindow(world, window));
    for (const uint64_t cluster : {uint64_t{0}, uint64_t{9}, kManyClusters - 1}) {
      const absl::Status refused = CoRead(world, cluster).status();
      EXPECT_TRUE(IsUnreadable(refused)) << refused;
      EXPECT_TRUE(IsFull(CoWrite(world, cluster)));
      const ByteRange range(cluster * kCluster, kCluster);
      EXPECT_TRUE(IsFull(world.guest.CoWriteZeroes(range, {})));
      EXPECT_TRUE(IsFull(world.guest.CoDiscard(range)));
    }
    MILLRACE_RETURN_IF_ERROR(world.guest.CoFlush());
    MILLRACE_RETURN_IF_ERROR(CoExpectUnharmed(world, file, window));
    MILLRACE_RETURN_IF_ERROR(CoRemoveWindow(world));
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> again, CoRead(world, 3));
    EXPECT_TRUE(again == Written(3));
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> last, CoRead(world, kManyClusters - 1));
    EXPECT_TRUE(last == Pattern(kCluster, 2));
    MILLRACE_RETURN_IF_ERROR(CoWrite(world, 9));
    world.CoGo();
    return absl::OkStatus();
  };
  for (const bool is_written : {false, true}) {
    Run([&]() MILLRACE_MAY_SUSPEND { return shorten(0, is_written); });
    Run([&]() MILLRACE_MAY_SUSPEND { return shorten(512, is_written); });
  }
}

TEST_P(Qcow2Window, ARefcountTableThatIsBehindItByNowMeansThatThereIsNoSpace) {
  for (const bool is_written : {false, true}) {
    Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      std::vector<uint8_t> file = ImageWithData().live();
      const uint64_t window = file.size();
      MoveToEnd(file, kRefcountTableOffsetField);
      MILLRACE_ASSIGN_OR_RETURN(World world, CoOpenImage(file, file.size()));
      if (is_written) MILLRACE_RETURN_IF_ERROR(CoWrite(world, 1));
      MILLRACE_RETURN_IF_ERROR(CoShortenWindow(world, window));
      MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> inside, CoRead(world, 0));
      EXPECT_TRUE(inside == Written(0));
      const absl::Status refused = CoWrite(world, 9);
      EXPECT_TRUE(IsFull(refused)) << refused;
      MILLRACE_RETURN_IF_ERROR(world.guest.CoFlush());
      MILLRACE_RETURN_IF_ERROR(CoExpectUnharmed(world, file, window));
      MILLRACE_RETURN_IF_ERROR(CoRemoveWindow(world));
      MILLRACE_RETURN_IF_ERROR(CoWrite(world, 9));
      world.CoGo();
      return absl::OkStatus();
    });
  }
}

TEST_P(Qcow2Window, CompressedDataBehindItCannotBeRead) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    CrashDisk plain = ImageWithData();
    const uint64_t end = plain.live().size();
    CraftedQcow2 crafted(std::move(plain));
    crafted.Compress(3, Written(3));
    const std::vector<uint8_t> file = crafted.Finish().live();
    for (const uint64_t window : {end, end + 512}) {
      MILLRACE_ASSIGN_OR_RETURN(World world, CoOpenImage(file, window));
      const absl::Status refused = CoRead(world, 3).status();
      EXPECT_TRUE(IsUnreadable(refused)) << refused;
      MILLRACE_RETURN_IF_ERROR(CoExpectUnharmed(world, file, window));
      MILLRACE_RETURN_IF_ERROR(CoRemoveWindow(world));
      MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> again, CoRead(world, 3));
      EXPECT_TRUE(again == Written(3));
      world.CoGo();
    }
    return absl::OkStatus();
  });
}

INSTANTIATE_TEST_SUITE_P(Below, Qcow2Window,
                         testing::Values(Below::kWindow, Below::kRawOnWindow,
                                         Below::kFilterOnWindow));

}  // namespace
}  // namespace millrace::window_test
