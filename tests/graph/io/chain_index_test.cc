// Reads through a long chain that know which layer decides what: they show what the chain shows,
// whatever has changed since they learnt it, and ask no layer in between.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/io/chain_index.h"
#include "millrace/graph/open_node.h"
#include "tests/support/job_fixture.h"
#include "tests/support/seeds.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

constexpr uint64_t kCluster = 512;
constexpr uint64_t kClusters = 64;
constexpr uint64_t kBytes = kClusters * kCluster;
constexpr size_t kLayers = 14;

// A chain whose layers were filled at random, and what each of their clusters holds: 0 nothing.
class DeepChain {
 public:
  explicit DeepChain(Engine& engine) : world_(engine) {}

  absl::Status CoMake(uint64_t seed) MILLRACE_MAY_SUSPEND {
    MemoryChainOptions options;
    options.layers = kLayers;
    options.bytes = kBytes;
    options.cluster_bytes = kCluster;
    options.map_takes_step = true;
    MILLRACE_ASSIGN_OR_RETURN(chain_, CoMakeMemoryChain(world_.graph(), options, false));
    content_.assign(kLayers, std::vector<uint8_t>(kClusters, 0));
    is_gone_.assign(kLayers, false);
    RandomStream random(seed, "deep chain");
    for (size_t layer = 0; layer + 1 < kLayers; ++layer) {
      for (int i = 0; i < 5; ++i) {
        const uint64_t cluster = random.Below(kClusters);
        const auto value = static_cast<uint8_t>(1 + random.Below(250));
        std::vector<uint8_t> data(kCluster, value);
        MemoryOverlayImage& image = *chain_.images[layer];
        image.content.Write(cluster * kCluster, IoVector(data.data(), data.size()));
        image.map[cluster] = MemoryOverlayImage::Cluster::kData;
        content_[layer][cluster] = value;
      }
    }
    return absl::OkStatus();
  }

  // Somebody writes into a layer in the middle where it has nothing, which the chain then shows.
  absl::Status CoFill(size_t layer, uint64_t cluster, uint8_t value) MILLRACE_MAY_SUSPEND {
    AttachmentOptions options;
    options.holder = chain_.monitor_holder;
    options.permissions = {kWriteUnchanged, kAllPermissions};
    MILLRACE_ASSIGN_OR_RETURN(Attachment filler,
                              Attachment::Attach(world_.graph(), chain_.nodes[layer], options));
    std::vector<uint8_t> data(kCluster, value);
    const absl::Status status = filler.CoWrite(
        cluster * kCluster, IoVector(data.data(), data.size()), {.only_if_unallocated = true});
    filler.CoDetach();
    if (content_[layer][cluster] == 0) content_[layer][cluster] = value;
    return status;
  }
  absl::Status CoWrite(uint64_t cluster, uint8_t value) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> data(kCluster, value);
    content_.back()[cluster] = value;
    return chain_.guest.CoWrite(cluster * kCluster, IoVector(data.data(), data.size()));
  }
  absl::StatusOr<std::vector<uint8_t>> CoRead(uint64_t offset, uint64_t bytes)
      MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> seen(bytes);
    MILLRACE_RETURN_IF_ERROR(chain_.guest.CoRead(offset, IoVector(seen.data(), seen.size())));
    return seen;
  }
  // A layer in the middle goes away, as at the end of a job or by a reopen.
  absl::Status CoDrop(size_t layer) MILLRACE_MAY_SUSPEND {
    const size_t above = NextInChain(layer);
    const size_t below = PreviousInChain(layer);
    MILLRACE_ASSIGN_OR_RETURN(
        DrainedSection drained,
        DrainedSection::CoBegin(world_.graph(), {chain_.nodes[above]}, {chain_.monitor_holder}));
    const absl::Status status = Commit(drained, [&](GraphTransaction& change) {
      change.SetBacking(chain_.nodes[above], chain_.nodes[below], std::nullopt);
    });
    if (status.ok()) is_gone_[layer] = true;
    return status;
  }
  // A new, empty layer on top.
  absl::Status CoSnapshot() MILLRACE_MAY_SUSPEND {
    MemoryOverlayOptions driver;
    driver.bytes = kBytes;
    driver.cluster_bytes = kCluster;
    const NodeId old_top = chain_.nodes.back();
    NodeId added;
    Attachment hold;
    {
      GraphTransaction change(world_.graph());
      added = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), {});
      AttachmentOptions keep;
      keep.holder = chain_.monitor_holder;
      keep.stays_at_node = true;
      hold = change.Attach(added, keep);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(world_.graph(), added));
    MILLRACE_ASSIGN_OR_RETURN(
        DrainedSection drained,
        DrainedSection::CoBegin(world_.graph(), {old_top}, {chain_.monitor_holder}));
    MILLRACE_RETURN_IF_ERROR(Commit(drained, [&](GraphTransaction& change) {
      change.SetBacking(added, old_top, std::nullopt);
      change.ReplaceNode(old_top, added);
    }));
    drained.End();
    hold.CoDetach();
    chain_.nodes.push_back(added);
    content_.emplace_back(kClusters, 0);
    is_gone_.push_back(false);
    return absl::OkStatus();
  }
  // The guest asks for everything, whatever it may see.
  absl::Status CoScan() MILLRACE_MAY_SUSPEND {
    for (uint64_t at = 0; at < kBytes; at += kCluster) {
      MILLRACE_RETURN_IF_ERROR(CoRead(at, 8).status());
    }
    return absl::OkStatus();
  }
  // The whole disk is what the layers make of it, however it is cut into reads.
  absl::Status CoVerify(RandomStream& random) MILLRACE_MAY_SUSPEND {
    for (uint64_t at = 0; at < kBytes;) {
      const uint64_t bytes = std::min(1 + random.Below(5 * kCluster), kBytes - at);
      MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> seen, CoRead(at, bytes));
      for (uint64_t i = 0; i < bytes; ++i) {
        const uint64_t cluster = (at + i) / kCluster;
        if (seen[i] != Shown(cluster)) {
          return absl::DataLossError(StrCat("cluster ", cluster, " reads as ", int{seen[i]},
                                            ", expected ", int{Shown(cluster)}));
        }
      }
      at += bytes;
    }
    return absl::OkStatus();
  }
  uint8_t Shown(uint64_t cluster) const {
    for (size_t layer = content_.size(); layer-- > 0;) {
      if (!is_gone_[layer] && content_[layer][cluster] != 0) return content_[layer][cluster];
    }
    return 0;
  }
  // A layer in the middle that is still there.
  size_t AnyInTheMiddle(RandomStream& random) const {
    for (;;) {
      const size_t layer = 1 + random.Below(content_.size() - 2);
      if (!is_gone_[layer]) return layer;
    }
  }
  size_t layers() const {
    return static_cast<size_t>(std::count(is_gone_.begin(), is_gone_.end(), false));
  }

  MemoryChain& chain() { return chain_; }
  void CoClose() MILLRACE_MAY_SUSPEND { world_.CoClose(chain_); }

 private:
  size_t NextInChain(size_t layer) const {
    do ++layer;
    while (is_gone_[layer]);
    return layer;
  }
  size_t PreviousInChain(size_t layer) const {
    do --layer;
    while (is_gone_[layer]);
    return layer;
  }
  template <typename Stage>
  absl::Status Commit(const DrainedSection& drained, Stage stage) MILLRACE_OPENS_VIEW {
    GraphTransaction change(world_.graph());
    change.OnBehalfOf(chain_.monitor_holder).Show(drained);
    stage(change);
    return change.Commit().status();
  }

  JobWorld world_;
  MemoryChain chain_;
  std::vector<std::vector<uint8_t>> content_;  // of each layer, bottom first
  std::vector<bool> is_gone_;
};

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

TEST(ChainIndex, ReadsShowWhatTheChainShowsWhateverHasChangedMeanwhile) {
  for (const uint64_t seed : Seeds(/*cost=*/20)) {
    const std::unique_ptr<Engine> engine = SimulatedEngine();
    const Story story = [](DeepChain& chain, RandomStream& random)
                            MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(chain.CoVerify(random));
      for (int round = 0; round < 12; ++round) {
        const uint64_t cluster = random.Below(kClusters);
        const auto value = static_cast<uint8_t>(1 + random.Below(250));
        if (random.OneIn(2)) {
          MILLRACE_RETURN_IF_ERROR(chain.CoWrite(cluster, value));
        } else {
          const size_t layer = 1 + random.Below(kLayers - 2);
          MILLRACE_RETURN_IF_ERROR(chain.CoFill(layer, cluster, value));
        }
        MILLRACE_RETURN_IF_ERROR(chain.CoVerify(random));
      }
      return absl::OkStatus();
    };
    Tell(seed, story, *engine);
    if (testing::Test::HasFailure()) return;
  }
}

// Layers go away, a snapshot comes on top, layers are filled, the guest writes; meanwhile the index
// is being used and learnt.
absl::Status CoEditSomething(DeepChain& chain, RandomStream& random) MILLRACE_MAY_SUSPEND {
  switch (random.Below(4)) {
    case 0:
      if (chain.layers() <= ChainIndex::kLayersMin + 2) return chain.CoSnapshot();
      return chain.CoDrop(chain.AnyInTheMiddle(random));
    case 1:
      return chain.CoSnapshot();
    case 2:
      return chain.CoFill(chain.AnyInTheMiddle(random), random.Below(kClusters), 251);
    default:
      return chain.CoWrite(random.Below(kClusters), 252);
  }
}

TEST(ChainIndex, EditsOfTheChainMakeItsAnswersVoid) {
  Explore(
      [](Engine& engine, uint64_t seed) {
        const Story story = [](DeepChain& chain, RandomStream& random)
                                MILLRACE_MAY_SUSPEND -> absl::Status {
          for (int round = 0; round < 8; ++round) {
            TaskScope scope("reads");
            scope.Spawn("reads", [&]() MILLRACE_MAY_SUSPEND { return chain.CoScan(); });
            absl::Status status = CoEditSomething(chain, random);
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
          MILLRACE_RETURN_IF_ERROR(chain.CoFill(kLayers - 2, i, 7));
          const uint64_t before = engine->scheduler().steps();
          MILLRACE_RETURN_IF_ERROR(chain.CoRead((kClusters - 1) * kCluster, 16).status());
          costly += engine->scheduler().steps() - before > 2 * kLayers ? 1 : 0;
        }
        EXPECT_LE(costly, 8u);
        return absl::OkStatus();
      },
      *engine);
}

}  // namespace
}  // namespace millrace
