// Streams over a layer that is shorter than its neighbours. The guest's disk must not change by it.
//
// QEMU 7.2, asked with `block-stream` on "top (4 MiB) <- short (1 MiB) <- base (4 MiB of data)" and
// base as base: it copies nothing behind the end of the layer directly below the top, and the guest
// sees the base's data there afterwards. With one more layer in between ("top <- mid <- short <-
// base") it takes the zeroes behind the short layer's end for allocated and copies them. Ours does
// the latter in both cases.
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/job_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::stream_short_layer_test {
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

void StreamOver(const std::vector<uint64_t>& sizes, std::optional<size_t> base) {
  Explore([&](Engine& engine, uint64_t) {
    JobWorld world(engine);
    const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MemoryChainOptions options;
      options.layers = sizes.size();
      options.is_read_only = true;
      for (size_t i = 0; i < sizes.size(); ++i) options.images.push_back(Image(sizes[i], i));
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                                CoMakeMemoryChain(world.graph(), options, false));
      StreamOptions stream;
      stream.job.spec.id = "s";
      stream.top = chain.top();
      if (base) stream.base = chain.nodes[*base];
      MILLRACE_RETURN_IF_ERROR(
          CoStartStream(world.graph(), world.jobs(), std::move(stream)).status());
      EXPECT_TRUE(world.jobs().CoWaitUntilOver("s").ok());
      MILLRACE_ASSIGN_OR_RETURN(std::string content, CoContent(chain.guest));
      EXPECT_EQ(content, std::string(kShort, 'b') + std::string(kLong - kShort, '\0'));
      world.CoClose(chain);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
  });
}

TEST(StreamShortLayer, TheZeroesBehindTheLayerBelowTheTopAreKept) {
  StreamOver({kLong, kShort, kLong}, 0);
}

TEST(StreamShortLayer, TheZeroesBehindALowerLayerAreKept) {
  StreamOver({kLong, kShort, kLong, kLong}, 0);
}

TEST(StreamShortLayer, ALayerBetweenTwoShortOnesHidesNothing) {
  StreamOver({kLong, kShort, kLong, kShort, kLong}, 2);
}

TEST(StreamShortLayer, TheWholeChainMayBeStreamed) {
  StreamOver({kLong, kShort, kLong}, std::nullopt);
  StreamOver({kShort, kLong, kLong}, std::nullopt);
}

}  // namespace
}  // namespace millrace::stream_short_layer_test
