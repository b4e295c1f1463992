// What an edit, a lease and a drain cost depends on what they touch and not on how large the graph
// around it is: counted in nodes looked at (Counter::kNodesVisited).
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/drivers/memory_overlay.h"
#include "millrace/graph/freeze.h"
#include "millrace/graph/graph_view.h"
#include "tests/support/counting_observer.h"
#include "tests/support/graph_fixture.h"

namespace millrace::cost_test {
namespace {

constexpr size_t kChainNodes = 5;

// Chains of five overlays, each with a guest.
class CostWorld {
 public:
  explicit CostWorld(size_t nodes) {
    engine_ = *Engine::Create({.observer = &counts_, .simulated = true});
    graph_ = std::make_unique<Graph>(*engine_);
    HostScope host;
    while (graph_->node_count() < nodes) AddChain();
  }

  void AddChain() MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    std::vector<NodeId> nodes;
    for (size_t i = 0; i < kChainNodes; ++i) {
      nodes.push_back(AddOverlay(change, StrCat("n", graph_->node_count() + i)));
      if (i > 0) change.SetBacking(nodes[i], nodes[i - 1], std::nullopt);
    }
    guests_.push_back(change.Attach(nodes.back(), {.holder = MakeHolder("guest", "device")}));
    const absl::StatusOr<AppliedEdit> edit = change.Commit();
    EXPECT_TRUE(edit.ok()) << edit.status();
    if (bottom_ == NodeId()) {
      bottom_ = nodes.front();
      top_ = nodes.back();
    }
  }

  struct Cost {
    uint64_t lease = 0;
    uint64_t drain = 0;
    uint64_t edit = 0;
  };

  // Of a lease on the first chain, a drain of its middle, and a filter put in there.
  Cost Measure() {
    Cost cost;
    const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      absl::Status done = CoWork(&cost);
      for (Attachment& guest : guests_) guest.CoDetach();
      graph_->CoClose();
      return done;
    });
    EXPECT_TRUE(status.ok()) << status;
    return cost;
  }

 private:
  uint64_t Visited() {
    const uint64_t visited = counts_.Of(Counter::kNodesVisited);
    counts_.Clear();
    return visited;
  }

  FrozenChain Lease() MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    absl::StatusOr<FrozenChain> lease = FrozenChain::Freeze(view, top_, bottom_, me_);
    EXPECT_TRUE(lease.ok()) << lease.status();
    return *std::move(lease);
  }

  absl::Status PutFilter(const DrainedSection& drained) MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    change.Show(drained).OnBehalfOf(me_);
    const NodeId filter = change.AddNode(std::make_unique<PassFilter>(), {.name = "filter"});
    change.InsertFilter(filter, bottom_);
    return change.Commit().status();
  }

  absl::Status CoWork(Cost* cost) MILLRACE_MAY_SUSPEND {
    Visited();
    {
      const FrozenChain lease = Lease();
      cost->lease = Visited();
    }
    MILLRACE_ASSIGN_OR_RETURN(const DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {bottom_}, {me_}));
    cost->drain = Visited();
    MILLRACE_RETURN_IF_ERROR(PutFilter(drained));
    cost->edit = Visited();
    return absl::OkStatus();
  }

  CountingObserver counts_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Graph> graph_;
  std::vector<Attachment> guests_;
  NodeId top_;
  NodeId bottom_;
  const HolderRef me_ = MakeHolder("me", "test");
};

TEST(GraphCost, OfALeaseADrainAndAnEditIsTheSameInALargeGraph) {
  const CostWorld::Cost small = CostWorld(10).Measure();
  EXPECT_EQ(small.lease, kChainNodes - 1) << "each node above the last";
  EXPECT_EQ(small.drain, kChainNodes) << "the node and what stands on it";
  EXPECT_GT(small.edit, 0u);
  EXPECT_LT(small.edit, 20 * kChainNodes);
  for (size_t nodes : {1'000u, 10'000u}) {
    const CostWorld::Cost large = CostWorld(nodes).Measure();
    EXPECT_EQ(large.lease, small.lease) << nodes;
    EXPECT_EQ(large.drain, small.drain) << nodes;
    EXPECT_EQ(large.edit, small.edit) << nodes;
  }
}

}  // namespace
}  // namespace millrace::cost_test
