#include "millrace/jobs/block_runtime.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "examples/scenario_kit/memory_chain.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/simulation.h"

namespace millrace::block_runtime_test {
namespace {

absl::Status CoLeaveEarly(BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(blocks.graph(), {}, false));
  StreamOptions stream;
  stream.job.spec.id = "s";
  stream.job.spec.speed = 1;  // it will not end by itself
  stream.top = chain.top();
  MILLRACE_RETURN_IF_ERROR(CoStartStream(blocks.graph(), blocks.jobs(), stream).status());
  return absl::DataLossError("the work failed in the middle");
}

TEST(BlockRuntime, EndsItsJobsAndClosesItsImagesOnAnEarlyReturn) {
  auto engine = SimulatedEngine();
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    BlockRuntime blocks(*engine);
    absl::Status result = blocks.CoRun([&]() MILLRACE_MAY_SUSPEND { return CoLeaveEarly(blocks); });
    EXPECT_EQ(blocks.graph().node_count(), 0u);
    EXPECT_EQ(blocks.jobs().live_jobs(), 0u);
    EXPECT_TRUE(absl::IsCancelled(blocks.jobs().CoWaitUntilOver("s")));
    return result;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
}

TEST(BlockRuntime, IsAllThatAProgramWithoutALoopNeeds) {
  size_t nodes = 0;
  const absl::Status status =
      BlockRuntime::Run({.simulated = true}, [&](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
        CreateImageOptions image{.path = "disk"};
        image.qcow2.bytes = 1 << 20;
        MILLRACE_RETURN_IF_ERROR(blocks.CoCreateImage(image));
        MILLRACE_ASSIGN_OR_RETURN(
            const OpenedImage disk,
            blocks.CoOpenImage({.path = "disk", .format = "qcow2", .node_names = {"disk"}}));
        MILLRACE_ASSIGN_OR_RETURN(Attachment guest, Attachment::Attach(blocks.graph(), disk.top(),
                                                                       GuestDeviceOptions("vda")));
        nodes = blocks.graph().node_count();
        MILLRACE_RETURN_IF_ERROR(guest.CoWrite(0, IoVector::OfConst("x", 1)));
        const absl::Status second =
            Attachment::Attach(blocks.graph(), disk.top(), GuestDeviceOptions("vdb")).status();
        EXPECT_TRUE(absl::IsFailedPrecondition(second)) << second;
        EXPECT_NE(second.message().find("guest device 'vda'"), std::string::npos) << second;
        return absl::UnavailableError("what main says");
      });
  EXPECT_EQ(status, absl::UnavailableError("what main says"));
  EXPECT_EQ(nodes, 2u);
}

TEST(BlockRuntime, OpensADeviceAndStreamsIntoIt) {
  const absl::Status status =
      BlockRuntime::Run({.simulated = true}, [&](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
        MILLRACE_RETURN_IF_ERROR(
            blocks.CoCreateImage({.path = "base", .qcow2 = {.bytes = 1 << 20}}));
        MILLRACE_RETURN_IF_ERROR(blocks.CoCreateImage(
            {.path = "top",
             .qcow2 = {.bytes = 1 << 20, .backing_filename = "base", .backing_format = "qcow2"}}));
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
        OpenImageOptions image{.path = "top", .format = "qcow2", .node_names = {"top", "base"}};
        MILLRACE_ASSIGN_OR_RETURN(Attachment guest, blocks.CoOpenDevice("vda", image));
        EXPECT_EQ(guest.holder()->since, kMillisecond);
        EXPECT_EQ(DescribeChain(blocks.graph(), guest.node()), "top <- base");
        std::vector<char> sector(512, 'x');
        MILLRACE_RETURN_IF_ERROR(guest.CoWrite(0, IoVector(sector)));
        MILLRACE_ASSIGN_OR_RETURN(const JobNumber job, blocks.CoStartStream({.top = guest.node()}));
        MILLRACE_RETURN_IF_ERROR(blocks.jobs().CoWaitUntilOver(job));
        EXPECT_EQ(DescribeChain(blocks.graph(), guest.node()), "top");
        const NodeId top = guest.node();
        guest.CoDetach();
        EXPECT_EQ(DescribeChain(blocks.graph(), top), "(gone)");
        return absl::OkStatus();
      });
  EXPECT_EQ(status, absl::OkStatus());
}

TEST(BlockRuntime, ADeviceThatIsRefusedLeavesNothingOpen) {
  const absl::Status status =
      BlockRuntime::Run({.simulated = true}, [&](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
        for (const char* path : {"one", "two"}) {
          MILLRACE_RETURN_IF_ERROR(
              blocks.CoCreateImage({.path = path, .qcow2 = {.bytes = 1 << 20}}));
        }
        MILLRACE_ASSIGN_OR_RETURN(const Attachment guest,
                                  blocks.CoOpenDevice("vda", {.path = "one", .format = "qcow2"}));
        const size_t nodes = blocks.graph().node_count();
        const OpenImageOptions two{.path = "two", .format = "qcow2", .is_read_only = true};
        const absl::Status refusal = blocks.CoOpenDevice("vda", two).status();
        EXPECT_FALSE(refusal.ok());
        EXPECT_NE(refusal.message().find("vda"), std::string::npos) << refusal;
        EXPECT_EQ(blocks.graph().node_count(), nodes);
        MILLRACE_ASSIGN_OR_RETURN(Attachment reader, blocks.CoOpenDevice("vdb", two));
        EXPECT_THAT(std::string(reader.CoWrite(0, IoVector::OfConst("x", 1)).message()),
                    testing::HasSubstr("it is read-only, and guest device 'vdb' did not ask for"));
        return absl::OkStatus();
      });
  EXPECT_EQ(status, absl::OkStatus());
}

TEST(BlockRuntime, AJobWithoutItsNodeNamesTheOption) {
  const absl::Status status =
      BlockRuntime::Run({.simulated = true}, [&](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
        const auto expect = [](const absl::Status& refusal, const std::string& option) {
          EXPECT_TRUE(absl::IsFailedPrecondition(refusal)) << refusal;
          EXPECT_EQ(refusal.message(),
                    option + " is not given; give a node, as Attachment::node()");
        };
        expect(blocks.CoStartStream({}).status(), "StreamOptions::top");
        expect(blocks.CoStartCommit({}).status(), "CommitOptions::root");
        expect(blocks.CoStartMirror({}).status(), "MirrorOptions::source");
        expect(blocks.CoStartRemoveFilter({.spec = {.id = "r"}}).status(),
               "RemoveFilterOptions::filter");
        MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<FilterDriver> filter,
                                  blocks.drivers().MakeFilter("copy-on-read", {}));
        expect(blocks.CoStartInsertFilter(std::move(filter), {.spec = {.id = "i"}}).status(),
               "InsertFilterOptions::below");
        return absl::OkStatus();
      });
  EXPECT_EQ(status, absl::OkStatus());
}

TEST(BlockRuntime, ASecondJobIsToldWhereTheFirstOnesFilterStands) {
  const absl::Status status =
      BlockRuntime::Run({.simulated = true}, [&](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
        MILLRACE_RETURN_IF_ERROR(
            blocks.CoCreateImage({.path = "disk", .qcow2 = {.bytes = 1 << 20}}));
        MILLRACE_ASSIGN_OR_RETURN(Attachment guest,
                                  blocks.CoOpenDevice("vda", {.path = "disk", .format = "qcow2"}));
        const JobSpec held{.finalizes_automatically = false};
        MILLRACE_RETURN_IF_ERROR(
            blocks.CoStartStream({.top = guest.node(), .job = {.spec = held}}).status());
        const absl::Status second =
            blocks.CoStartStream({.top = guest.node(), .job = {.spec = {.id = "s"}}}).status();
        EXPECT_THAT(std::string(second.message()),
                    testing::MatchesRegex("cannot stream on node '#block[0-9]+ \\(copy-on-read "
                                          "above disk\\)': it is in use by stream job 'vda'.*"));
        return absl::OkStatus();
      });
  EXPECT_EQ(status, absl::OkStatus());
}

TEST(BlockRuntimeDeathTest, WhatMainThrowsIsNotLostForAGraphThatStillHasNodes) {
  const auto throw_from_main = [] {
    (void)BlockRuntime::Run({.simulated = true}, [](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
      CreateImageOptions image{.path = "disk"};
      image.qcow2.bytes = 1 << 20;
      absl::Status status = blocks.CoCreateImage(image);
      auto disk = blocks.CoOpenImage({.path = "disk", .format = "qcow2"});
      if (status.ok() && disk.ok()) throw std::runtime_error("what main threw");
      return status;
    });
  };
  EXPECT_DEATH(throw_from_main(), testing::AllOf(testing::HasSubstr("what main threw"),
                                                 testing::Not(testing::HasSubstr("graph"))));
}

TEST(BlockRuntime, KnowsTheLibrarysDriversAndTakesOthers) {
  auto engine = SimulatedEngine();
  BlockRuntime blocks(*engine);
  EXPECT_TRUE(blocks.drivers().Make("qcow2", {}).ok());
  EXPECT_TRUE(blocks.drivers()
                  .Register(
                      "own", [&](const DriverOptions&) { return blocks.drivers().Make("raw", {}); },
                      NodeKind::kFormat)
                  .ok());
  EXPECT_TRUE(blocks.drivers().Make("own", {}).ok());
}

TEST(BlockRuntimeDeathTest, DestroyedWithoutItsEndNamesWhoHoldsWhat) {
  const auto forget = [] {
    auto engine = SimulatedEngine();
    Attachment guest;
    auto blocks = std::make_unique<BlockRuntime>(*engine);
    (void)engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(blocks->graph(), {}, false));
      guest = std::move(chain.guest);
      return absl::OkStatus();
    });
    blocks.reset();
  };
  EXPECT_DEATH(forget(), "nodes are attached: '.*' by block device 'drive0'");
}

TEST(BlockRuntimeDeathTest, DestroyedWithoutItsEndNamesNodesThatNobodyHoldsAnyMore) {
  const auto forget = [] {
    auto engine = SimulatedEngine();
    auto blocks = std::make_unique<BlockRuntime>(*engine);
    (void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
      return CoMakeMemoryChain(blocks->graph(), {}, false).status();
    });
    blocks.reset();
  };
  EXPECT_DEATH(forget(), "graph destroyed before its nodes were closed: .*BlockRuntime's CoRun");
}

TEST(BlockRuntimeDeathTest, OutlivingItsEngineIsToldByName) {
  const auto forget = [] {
    auto engine = SimulatedEngine();
    const BlockRuntime blocks(*engine);
    engine.reset();
  };
  EXPECT_DEATH(forget(), "engine destroyed while a graph or a job manager still refers to it");
}

}  // namespace
}  // namespace millrace::block_runtime_test
