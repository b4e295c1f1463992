// The runs of the quickstart, on a simulated host and in simulated time.
#include "examples/quickstart/chain_run.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "examples/quickstart/job_board.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/jobs/block_runtime.h"
#include "tests/support/seeds.h"

namespace millrace::quickstart_run_test {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMegabyte = 1 << 20;

// One chain of the quickstart, small.
struct Story {
  uint64_t seed = 1;
  Decider* decider = nullptr;
  int64_t job_bytes_per_second = 0;  // no limit: as quick as jobs can be
  bool is_witness_told = true;
  // Has the chance to spoil something before the run.
  std::function<void(BuiltChain&)> spoil = [](BuiltChain&) {};

  absl::Status Play() {
    MILLRACE_ASSIGN_OR_RETURN(
        std::unique_ptr<Engine> engine,
        Engine::Create({.observer = &board, .simulated = true, .decider = decider}));
    return engine->Run([&]() MILLRACE_MAY_SUSPEND {
      BlockRuntime blocks(*engine);
      return blocks.CoRun([&]() MILLRACE_MAY_SUSPEND { return CoPlay(blocks); });
    });
  }

  absl::Status CoPlay(BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
    ChainShape shape;
    shape.name = "a";
    shape.disk_bytes = 16 * kMegabyte;
    shape.bytes_per_image = kMegabyte / 4;
    shape.seed = seed;
    MILLRACE_ASSIGN_OR_RETURN(BuiltChain chain,
                              CoBuildChain(blocks.graph(), blocks.drivers(), shape));
    spoil(chain);
    run = std::make_unique<ChainRun>(
        blocks.graph(), blocks.drivers(), blocks.jobs(), chain,
        ChainRun::Options{.seed = seed,
                          .job_bytes_per_second = job_bytes_per_second,
                          .say = [this](std::string_view line) { said.emplace_back(line); }});
    if (is_witness_told) board.Tell(run->witness());
    MILLRACE_RETURN_IF_ERROR(run->CoRun());
    return CoVerifyChain(blocks.graph(), blocks.drivers(), chain, run->Expected());
  }

  JobBoard board;
  std::unique_ptr<ChainRun> run;
  std::vector<std::string> said;
};

// Jobs that are as quick as they can be, in whichever order things come: none of it is luck.
TEST(QuickstartRun, EverybodyMeetsInEveryOrder) {
  for (const uint64_t seed : Seeds(20)) {
    SCOPED_TRACE(seed);
    RandomDecider decider(seed, {.latency_one_in = 16});
    Story story{.seed = seed, .decider = &decider};
    const absl::Status status = story.Play();
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_GE(story.run->witness().reads(), 100u);
    EXPECT_GE(story.run->witness().writes(), 100u);
    EXPECT_EQ(story.said.size(), 6u);
  }
}

TEST(QuickstartRun, ARunWhoseJobsNobodySawFails) {
  Story story{.is_witness_told = false};
  const absl::Status status = story.Play();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the run of chain a showed too little: these jobs were never all at work "
                        "at once: commit1, stream1, stream2, stream3; most that were: "));
}

// Nobody waits for a guest that has ended.
TEST(QuickstartRun, AGuestThatReadsSomethingElseEndsTheRunWithItsError) {
  Story story{.spoil = [](BuiltChain& chain) {
    chain.model.Write(ByteRange(0, chain.model.bytes()), chain.model.NewTag());
  }};
  const absl::Status status = story.Play();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_EQ(story.run->guest_counts().reads, 0u);
}

}  // namespace
}  // namespace millrace::quickstart_run_test
