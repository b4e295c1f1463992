// Commits of a layer that is shorter than its neighbours. What the overlay shows must not change.
//
// QEMU 7.2, asked with `block-commit` on "over (512 KiB) <- top (128 KiB) <- base (512 KiB of
// data)": the overlay shows zeroes beyond the top's end before, and the base's data afterwards.
// Ours writes zeroes to the base there.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/jobs/commit/commit_job.h"
#include "tests/support/job_fixture.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

constexpr uint64_t kCluster = 512;
constexpr uint64_t kLong = 8 * kCluster;
constexpr uint64_t kShort = 2 * kCluster + 100;

std::shared_ptr<MemoryOverlayImage> Image(uint64_t bytes, size_t layer) {
  auto image = std::make_shared<MemoryOverlayImage>(bytes, kCluster);
  if (layer > 0) {
    image->backing = {"img-" + std::to_string(layer - 1), "memory-overlay"};
    return image;
  }
  const std::string content(bytes, 'b');
  image->content.Write(0, IoVector::OfConst(content.data(), content.size()));
  for (MemoryOverlayImage::Cluster& cluster : image->map) {
    cluster = MemoryOverlayImage::Cluster::kData;
  }
  return image;
}

absl::StatusOr<std::string> CoContent(Attachment& guest) MILLRACE_MAY_SUSPEND {
  std::string content(guest.bytes(), '?');
  MILLRACE_RETURN_IF_ERROR(guest.CoRead(0, IoVector(content.data(), content.size())));
  return content;
}

using Body = std::function<absl::Status(JobWorld&, MemoryChain&)>;

// Commits the layer below the top into the bottom-most.
void CommitOver(const std::vector<uint64_t>& sizes, OnError on_error, const Body& meanwhile) {
  Explore([&](Engine& engine, uint64_t) {
    JobWorld world(engine);
    const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MemoryChainOptions options;
      options.layers = sizes.size();
      options.is_read_only = true;
      for (size_t i = 0; i < sizes.size(); ++i) options.images.push_back(Image(sizes[i], i));
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                                CoMakeMemoryChain(world.graph(), options, false));
      MILLRACE_ASSIGN_OR_RETURN(const std::string before, CoContent(chain.guest));
      CommitOptions commit;
      commit.spec.id = "c";
      commit.root = chain.top();
      commit.top = chain.nodes[sizes.size() - 2];
      commit.base = chain.nodes[0];
      commit.on_error = on_error;
      MILLRACE_RETURN_IF_ERROR(
          CoStartCommit(world.graph(), world.jobs(), std::move(commit)).status());
      MILLRACE_RETURN_IF_ERROR(meanwhile(world, chain));
      MILLRACE_ASSIGN_OR_RETURN(const std::string after, CoContent(chain.guest));
      EXPECT_EQ(after, before);
      world.CoClose(chain);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
  });
}

absl::Status CoOver(JobWorld& world, MemoryChain&) MILLRACE_MAY_SUSPEND {
  EXPECT_TRUE(world.jobs().CoWaitUntilOver("c").ok());
  return absl::OkStatus();
}

TEST(CommitShortLayer, TheZeroesBehindTheTopAreKept) {
  CommitOver({kLong, kShort, kLong}, OnError::kReport, CoOver);
  CommitOver({kLong, kLong, kShort, kLong}, OnError::kReport, CoOver);
  CommitOver({kLong, kShort, kShort + kCluster}, OnError::kReport, CoOver);
}

TEST(CommitShortLayer, TheZeroesBehindALowerLayerAreKept) {
  CommitOver({kLong, kShort, kLong, kLong}, OnError::kReport, CoOver);
}

// What no overlay shows stays.
TEST(CommitShortLayer, WhatTheOverlayIsTooShortToShowIsLeftAlone) {
  CommitOver({kLong, kShort, kShort}, OnError::kReport,
             [](JobWorld& world, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
               MILLRACE_RETURN_IF_ERROR(CoOver(world, chain));
               EXPECT_EQ(chain.images[0]->bytes, kLong);
               EXPECT_EQ(chain.images[0]->map.back(), MemoryOverlayImage::Cluster::kData);
               return absl::OkStatus();
             });
}

}  // namespace
}  // namespace millrace
