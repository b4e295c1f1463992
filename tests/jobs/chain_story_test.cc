// The stories' own oracles: what is wrong for a while is found, even if all is well again at the
// end.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "examples/scenario_kit/tagged_disk.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/freeze_core.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/node.h"
#include "tests/support/chain_story.h"
#include "tests/support/simulation.h"

namespace millrace::chain_story_test {
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
    stream.job.spec.speed = 1;
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
    left->top = story.node(1);
    left->last = story.node(0);
    left->edges.push_back(&LinkBelow(story, 1));
    left->edges[0]->lease = left.get();
    return story.CoOver("s");
  });
  EXPECT_THAT(finding, testing::HasSubstr("O6: 1 links are leased for job 's'"));
}

// ---- The guests' model --------------------------------------------------------------------------

// One disk of one image, used by `body` under random schedules.
template <typename Body>
void ExploreDisk(Body body) {
  Explore([&](Engine& engine, uint64_t) {
    JobWorld world(engine);
    const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                                CoMakeMemoryChain(world.graph(), {.layers = 1}, false));
      TaggedDisk disk(16);
      absl::Status result = body(chain, disk);
      world.CoClose(chain);
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
  });
}

void PutBack(MemoryChain& chain, uint64_t sector, uint32_t version) {
  std::vector<uint8_t> content = TaggedDisk::Content(sector, version);
  chain.images[0]->content.Write(sector * TaggedDisk::kSector,
                                 IoVector(content.data(), content.size()));
}

uint32_t VersionOf(MemoryChain& chain, uint64_t sector) {
  std::vector<uint8_t> content(TaggedDisk::kSector);
  chain.images[0]->content.Read(sector * TaggedDisk::kSector,
                                IoVector(content.data(), content.size()));
  uint32_t version = 0;
  std::memcpy(&version, content.data() + 8, sizeof(version));
  return version;
}

TEST(TaggedDisk, BesideAWriteTheOldAndTheNewAreRightAndAfterItOnlyTheNew) {
  uint64_t ended_before_effect = 0;
  uint64_t ended_after_effect = 0;
  ExploreDisk([&](MemoryChain& chain, TaggedDisk& disk) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(disk.CoWrite(chain.guest, 3, 1));
    TaskScope both("both");
    bool is_over = false;
    both.Spawn("write", [&]() MILLRACE_MAY_SUSPEND {
      const absl::Status status = disk.CoWrite(chain.guest, 3, 1);
      is_over = true;
      return status;
    });
    both.Spawn("read", [&]() MILLRACE_MAY_SUSPEND {
      const absl::Status status = disk.CoVerify(chain.guest, 3, 1);
      if (!is_over) ++(VersionOf(chain, 3) == 1 ? ended_before_effect : ended_after_effect);
      return status;
    });
    MILLRACE_RETURN_IF_ERROR(both.CoJoin());
    EXPECT_EQ(disk.versions()[3], 2u);
    MILLRACE_RETURN_IF_ERROR(disk.CoVerify(chain.guest, 3, 1));
    PutBack(chain, 3, 1);
    EXPECT_EQ(disk.CoVerify(chain.guest, 3, 1).code(), absl::StatusCode::kDataLoss);
    return absl::OkStatus();
  });
  EXPECT_GT(ended_before_effect, 0u);
  EXPECT_GT(ended_after_effect, 0u);
}

TEST(TaggedDisk, OfWritesThatMeetEachMayBeTheLastUntilTheNext) {
  uint64_t meetings = 0;
  ExploreDisk([&](MemoryChain& chain, TaggedDisk& disk) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(disk.CoWrite(chain.guest, 3, 1));
    TaskScope both("both");
    int in_flight = 0;
    bool have_met = false;
    for (int i = 0; i < 2; ++i) {
      both.Spawn("write", [&]() MILLRACE_MAY_SUSPEND {
        have_met |= ++in_flight > 1;
        const absl::Status status = disk.CoWrite(chain.guest, 3, 1);
        --in_flight;
        return status;
      });
    }
    MILLRACE_RETURN_IF_ERROR(both.CoJoin());
    meetings += have_met ? 1 : 0;
    const uint32_t last = disk.versions()[3];
    for (const uint32_t version : {1u, 2u, 3u}) {
      PutBack(chain, 3, version);
      const bool may_be_there = version == last || (have_met && version > 1);
      EXPECT_EQ(disk.CoVerify(chain.guest, 3, 1).ok(), may_be_there) << version;
    }
    MILLRACE_RETURN_IF_ERROR(disk.CoWrite(chain.guest, 3, 1));
    for (const uint32_t version : {4u, 3u, 2u}) {
      PutBack(chain, 3, version);
      EXPECT_EQ(disk.CoVerify(chain.guest, 3, 1).ok(), version == 4) << version;
    }
    return absl::OkStatus();
  });
  EXPECT_GT(meetings, 0u);
}

}  // namespace
}  // namespace millrace::chain_story_test
