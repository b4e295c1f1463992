// What drivers have to say reaches the engine's observer, and nobody else.
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::log_test {
namespace {

class LineLog final : public EngineObserver {
 public:
  void OnLog(LogLevel level, std::string_view line) override {
    levels.push_back(level);
    lines.emplace_back(line);
  }
  std::vector<LogLevel> levels;
  std::vector<std::string> lines;
};

class Complainer final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "complainer"; }
  absl::Status CoOpenFilter() override MILLRACE_MAY_SUSPEND {
    context().LogWarning("something is odd");
    return absl::OkStatus();
  }
};

absl::StatusOr<NodeId> AddComplainer(Graph& graph, NodeId below, Attachment* keeper)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  const NodeId filter = change.AddNode(std::make_unique<Complainer>(), {.name = "c"});
  change.AddChild(filter, Role::kFiltered, below);
  *keeper = change.Attach(filter, {.holder = MakeHolder("me", "test")});
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return filter;
}

void OpenComplainerOn(Engine& engine) {
  Graph graph(engine);
  const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(graph, {}, false));
    Attachment keeper;
    MILLRACE_ASSIGN_OR_RETURN(const NodeId filter, AddComplainer(graph, chain.top(), &keeper));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, filter));
    keeper.CoDetach();
    chain.guest.CoDetach();
    graph.CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(Log, AWarningOfADriverIsOneLineThatNamesItsNode) {
  LineLog log;
  const auto engine = SimulatedEngine({.observer = &log});
  OpenComplainerOn(*engine);
  EXPECT_THAT(log.lines, testing::ElementsAre("node 'c': something is odd"));
  EXPECT_THAT(log.levels, testing::ElementsAre(LogLevel::kWarning));
}

TEST(Log, WithoutAnObserverNothingIsPrinted) {
  const auto engine = SimulatedEngine();
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  OpenComplainerOn(*engine);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace millrace::log_test
