// Counters: each family grows where it should, by as much as was done, and nowhere else.
#include <sys/resource.h>

#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/scope/task_scope.h"
#include "tests/engine/io/io_test_support.h"
#include "tests/support/counting_observer.h"
#include "tests/support/job_harness.h"
#include "tests/support/temporary_folder.h"

namespace millrace::counters_test {
namespace {

TEST(Counters, EachHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kCounters; ++i) names.insert(CounterName(static_cast<Counter>(i)));
  EXPECT_EQ(names.size(), kCounters);
  EXPECT_EQ(names.count("unknown"), 0u);
  EXPECT_EQ(CounterName(Counter::kIoReadBytes), "io.read.bytes");
}

// Two writes, three reads of which one is short and one fails, a flush; and what is no I/O.
void CoDoSomeIo(IoBackend& io, IoFile file) MILLRACE_MAY_SUSPEND {
  EXPECT_EQ(CoWriteText(io, file, 0, "0123456789"), 10);
  EXPECT_EQ(CoWriteText(io, file, 10, "abcde"), 5);
  EXPECT_EQ(CoReadText(io, file, 2, 4), "2345");
  EXPECT_EQ(CoReadText(io, file, 12, 100), "cde");
  std::string nowhere(8, '?');
  EXPECT_LT(CoTransfer(io, IoOpcode::kRead, IoFile{1 << 20}, 0, nowhere), 0);
  EXPECT_EQ(CoRange(io, IoOpcode::kSync, file), 0);
  EXPECT_EQ(CoRange(io, IoOpcode::kTruncate, file, 100), 0);
}

void ExpectWhatWasDone(const CountingObserver& counts) {
  EXPECT_EQ(counts.Of(Counter::kIoWrites), 2u);
  EXPECT_EQ(counts.Of(Counter::kIoWriteBytes), 15u);
  EXPECT_EQ(counts.Of(Counter::kIoReads), 2u);
  EXPECT_EQ(counts.Of(Counter::kIoReadBytes), 7u);
  EXPECT_EQ(counts.Of(Counter::kIoErrors), 1u);
  EXPECT_EQ(counts.Of(Counter::kIoFlushes), 1u);
}

class IoCounters : public ::testing::TestWithParam<IoBackendKind> {
 protected:
  void SetUp() override {
    auto engine = Engine::Create({.io = GetParam(), .observer = &counts_});
    if (absl::IsUnavailable(engine.status())) GTEST_SKIP() << "this host refuses io_uring";
    engine_ = *std::move(engine);
  }

  CountingObserver counts_;
  TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(IoCounters, TellReadsWritesAndFlushesThatHaveCompleted) {
  const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND {
    auto file = engine_->io().CoOpen(folder_.File("a"), {.writable = true, .create = true});
    CoDoSomeIo(engine_->io(), *file);
    engine_->io().CoClose(*file);
  });
  EXPECT_TRUE(status.ok()) << status;
  ExpectWhatWasDone(counts_);
}

INSTANTIATE_TEST_SUITE_P(Backends, IoCounters,
                         ::testing::Values(IoBackendKind::kIoUring, IoBackendKind::kThreads),
                         [](const auto& suite) {
                           return suite.param == IoBackendKind::kIoUring ? "uring" : "threads";
                         });

TEST(SimulatedIoCounters, AreThoseOfARealBackend) {
  CountingObserver counts;
  SimulatedDisk disk;
  disk.Put("a", "");
  auto engine = *Engine::Create({.observer = &counts, .simulated = true, .disk = &disk});
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    auto file = engine->io().CoOpen("a", {.writable = true});
    EXPECT_EQ(CoWriteText(engine->io(), *file, 0, "0123456789"), 10);
    EXPECT_EQ(CoReadText(engine->io(), *file, 8, 100), "89");
    EXPECT_EQ(CoRange(engine->io(), IoOpcode::kSync, *file), 0);
    engine->io().CoClose(*file);
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(counts.Of(Counter::kIoWriteBytes), 10u);
  EXPECT_EQ(counts.Of(Counter::kIoReads), 1u);
  EXPECT_EQ(counts.Of(Counter::kIoReadBytes), 2u);
  EXPECT_EQ(counts.Of(Counter::kIoFlushes), 1u);
  EXPECT_EQ(counts.Of(Counter::kIoEnters), 0u);
}

// ---- io_uring ----------------------------------------------------------------------------------

class UringCounters : public IoCounters {};

TEST_P(UringCounters, WhatIsSubmittedInOneTurnGoesToTheHostInOneSystemCall) {
  constexpr size_t kRequests = 100;
  const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND {
    auto file = engine_->io().CoOpen(folder_.File("a"), {.writable = true, .create = true});
    EXPECT_EQ(CoWriteText(engine_->io(), *file, 0, std::string(kRequests, 'x')),
              static_cast<int64_t>(kRequests));
    std::string data(kRequests, '?');
    std::vector<iovec> pieces(kRequests);
    std::vector<IoRequest> requests(kRequests);
    for (size_t i = 0; i < kRequests; ++i) {
      pieces[i] = {&data[i], 1};
      requests[i].opcode = IoOpcode::kRead;
      requests[i].file = *file;
      requests[i].offset = i;
      requests[i].bytes = 1;
      requests[i].iov = absl::MakeConstSpan(&pieces[i], 1);
    }
    counts_.Clear();
    CoSubmitAll(engine_->io(), absl::MakeSpan(requests));
    EXPECT_EQ(data, std::string(kRequests, 'x'));
    EXPECT_EQ(counts_.Of(Counter::kIoReads), kRequests);
    // One that submits; one more, perhaps, that waits for the rest.
    EXPECT_GE(counts_.Of(Counter::kIoEnters), 1u);
    EXPECT_LE(counts_.Of(Counter::kIoEnters), 3u);
    engine_->io().CoClose(*file);
  });
  EXPECT_TRUE(status.ok()) << status;
}

// Else registering may be refused for the limit's sake: then what is sent is ordinary memory.
bool MayPinAnyAmountOfMemory() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY) return true;
  constexpr int kIpcLock = 14;  // CAP_IPC_LOCK
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("CapEff:", 0) == 0)
      return (std::stoull(line.substr(7), nullptr, 16) >> kIpcLock & 1) != 0;
  }
  return false;
}

TEST_P(UringCounters, PooledMemoryIsSentAsRegisteredBuffers) {
  const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND {
    auto file = engine_->io().CoOpen(folder_.File("a"), {.writable = true, .create = true});
    absl::StatusOr<IoBuffer> buffer = engine_->buffers().TryTake(4096, "test");
    ASSERT_TRUE(buffer.ok());
    for (IoOpcode opcode : {IoOpcode::kWrite, IoOpcode::kRead}) {
      IoRequest request;
      const iovec memory = buffer->iov();
      request.opcode = opcode;
      request.file = *file;
      request.bytes = 4096;
      request.iov = absl::MakeConstSpan(&memory, 1);
      EXPECT_EQ(CoSubmit(engine_->io(), request), 4096);
    }
    const uint64_t registered = counts_.Of(Counter::kIoRegistered);
    EXPECT_EQ(CoReadText(engine_->io(), *file, 0, 16).size(), 16u);
    EXPECT_EQ(counts_.Of(Counter::kIoRegistered), registered) << "memory of somebody else's";
    engine_->io().CoClose(*file);
    if (registered == 0 && !MayPinAnyAmountOfMemory()) {
      GTEST_SKIP() << "this host may not let us pin memory";
    }
    EXPECT_EQ(registered, 2u);
  });
  EXPECT_TRUE(status.ok()) << status;
}

INSTANTIATE_TEST_SUITE_P(Backends, UringCounters, ::testing::Values(IoBackendKind::kIoUring),
                         [](const auto&) { return "uring"; });

// ---- Jobs --------------------------------------------------------------------------------------

TEST(JobCounters, TellStartsAndEndsHoweverAJobEnds) {
  CountingObserver counts;
  auto engine = *Engine::Create({.observer = &counts, .simulated = true});
  {
    BareJobWorld world(*engine);
    ScriptedJob::Script fails;
    fails.run = absl::DataLossError("bad");
    ScriptedJob::Script idles;
    idles.idles = true;
    world.Start("good", {});
    world.Start("bad", fails);
    world.Start("cancelled", idles);
    world.Create("never", {});
    world.Settle();
    EXPECT_EQ(counts.Of(Counter::kJobsStarted), 3u);
    EXPECT_EQ(counts.Of(Counter::kJobsEnded), 2u);
  }  // shut down here
  EXPECT_EQ(counts.Of(Counter::kJobsStarted), 3u);
  EXPECT_EQ(counts.Of(Counter::kJobsEnded), 3u);
}

}  // namespace
}  // namespace millrace::counters_test
