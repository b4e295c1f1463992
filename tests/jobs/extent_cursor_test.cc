// How far a copier asks ahead: a table's worth where there is much to tell, further and further
// where there is nothing, and no further than what it keeps may grow.
#include <algorithm>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/copy/extent_cursor.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kCluster = 64 * 1024;

// How much each question asked for, in MiB, of an image of `bytes` in which every second cluster
// before `fragmented_end` is a zero cluster and nothing else is written.
absl::StatusOr<std::vector<uint64_t>> CoReaches(Engine& engine, uint64_t bytes,
                                                uint64_t fragmented_end) MILLRACE_MAY_SUSPEND {
  DriverRegistry registry;
  MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry));
  Graph graph(engine);
  CreateImageOptions create;
  create.path = "img";
  create.qcow2.bytes = bytes;
  create.qcow2.cluster_bytes = kCluster;
  MILLRACE_RETURN_IF_ERROR(CoCreateImage(graph, registry, create));
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image,
                            CoOpenImage(graph, registry, {.path = "img", .format = "qcow2"}));
  AttachmentOptions options;
  options.holder = MakeHolder("job", "test");
  options.permissions = GuestDevicePermissions();
  MILLRACE_ASSIGN_OR_RETURN(Attachment user, Attachment::Attach(graph, image.top(), options));
  for (uint64_t at = 0; at < fragmented_end; at += 2 * kCluster) {
    MILLRACE_RETURN_IF_ERROR(user.CoWriteZeroes(ByteRange(at, kCluster), {}));
  }
  std::vector<uint64_t> reaches;
  ExtentCursor cursor(user, NodeId(), NodeId());
  for (uint64_t at = 0; at < bytes;) {
    MILLRACE_RETURN_IF_ERROR(cursor.CoAt(at, bytes, /*step_by_step=*/false).status());
    const uint64_t begin = at;
    while (const std::optional<AllocationRun> run = cursor.Known(at)) at += run->bytes;
    reaches.push_back((at - begin) / kMiB);
  }
  user.CoDetach();
  for (Attachment& hold : image.holds) hold.CoDetach();
  graph.CoClose();
  return reaches;
}

std::vector<uint64_t> Reaches(uint64_t bytes, uint64_t fragmented_end) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  std::vector<uint64_t> reaches;
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(reaches, CoReaches(*engine, bytes, fragmented_end));
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return reaches;
}

TEST(ExtentCursor, AsksForLittleWhereThereIsMuchToTellAndForMoreWhereThereIsNot) {
  EXPECT_EQ(Reaches(768 * kMiB, 256 * kMiB),
            (std::vector<uint64_t>{64, 64, 64, 64, 64, 128, 256, 64}));
}

TEST(ExtentCursor, NeverAsksForMoreThanItCanKeep) {
  const std::vector<uint64_t> reaches = Reaches(32768 * kMiB, 0);
  EXPECT_EQ(*std::max_element(reaches.begin(), reaches.end()), 4096u);
}

}  // namespace
}  // namespace millrace
