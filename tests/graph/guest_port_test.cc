// What a guest's port promises, under simulated schedules.
#include "millrace/graph/guest_port.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/functional/function_ref.h"

#include "examples/scenario_kit/memory_chain.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "tests/support/guest_device.h"
#include "tests/support/simulation.h"

namespace millrace::guest_port_test {
namespace {

class PassFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "pass"; }
};

constexpr uint64_t kChainBytes = 8 * GuestDevice::kSlotBytes;

// Runs `body(graph, chain)` in a coroutine of `engine`, over three layers, and lets everything end.
template <typename Body>
void RunOverChain(Engine& engine, Body body) {
  Graph graph(engine);
  const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                              CoMakeMemoryChain(graph, {.bytes = kChainBytes}, true));
    absl::Status result = body(graph, chain);
    const absl::Status invariants = graph.CheckInvariants();
    EXPECT_TRUE(invariants.ok()) << invariants;
    chain.guest.CoDetach();
    chain.monitor.clear();
    graph.CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(graph.node_count(), 0u);
}

// A user of the chain's top that nothing stops: what verifies after the guest is gone.
absl::StatusOr<Attachment> AttachReader(Graph& graph, const MemoryChain& chain)
    MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("reader", "test");
  options.permissions = {kConsistentRead, kConsistentRead | kWrite | kWriteUnchanged | kResize};
  return Attachment::Attach(graph, chain.top(), options);
}

// Puts a filter above a node of a live graph and takes it out again.
absl::Status CoInsertAndRemoveFilter(Graph& graph, NodeId node) MILLRACE_MAY_SUSPEND {
  const HolderRef editor = MakeHolder("editor", "test");
  NodeId filter;
  {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(graph, {node}, {editor}));
    {
      GraphTransaction change(graph);
      change.Show(drained);
      filter = change.AddNode(std::make_unique<PassFilter>(), {.name = "pass"});
      change.InsertFilter(filter, node);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, filter));
  }
  CoYield();
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                            DrainedSection::CoBegin(graph, {filter}, {editor}));
  GraphTransaction change(graph);
  change.Show(drained).RemoveFilter(filter);
  return change.Commit().status();
}

// Asleep, not yielding: a simulation lets I/O complete when no coroutine can run.
void CoWaitWhile(absl::FunctionRef<bool()> condition) MILLRACE_MAY_SUSPEND {
  while (condition()) MILLRACE_CHECK(CoSleepFor(kMicrosecond).ok(), "nobody cancels a test");
}

// A request that remembers how it ended.
struct Recorded {
  GuestRequest request;
  std::vector<int>* order = nullptr;
  int number = 0;
  int completions = 0;
  uint8_t byte = 0;
  iovec piece = {&byte, 1};

  Recorded() {
    request.iov = {&piece, 1};
    request.completion = [](GuestRequest& done) {
      auto& self = *reinterpret_cast<Recorded*>(&done);
      ++self.completions;
      if (self.order != nullptr) self.order->push_back(self.number);
    };
  }
};

TEST(GuestPort, RequestsMeetDrainsAndEditsUnderAnySchedule) {
  Explore(
      [](Engine& engine, uint64_t) {
        RunOverChain(
            engine, [&](Graph& graph, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
              GuestDevice device(chain.guest.guest_port(), {.slots = 6, .rounds = 8});
              TaskScope scope("test");
              scope.Spawn("device", [&]() MILLRACE_MAY_SUSPEND { device.Start(); });
              scope.Spawn("editor", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                for (size_t i = 0; i < 4; ++i) {
                  MILLRACE_RETURN_IF_ERROR(CoInsertAndRemoveFilter(graph, chain.nodes[i % 3]));
                }
                return absl::OkStatus();
              });
              MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
              CoWaitWhile([&] { return !device.is_done(); });
              EXPECT_EQ(device.completed(), 6 * 8);
              EXPECT_EQ(device.cancelled(), 0);
              EXPECT_EQ(device.failure(), "");
              return device.CoVerify(chain.guest);
            });
      },
      /*cost=*/5);
}

TEST(GuestPort, RequestsThatArriveInADrainStartInOrderWhenItEnds) {
  auto engine = SimulatedEngine();
  RunOverChain(*engine, [](Graph& graph, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
    const GuestPort port = chain.guest.guest_port();
    std::vector<int> order;
    std::vector<Recorded> requests(10);
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(graph, {chain.nodes[0]}, {}));
      for (size_t i = 0; i < requests.size(); ++i) {
        requests[i].number = static_cast<int>(i);
        requests[i].order = &order;
        requests[i].request.operation = GuestOperation::kWrite;
        EXPECT_TRUE(port.Submit(requests[i].request));
      }
      for (int i = 0; i < 50; ++i) CoYield();
      EXPECT_TRUE(order.empty()) << "a request ran in somebody's drained section";
    }
    CoWaitWhile([&] { return order.size() < requests.size(); });
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    return absl::OkStatus();
  });
}

// A coroutine is there for it, but it has not entered the node: G7 holds all the while.
TEST(GuestPort, ARequestThatHasOnlyArrivedIsNotInFlightInADrain) {
  auto engine = SimulatedEngine();
  RunOverChain(*engine, [&](Graph& graph, MemoryChain& chain) MILLRACE_MAY_SUSPEND {
    const GuestPort port = chain.guest.guest_port();
    absl::StatusOr<DrainedSection> drained = DrainedSection::CoBegin(graph, {chain.top()}, {});
    EXPECT_TRUE(drained.ok());
    Recorded recorded;
    EXPECT_TRUE(port.Submit(recorded.request));
    for (int i = 0; i < 4; ++i) {
      CoYield();
      EXPECT_TRUE(graph.CheckInvariants().ok()) << graph.CheckInvariants();
    }
    drained->End();
    CoWaitWhile([&] { return recorded.completions == 0; });
    return absl::OkStatus();
  });
}

TEST(GuestPort, DetachingCancelsWhatQueuesAtADrainThatGoesOn) {
  auto engine = SimulatedEngine();
  RunOverChain(*engine, [](Graph& graph, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
    const GuestPort port = chain.guest.guest_port();
    std::vector<Recorded> requests(5);
    TaskScope scope("test");
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(graph, {chain.nodes[0]}, {}));
      for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(port.Submit(requests[i].request));
      for (int i = 0; i < 10; ++i) CoYield();  // these three are in the queue now
      for (size_t i = 3; i < 5; ++i) EXPECT_TRUE(port.Submit(requests[i].request));
      scope.Spawn("detach", [&]() MILLRACE_MAY_SUSPEND { chain.guest.CoDetach(); });
      for (int i = 0; i < 10; ++i) CoYield();
      for (Recorded& each : requests) {
        EXPECT_EQ(each.completions, 1);
        EXPECT_TRUE(absl::IsCancelled(each.request.status)) << each.request.status;
      }
      EXPECT_FALSE(port.Submit(requests[0].request));
    }
    return scope.CoJoin();
  });
}

TEST(GuestPort, EveryRequestIsCompletedOnceWhenTheAttachmentGoes) {
  int with_cancelled = 0;
  int with_completed = 0;
  Explore(
      [&](Engine& engine, uint64_t seed) {
        RunOverChain(engine,
                     [&](Graph& graph, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
                       MILLRACE_ASSIGN_OR_RETURN(Attachment reader, AttachReader(graph, chain));
                       GuestDevice device(chain.guest.guest_port(), {.slots = 8, .rounds = 100});
                       TaskScope scope("test");
                       scope.Spawn("editor", [&]() MILLRACE_MAY_SUSPEND {
                         return CoInsertAndRemoveFilter(graph, chain.nodes[1]);
                       });
                       device.Start();
                       for (uint64_t i = 0; i < seed % 40; ++i) CoYield();
                       chain.guest.CoDetach();
                       EXPECT_TRUE(device.is_done()) << "requests were left behind";
                       EXPECT_EQ(device.submitted(), device.completed() + device.cancelled());
                       EXPECT_EQ(device.failure(), "");
                       with_cancelled += device.cancelled() > 0;
                       with_completed += device.completed() > 0;
                       MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
                       return device.CoVerify(reader);
                     });
      },
      /*cost=*/5);
  EXPECT_GT(with_cancelled, 0);
  EXPECT_GT(with_completed, 0);
}

TEST(GuestPort, MoreRequestsThanMayBeInFlightAllGetTheirTurn) {
  auto engine = SimulatedEngine();
  RunOverChain(*engine, [&](Graph& graph, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
    const GuestPort port = chain.guest.guest_port();
    std::vector<int> order;
    std::vector<Recorded> requests(3 * GuestPort::kInFlightMax);
    MILLRACE_ASSIGN_OR_RETURN(
        DrainedSection drained,
        DrainedSection::CoBegin(graph, {chain.top()}, {MakeHolder("e", "editor")}));
    for (Recorded& each : requests) {
      each.order = &order;
      EXPECT_TRUE(port.Submit(each.request));
    }
    // They arrive in parts, a part before each step, and none comes further than the drain.
    for (size_t i = 0; i < requests.size(); ++i) CoYield();
    EXPECT_EQ(engine->scheduler().live_coroutines(), GuestPort::kInFlightMax + 1);
    drained.End();
    CoWaitWhile([&] { return order.size() < requests.size(); });
    for (Recorded& each : requests) EXPECT_EQ(each.completions, 1);
    return absl::OkStatus();
  });
}

// Refuses stacks to a guest's requests while `refuses`.
class NoStackDecider final : public Decider {
 public:
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    return kind == ChoiceKind::kFault && refuses && options[0].name == "guest request" ? 1 : 0;
  }
  bool refuses = false;
};

TEST(GuestPort, WithoutAStackARequestWaitsForAnotherOrFails) {
  NoStackDecider decider;
  auto engine = SimulatedEngine(&decider);
  RunOverChain(*engine, [&](Graph&, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
    const GuestPort port = chain.guest.guest_port();
    std::vector<Recorded> requests(4);
    EXPECT_TRUE(port.Submit(requests[0].request));
    CoYield();  // the first has its coroutine now
    decider.refuses = true;
    EXPECT_TRUE(port.Submit(requests[1].request));
    CoWaitWhile([&] { return requests[1].completions == 0; });
    for (int i : {0, 1}) {
      const absl::Status& status = requests[static_cast<size_t>(i)].request.status;
      EXPECT_TRUE(status.ok()) << i << ": " << status;
    }
    CoYield();
    EXPECT_TRUE(port.Submit(requests[2].request));
    CoWaitWhile([&] { return requests[2].completions == 0; });
    EXPECT_TRUE(absl::IsResourceExhausted(requests[2].request.status));
    decider.refuses = false;
    EXPECT_TRUE(port.Submit(requests[3].request));
    CoWaitWhile([&] { return requests[3].completions == 0; });
    EXPECT_TRUE(requests[3].request.status.ok()) << requests[3].request.status;
    return absl::OkStatus();
  });
}

TEST(GuestPort, ErrorsOfARequestComeWithItsCompletion) {
  auto engine = SimulatedEngine();
  RunOverChain(*engine, [](Graph& graph, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
    Recorded beyond;
    beyond.request.offset = kChainBytes;
    EXPECT_TRUE(chain.guest.guest_port().Submit(beyond.request));
    MILLRACE_ASSIGN_OR_RETURN(Attachment reader, AttachReader(graph, chain));
    Recorded forbidden;
    forbidden.request.operation = GuestOperation::kWrite;
    EXPECT_TRUE(reader.guest_port().Submit(forbidden.request));
    CoWaitWhile([&] { return beyond.completions + forbidden.completions < 2; });
    EXPECT_TRUE(absl::IsInvalidArgument(beyond.request.status));
    EXPECT_TRUE(absl::IsInvalidArgument(forbidden.request.status));
    return absl::OkStatus();
  });
}

TEST(GuestPortDeathTest, ARequestThatIsUnderWayIsNotSubmittedAgain) {
  const auto twice = [] {
    auto engine = SimulatedEngine();
    RunOverChain(*engine, [](Graph&, MemoryChain& chain) {
      GuestPort port = chain.guest.guest_port();
      GuestRequest request;
      request.operation = GuestOperation::kFlush;
      request.completion = [](GuestRequest&) {};
      EXPECT_TRUE(port.Submit(request));
      EXPECT_FALSE(port.Submit(request));
      return absl::OkStatus();
    });
  };
  EXPECT_DEATH(twice(), "submitted again before its completion");
}

TEST(GuestPort, ACompletionMaySubmitItsRequestAgain) {
  auto engine = SimulatedEngine();
  RunOverChain(*engine, [&](Graph&, MemoryChain& chain) MILLRACE_MAY_SUSPEND {
    struct Again : GuestRequest {
      GuestPort port;
      int left = 3;
    } request;
    request.port = chain.guest.guest_port();
    request.operation = GuestOperation::kFlush;
    request.completion = [](GuestRequest& done) {
      auto& again = static_cast<Again&>(done);
      if (--again.left > 0) {
        EXPECT_TRUE(again.port.Submit(again));
      }
    };
    EXPECT_TRUE(request.port.Submit(request));
    CoWaitWhile([&] { return request.left > 0; });
    return absl::OkStatus();
  });
}

TEST(GuestPort, APortRefusesOnceItsAttachmentItsGraphAndItsEngineAreGone) {
  GuestPort port;
  Recorded request;
  EXPECT_FALSE(port.Submit(request.request)) << "a port of nothing";
  {
    auto engine = SimulatedEngine();
    RunOverChain(*engine, [&](Graph&, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
      port = chain.guest.guest_port();
      return absl::OkStatus();
    });
    EXPECT_FALSE(port.Submit(request.request));
  }
  EXPECT_FALSE(port.Submit(request.request));
  EXPECT_EQ(request.completions, 0);
}

TEST(GuestPort, DestroyingTheAttachmentCancelsWhatHasJustArrived) {
  auto engine = SimulatedEngine();
  RunOverChain(*engine, [](Graph&, MemoryChain& chain) MILLRACE_MAY_SUSPEND -> absl::Status {
    Recorded request;
    EXPECT_TRUE(chain.guest.guest_port().Submit(request.request));
    chain.guest = Attachment();
    EXPECT_EQ(request.completions, 1);
    EXPECT_TRUE(absl::IsCancelled(request.request.status)) << request.request.status;
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::guest_port_test
