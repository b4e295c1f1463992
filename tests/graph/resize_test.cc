// Growing an overlay: what a longer backing holds behind the old end must not come to light.
#include "millrace/engine/base/status_macros.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

constexpr uint64_t kCluster = 512;

// "n1 <- n0": n0 has `base_bytes` of 'b', n1 is an empty overlay of `top_bytes`.
absl::StatusOr<MemoryChain> CoMake(Graph& graph, uint64_t base_bytes, uint64_t top_bytes)
    MILLRACE_MAY_SUSPEND {
  MemoryChainOptions options;
  options.layers = 2;
  for (uint64_t bytes : {base_bytes, top_bytes}) {
    options.images.push_back(std::make_shared<MemoryOverlayImage>(bytes, kCluster));
  }
  MemoryOverlayImage& base = *options.images[0];
  const std::string content(base_bytes, 'b');
  base.content.Write(0, IoVector::OfConst(content.data(), content.size()));
  for (MemoryOverlayImage::Cluster& cluster : base.map) {
    cluster = MemoryOverlayImage::Cluster::kData;
  }
  return CoMakeMemoryChain(graph, options, false);
}

absl::StatusOr<Attachment> AttachResizer(Graph& graph, NodeId node) MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("monitor", "monitor");
  options.permissions = {kConsistentRead | kResize, kAllPermissions};
  return Attachment::Attach(graph, node, options);
}

absl::StatusOr<std::string> CoContent(Attachment& guest) MILLRACE_MAY_SUSPEND {
  std::string content(guest.bytes(), '?');
  MILLRACE_RETURN_IF_ERROR(guest.CoRead(0, IoVector(content.data(), content.size())));
  return content;
}

using ResizeTest = GraphFixture;

TEST_F(ResizeTest, WhatIsGainedReadsAsZeroesAboveALongerBacking) {
  for (uint64_t old_bytes : {kCluster, kCluster + 1, 2 * kCluster - 1}) {
    for (uint64_t new_bytes : {old_bytes + 1, 3 * kCluster, 8 * kCluster, 20 * kCluster + 7}) {
      Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMake(*graph_, 8 * kCluster, old_bytes));
        MILLRACE_ASSIGN_OR_RETURN(Attachment resizer, AttachResizer(*graph_, chain.top()));
        MILLRACE_RETURN_IF_ERROR(resizer.CoResize(new_bytes));
        MILLRACE_ASSIGN_OR_RETURN(std::string content, CoContent(chain.guest));
        EXPECT_EQ(content, std::string(old_bytes, 'b') + std::string(new_bytes - old_bytes, '\0'))
            << old_bytes << " to " << new_bytes;
        resizer.CoDetach();
        chain.guest.CoDetach();
        return absl::OkStatus();
      });
    }
  }
}

TEST_F(ResizeTest, ThroughAFilterAsWell) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMake(*graph_, 8 * kCluster, kCluster));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter,
                              CoInsertPass("pass", chain.top(), MakeHolder("monitor", "monitor")));
    MILLRACE_ASSIGN_OR_RETURN(Attachment resizer, AttachResizer(*graph_, filter));
    MILLRACE_RETURN_IF_ERROR(resizer.CoResize(4 * kCluster));
    MILLRACE_ASSIGN_OR_RETURN(std::string content, CoContent(chain.guest));
    EXPECT_EQ(content, std::string(kCluster, 'b') + std::string(3 * kCluster, '\0'));
    resizer.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ResizeTest, NothingIsWrittenWhereNothingCouldShowThrough) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMake(*graph_, kCluster + 1, kCluster + 1));
    MILLRACE_ASSIGN_OR_RETURN(Attachment resizer, AttachResizer(*graph_, chain.top()));
    MILLRACE_RETURN_IF_ERROR(resizer.CoResize(8 * kCluster));
    for (MemoryOverlayImage::Cluster cluster : chain.images[1]->map) {
      EXPECT_EQ(cluster, MemoryOverlayImage::Cluster::kUnallocated);
    }
    resizer.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST(Resize, AGuestThatWritesMeanwhileKeepsItsDataAndNeverSeesTheBackingsTail) {
  Explore([](Engine& engine, uint64_t) {
    Graph graph(engine);
    const absl::Status status =
        RunChecked(engine, graph, false, [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          constexpr uint64_t kOld = kCluster + 100;
          MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMake(graph, 8 * kCluster, kOld));
          MILLRACE_ASSIGN_OR_RETURN(Attachment resizer, AttachResizer(graph, chain.top()));
          TaskScope scope("both");
          scope.Spawn("resize",
                      [&]() MILLRACE_MAY_SUSPEND { return resizer.CoResize(8 * kCluster); });
          scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
            const std::string data(50, 'g');
            MILLRACE_RETURN_IF_ERROR(
                chain.guest.CoWrite(kOld - 50, IoVector::OfConst(data.data(), data.size())));
            for (int i = 0; i < 5; ++i) {
              MILLRACE_ASSIGN_OR_RETURN(std::string content, CoContent(chain.guest));
              EXPECT_EQ(content.find('b', kOld), std::string::npos);
            }
            return absl::OkStatus();
          });
          MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
          MILLRACE_ASSIGN_OR_RETURN(std::string content, CoContent(chain.guest));
          EXPECT_EQ(content, std::string(kOld - 50, 'b') + std::string(50, 'g') +
                                 std::string(8 * kCluster - kOld, '\0'));
          resizer.CoDetach();
          chain.guest.CoDetach();
          graph.CoClose();
          return absl::OkStatus();
        });
    EXPECT_TRUE(status.ok()) << status;
  });
}

}  // namespace
}  // namespace millrace
