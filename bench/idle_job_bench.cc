// What does a job that has nothing to do cost, in memory and in processor time?
//
// Goal P13: at most 64 KB a job (floor), better 16 KB, without its chain's own nodes. Goal P14: no
// processor time at all, so no periodic wake-ups. The jobs are streams, each on a chain of its own
// of two memory overlays, paused by their user. The peer is the same engine without jobs.
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "bench/compare.h"
#include "bench/job_world.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace::bench {
namespace {

constexpr Nanoseconds kIdle = kSecond;

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0;
  double resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// What the allocator gave out, large blocks that it maps by themselves included.
double AllocatedBytes() {
  const struct mallinfo2 now = mallinfo2();
  return static_cast<double>(now.uordblks + now.hblkhd);
}

std::vector<OverlayChain> CoAddChains(JobWorld& world, size_t count) MILLRACE_MAY_SUSPEND {
  std::vector<OverlayChain> chains;
  for (size_t i = 0; i < count; ++i) {
    std::vector<std::shared_ptr<MemoryOverlayImage>> images;
    for (int layer = 0; layer < 2; ++layer) {
      images.push_back(std::make_shared<MemoryOverlayImage>(64 * 1024, 64 * 1024));
      images.back()->map[0] = MemoryOverlayImage::Cluster::kZero;
    }
    chains.push_back(world.CoAddChain(StrCat("d", i), images));
  }
  return chains;
}

// Starts a stream on every chain and waits until each is parked.
void CoStartPausedJobs(JobWorld& world, const std::vector<OverlayChain>& chains)
    MILLRACE_MAY_SUSPEND {
  for (size_t i = 0; i < chains.size(); ++i) {
    StreamOptions stream;
    stream.job.spec.id = StrCat("job", i);
    stream.top = chains[i].nodes[1];
    MustBeOk(CoStartStream(world.graph, world.jobs, stream).status());
    MustBeOk(world.jobs.Pause(*stream.job.spec.id));
  }
  for (const JobInfo& job : world.jobs.QueryAll()) {
    while (world.jobs.Query(job.number)->state != JobState::kPaused) CoYield();
  }
}

void Memory(benchmark::State& state) {
  const auto count = static_cast<size_t>(state.range(0));
  double allocated = 0;
  double resident = 0;
  double nodes = 0;
  for (auto _ : state) {
    JobWorld world({.io = IoBackendKind::kThreads});
    world.Run([&]() MILLRACE_MAY_SUSPEND {
      const double allocated_at_start = AllocatedBytes();
      std::vector<OverlayChain> chains = CoAddChains(world, count);
      const double allocated_before = AllocatedBytes();
      const double resident_before = ResidentBytes();
      CoStartPausedJobs(world, chains);
      const auto jobs = static_cast<double>(count);
      allocated = (AllocatedBytes() - allocated_before) / jobs;
      resident = (ResidentBytes() - resident_before) / jobs;
      nodes = (allocated_before - allocated_at_start) / jobs / 2;
      world.CoClose(chains);
    });
  }
  state.counters["allocated_per_job"] = allocated;
  state.counters["resident_per_job"] = resident;  // stacks included
  state.counters["of_floor_64KB"] = resident / 65536;
  state.counters["of_goal_16KB"] = resident / 16384;
  state.counters["allocated_per_node"] = nodes;
}

struct Idling {
  double processor_ns = 0;
  double wake_ups = 0;
  double steps = 0;
};

Idling CoIdle(Engine& engine) MILLRACE_MAY_SUSPEND {
  MustBeOk(CoSleepFor(kMillisecond));  // what was still to do is done
  rusage before;
  getrusage(RUSAGE_THREAD, &before);
  const uint64_t steps_before = engine.scheduler().steps();
  const double start = ThreadNanoseconds();
  MustBeOk(CoSleepFor(kIdle));
  rusage after;
  getrusage(RUSAGE_THREAD, &after);
  return {ThreadNanoseconds() - start, static_cast<double>(after.ru_nvcsw - before.ru_nvcsw),
          static_cast<double>(engine.scheduler().steps() - steps_before)};
}

// A second of nothing.
void ProcessorTime(benchmark::State& state) {
  const auto count = static_cast<size_t>(state.range(0));
  Idling idle;
  Idling peer;
  for (auto _ : state) {
    JobWorld world({});
    world.Run([&]() MILLRACE_MAY_SUSPEND {
      peer = CoIdle(*world.engine);
      std::vector<OverlayChain> chains = CoAddChains(world, count);
      CoStartPausedJobs(world, chains);
      idle = CoIdle(*world.engine);
      world.CoClose(chains);
    });
  }
  state.counters["cpu_us_per_s"] = idle.processor_ns / 1e3;
  state.counters["peer_cpu_us_per_s"] = peer.processor_ns / 1e3;
  state.counters["wake_ups"] = idle.wake_ups;
  state.counters["peer_wake_ups"] = peer.wake_ups;
  state.counters["steps"] = idle.steps;
  state.counters["peer_steps"] = peer.steps;
}

BENCHMARK(Memory)->Arg(1000)->Iterations(1);
BENCHMARK(ProcessorTime)->Arg(1000)->Iterations(1);

}  // namespace
}  // namespace millrace::bench
