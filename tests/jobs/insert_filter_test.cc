// What an insertion refuses, and who it is for.
#include <memory>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "examples/scenario_kit/chain_jobs.h"
#include "examples/scenario_kit/memory_chain.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/jobs/block_runtime.h"
#include "tests/support/chain_story.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::insert_filter_test {
namespace {

absl::Status CoInsert(ChainStory& story, std::unique_ptr<FilterDriver> filter, NodeId below)
    MILLRACE_MAY_SUSPEND {
  InsertFilterOptions options{.spec = {.id = "i"}, .below = below, .filter_name = "f"};
  MILLRACE_RETURN_IF_ERROR(
      CoStartInsertFilter(story.graph(), story.jobs(), std::move(filter), std::move(options))
          .status());
  return story.CoOver("i");
}

TEST(InsertFilterJob, WantsAFilter) {
  TellChainStory({.layers = 2}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    const absl::Status status = CoInsert(story, nullptr, story.node(1));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    ExpectConflict(status, ConflictReason::kNotFilter, "");
    return absl::OkStatus();
  });
}

// What only keeps a node does not see a filter above it, so the filter would go with its job, and
// the job would say that all is well.
TEST(InsertFilterJob, IsRefusedWhereNothingStandsAboveTheNode) {
  auto engine = SimulatedEngine();
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    BlockRuntime blocks(*engine);
    return blocks.CoRun([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(blocks.graph(), {}, true));
      chain.guest.CoDetach();  // the monitor keeps the nodes
      InsertFilterOptions options{.spec = {.id = "i"}, .below = chain.top(), .filter_name = "f"};
      const absl::Status refused =
          CoStartInsertFilter(blocks.graph(), blocks.jobs(), MakePassFilter(), options).status();
      EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
      ExpectConflict(refused, ConflictReason::kNothingAbove, "n2");
      // Below another node it has somebody to be for.
      options.below = chain.nodes[0];
      MILLRACE_RETURN_IF_ERROR(
          CoStartInsertFilter(blocks.graph(), blocks.jobs(), MakePassFilter(), options).status());
      MILLRACE_RETURN_IF_ERROR(blocks.jobs().CoWaitUntilOver("i"));
      GraphView view(blocks.graph());
      EXPECT_TRUE(view.Find("f").ok());
      return absl::OkStatus();
    });
  });
  EXPECT_TRUE(status.ok()) << status;
}

// The link that may not change is named, with its holder; nobody is told of something that he did
// not ask for.
TEST(InsertFilterJob, IsRefusedOnALinkThatAStreamHolds) {
  TellChainStory({.layers = 3}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    StreamOptions stream = story.Stream("s", 2, std::nullopt);
    stream.job.spec.speed = 1;
    MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
    const absl::Status refused = CoInsert(story, MakePassFilter(), story.node(1));
    ExpectConflict(refused, ConflictReason::kFrozenLink, "n1");
    EXPECT_THAT(std::string(refused.message()),
                testing::StartsWith("the 'backing' link from 'n2' to 'n1' must stay as it is: "
                                    "stream job 's' holds it; wait"));
    MILLRACE_RETURN_IF_ERROR(story.jobs().Cancel("s", true));
    (void)story.CoOver("s");
    return absl::OkStatus();
  });
}

TEST(InsertFilterJob, StaysForAGuestAboveTheNode) {
  TellChainStory({.layers = 2}, [](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(CoInsert(story, MakePassFilter(), story.node(1)));
    EXPECT_EQ(story.Shape(), "[f] <- n1 <- n0");
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::insert_filter_test
