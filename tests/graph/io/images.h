// A chain of qcow2 images on the simulated disk, opened and read by a guest; see DeepChain for one
// of layers in memory.
#ifndef MILLRACE_TESTS_GRAPH_IO_IMAGES_H_
#define MILLRACE_TESTS_GRAPH_IO_IMAGES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "tests/support/simulation.h"

namespace millrace {

// "img-0" is at the bottom.
class Images {
 public:
  static constexpr uint64_t kCluster = 1024;
  static constexpr uint64_t kClusters = 64;
  static constexpr uint64_t kBytes = kClusters * kCluster;

  explicit Images(Engine& engine) : engine_(engine), graph_(engine) {
    EXPECT_TRUE(RegisterBuiltinDrivers(registry_).ok());
  }

  Graph& graph() { return graph_; }
  SimulatedIo& io() { return *engine_.simulated_io(); }

  absl::Status CoMake(size_t layers) MILLRACE_MAY_SUSPEND {
    for (size_t layer = 0; layer < layers; ++layer) {
      CreateImageOptions create;
      create.path = StrCat("img-", layer);
      create.qcow2.bytes = kBytes;
      create.qcow2.cluster_bytes = kCluster;
      if (layer > 0) {
        create.qcow2.backing_filename = StrCat("img-", layer - 1);
        create.qcow2.backing_format = "qcow2";
      }
      MILLRACE_RETURN_IF_ERROR(CoCreateImage(graph_, registry_, create));
    }
    return absl::OkStatus();
  }

  // Opens the chain from `layer` down, for writing to it.
  absl::Status CoOpen(size_t layer) MILLRACE_MAY_SUSPEND {
    OpenImageOptions open;
    open.path = StrCat("img-", layer);
    MILLRACE_ASSIGN_OR_RETURN(image_, CoOpenImage(graph_, registry_, open));
    MILLRACE_ASSIGN_OR_RETURN(top, Attach(image_.top()));
    return absl::OkStatus();
  }
  absl::StatusOr<OpenedImage> CoOpenBeside(const OpenImageOptions& options) MILLRACE_MAY_SUSPEND {
    return CoOpenImage(graph_, registry_, options);
  }
  void CoClose() MILLRACE_MAY_SUSPEND {
    top.CoDetach();
    for (Attachment& hold : image_.holds) hold.CoDetach();
    image_ = OpenedImage();
    graph_.CoWaitForReaper();
  }
  void CoEnd() MILLRACE_MAY_SUSPEND { graph_.CoClose(); }

  absl::Status CoFill(uint64_t cluster, uint8_t value) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> data(kCluster, value);
    return top.CoWrite(cluster * kCluster, IoVector(data.data(), data.size()));
  }

  // Counted from the top.
  NodeId layer(size_t number) const { return image_.images[number]; }
  NodeId FileOf(NodeId image) MILLRACE_OPENS_VIEW {
    GraphView view(graph_);
    return view.Resolve(image)->Child(Role::kPrimary)->id();
  }

  Attachment top;

 private:
  absl::StatusOr<Attachment> Attach(NodeId node) MILLRACE_OPENS_VIEW {
    AttachmentOptions options;
    options.holder = MakeHolder("guest", "block device");
    options.permissions = {kConsistentRead | kWrite, kConsistentRead | kWriteUnchanged | kResize};
    return Attachment::Attach(graph_, node, options);
  }

  Engine& engine_;
  Graph graph_;
  DriverRegistry registry_;
  OpenedImage image_;
};

inline void RunImages(const std::function<absl::Status(Images&)>& body) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Images images(*engine);
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    absl::Status result = body(images);
    images.CoClose();
    images.CoEnd();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace millrace

#endif  // MILLRACE_TESTS_GRAPH_IO_IMAGES_H_
