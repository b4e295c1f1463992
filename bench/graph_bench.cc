// Does the cost of an edit, a lease or a drain depend on how large the graph around it is? (It must
// not: the times at 10, 1,000 and 10,000 nodes are to be equal.) And what does a node weigh?
//
// The graph is many chains of ten memory overlays, each with a guest; the work is done on one.
#include <malloc.h>

#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "millrace/engine/base/check.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/memory_overlay.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"

namespace millrace {
namespace {

constexpr size_t kChainNodes = 10;

class PassFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "pass"; }
};

struct World {
  World() : engine(*Engine::Create({.io = IoBackendKind::kThreads})), graph(*engine) {}
  ~World() {
    Run([&]() MILLRACE_MAY_SUSPEND {
      guests.clear();
      graph.CoClose();
    });
  }

  template <typename Body>
  void Run(Body&& body) {
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      body();
      return absl::OkStatus();
    });
    MILLRACE_CHECK(status.ok(), status.ToString());
  }

  void CoGrow(size_t nodes) MILLRACE_MAY_SUSPEND {
    while (graph.node_count() < nodes) {
      const std::vector<NodeId> chain = AddChain();
      for (NodeId node : chain) MILLRACE_CHECK(CoOpenNode(graph, node).ok(), "open");
      if (top == NodeId()) {
        top = chain.back();
        bottom = chain.front();
      }
    }
  }

  std::vector<NodeId> AddChain() MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph);
    std::vector<NodeId> chain;
    for (size_t i = 0; i < kChainNodes; ++i) {
      const NodeId node = change.AddNode(MakeMemoryOverlayDriver({.bytes = 4096}), {});
      if (i > 0) change.SetBacking(node, chain.back(), std::nullopt);
      chain.push_back(node);
    }
    AttachmentOptions options;
    options.holder = MakeHolder("guest", "block device");
    guests.push_back(change.Attach(chain.back(), options));
    MILLRACE_CHECK(change.Commit().ok(), "add a chain");
    return chain;
  }

  NodeId InsertPass(const DrainedSection& drained) MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph);
    const NodeId filter = change.AddNode(std::make_unique<PassFilter>(), {});
    change.Show(drained).InsertFilter(filter, bottom);
    MILLRACE_CHECK(change.Commit().ok(), "insert");
    return filter;
  }
  void RemovePass(const DrainedSection& drained, NodeId filter) MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph);
    change.Show(drained).RemoveFilter(filter);
    MILLRACE_CHECK(change.Commit().ok(), "remove");
  }
  void FreezeAndRelease() MILLRACE_OPENS_VIEW {
    GraphView view(graph);
    MILLRACE_CHECK(FrozenChain::Freeze(view, top, bottom, holder).ok(), "freeze");
  }

  std::unique_ptr<Engine> engine;
  Graph graph;
  HolderRef holder = MakeHolder("bench", "test");
  std::vector<Attachment> guests;
  NodeId top;
  NodeId bottom;
};

void InsertAndRemoveFilter(benchmark::State& state) {
  World world;
  world.Run([&]() MILLRACE_MAY_SUSPEND {
    world.CoGrow(static_cast<size_t>(state.range(0)));
    absl::StatusOr<DrainedSection> drained =
        DrainedSection::CoBegin(world.graph, {world.bottom}, {world.holder});
    for (auto _ : state) {
      world.RemovePass(*drained, world.InsertPass(*drained));
      world.graph.CoWaitForReaper();
    }
  });
}

void Freeze(benchmark::State& state) {
  World world;
  world.Run([&]() MILLRACE_MAY_SUSPEND {
    world.CoGrow(static_cast<size_t>(state.range(0)));
    for (auto _ : state) world.FreezeAndRelease();
  });
}

void Drain(benchmark::State& state) {
  World world;
  world.Run([&]() MILLRACE_MAY_SUSPEND {
    world.CoGrow(static_cast<size_t>(state.range(0)));
    for (auto _ : state) {
      benchmark::DoNotOptimize(
          DrainedSection::CoBegin(world.graph, {world.bottom}, {world.holder}).ok());
    }
  });
}

void AddAndDropChain(benchmark::State& state) {
  World world;
  world.Run([&]() MILLRACE_MAY_SUSPEND {
    world.CoGrow(static_cast<size_t>(state.range(0)));
    for (auto _ : state) {
      world.AddChain();
      world.guests.pop_back();
      world.graph.CoWaitForReaper();
    }
  });
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kChainNodes));
}

// A node of the memory driver with one user, as the allocator counts it. Floor 16 KB, goal 2 KB.
void NodeMemory(benchmark::State& state) {
  constexpr size_t kNodes = 1000;
  double bytes = 0;
  for (auto _ : state) {
    World world;
    const size_t before = mallinfo2().uordblks;
    world.Run([&]() MILLRACE_MAY_SUSPEND {
      for (size_t i = 0; i < kNodes; ++i) {
        NodeId node;
        {
          GraphTransaction change(world.graph);
          node = change.AddNode(MakeMemoryDriver({.bytes = 4096}), {});
          world.guests.push_back(change.Attach(node, {.holder = world.holder}));
          MILLRACE_CHECK(change.Commit().ok(), "add");
        }
        MILLRACE_CHECK(CoOpenNode(world.graph, node).ok(), "open");
      }
      bytes = static_cast<double>(mallinfo2().uordblks - before) / kNodes;
    });
  }
  state.counters["bytes_per_node"] = bytes;
  state.counters["of_goal_2KB"] = bytes / 2048;
}

BENCHMARK(InsertAndRemoveFilter)->Arg(10)->Arg(1000)->Arg(10000);
BENCHMARK(Freeze)->Arg(10)->Arg(1000)->Arg(10000);
BENCHMARK(Drain)->Arg(10)->Arg(1000)->Arg(10000);
BENCHMARK(AddAndDropChain)->Arg(10)->Arg(1000)->Arg(10000);
BENCHMARK(NodeMemory)->Iterations(3);

}  // namespace
}  // namespace millrace
