// An image that was not closed properly is repaired when it becomes writable: also when that
// happens to an open one, as a commit does to its base.
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/graph/open_node.h"
#include "tests/support/simulation.h"

namespace millrace::reopen_dirty_test {
namespace {

constexpr uint64_t kIncompatibleFeatures = 79;  // the byte with the dirty bit
constexpr uint64_t kUnsharedWriteByte = 201;    // QEMU's image locks: nobody else may write

class ReopenDirtyImage : public testing::Test {
 protected:
  ReopenDirtyImage() { EXPECT_TRUE(RegisterBuiltinDrivers(registry_).ok()); }

  template <typename Body>
  absl::Status InGraph(Body body) {
    auto engine = SimulatedEngine({.disk = &disk_});
    return engine->Run([&]() MILLRACE_MAY_SUSPEND {
      Graph graph(*engine);
      const absl::Status status = body(graph);
      graph.CoClose();
      return status;
    });
  }
  void MakeDirtyImage() {
    const absl::Status made = InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
      CreateImageOptions create;
      create.path = "img";
      create.qcow2 = {.bytes = 1 << 20, .lazy_refcounts = true};
      return CoCreateImage(graph, registry_, create);
    });
    ASSERT_TRUE(made.ok()) << made;
    std::string content = disk_.Contents("img");
    content[kIncompatibleFeatures] |= 1;
    disk_.Put("img", content);
  }
  absl::Status OpenReadOnlyThenMakeWritable() {
    return InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND -> absl::Status {
      OpenImageOptions open;
      open.path = "img";
      open.format = "qcow2";
      open.is_read_only = true;
      MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph, registry_, open));
      const HolderRef holder = MakeHolder("test", "test");
      const absl::Status status = CoSetReadOnly(graph, image.top(), false, holder);
      image.holds.clear();
      return status;
    });
  }
  bool IsMarkedDirty() { return (disk_.Contents("img")[kIncompatibleFeatures] & 1) != 0; }

  SimulatedDisk disk_;
  DriverRegistry registry_;
};

TEST_F(ReopenDirtyImage, IsRepairedWhenAnOpenImageBecomesWritable) {
  MakeDirtyImage();
  const absl::Status status = OpenReadOnlyThenMakeWritable();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(IsMarkedDirty());
}

TEST_F(ReopenDirtyImage, IsNotTouchedWhileSomebodyElseForbidsWriting) {
  MakeDirtyImage();
  const std::string before = disk_.Contents("img");
  disk_.HoldLock("img", kUnsharedWriteByte, "qemu");
  const absl::Status status = OpenReadOnlyThenMakeWritable();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("qemu"));
  EXPECT_EQ(disk_.Contents("img"), before);
}

// ---- What was written is durable ----------------------------------------------------------------

TEST_F(ReopenDirtyImage, WhatWasWrittenIsDurableBeforeTheImageIsReadOnly) {
  for (const std::string format : {"raw", "qcow2"}) {
    const absl::Status status = InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND -> absl::Status {
      CreateImageOptions create;
      create.path = "new";
      create.format = format;
      create.overwrites = true;
      create.qcow2.bytes = 1 << 20;
      MILLRACE_RETURN_IF_ERROR(CoCreateImage(graph, registry_, create));
      OpenImageOptions open;
      open.path = "new";
      open.format = format;
      MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph, registry_, open));
      const HolderRef holder = MakeHolder("test", "test");
      AttachmentOptions writer{.holder = holder};
      writer.permissions.used = kWrite;
      MILLRACE_ASSIGN_OR_RETURN(Attachment guest,
                                Attachment::Attach(graph, image.top(), std::move(writer)));
      MILLRACE_RETURN_IF_ERROR(guest.CoWrite(0, IoVector::OfConst("precious", 8)));
      guest.CoDetach();
      EXPECT_EQ(disk_.DurableContents("new").find("precious"), std::string::npos) << format;
      MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(graph, image.top(), true, holder));
      EXPECT_NE(disk_.DurableContents("new").find("precious"), std::string::npos) << format;
      image.holds.clear();
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
  }
}

}  // namespace
}  // namespace millrace::reopen_dirty_test
