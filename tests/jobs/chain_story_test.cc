// The stories' own oracle: a view that is wrong for a while is found, even if all is well again at
// the end.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "tests/support/chain_story.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

TEST(ChainStory, AViewThatIsWrongWhenAJobEndsIsFound) {
  using Cluster = MemoryOverlayImage::Cluster;
  testing::TestPartResultArray results;
  {
    testing::ScopedFakeTestPartResultReporter reporter(&results);
    auto engine = SimulatedEngine();
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
      return CoTellChainStory(
          *engine, {.layers = 4, .guest_rounds = 0}, 0,
          [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
            Cluster& cluster = story.chain().images[0]->map[0];
            EXPECT_EQ(cluster, Cluster::kData);
            cluster = Cluster::kZero;
            MILLRACE_RETURN_IF_ERROR(story.CoStart(story.StreamToBottom("s", 3, 2)));
            MILLRACE_RETURN_IF_ERROR(story.CoOver("s"));
            cluster = Cluster::kData;
            MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 1, 0)));
            return story.CoOver("c");  // the views are told of it
          });
    });
    EXPECT_TRUE(status.ok()) << status;
  }
  ASSERT_EQ(results.size(), 1);
  EXPECT_THAT(results.GetTestPartResult(0).message(), testing::HasSubstr("O2: layer 1"));
}

}  // namespace
}  // namespace millrace
