// The graph's counters: requests of guests, drains, leases, edits.
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/freeze.h"
#include "millrace/graph/graph_view.h"
#include "tests/support/counting_observer.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::counters_test {
namespace {

class GraphCounters : public GraphFixture {
 protected:
  GraphCounters() {
    graph_.reset();
    engine_ = SimulatedEngine({.observer = &counts_});
    graph_ = std::make_unique<Graph>(*engine_);
  }
  ~GraphCounters() override {  // before the observer
    graph_.reset();
    engine_.reset();
  }

  CountingObserver counts_;
  const HolderRef me_ = MakeHolder("me", "test");
};

TEST_F(GraphCounters, EditsAreTheRevisionsAndRefusedOnesAreNotCounted) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    EXPECT_EQ(counts_.Of(Counter::kGraphEdits), graph_->revision());
    EXPECT_GT(graph_->revision(), 0u);
    {
      GraphTransaction change(*graph_);
      change.RemoveChild(chain.top(), Role::kBacking);  // not drained: refused, G6
      EXPECT_FALSE(change.Commit().ok());
    }
    EXPECT_EQ(counts_.Of(Counter::kGraphEdits), graph_->revision());
    chain.guest.CoDetach();
    EXPECT_EQ(counts_.Of(Counter::kGraphEdits), graph_->revision());
    return absl::OkStatus();
  });
}

TEST_F(GraphCounters, ADrainIsBegunAndThenGranted) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    counts_.Clear();
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection held,
                              DrainedSection::CoBegin(*graph_, {chain.top()}, {me_}));
    EXPECT_EQ(counts_.Of(Counter::kDrainsGranted), 1u);
    TaskScope scope("second");
    scope.Spawn("second", [&]() MILLRACE_MAY_SUSPEND {
      return DrainedSection::CoBegin(*graph_, {chain.top()}, {MakeHolder("other", "test")})
          .status();
    });
    CoYield();
    EXPECT_EQ(counts_.Of(Counter::kDrainsBegun), 2u);
    EXPECT_EQ(counts_.Of(Counter::kDrainsGranted), 1u) << "the first has not ended";
    held.End();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(counts_.Of(Counter::kDrainsGranted), 2u);
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(GraphCounters, ALeaseCountsOnceAndARefusedOneDoesNot) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    {
      GraphView view(*graph_);
      const NodeId top = chain.top();
      const absl::StatusOr<FrozenChain> lease = FrozenChain::Freeze(view, top, chain.nodes[0], me_);
      EXPECT_TRUE(lease.ok()) << lease.status();
      EXPECT_FALSE(FrozenChain::Freeze(view, top, chain.nodes[0], me_).ok());
    }
    EXPECT_EQ(counts_.Of(Counter::kLeases), 1u);
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(GraphCounters, GuestsRequestsCountAndJobsDoNot) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    AttachmentOptions options = Keep(me_);
    options.permissions = {kConsistentRead, kAllPermissions};
    options.queues_requests = false;
    MILLRACE_ASSIGN_OR_RETURN(Attachment job, Attachment::Attach(*graph_, chain.top(), options));
    const uint64_t before = graph_->guest_requests();
    counts_.Clear();
    std::string data(512, '?');
    for (int i = 0; i < 3; ++i) {
      MILLRACE_RETURN_IF_ERROR(chain.guest.CoRead(0, IoVector(data.data(), data.size())));
    }
    MILLRACE_RETURN_IF_ERROR(job.CoRead(0, IoVector(data.data(), data.size())));
    EXPECT_EQ(counts_.Of(Counter::kGuestRequests), 3u);
    EXPECT_EQ(graph_->guest_requests() - before, 3u);
    job.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::counters_test
