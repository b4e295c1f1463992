// O6: counters that the harness keeps (tests/support/shadow_counters.h), those of drained sections
// among them: whoever drains counts his own. A request that the graph lets go of too early is found
// so, and not by the graph's own invariants.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "examples/scenario_kit/tagged_disk.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/invariant_checker.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/node.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/shadow_counters.h"
#include "tests/support/simulation.h"

namespace millrace::shadow_counters_test {
namespace {

// What the harness knows of one node.
struct Shadow {
  Shadow(Graph& graph, std::string filter_name) : name(std::move(filter_name)), counters(graph) {}

  const std::string name;
  NodeId node{};
  ShadowCounters counters;
  int sections = 0;  // granted, that cover it
};

// "guest -> [high] -> n1 -> [low] -> n0", guests, and somebody who drains.
class ShadowedWorld final : public InvariantChecker {
 public:
  ShadowedWorld(Engine& engine, uint64_t seed) : graph_(engine), random_(seed, "world") {
    engine.scheduler().AddInvariantChecker(this);
  }
  ~ShadowedWorld() { graph_.engine().scheduler().RemoveInvariantChecker(this); }

  absl::Status CheckInvariants() override {
    for (Shadow* shadow : {&high_, &low_}) {
      MILLRACE_RETURN_IF_ERROR(shadow->counters.CheckInvariants());
      const int calls = shadow->counters.calls().now;
      if (shadow->sections > 0 && calls > 0) {
        return absl::InternalError(
            StrCat("O6: ", calls, " calls are in '", shadow->name, "', which is drained"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(graph_, {.layers = 2}, false));
    TaggedDisk disk(16);
    FillLayers(chain, disk);  // so that reads of either layer take steps
    MILLRACE_RETURN_IF_ERROR(CoInsert(high_, chain.nodes[1]));
    MILLRACE_RETURN_IF_ERROR(CoInsert(low_, chain.nodes[0]));
    TaskScope scope("users");
    for (int i = 0; i < 3; ++i) {
      scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return CoUse(chain.guest); });
    }
    scope.Spawn("drainer", [&]() MILLRACE_MAY_SUSPEND { return CoDrain(); });
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(high_.counters.calls().now + low_.counters.calls().now, 0);
    chain.guest.CoDetach();
    graph_.CoClose();
    return absl::OkStatus();
  }
  int calls_most() const {
    return std::min(high_.counters.calls().most, low_.counters.calls().most);
  }

 private:
  absl::Status CoInsert(Shadow& shadow, NodeId below) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained, DrainedSection::CoBegin(graph_, {below}, {}));
    {
      GraphTransaction change(graph_);
      change.Show(drained);
      shadow.node = change.AddNode(shadow.counters.MakeFilter(), {.name = shadow.name});
      change.InsertFilter(shadow.node, below);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    return CoOpenNode(graph_, shadow.node);
  }

  absl::Status CoUse(Attachment& guest) MILLRACE_MAY_SUSPEND {
    std::string data(1024, 'x');
    const IoVector memory(data.data(), data.size());
    for (int i = 0; i < 15; ++i) {
      const ByteRange range(random_.Below(15) * 512, 1024);
      switch (random_.Below(6)) {
        case 0:
          MILLRACE_RETURN_IF_ERROR(guest.CoWrite(range.offset, memory));
          break;
        case 1:
          MILLRACE_RETURN_IF_ERROR(guest.CoWriteZeroes(range));
          break;
        case 2:
          MILLRACE_RETURN_IF_ERROR(guest.CoFlush());
          break;
        default:
          MILLRACE_RETURN_IF_ERROR(guest.CoRead(range.offset, memory));
      }
      Look();
    }
    return absl::OkStatus();
  }

  // What lies above the lower filter is at rest with it.
  absl::Status CoDrain() MILLRACE_MAY_SUSPEND {
    for (int round = 0; round < 8; ++round) {
      const bool is_low = random_.OneIn(2);
      MILLRACE_ASSIGN_OR_RETURN(
          DrainedSection drained,
          DrainedSection::CoBegin(graph_, {is_low ? low_.node : high_.node}, {}));
      ++high_.sections;
      low_.sections += is_low ? 1 : 0;
      for (uint64_t i = random_.Below(4); i > 0; --i) {
        Look();
        CoYield();
      }
      Look();
      --high_.sections;
      low_.sections -= is_low ? 1 : 0;
      drained.End();
      for (uint64_t i = random_.Below(10); i > 0; --i) CoYield();
    }
    return absl::OkStatus();
  }

  void Look() {
    const absl::Status status = CheckInvariants();
    EXPECT_TRUE(status.ok()) << status;
  }

  Graph graph_;
  RandomStream random_;
  Shadow high_{graph_, "high"};
  Shadow low_{graph_, "low"};
};

TEST(ShadowCounters, TheGraphKnowsOfEveryCallInADriverAndOfNoneWhereItIsDrained) {
  int calls_most = 0;
  Explore(
      [&](Engine& engine, uint64_t seed) {
        ShadowedWorld world(engine, seed);
        const absl::Status status =
            engine.Run([&]() MILLRACE_MAY_SUSPEND { return world.CoRun(); });
        EXPECT_TRUE(status.ok()) << status;
        calls_most = std::max(calls_most, world.calls_most());
      },
      /*cost=*/4);
  EXPECT_GT(calls_most, 1) << "several at a time, or little would be shown";
}

}  // namespace
}  // namespace millrace::shadow_counters_test
