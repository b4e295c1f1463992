// The stories' own oracles: what is wrong for a while is found, even if all is well again at the
// end.
#include <memory>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/freeze_core.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/node.h"
#include "tests/support/chain_story.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

// What is found wrong in a story of four layers, told once.
std::string FindingOf(ChainStoryBody body) {
  auto engine = SimulatedEngine();
  engine->scheduler().SetStepCheck(nullptr);
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    return CoTellChainStory(*engine, {.layers = 4, .guest_rounds = 0}, 0, body);
  });
  return status.ToString();
}

TEST(ChainStory, AViewThatIsWrongWhenAJobEndsIsFound) {
  using Cluster = MemoryOverlayImage::Cluster;
  const std::string finding = FindingOf([](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    Cluster& cluster = story.chain().images[0]->map[0];
    EXPECT_EQ(cluster, Cluster::kData);
    cluster = Cluster::kZero;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.StreamToBottom("s", 3, 2)));
    MILLRACE_RETURN_IF_ERROR(story.CoOver("s"));
    cluster = Cluster::kData;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 1, 0)));
    return story.CoOver("c");  // the views are told of it
  });
  EXPECT_THAT(finding, testing::HasSubstr("O2: layer 1"));
}

// The link below a node, as the graph has it.
Edge& LinkBelow(ChainStory& story, size_t layer) {
  return *GraphInternals::Of(story.graph()).Resolve(story.node(layer))->FilteredOrBacking();
}

TEST(ChainStory, ALinkThatLosesItsLeaseWhileTheJobIsAtWorkIsFound) {
  const std::string finding = FindingOf([](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    StreamOptions stream = story.Stream("s", 3, 0);
    stream.spec.speed = 1;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    Edge& link = LinkBelow(story, 2);
    FrozenChainCore* const lease = std::exchange(link.lease, nullptr);
    EXPECT_NE(lease, nullptr);
    const absl::Status seen = story.shadow().CheckInvariants();
    link.lease = lease;
    return seen;
  });
  EXPECT_THAT(finding, testing::HasSubstr("O6: the link below 'n2'"));
}

TEST(ChainStory, ALeaseThatOutlivesItsJobIsFound) {
  const std::string finding = FindingOf([](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 3, 1)));
    FrozenChainCore* const lease = LinkBelow(story, 3).lease;
    EXPECT_NE(lease, nullptr);
    auto left = std::make_unique<FrozenChainCore>();
    left->holder = lease->holder;
    left->edges.push_back(&LinkBelow(story, 1));
    left->edges[0]->lease = left.get();
    return story.CoOver("s");
  });
  EXPECT_THAT(finding, testing::HasSubstr("O6: 1 links are leased for job 's'"));
}

}  // namespace
}  // namespace millrace
