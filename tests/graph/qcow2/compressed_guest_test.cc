// A guest that reads compressed clusters while it writes others of them: what is overwritten on the
// way is read as it is by then, whatever comes first.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/open_image.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/simulation.h"

namespace millrace::compressed_guest_test {
namespace {

constexpr uint64_t kCluster = 4096;
constexpr uint64_t kClusters = 8;
constexpr char kNew = 'N';

char OldByteOf(uint64_t cluster) { return static_cast<char>('a' + cluster); }

// All clusters compressed, each of one letter.
std::string CompressedImage() {
  CrashDisk disk = MakeImage({.bytes = kClusters * kCluster, .cluster_bytes = kCluster});
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    absl::Status result = node.CoWrite(0, std::vector<uint8_t>(kClusters * kCluster, 1));
    node.CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  CraftedQcow2 image(std::move(disk));
  for (uint64_t cluster = 0; cluster < kClusters; ++cluster) {
    const std::vector<uint8_t> content(kCluster, static_cast<uint8_t>(OldByteOf(cluster)));
    image.Compress(cluster, content);
  }
  const CrashDisk finished = image.Finish();
  return std::string(finished.live().begin(), finished.live().end());
}

// Each cluster is all old or all new.
void ExpectOldOrNew(const std::string& bytes) {
  for (uint64_t cluster = 0; cluster < kClusters; ++cluster) {
    const std::string found = bytes.substr(cluster * kCluster, kCluster);
    EXPECT_TRUE(found == std::string(kCluster, OldByteOf(cluster)) ||
                found == std::string(kCluster, kNew))
        << "cluster " << cluster << " begins with " << found.substr(0, 8);
  }
}

absl::Status CoReadBesideWrites(Attachment& guest) MILLRACE_MAY_SUSPEND {
  TaskScope scope("guest");
  std::string found[3];
  for (std::string& bytes : found) {
    bytes.resize(kClusters * kCluster);
    scope.Spawn("reader", [&]() MILLRACE_MAY_SUSPEND {
      return guest.CoRead(0, IoVector(bytes.data(), bytes.size()));
    });
  }
  std::string fresh(kCluster, kNew);
  for (const uint64_t cluster : {5u, 1u, 6u, 2u}) {
    scope.Spawn("writer", [&, cluster]() MILLRACE_MAY_SUSPEND {
      return guest.CoWrite(cluster * kCluster, IoVector(fresh.data(), fresh.size()));
    });
  }
  MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
  for (const std::string& bytes : found) ExpectOldOrNew(bytes);
  return absl::OkStatus();
}

TEST(CompressedGuest, ReadsWhatIsOverwrittenMeanwhile) {
  const std::string image = CompressedImage();
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
          device.permissions = GuestDevicePermissions();
          MILLRACE_ASSIGN_OR_RETURN(Attachment guest,
                                    Attachment::Attach(graph, opened.top(), device));
          const absl::Status result = CoReadBesideWrites(guest);
          guest.CoDetach();
          for (Attachment& hold : opened.holds) hold.CoDetach();
          graph.CoClose();
          return result;
        });
        EXPECT_TRUE(status.ok()) << status;
      },
      /*cost=*/10);
}

}  // namespace
}  // namespace millrace::compressed_guest_test
