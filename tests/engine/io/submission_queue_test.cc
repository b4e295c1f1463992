#include "millrace/engine/io/submission_queue.h"

#include <poll.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "tests/engine/io/io_test_support.h"

namespace millrace::submission_queue_test {
namespace {

struct Request : SubmissionItem {
  int thread = 0;
  int number = 0;
};

std::vector<std::unique_ptr<Request>> MakeRequests(int count, int thread = 0) {
  std::vector<std::unique_ptr<Request>> requests;
  for (int i = 0; i < count; ++i) {
    requests.push_back(std::make_unique<Request>());
    requests.back()->thread = thread;
    requests.back()->number = i;
  }
  return requests;
}

TEST(SubmissionQueue, EveryItemArrivesOnceInItsThreadsOrder) {
  constexpr int kThreads = 4;
  constexpr int kItems = 3000;
  for (IoBackendKind kind : {IoBackendKind::kThreads, IoBackendKind::kAutomatic}) {
    auto engine = RealEngine(kind);
    std::vector<int> next(kThreads, 0);
    int arrived = 0;
    SubmissionQueue<Request> queue(*engine, [&](Request& request) {
      EXPECT_EQ(request.number, next[static_cast<size_t>(request.thread)]++);
      ++arrived;
    });
    std::vector<std::thread> threads;
    std::vector<std::vector<std::unique_ptr<Request>>> requests;
    for (int i = 0; i < kThreads; ++i) requests.push_back(MakeRequests(kItems, i));
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&queue, &own = requests[static_cast<size_t>(i)]] {
        for (auto& request : own) EXPECT_TRUE(queue.Push(*request));
      });
    }
    EXPECT_TRUE(engine->RunUntil([&] { return arrived == kThreads * kItems; }));
    for (std::thread& thread : threads) thread.join();
  }
}

// Whether a loop that waits for the engine's descriptor goes on at once.
bool IsReadable(Engine& engine) {
  pollfd wanted = {engine.PollFd(), POLLIN, 0};
  return poll(&wanted, 1, 0) != 0;
}

void PollUntilIdle(Engine& engine) {
  engine.PollFd();  // from here on the engine is in a loop
  for (int i = 0; i < 5 && (engine.PollOnce() || IsReadable(engine)); ++i) {
  }
  ASSERT_FALSE(engine.HasWork());
  ASSERT_FALSE(IsReadable(engine));
}

// A loop's callback that serves a guest, between the loop's wait and its next turn of the engine.
TEST(SubmissionQueue, APushBeforeALookThatIsPromisedIsWorkAndCostsNoWakeUp) {
  auto engine = RealEngine(IoBackendKind::kAutomatic);
  int arrived = 0;
  SubmissionQueue<Request> queue(*engine, [&](Request&) { ++arrived; });
  PollUntilIdle(*engine);
  std::vector<std::unique_ptr<Request>> requests = MakeRequests(3, 0);
  {
    const Engine::BeforeNextLook before_next_look(*engine);
    EXPECT_TRUE(queue.Push(*requests[0]));
    EXPECT_TRUE(engine->HasWork());
    EXPECT_FALSE(IsReadable(*engine)) << "a system call, and another to clear it";
    // The promise does not speak for others, who do not know when that is.
    std::thread([&] { EXPECT_TRUE(queue.Push(*requests[1])); }).join();
    engine->Post([] {});
  }
  while (engine->PollOnce()) {
  }
  EXPECT_EQ(arrived, 2);
  PollUntilIdle(*engine);
  {
    const Engine::BeforeNextLook before_next_look(*engine);
    std::thread([&] { engine->Post([] {}); }).join();
    EXPECT_TRUE(IsReadable(*engine)) << "of another thread";
  }
  PollUntilIdle(*engine);
  EXPECT_TRUE(queue.Push(*requests[2]));
  EXPECT_TRUE(IsReadable(*engine)) << "nothing is promised any more";
  PollUntilIdle(*engine);
  EXPECT_EQ(arrived, 3);
  queue.Close([](Request&) {});
}

TEST(SubmissionQueue, APushByTheEnginesOwnCoroutineIsWorkAndCostsNoWakeUp) {
  auto engine = RealEngine(IoBackendKind::kAutomatic);
  int arrived = 0;
  SubmissionQueue<Request> queue(*engine, [&](Request&) { ++arrived; });
  PollUntilIdle(*engine);
  Request request;
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("pusher", [&]() MILLRACE_MAY_SUSPEND { EXPECT_TRUE(queue.Push(request)); });
  EXPECT_TRUE(engine->PollOnce()) << "says that work is left";
  EXPECT_TRUE(scope.Finish().ok());
  EXPECT_TRUE(engine->HasWork());
  EXPECT_FALSE(IsReadable(*engine));
  engine->PollOnce();
  EXPECT_EQ(arrived, 1);
  EXPECT_FALSE(engine->HasWork());
  queue.Close([](Request&) {});
}

TEST(SubmissionQueue, APushByAnotherEngineOfThisThreadWakesTheEngine) {
  for (IoBackendKind kind : {IoBackendKind::kThreads, IoBackendKind::kAutomatic}) {
    auto pushing = RealEngine(kind);
    auto engine = RealEngine(kind);
    int arrived = 0;
    SubmissionQueue<Request> queue(*engine, [&](Request&) { ++arrived; });
    PollUntilIdle(*engine);
    Request request;
    TaskScope scope(pushing->scheduler(), "test");
    scope.Spawn("pusher", [&]() MILLRACE_MAY_SUSPEND { EXPECT_TRUE(queue.Push(request)); });
    pushing->PollOnce();
    EXPECT_TRUE(scope.Finish().ok());
    EXPECT_TRUE(IsReadable(*engine));
    engine->PollOnce();
    EXPECT_EQ(arrived, 1);
    queue.Close([](Request&) {});
  }
}

TEST(SubmissionQueue, APushByACallbackOfTheLoopWakesTheEngine) {
  auto engine = RealEngine(IoBackendKind::kAutomatic);
  int arrived = 0;
  SubmissionQueue<Request> queue(*engine, [&](Request&) { ++arrived; });
  PollUntilIdle(*engine);
  Request request;
  EXPECT_TRUE(queue.Push(request));
  EXPECT_TRUE(IsReadable(*engine));
  engine->PollOnce();
  EXPECT_EQ(arrived, 1);
  queue.Close([](Request&) {});
}

// A loop that has not come back yet, though it was told that work is left, hears of other threads.
TEST(SubmissionQueue, WhatAnEnginePushesItselfDoesNotSilenceOtherThreads) {
  auto engine = RealEngine(IoBackendKind::kAutomatic);
  int arrived = 0;
  SubmissionQueue<Request> own(*engine, [&](Request&) { ++arrived; });
  SubmissionQueue<Request> others(*engine, [&](Request&) { ++arrived; });
  PollUntilIdle(*engine);
  Request request;
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("pusher", [&]() MILLRACE_MAY_SUSPEND { EXPECT_TRUE(own.Push(request)); });
  EXPECT_TRUE(engine->PollOnce());
  EXPECT_TRUE(scope.Finish().ok());
  EXPECT_FALSE(IsReadable(*engine));
  Request other_request;
  std::thread([&] { EXPECT_TRUE(others.Push(other_request)); }).join();
  EXPECT_TRUE(IsReadable(*engine));
  engine->PollOnce();
  EXPECT_EQ(arrived, 2);
  own.Close([](Request&) {});
  others.Close([](Request&) {});
}

TEST(SubmissionQueue, AnItemMayBePushedAgainFromItsCompletion) {
  auto engine = RealEngine(IoBackendKind::kAutomatic);
  int rounds = 0;
  SubmissionQueue<Request>* self = nullptr;
  SubmissionQueue<Request> queue(
      *engine, [&](Request& request) { EXPECT_TRUE(++rounds == 1000 || self->Push(request)); });
  self = &queue;
  Request request;
  EXPECT_TRUE(queue.Push(request));
  EXPECT_TRUE(engine->RunUntil([&] { return rounds == 1000; }));
}

TEST(SubmissionQueue, AFloodLetsOthersRunBetweenBatches) {
  auto engine = RealEngine(IoBackendKind::kThreads);
  int handled = 0;
  SubmissionQueue<Request> queue(
      *engine, [&](Request&) { ++handled; }, /*batch_max=*/10);
  auto requests = MakeRequests(35);
  for (auto& request : requests) EXPECT_TRUE(queue.Push(*request));
  std::vector<int> seen;
  while (handled < 35) {
    EXPECT_TRUE(engine->PollOnce() || handled == 35);  // says that work is left
    seen.push_back(handled);
  }
  EXPECT_EQ(seen, (std::vector<int>{10, 20, 30, 35}));
}

TEST(SubmissionQueue, AClosedQueueGivesBackWhatItHasAndRefusesTheRest) {
  auto engine = RealEngine(IoBackendKind::kThreads);
  int handled = 0;
  SubmissionQueue<Request> queue(
      *engine, [&](Request&) { ++handled; }, /*batch_max=*/2);
  auto requests = MakeRequests(5);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(queue.Push(*requests[static_cast<size_t>(i)]));
  engine->PollOnce();
  EXPECT_EQ(handled, 2);
  std::vector<int> rest;
  queue.Close([&](Request& request) { rest.push_back(request.number); });
  EXPECT_EQ(rest, (std::vector<int>{2, 3}));
  EXPECT_FALSE(queue.Push(*requests[4]));
  while (engine->PollOnce()) {
  }
  EXPECT_EQ(handled, 2);
}

TEST(SubmissionQueue, ClosingWhileThreadsPushLosesNothing) {
  constexpr int kThreads = 3;
  for (int round = 0; round < 30; ++round) {
    auto engine = RealEngine(IoBackendKind::kThreads);
    int handled = 0;
    SubmissionQueue<Request> queue(*engine, [&](Request&) { ++handled; });
    std::vector<std::vector<std::unique_ptr<Request>>> requests;
    for (int i = 0; i < kThreads; ++i) requests.push_back(MakeRequests(200, i));
    std::vector<int> taken(kThreads, 0);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kThreads; ++i) {
      threads.emplace_back([&queue, &own = requests[i], &count = taken[i]] {
        for (auto& request : own) count += queue.Push(*request);
      });
    }
    engine->RunUntil([&] { return handled >= 50; });
    int rest = 0;
    queue.Close([&](Request&) { ++rest; });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(handled + rest, taken[0] + taken[1] + taken[2]);
  }
}

TEST(SubmissionQueue, AClosedQueueRefusesAlsoWhenItsEngineIsGone) {
  auto engine = RealEngine(IoBackendKind::kThreads);
  auto queue = std::make_shared<SubmissionQueue<Request>>(
      *engine, [](Request&) { FAIL() << "handled after the end"; });
  Request taken;
  EXPECT_TRUE(queue->Push(taken));
  int rest = 0;
  queue->Close([&](Request&) { ++rest; });
  EXPECT_EQ(rest, 1);
  engine.reset();
  std::thread late([queue = std::move(queue)] {
    Request request;
    EXPECT_FALSE(queue->Push(request));
  });
  late.join();
}

TEST(Doorbell, ASilencedBellMayBeRungWhileAndAfterItsEngineGoes) {
  for (int round = 0; round < 50; ++round) {
    auto engine = RealEngine(IoBackendKind::kThreads);
    int calls = 0;
    Doorbell bell(
        *engine, [](void* count) { ++*static_cast<int*>(count); }, &calls);
    std::atomic<bool> is_ringing = false;
    std::atomic<bool> is_over = false;
    std::thread ringer([&] {
      while (!is_over) {
        bell.Ring();
        is_ringing = true;
      }
    });
    engine->RunUntil([&] { return is_ringing && calls > 0; });
    bell.Silence();
    engine.reset();
    is_over = true;
    ringer.join();
  }
}

TEST(Doorbell, OfTwoRungOneMayDestroyTheOther) {
  auto engine = RealEngine(IoBackendKind::kThreads);
  struct Pair {
    int calls = 0;
    std::unique_ptr<Doorbell> first;
    std::unique_ptr<Doorbell> second;
  } pair;
  auto callback = [](void* context) {
    auto* self = static_cast<Pair*>(context);
    ++self->calls;
    self->first.reset();
    self->second.reset();
  };
  pair.first = std::make_unique<Doorbell>(*engine, callback, &pair);
  pair.second = std::make_unique<Doorbell>(*engine, callback, &pair);
  pair.first->Ring();
  pair.second->Ring();
  pair.first->Ring();
  while (engine->PollOnce()) {
  }
  EXPECT_EQ(pair.calls, 1);
}

}  // namespace
}  // namespace millrace::submission_queue_test
