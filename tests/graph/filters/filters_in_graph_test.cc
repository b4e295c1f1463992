// The filters where they live: in a graph, with drained sections, over overlays.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "examples/scenario_kit/memory_chain.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/filters/copy_on_read.h"
#include "millrace/graph/filters/fault_injection.h"
#include "millrace/graph/filters/throttle.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "tests/support/simulation.h"

namespace millrace::filters_in_graph_test {
namespace {

class FiltersInGraph : public ::testing::Test {
 protected:
  template <typename Body>
  void Run(Body body) {
    const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      absl::Status result = body();
      graph_.CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
  }

  // Puts a filter above `below`, opened before anybody's I/O can reach it.
  absl::StatusOr<NodeId> CoInsert(std::unique_ptr<FilterDriver> driver, NodeId below)
      MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained, DrainedSection::CoBegin(graph_, {below}, {}));
    NodeId filter;
    {
      GraphTransaction change(graph_);
      change.Show(drained);
      filter = change.AddNode(std::move(driver), {.name = "filter"});
      change.InsertFilter(filter, below);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph_, filter));
    return filter;
  }
  absl::Status CoRemove(NodeId filter) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(graph_, {filter}, {}));
    GraphTransaction change(graph_);
    change.Show(drained).RemoveFilter(filter);
    return change.Commit().status();
  }

  std::unique_ptr<Engine> engine_ = SimulatedEngine();
  Graph graph_{*engine_};
};

// R33, R35: draining a node under a throttle does not wait for the throttle's clock, and the filter
// can be taken out while other members of its group wait.
TEST_F(FiltersInGraph, DrainingAThrottledNodeTakesNoTime) {
  auto group = std::make_shared<ThrottleGroup>(engine_->scheduler(), "g",
                                               ThrottleLimits{.bytes_total = {.average = 1}});
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId filter,
                              CoInsert(MakeThrottleDriver(group), chain.top()));
    TaskScope guests("guests");
    std::string data(512, 'x');
    for (uint64_t i = 0; i < 4; ++i) {
      guests.Spawn("guest", [&, i]() MILLRACE_MAY_SUSPEND {
        return chain.guest.CoWrite(i * 512, IoVector(data.data(), data.size()));
      });
    }
    while (group->waiting() < 3) CoYield();
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(graph_, {chain.top()}, {}));
      EXPECT_EQ(engine_->clock().Now(), 0);
      EXPECT_EQ(group->waiting(), 0u);
    }
    MILLRACE_RETURN_IF_ERROR(guests.CoJoin());
    EXPECT_EQ(engine_->clock().Now(), 0);
    TaskScope late("late");
    late.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
      return chain.guest.CoWrite(0, IoVector(data.data(), data.size()));
    });
    while (group->waiting() < 1) CoYield();
    EXPECT_TRUE(group->is_armed()) << "limits hold again after the drain";
    MILLRACE_RETURN_IF_ERROR(CoRemove(filter));
    MILLRACE_RETURN_IF_ERROR(late.CoJoin());
    EXPECT_EQ(engine_->clock().Now(), 0);
    EXPECT_EQ(chain.Shape(graph_), "n2 <- n1 <- n0");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(FiltersInGraph, CopyOnReadFillsTheOverlayDownToItsBottomOnly) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(graph_, {}, false));
    using Cluster = MemoryOverlayImage::Cluster;
    // n0 has cluster 0, n1 has cluster 1 and a zero cluster 2, n2 has cluster 3.
    const auto put = [](MemoryOverlayImage& image, uint64_t cluster, char value) {
      std::string data(512, value);
      image.map[cluster] = Cluster::kData;
      image.content.Write(cluster * 512, IoVector(data.data(), data.size()));
    };
    put(*chain.images[0], 0, 'a');
    put(*chain.images[1], 1, 'b');
    chain.images[1]->map[2] = Cluster::kZero;
    put(*chain.images[2], 3, 'd');
    MILLRACE_RETURN_IF_ERROR(
        CoInsert(MakeCopyOnReadDriver({.bottom = "n1"}), chain.top()).status());
    std::string read(5 * 512, '?');
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoRead(100, IoVector(read.data(), 4 * 512)));
    const std::string visible = std::string(412, 'a') + std::string(512, 'b') +
                                std::string(512, '\0') + std::string(512, 'd') +
                                std::string(100, '\0');
    EXPECT_EQ(read.substr(0, 4 * 512), visible);
    const auto& map = chain.images[2]->map;
    EXPECT_EQ(map[0], Cluster::kUnallocated) << "below the bottom";
    EXPECT_EQ(map[1], Cluster::kData);
    EXPECT_EQ(map[2], Cluster::kZero);
    EXPECT_EQ(map[3], Cluster::kData);
    EXPECT_EQ(map[4], Cluster::kUnallocated);
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoRead(100, IoVector(read.data(), 4 * 512)));
    EXPECT_EQ(read.substr(0, 4 * 512), visible) << "the copies show what was visible before";
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// A guest's write and a copy-on-read of the same cluster meet in every order: the write is never
// overwritten by what was there before.
TEST(FiltersInGraphExplored, CopyOnReadNeverOverwritesAGuestsWrite) {
  Explore(
      [](Engine& engine, uint64_t) {
        Graph graph(engine);
        const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(
              MemoryChain chain,
              CoMakeMemoryChain(graph, {.bytes = 4096, .cluster_bytes = 1024}, false));
          std::string old(4096, 'o');
          chain.images[1]->map.assign(4, MemoryOverlayImage::Cluster::kData);
          chain.images[1]->content.Write(0, IoVector(old.data(), old.size()));
          {
            MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                      DrainedSection::CoBegin(graph, {chain.top()}, {}));
            NodeId filter;
            {
              GraphTransaction change(graph);
              change.Show(drained);
              filter = change.AddNode(MakeCopyOnReadDriver({.bottom = "n0"}), {});
              change.InsertFilter(filter, chain.top());
              MILLRACE_RETURN_IF_ERROR(change.Commit().status());
            }
            MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, filter));
          }
          TaskScope scope("guests");
          std::string read(4096, '?');
          scope.Spawn("reader", [&]() MILLRACE_MAY_SUSPEND {
            return chain.guest.CoRead(0, IoVector(read.data(), read.size()));
          });
          std::string data(512, 'N');
          for (uint64_t offset : {512u, 2048u}) {
            scope.Spawn("writer", [&, offset]() MILLRACE_MAY_SUSPEND {
              return chain.guest.CoWrite(offset, IoVector(data.data(), data.size()));
            });
          }
          MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
          for (size_t i = 0; i < read.size(); i += 512) {
            const bool is_written = i == 512 || i == 2048;
            EXPECT_TRUE(read[i] == 'o' || (is_written && read[i] == 'N')) << i << read[i];
          }
          MILLRACE_RETURN_IF_ERROR(chain.guest.CoRead(0, IoVector(read.data(), read.size())));
          std::string expected = old;
          expected.replace(512, 512, data).replace(2048, 512, data);
          EXPECT_EQ(read, expected);
          chain.guest.CoDetach();
          graph.CoClose();
          return absl::OkStatus();
        });
        EXPECT_TRUE(status.ok()) << status;
      },
      2);
}

// The format's events reach the filter below it, and what is injected comes out at the guest.
TEST_F(FiltersInGraph, AGuestsReadFailsWhereTheFilterSaysSo) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(graph_, {}, false));
    auto filter = MakeFaultInjectionDriver(
        {.inject = {{.event = "none", .error_number = ENOSPC, .sector = 2, .once = true}}});
    MILLRACE_RETURN_IF_ERROR(filter.status());
    MILLRACE_RETURN_IF_ERROR(CoInsert(*std::move(filter), chain.top()).status());
    std::string data(512, 'x');
    EXPECT_TRUE(chain.guest.CoWrite(512, IoVector(data.data(), data.size())).ok());
    EXPECT_EQ(chain.guest.CoWrite(1024, IoVector(data.data(), data.size())).code(),
              absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(chain.guest.CoWrite(1024, IoVector(data.data(), data.size())).ok());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::filters_in_graph_test
