// What does a guest's request cost from another thread, to its completion there, against a bare
// round trip between two threads over two eventfds?
//
// The node is a memory overlay, so that no disk matters. Depth 1 shows the two wake-ups; depth 32 a
// burst, in which they are shared. The second argument says whether requests write. "ratio" is the
// time per request by the peer's round trip measured just before; "allocations" counts operator new
// per request, of all threads, which is to be 0.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "bench/job_world.h"
#include "millrace/graph/guest_completions.h"
#include "millrace/graph/guest_port.h"

namespace {

std::atomic<int64_t> allocations = 0;

}  // namespace

// Inlined, g++ takes malloc and free below for a pair that does not match.
[[gnu::noinline]] void* operator new(size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes)) return memory;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace millrace::bench {
namespace {

constexpr size_t kBytes = 4096;
constexpr uint64_t kDiskBytes = 256 * kBytes;

class EventFd {
 public:
  EventFd() : descriptor_(eventfd(0, EFD_CLOEXEC)) {}
  ~EventFd() { close(descriptor_); }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;
  void Ring() { MILLRACE_CHECK(eventfd_write(descriptor_, 1) == 0, "ring"); }
  void Wait() {
    eventfd_t count;
    MILLRACE_CHECK(eventfd_read(descriptor_, &count) == 0, "wait");
  }

 private:
  const int descriptor_;
};

double RoundTripNanoseconds() {
  constexpr int kTrips = 5000;
  EventFd there;
  EventFd back;
  std::thread other([&] {
    for (int i = 0; i < kTrips; ++i) {
      there.Wait();
      back.Ring();
    }
  });
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kTrips; ++i) {
    there.Ring();
    back.Wait();
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  other.join();
  return took.count() / kTrips;
}

// A device of `depth` requests; each is submitted again as soon as it is complete.
class Device {
 public:
  Device(GuestPort port, size_t depth, GuestOperation operation)
      : port_(std::move(port)), completions_(*GuestCompletions::Create()), slots_(depth) {
    for (size_t i = 0; i < depth; ++i) {
      Slot& slot = slots_[i];
      slot.memory.resize(kBytes);
      slot.piece = {slot.memory.data(), kBytes};
      slot.request.operation = operation;
      slot.request.offset = i * kBytes;
      slot.request.iov = {&slot.piece, 1};
      slot.request.completion = &GuestCompletions::Deliver;
      slot.request.context = completions_.get();
    }
  }

  // Does `count` requests in all.
  void Run(size_t count) {
    size_t submitted = 0;
    size_t completed = 0;
    const auto submit = [&](GuestRequest& request) {
      ++submitted;
      MILLRACE_CHECK(port_.Submit(request), "submit");
    };
    for (Slot& slot : slots_) {
      if (submitted < count) submit(slot.request);
    }
    while (completed < count) {
      pollfd wanted = {completions_->PollFd(), POLLIN, 0};
      poll(&wanted, 1, -1);
      completed += completions_->TakeAll([&](GuestRequest& request) {
        MILLRACE_CHECK(request.status.ok(), request.status.ToString());
        if (submitted < count) submit(request);
      });
    }
  }

 private:
  struct Slot {
    GuestRequest request;
    iovec piece;
    std::vector<char> memory;
  };
  GuestPort port_;
  std::unique_ptr<GuestCompletions> completions_;
  std::vector<Slot> slots_;
};

void SubmitAndComplete(benchmark::State& state) {
  constexpr size_t kRequests = 20'000;
  const double peer = RoundTripNanoseconds();
  JobWorld world({});
  std::vector<OverlayChain> chains;
  world.Run([&]() MILLRACE_MAY_SUSPEND {
    chains.push_back(
        world.CoAddChain("drive", {std::make_shared<MemoryOverlayImage>(kDiskBytes, kBytes)}));
  });
  Device device(chains[0].guest.guest_port(), static_cast<size_t>(state.range(0)),
                state.range(1) == 0 ? GuestOperation::kRead : GuestOperation::kWrite);
  const auto run = [&](size_t requests) {
    std::atomic<bool> is_done = false;
    std::thread thread([&] {
      device.Run(requests);
      is_done = true;
      world.engine->Post([] {});
    });
    world.engine->RunUntil([&] { return is_done.load(); });
    thread.join();
  };
  run(kRequests);  // stacks, clusters and containers reach their steady state
  double allocated = 0;
  double nanoseconds = 0;
  for (auto _ : state) {
    const int64_t allocations_before = allocations;
    const auto start = std::chrono::steady_clock::now();
    run(kRequests);
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    allocated += static_cast<double>(allocations - allocations_before);
    nanoseconds += took.count();
    state.SetIterationTime(took.count() / 1e9);
  }
  const double requests = static_cast<double>(state.iterations()) * kRequests;
  state.SetItemsProcessed(static_cast<int64_t>(requests));
  state.counters["request_ns"] = nanoseconds / requests;
  state.counters["peer_ns"] = peer;
  state.counters["ratio"] = nanoseconds / requests / peer;
  state.counters["allocations"] = allocated / requests;
  world.Run([&]() MILLRACE_MAY_SUSPEND { world.CoClose(chains); });
}

BENCHMARK(SubmitAndComplete)->ArgsProduct({{1, 32}, {0, 1}})->UseManualTime();

}  // namespace
}  // namespace millrace::bench
