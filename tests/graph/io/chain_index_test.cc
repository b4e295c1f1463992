// Reads through a long chain that know which layer decides what: they show what the chain shows,
// whatever has changed since they learnt it, and ask no layer in between.
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/io/chain_index.h"
#include "tests/graph/io/deep_chain.h"
#include "tests/graph/io/images.h"
#include "tests/support/seeds.h"
#include "tests/support/simulation.h"

namespace millrace::chain_index_test {
namespace {

constexpr uint64_t kCluster = DeepChain::kCluster;
constexpr uint64_t kClusters = DeepChain::kClusters;

using Story = std::function<absl::Status(DeepChain& chain, RandomStream& random)>;

void Tell(uint64_t seed, const Story& story, Engine& engine) {
  DeepChain chain(engine);
  const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    RandomStream random(seed, "chain index");
    MILLRACE_RETURN_IF_ERROR(chain.CoMake(seed));
    absl::Status result = story(chain, random);
    chain.CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status << ", seed " << seed;
}

enum class Change : uint8_t {
  kWrite,
  kFill,
  kZero,
  kDiscard,
  kResize,
  kResizeTheDisk,
  kReopen,
  kDrop,
  kExchange,
  kSnapshot,
};
constexpr Change kChanges[] = {
    Change::kWrite,         Change::kFill,   Change::kZero, Change::kDiscard,  Change::kResize,
    Change::kResizeTheDisk, Change::kReopen, Change::kDrop, Change::kExchange, Change::kSnapshot};

std::string NameOf(Change change) {
  static constexpr const char* kNames[] = {
      "Write",           "Fill",   "Zero", "Discard",  "Resize",
      "ResizeOfTheDisk", "Reopen", "Drop", "Exchange", "Snapshot"};
  return kNames[static_cast<size_t>(change)];
}

// Of three exchanges the third image stands where the first has stood, in memory as well.
absl::Status CoExchangeThrice(DeepChain& chain, size_t layer, uint64_t cluster,
                              RandomStream& random) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(chain.CoExchange(layer, cluster, 253));
  MILLRACE_RETURN_IF_ERROR(chain.CoVerify(random));
  MILLRACE_RETURN_IF_ERROR(chain.CoExchange(layer, cluster, 254));
  return chain.CoExchange(layer, (cluster + 1) % kClusters, 255);
}

// The guest writes and resizes the disk; somebody else does the rest, to a layer below it.
absl::Status CoChange(DeepChain& chain, Change change, size_t layer, uint64_t cluster,
                      RandomStream& random) MILLRACE_MAY_SUSPEND {
  switch (change) {
    case Change::kWrite:
      return chain.CoWrite(cluster, 251);
    case Change::kFill:
      return chain.CoFill(layer, cluster, 252);
    case Change::kZero:
      return chain.CoZero(layer, cluster);
    case Change::kDiscard:
      return chain.CoDiscard(layer, cluster);
    case Change::kResize:
      return chain.CoResize(layer, 1 + cluster);
    case Change::kResizeTheDisk:
      return chain.CoResize(chain.top(), 1 + cluster);
    case Change::kReopen:
      return chain.CoReopen(layer);
    case Change::kDrop:
      if (chain.layers() <= ChainIndex::kLayersMin + 2) return chain.CoSnapshot();
      return chain.CoDrop(layer);
    case Change::kExchange:
      return CoExchangeThrice(chain, layer, cluster, random);
    case Change::kSnapshot:
      return chain.CoSnapshot();
  }
  return absl::OkStatus();
}

class ChainIndexAfterA : public testing::TestWithParam<Change> {};

// Everything has been learnt before each change. After some of them a layer further down is filled
// in the same place: what the change has hidden differs from what was there.
TEST_P(ChainIndexAfterA, ShowsWhatTheChainShows) {
  for (const uint64_t seed : Seeds(/*cost=*/40)) {
    const std::unique_ptr<Engine> engine = SimulatedEngine();
    const Story story = [](DeepChain& chain, RandomStream& random)
                            MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(chain.CoVerify(random));
      for (int round = 0; round < 12; ++round) {
        const size_t layer = chain.AnyInTheMiddle(random);
        const uint64_t cluster = random.Below(kClusters);
        MILLRACE_RETURN_IF_ERROR(CoChange(chain, GetParam(), layer, cluster, random));
        const size_t below = random.OneIn(2) ? 0 : chain.AnyBelow(random, layer);
        if (random.OneIn(2)) MILLRACE_RETURN_IF_ERROR(chain.CoFill(below, cluster, 252));
        MILLRACE_RETURN_IF_ERROR(chain.CoVerify(random));
      }
      return absl::OkStatus();
    };
    Tell(seed, story, *engine);
    if (testing::Test::HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Changes, ChainIndexAfterA, testing::ValuesIn(kChanges),
                         [](const auto& each) { return NameOf(each.param); });

TEST(ChainIndex, ForgetsALayerThatAClientHadReadOnlyForAWhile) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  const Story story = [](DeepChain& chain, RandomStream& random)
                          MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t cluster = 0; cluster < kClusters; cluster += 9) {
      MILLRACE_RETURN_IF_ERROR(chain.CoVerify(random));
      MILLRACE_RETURN_IF_ERROR(
          chain.CoReopenWhileOthersWrite(chain.AnyInTheMiddle(random), cluster, 251));
    }
    return chain.CoVerify(random);
  };
  Tell(/*seed=*/1, story, *engine);
}

// The index is used and learnt while the chain changes.
TEST(ChainIndex, ChangesOfTheChainMakeItsAnswersVoidUnderAnyOrder) {
  Explore(
      [](Engine& engine, uint64_t seed) {
        const Story story = [](DeepChain& chain, RandomStream& random)
                                MILLRACE_MAY_SUSPEND -> absl::Status {
          for (int round = 0; round < 8; ++round) {
            TaskScope scope("reads");
            scope.Spawn("reads", [&]() MILLRACE_MAY_SUSPEND { return chain.CoScan(); });
            absl::Status status =
                CoChange(chain, kChanges[random.Below(std::size(kChanges))],
                         chain.AnyInTheMiddle(random), random.Below(kClusters), random);
            status.Update(scope.CoJoin());
            status.Update(chain.CoVerify(random));
            MILLRACE_RETURN_IF_ERROR(status);
          }
          return absl::OkStatus();
        };
        Tell(seed, story, engine);
      },
      /*cost=*/20);
}

// It asks the layers one after the other, or some at once; what one of them has said may not be
// true any more when the last has answered.
TEST(ChainIndex, WhatChangesWhileItLearnsIsNotBelieved) {
  for (const uint64_t seed : Seeds(/*cost=*/20)) {
    const std::unique_ptr<Engine> engine = SimulatedEngine();
    const Story story = [](DeepChain& chain, RandomStream& random)
                            MILLRACE_MAY_SUSPEND -> absl::Status {
      for (int round = 0; round < 12; ++round) {
        TaskScope scope("learns");
        scope.Spawn("learns", [&]() MILLRACE_MAY_SUSPEND { return chain.CoRead(0, 8).status(); });
        for (uint64_t steps = random.Below(40); steps > 0; --steps) CoYield();
        absl::Status status =
            chain.CoFill(chain.AnyInTheMiddle(random), random.Below(kClusters), 252);
        status.Update(scope.CoJoin());
        status.Update(chain.CoVerify(random));
        MILLRACE_RETURN_IF_ERROR(status);
      }
      return absl::OkStatus();
    };
    Tell(seed, story, *engine);
    if (testing::Test::HasFailure()) return;
  }
}

// Looking into an image's map takes a step of the simulation here: layers that are asked show.
TEST(ChainIndex, ReadAsksTheTopAndTheLayerThatDecidesAndNobodyElse) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Tell(
      1,
      [&](DeepChain& chain, RandomStream& random) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(chain.CoVerify(random));
        for (uint64_t cluster = 0; cluster < kClusters; ++cluster) {
          const uint64_t before = engine->scheduler().steps();
          MILLRACE_RETURN_IF_ERROR(chain.CoRead(cluster * kCluster, 16).status());
          EXPECT_LE(engine->scheduler().steps() - before, 10u) << "cluster " << cluster;
        }
        return absl::OkStatus();
      },
      *engine);
}

// A layer that others read through keeps none: each of them would learn the same again.
TEST(ChainIndex, OnlyTheTopOfALongChainHasOne) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Tell(
      2,
      [](DeepChain& chain, RandomStream& random) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(chain.CoVerify(random));
        Node& top = *AttachmentAccess::Core(chain.chain().guest)->edge.child;
        EXPECT_NE(ChainIndex::Of(top), nullptr);
        Node* below = &top;
        while (Edge* const edge = below->FilteredOrBacking()) {
          below = edge->child;
          EXPECT_EQ(ChainIndex::Of(*below), nullptr) << below->name;
          EXPECT_EQ(below->chain_index, nullptr) << below->name;
        }
        return absl::OkStatus();
      },
      *engine);
}

// Somebody fills a layer before every read: what was learnt is void each time, and it is not learnt
// each time.
TEST(ChainIndex, StopsLearningWhereAnswersBecomeVoidAtOnce) {
  const std::unique_ptr<Engine> engine = SimulatedEngine();
  Tell(
      3,
      [&](DeepChain& chain, RandomStream&) MILLRACE_MAY_SUSPEND -> absl::Status {
        uint64_t costly = 0;
        for (uint64_t i = 0; i < 40; ++i) {
          MILLRACE_RETURN_IF_ERROR(chain.CoFill(DeepChain::kLayers - 2, i, 7));
          const uint64_t before = engine->scheduler().steps();
          MILLRACE_RETURN_IF_ERROR(chain.CoRead((kClusters - 1) * kCluster, 16).status());
          costly += engine->scheduler().steps() - before > 2 * DeepChain::kLayers ? 1 : 0;
        }
        EXPECT_LE(costly, 8u);
        return absl::OkStatus();
      },
      *engine);
}

// A layer below the one that decides cannot be read. Nobody who reads what lies above it notices,
// and not every read asks the whole chain.
TEST(ChainIndex, StopsLearningWhereALayerCannotBeAsked) {
  RunImages([](Images& images) MILLRACE_MAY_SUSPEND -> absl::Status {
    constexpr size_t kLayers = ChainIndex::kLayersMin + 2;
    MILLRACE_RETURN_IF_ERROR(images.CoMake(kLayers));
    for (const size_t layer : {size_t{1}, kLayers - 2}) {
      MILLRACE_RETURN_IF_ERROR(images.CoOpen(layer));
      MILLRACE_RETURN_IF_ERROR(images.CoFill(layer, static_cast<uint8_t>(layer)));
      images.CoClose();
    }
    MILLRACE_RETURN_IF_ERROR(images.CoOpen(kLayers - 1));
    const auto read = [&](int times) MILLRACE_MAY_SUSPEND -> absl::Status {
      for (int i = 0; i < times; ++i) {
        std::vector<uint8_t> seen(16);
        MILLRACE_RETURN_IF_ERROR(images.top.CoRead((kLayers - 2) * Images::kCluster,
                                                   IoVector(seen.data(), seen.size())));
        EXPECT_EQ(seen, std::vector<uint8_t>(16, kLayers - 2));
      }
      return absl::OkStatus();
    };
    const IoFailure broken = {
        .operation = SimulatedOperation::kRead, .path = "img-1", .is_persistent = true};
    images.io().Fail(broken);
    MILLRACE_RETURN_IF_ERROR(read(63));
    // Reads 1, 3, 6, 11, 20 and 37; tables are asked for ahead, and then again.
    EXPECT_EQ(images.io().failed(), 6u * 2);
    images.io().ClearFailures();
    MILLRACE_RETURN_IF_ERROR(read(63));
    images.io().Fail(broken);
    MILLRACE_RETURN_IF_ERROR(read(63));
    EXPECT_EQ(images.io().failed(), 6u * 2) << "learnt once it could be asked";
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::chain_index_test
