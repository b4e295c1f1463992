// An engine inside other people's programs: foreign loops, other threads, several engines, ending.
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/sync/event.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/engine/io/io_test_support.h"
#include "tests/support/temporary_folder.h"

namespace millrace::embedding_test {
namespace {

constexpr int kTestLimitMs = 60'000;  // a lost wake-up fails the test instead of hanging it

class Embedding : public ::testing::TestWithParam<IoBackendKind> {
 protected:
  void SetUp() override {
    if (!IsAvailable(GetParam())) GTEST_SKIP() << "this host refuses io_uring";
    engine_ = RealEngine(GetParam());
  }

  // What a host does with its own loop, by poll(2).
  static bool DriveByPoll(Engine& engine, absl::FunctionRef<bool()> done) {
    for (;;) {
      engine.PollOnce();
      if (done()) return true;
      pollfd wanted = {engine.PollFd(), POLLIN, 0};
      const int engine_timeout = engine.PollTimeoutMs();
      const int timeout = engine_timeout < 0 ? kTestLimitMs : engine_timeout;
      if (poll(&wanted, 1, timeout) == 0 && timeout == kTestLimitMs) return false;
    }
  }

  TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
};

// Writes and reads back `count` blocks, four coroutines at once.
absl::Status CoWork(IoBackend& io, const std::string& path, int count) MILLRACE_MAY_SUSPEND {
  auto file = io.CoOpen(path, {.writable = true, .create = true, .truncate = true});
  if (!file.ok()) return file.status();
  TaskScope scope("work");
  int next = 0;
  for (int worker = 0; worker < 4; ++worker) {
    scope.Spawn("work/one", [&]() MILLRACE_MAY_SUSPEND {
      while (next < count) {
        const int number = next++;
        const auto offset = static_cast<uint64_t>(number) * 4096;
        const std::string block(4096, static_cast<char>('a' + number % 26));
        if (CoWriteText(io, *file, offset, block) != 4096) return absl::InternalError("write");
        if (CoReadText(io, *file, offset, 4096) != block) return absl::InternalError("read");
      }
      return absl::OkStatus();
    });
  }
  absl::Status status = scope.CoJoin();
  io.CoClose(*file);
  return status;
}

TEST_P(Embedding, AForeignLoopDrivesRealIo) {
  TaskScope scope(engine_->scheduler(), "test");
  scope.Spawn("work",
              [&]() MILLRACE_MAY_SUSPEND { return CoWork(engine_->io(), folder_.File("a"), 500); });
  ASSERT_TRUE(DriveByPoll(*engine_, [&] { return scope.live() == 0; }));
  EXPECT_TRUE(scope.Finish().ok());
}

TEST_P(Embedding, EpollSeesTheDescriptorToo) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event wanted = {};
  wanted.events = EPOLLIN;
  ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, engine_->PollFd(), &wanted), 0);
  TaskScope scope(engine_->scheduler(), "test");
  scope.Spawn("work",
              [&]() MILLRACE_MAY_SUSPEND { return CoWork(engine_->io(), folder_.File("a"), 500); });
  for (;;) {
    const bool has_more = engine_->PollOnce();
    if (scope.live() == 0) break;
    epoll_event event;
    if (has_more) continue;
    const int ready = epoll_wait(epoll, &event, 1, kTestLimitMs);
    // The kernel's own work for this thread may end the wait early.
    ASSERT_TRUE(ready == 1 || (ready < 0 && errno == EINTR)) << "lost wake-up " << ready << errno;
  }
  EXPECT_TRUE(scope.Finish().ok());
  close(epoll);
}

TEST_P(Embedding, AnIdleDescriptorIsNotReadable) {
  engine_->PollFd();
  while (engine_->PollOnce()) {
  }
  pollfd wanted = {engine_->PollFd(), POLLIN, 0};
  for (int i = 0; i < 5 && poll(&wanted, 1, 0) != 0; ++i) engine_->PollOnce();
  EXPECT_EQ(poll(&wanted, 1, 0), 0) << "a foreign loop would spin";
  engine_->Post([] {});
  EXPECT_EQ(poll(&wanted, 1, kTestLimitMs), 1);
}

// A loop that has other things to do gets its turn however busy the coroutines are.
TEST_P(Embedding, APollDoesNoMoreThanItsBudget) {
  constexpr size_t kBudget = 7;
  TaskScope scope(engine_->scheduler(), "test");
  size_t turns = 0;
  for (int i = 0; i < 5; ++i) {
    scope.Spawn("busy", [&]() MILLRACE_MAY_SUSPEND {
      for (int turn = 0; turn < 100; ++turn) {
        ++turns;
        CoYield("busy");
      }
    });
  }
  size_t polls = 0;
  while (scope.live() > 0) {
    const size_t before = turns;
    const bool has_more = engine_->PollOnce(kBudget);
    EXPECT_LE(turns - before, kBudget);
    ASSERT_TRUE(has_more || scope.live() == 0) << "work is left, and the loop would wait";
    ++polls;
  }
  EXPECT_EQ(turns, 500u);
  EXPECT_GE(polls, turns / kBudget);
  EXPECT_TRUE(scope.Finish().ok());
}

// Who looks again and again learns of it no later than who waits.
TEST_P(Embedding, NewsAreSeenWithoutAskingTheHost) {
  pollfd wanted = {engine_->PollFd(), POLLIN, 0};
  const IoBackend& io = engine_->io();
  TaskScope scope(engine_->scheduler(), "test");
  scope.Spawn("work",
              [&]() MILLRACE_MAY_SUSPEND { return CoWork(engine_->io(), folder_.File("a"), 20); });
  for (;;) {
    const bool has_more = engine_->PollOnce();
    if (scope.live() == 0) break;
    if (has_more || poll(&wanted, 1, kTestLimitMs) < 0) continue;
    EXPECT_TRUE(io.has_news());
  }
  EXPECT_TRUE(scope.Finish().ok());
  for (int i = 0; i < 8 && poll(&wanted, 1, 0) != 0; ++i) engine_->PollOnce();
  EXPECT_FALSE(io.has_news());
  engine_->Post([] {});
  EXPECT_TRUE(io.has_news());
}

TEST_P(Embedding, ADescriptorIsNotReadableForLongOnceAllIsDone) {
  for (int round = 0; round < 20; ++round) {
    TaskScope scope(engine_->scheduler(), "test");
    scope.Spawn("work",
                [&]() MILLRACE_MAY_SUSPEND { return CoWork(engine_->io(), folder_.File("a"), 4); });
    ASSERT_TRUE(DriveByPoll(*engine_, [&] { return scope.live() == 0; }));
    EXPECT_TRUE(scope.Finish().ok());
    pollfd wanted = {engine_->PollFd(), POLLIN, 0};
    for (int i = 0; i < 8 && poll(&wanted, 1, 0) != 0; ++i) engine_->PollOnce();
    ASSERT_EQ(poll(&wanted, 1, 0), 0) << "a foreign loop would spin";
  }
}

TEST_P(Embedding, AForeignLoopKeepsTimers) {
  TaskScope scope(engine_->scheduler(), "test");
  const Nanoseconds start = engine_->clock().Now();
  scope.Spawn("sleep", [&]() MILLRACE_MAY_SUSPEND { return CoSleepFor(3 * kMillisecond); });
  ASSERT_TRUE(DriveByPoll(*engine_, [&] { return scope.live() == 0; }));
  EXPECT_GE(engine_->clock().Now() - start, 3 * kMillisecond);
}

TEST_P(Embedding, ATimerEndsABlockNotBeforeItsTime) {
  for (Nanoseconds wanted : {Nanoseconds{1}, 50 * kMicrosecond, 2 * kMillisecond}) {
    const Nanoseconds start = engine_->clock().Now();
    ASSERT_TRUE(engine_->Run([&]() MILLRACE_MAY_SUSPEND { return CoSleepFor(wanted); }).ok());
    EXPECT_GE(engine_->clock().Now() - start, wanted);
  }
}

TEST_P(Embedding, PostsFromManyThreadsAllArriveInOrderPerThread) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 2000;
  std::vector<std::vector<int>> seen(kThreads);
  int arrived = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kPosts; ++i) {
        engine_->Post([&, thread, i] {
          seen[static_cast<size_t>(thread)].push_back(i);
          ++arrived;
        });
      }
    });
  }
  // Alternates between working and sleeping, so that posts meet every moment of a turn.
  EXPECT_TRUE(engine_->RunUntil([&] { return arrived == kThreads * kPosts; }));
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<int>& order : seen) {
    for (int i = 0; i < kPosts; ++i) ASSERT_EQ(order[static_cast<size_t>(i)], i);
  }
}

TEST_P(Embedding, OnePostAtATimeAlwaysWakesABlockedEngine) {
  // Ping-pong: the next post is made only after the last one ran, so that each must end a wait.
  std::atomic<int> ran = 0;
  std::thread other([&] {
    for (int i = 0; i < 3000; ++i) {
      engine_->Post([&] { ran.fetch_add(1, std::memory_order_release); });
      while (ran.load(std::memory_order_acquire) == i) std::this_thread::yield();
    }
  });
  EXPECT_TRUE(engine_->RunUntil([&] { return ran.load() == 3000; }));
  other.join();
}

TEST_P(Embedding, PostsReachAForeignLoop) {
  std::atomic<int> ran = 0;
  engine_->PollFd();  // before the thread starts: the loop has not polled yet
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) {
      engine_->Post([&] { ran.fetch_add(1, std::memory_order_release); });
      while (ran.load(std::memory_order_acquire) == i) std::this_thread::yield();
    }
  });
  EXPECT_TRUE(DriveByPoll(*engine_, [&] { return ran.load() == 1000; })) << "lost wake-up";
  other.join();
}

TEST_P(Embedding, PostsAndIoTogetherLoseNothing) {
  std::atomic<bool> stop = false;
  int posted = 0;
  std::thread other([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      engine_->Post([&] { ++posted; });
      std::this_thread::yield();
    }
  });
  EXPECT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    return CoWork(engine_->io(), folder_.File("a"), 1000);
                  })
                  .ok());
  stop = true;
  other.join();
  EXPECT_GT(posted, 0);
}

TEST_P(Embedding, TwoEnginesOnTwoThreadsDoRealIo) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      auto engine = RealEngine(GetParam());
      EXPECT_TRUE(engine
                      ->Run([&]() MILLRACE_MAY_SUSPEND {
                        return CoWork(engine->io(), folder_.File(StrCat("engine-", i)), 1000);
                      })
                      .ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(Embedding, AnEngineMayBeDestroyedWithPostsQueued) {
  bool ran = false;
  auto token = std::make_shared<int>(0);
  engine_->Post([&ran, token] { ran = true; });
  engine_.reset();
  EXPECT_FALSE(ran);
  EXPECT_EQ(token.use_count(), 1);  // destroyed without being called
}

TEST_P(Embedding, WorkGoesOnAfterAForeignLoopHandsOverToRun) {
  TaskScope scope(engine_->scheduler(), "test");
  scope.Spawn("work",
              [&]() MILLRACE_MAY_SUSPEND { return CoWork(engine_->io(), folder_.File("a"), 50); });
  ASSERT_TRUE(DriveByPoll(*engine_, [&] { return scope.live() == 0; }));
  EXPECT_TRUE(
      engine_
          ->Run([&]() MILLRACE_MAY_SUSPEND { return CoWork(engine_->io(), folder_.File("b"), 50); })
          .ok());
  EXPECT_TRUE(scope.Finish().ok());
}

std::string KindName(const ::testing::TestParamInfo<IoBackendKind>& info) {
  return info.param == IoBackendKind::kThreads ? "Threads" : "Uring";
}
INSTANTIATE_TEST_SUITE_P(Kinds, Embedding,
                         ::testing::Values(IoBackendKind::kThreads, IoBackendKind::kIoUring),
                         KindName);

}  // namespace
}  // namespace millrace::embedding_test
