// How far a copier asks ahead: a table's worth where there is much to tell, further and further
// where there is nothing, and no further than what it keeps may grow.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/copy/extent_cursor.h"
#include "tests/support/simulation.h"

namespace millrace::extent_cursor_test {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kCluster = 64 * 1024;

// Runs `body` with the cursor of an image of `bytes` in which every second cluster before
// `fragmented_end` is a zero cluster and nothing else is written.
absl::Status CoWithCursor(Engine& engine, uint64_t bytes, uint64_t fragmented_end,
                          const std::function<absl::Status(ExtentCursor&)>& body)
    MILLRACE_MAY_SUSPEND {
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
  ExtentCursor cursor(user, NodeId(), NodeId());
  absl::Status status = body(cursor);
  user.CoDetach();
  for (Attachment& hold : image.holds) hold.CoDetach();
  graph.CoClose();
  return status;
}

void WithCursor(uint64_t bytes, uint64_t fragmented_end,
                const std::function<absl::Status(ExtentCursor&)>& body) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  const absl::Status status = engine->Run(
      [&]() MILLRACE_MAY_SUSPEND { return CoWithCursor(*engine, bytes, fragmented_end, body); });
  EXPECT_TRUE(status.ok()) << status;
}

// How much each question asked for, in MiB.
std::vector<uint64_t> Reaches(uint64_t bytes, uint64_t fragmented_end) {
  std::vector<uint64_t> reaches;
  WithCursor(bytes, fragmented_end, [&](ExtentCursor& cursor) MILLRACE_MAY_SUSPEND {
    for (uint64_t at = 0; at < bytes;) {
      MILLRACE_RETURN_IF_ERROR(cursor.CoAt(at, bytes, /*step_by_step=*/false).status());
      const uint64_t begin = at;
      while (const std::optional<AllocationRun> run = cursor.Known(at)) at += run->bytes;
      reaches.push_back((at - begin) / kMiB);
    }
    return absl::OkStatus();
  });
  return reaches;
}

TEST(ExtentCursor, AsksForLittleWhereThereIsMuchToTellAndForMoreWhereThereIsNot) {
  EXPECT_EQ(Reaches(768 * kMiB, 256 * kMiB),
            (std::vector<uint64_t>{64, 64, 64, 64, 64, 128, 256, 64}));
}

// Who looks how far a batch can reach goes past what he does not take; the next one starts there.
TEST(ExtentCursor, KnowsStillWhatWasLookedPast) {
  WithCursor(256 * kMiB, 256 * kMiB, [](ExtentCursor& cursor) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(cursor.CoAt(0, 256 * kMiB, /*step_by_step=*/false).status());
    EXPECT_TRUE(cursor.Known(63 * kMiB));
    EXPECT_FALSE(cursor.Known(64 * kMiB));
    for (uint64_t at = 0; at < 64 * kMiB; at += kCluster) {
      const std::optional<AllocationRun> run = cursor.Known(at);
      EXPECT_TRUE(run && run->bytes == kCluster) << at;
      EXPECT_EQ(run && run->is_allocated, at % (2 * kCluster) == 0) << at;
    }
    EXPECT_TRUE(cursor.Known(kCluster));
    return absl::OkStatus();
  });
}

TEST(ExtentCursor, NeverAsksForMoreThanItCanKeep) {
  const std::vector<uint64_t> reaches = Reaches(32768 * kMiB, 0);
  EXPECT_EQ(*std::max_element(reaches.begin(), reaches.end()), 4096u);
}

}  // namespace
}  // namespace millrace::extent_cursor_test
