// Taking an engine down while jobs run and guests' requests are under way, in either order.
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/guest_device.h"
#include "tests/support/job_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::guest_shutdown_threads_test {
namespace {

constexpr size_t kSlots = 4;
constexpr uint64_t kBytes = 2 * kSlots * GuestDevice::kSlotBytes;

// A commit and a stream on neighbouring ranges: n6 <- [n5 n4 n3] <- [n2 n1] <- n0.
absl::Status CoStartJobs(JobWorld& world, const MemoryChain& chain, int64_t speed)
    MILLRACE_MAY_SUSPEND {
  StreamOptions stream;
  stream.job.spec.id = "stream";
  stream.job.spec.speed = speed;
  stream.top = chain.nodes[2];
  stream.bottom = chain.nodes[1];
  MILLRACE_RETURN_IF_ERROR(CoStartStream(world.graph(), world.jobs(), stream).status());
  CommitOptions commit;
  commit.job.spec.id = "commit";
  commit.job.spec.speed = speed;
  commit.root = chain.nodes[6];
  commit.top = chain.nodes[5];
  commit.base = chain.nodes[3];
  return CoStartCommit(world.graph(), world.jobs(), commit).status();
}

absl::StatusOr<MemoryChain> CoMakeChain(JobWorld& world) MILLRACE_MAY_SUSPEND {
  MemoryChainOptions options;
  options.layers = 7;
  options.bytes = kBytes;
  options.is_read_only = true;
  return CoMakeMemoryChain(world.graph(), options, true);
}

absl::StatusOr<Attachment> AttachReader(JobWorld& world, const MemoryChain& chain)
    MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("reader", "test");
  options.permissions = {kConsistentRead, kConsistentRead | kWrite | kWriteUnchanged | kResize};
  return Attachment::Attach(world.graph(), chain.top(), options);
}

// Ends both, in either order. Jobs and guests know nothing of each other.
void CoShutDown(JobWorld& world, MemoryChain& chain, bool jobs_first) MILLRACE_MAY_SUSPEND {
  if (jobs_first) world.jobs().CoShutdown();
  chain.guest.CoDetach();
  world.jobs().CoShutdown();
  EXPECT_EQ(world.jobs().live_jobs(), 0u);
}

TEST(GuestShutdown, LiveJobsAndLiveRequestsEndInEitherOrderUnderAnySchedule) {
  Explore(
      [](Engine& engine, uint64_t seed) {
        JobWorld world(engine);
        const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeChain(world));
          MILLRACE_ASSIGN_OR_RETURN(Attachment reader, AttachReader(world, chain));
          GuestDevice device(chain.guest.guest_port(), {.slots = kSlots, .rounds = 1'000'000});
          device.Start();
          const absl::Status started = CoStartJobs(world, chain, /*speed=*/0);
          EXPECT_TRUE(started.ok()) << started;
          for (uint64_t i = 0; i < seed % 60; ++i) CoYield();
          CoShutDown(world, chain, seed % 2 == 0);
          EXPECT_TRUE(device.is_done());
          EXPECT_EQ(device.submitted(), device.completed() + device.cancelled());
          EXPECT_EQ(device.failure(), "");
          MILLRACE_RETURN_IF_ERROR(device.CoVerify(reader));
          reader.CoDetach();
          world.CoClose(chain);
          return absl::OkStatus();
        });
        EXPECT_TRUE(status.ok()) << status;
      },
      /*cost=*/10);
}

TEST(GuestShutdown, LiveJobsAndRequestsOfTwoThreadsEndInEitherOrder) {
  for (bool jobs_first : {false, true}) {
    auto engine = *Engine::Create({});
    auto world = std::make_unique<JobWorld>(*engine);
    MemoryChain chain;
    Attachment reader;
    GuestPort port;
    absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(chain, CoMakeChain(*world));
      MILLRACE_ASSIGN_OR_RETURN(reader, AttachReader(*world, chain));
      port = chain.guest.guest_port();
      return CoStartJobs(*world, chain, /*speed=*/1);  // they would take hours
    });
    ASSERT_TRUE(status.ok()) << status;
    std::unique_ptr<GuestCompletions> completions[2];
    std::unique_ptr<GuestDevice> devices[2];
    std::thread threads[2];
    for (size_t i = 0; i < 2; ++i) {
      completions[i] = *GuestCompletions::Create();
      devices[i] = std::make_unique<GuestDevice>(
          port, GuestDevice::Options{.slots = kSlots,
                                     .rounds = 1'000'000,
                                     .first_byte = i * kSlots * GuestDevice::kSlotBytes,
                                     .completions = completions[i].get()});
      threads[i] = std::thread([&device = *devices[i]] {
        device.Start();
        EXPECT_TRUE(device.RunOnThisThread()) << "a completion was lost";
      });
    }
    status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      while (devices[0]->completed() < 100 || devices[1]->completed() < 100) CoYield();
      CoShutDown(*world, chain, jobs_first);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    for (std::thread& thread : threads) thread.join();
    status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      for (auto& device : devices) {
        EXPECT_EQ(device->submitted(), device->completed() + device->cancelled());
        EXPECT_EQ(device->failure(), "");
        MILLRACE_RETURN_IF_ERROR(device->CoVerify(reader));
      }
      reader.CoDetach();
      world->CoClose(chain);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    world.reset();
    EXPECT_EQ(engine->scheduler().live_coroutines(), 0u);
  }
}

}  // namespace
}  // namespace millrace::guest_shutdown_threads_test
