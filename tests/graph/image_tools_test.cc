// What CoCreateImage refuses: options out of range, and images that CoOpenImage would not open.
#include "millrace/graph/image_tools.h"

#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/io/io_error.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/graph/builtin_drivers.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::image_tools_test {
namespace {

class ImageToolsTest : public ::testing::Test {
 protected:
  ImageToolsTest() { EXPECT_TRUE(RegisterBuiltinDrivers(registry_).ok()); }

  absl::Status Create(const CreateImageOptions& options) {
    auto engine = SimulatedEngine({.disk = &disk_});
    return engine->Run([&]() MILLRACE_MAY_SUSPEND {
      Graph graph(*engine);
      absl::Status status = CoCreateImage(graph, registry_, options);
      graph.CoClose();
      return status;
    });
  }

  SimulatedDisk disk_;
  DriverRegistry registry_;
};

TEST_F(ImageToolsTest, AnOverlayThatCouldNotBeOpenedIsNotMade) {
  CreateImageOptions options{.path = "top", .qcow2 = {.bytes = 1 << 20, .backing_filename = "b"}};
  ExpectConflict(Create(options), ConflictReason::kMissingFormat, "b");
  options.qcow2.backing_format = "qcow9";
  ExpectConflict(Create(options), ConflictReason::kUnknownFormat, "qcow9");
  options.qcow2.backing_format = "qcow2";
  options.qcow2.bytes = 0;
  ExpectConflict(Create(options), ConflictReason::kInvalidOption, "top");
  EXPECT_TRUE(disk_.Paths().empty()) << "a refusal left a file behind";
  options.qcow2.bytes = 1 << 20;
  EXPECT_TRUE(Create(options).ok());
}

TEST_F(ImageToolsTest, RefusalsCarryAConflict) {
  ExpectConflict(Create({.path = "a", .format = "vmdk"}), ConflictReason::kUnknownFormat, "vmdk");
  ExpectConflict(
      Create({.path = "a", .format = "raw", .qcow2 = {.bytes = 512, .backing_filename = "b"}}),
      ConflictReason::kMutuallyExclusive, "a");
  const absl::Status size = Create({.path = "a", .qcow2 = {.bytes = 512, .cluster_bytes = 1000}});
  ASSERT_TRUE(ConflictOf(size).has_value()) << size;
  EXPECT_EQ(ConflictOf(size)->reason, ConflictReason::kInvalidOption);
  EXPECT_EQ(ConflictOf(size)->detail.substr(0, 13), "cluster-size ");
  ASSERT_TRUE(Create({.path = "b", .qcow2 = {.bytes = 512}}).ok());
  const absl::Status exists = Create({.path = "b", .qcow2 = {.bytes = 512}});
  EXPECT_EQ(exists.code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(ConflictOf(exists).has_value()) << exists;
  EXPECT_EQ(ConflictOf(exists)->reason, ConflictReason::kHostFile);
  EXPECT_NE(ConflictOf(exists)->next_step, "");
  EXPECT_EQ(ErrnoOf(exists), EEXIST);
}

}  // namespace
}  // namespace millrace::image_tools_test
