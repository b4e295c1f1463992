#include "millrace/graph/drain.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "tests/support/memory_chain.h"

namespace millrace {
namespace {

// A filter that does nothing: every operation goes on to its child.
class PassFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "pass"; }
};

class GraphTest : public testing::Test {
 protected:
  GraphTest() {
    Engine::Options options;
    options.simulated = true;
    engine_ = *Engine::Create(options);
    graph_ = std::make_unique<Graph>(*engine_);
  }
  template <typename Body>
  void Run(Body&& body) {
    absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      absl::Status result = body();
      graph_->CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(graph_->node_count(), 0u);
  }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Graph> graph_;
};

TEST_F(GraphTest, GuestReadsThroughTheChainAndWritesToTheTop) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- n0");
    std::string written(700, 'x');
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoWrite(300, IoVector::OfConst(written.data(), 700)));
    std::string read(1000, '?');
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoRead(200, IoVector(read.data(), 1000)));
    EXPECT_EQ(read, std::string(100, '\0') + written + std::string(200, '\0'));
    EXPECT_TRUE(graph_->CheckInvariants().ok()) << graph_->CheckInvariants();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(GraphTest, AFilterIsInsertedDrainedAndRemovedAgain) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    HolderRef me = MakeHolder("me", "test");
    NodeId filter;
    {
      GraphTransaction undrained(*graph_);
      NodeOptions options;
      options.name = "pass";
      filter = undrained.AddNode(std::make_unique<PassFilter>(), options);
      undrained.InsertFilter(filter, chain.nodes[0]);
      absl::StatusOr<AppliedEdit> refused = undrained.Commit();
      EXPECT_EQ(ConflictOf(refused.status())->reason, ConflictReason::kNotDrained);
    }
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me}));
      GraphTransaction change(*graph_);
      change.Show(drained);
      NodeOptions options;
      options.name = "pass";
      filter = change.AddNode(std::make_unique<PassFilter>(), options);
      change.InsertFilter(filter, chain.nodes[0]);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, filter));
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- [pass] <- n0");
    EXPECT_TRUE(graph_->CheckInvariants().ok()) << graph_->CheckInvariants();
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {filter}, {me}));
      GraphTransaction change(*graph_);
      change.Show(drained).RemoveFilter(filter);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- n0");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(GraphTest, ARequestThatArrivesInADrainWaitsForItsEnd) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    std::vector<std::string> order;
    TaskScope scope("guests");
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[1]}, {}));
      scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
        char byte = 'a';
        absl::Status status = chain.guest.CoWrite(0, IoVector(&byte, 1));
        order.push_back("written");
        return status;
      });
      for (int i = 0; i < 20; ++i) CoYield();
      order.push_back("undrained");
    }
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(order, (std::vector<std::string>{"undrained", "written"}));
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace
