// How many schedules a second can one core explore of a real scenario: a stream meets a commit,
// with a guest at work, over memory nodes?
//
// Goal P17: at least 2,000 full scenarios a second and core (floor), better 8,000. Every schedule
// has an engine, a graph, a job manager, a chain of six overlays and a decider of its own, chosen
// at random at every step; as in an explorer, the stacks are shared by all. The peer in the same
// run is the engine alone doing as many steps (six coroutines that only yield): "ratio" is the time
// of a step of the scenario by that of such a step, so what the graph and the jobs cost. Counters:
// "schedules" and "steps" a second. ExploredAtRandom and ExploredByPortfolio run it under the
// explorer itself: in its child process, with its recording, its checks for repetition and its
// reports.
#include <cstdint>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "bench/compare.h"
#include "bench/job_world.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/portfolio.h"
#include "millrace/engine/explore/random.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace::bench {
namespace {

constexpr uint64_t kSector = 512;
constexpr uint64_t kSectors = 16;
constexpr uint64_t kLayers = 6;

// Every layer holds some sectors of its own.
std::vector<std::shared_ptr<MemoryOverlayImage>> MakeImages() {
  std::vector<std::shared_ptr<MemoryOverlayImage>> images;
  for (uint64_t layer = 0; layer < kLayers; ++layer) {
    auto image = std::make_shared<MemoryOverlayImage>(kSectors * kSector, kSector);
    std::vector<uint8_t> data(kSector, static_cast<uint8_t>('a' + layer));
    for (uint64_t sector = layer % 3; sector < kSectors; sector += 3) {
      image->content.Write(sector * kSector, IoVector(data.data(), kSector));
      image->map[sector] = MemoryOverlayImage::Cluster::kData;
    }
    if (layer > 0) image->backing = {StrCat("drive-", layer - 1, ".img"), "memory-overlay"};
    images.push_back(std::move(image));
  }
  return images;
}

absl::Status CoGuest(Attachment& guest) MILLRACE_MAY_SUSPEND {
  uint8_t data[2 * kSector] = {};
  for (uint64_t i = 0; i < 6; ++i) {
    const IoVector memory(data, sizeof(data));
    absl::Status status = guest.CoWrite((i * 5) % (kSectors - 2) * kSector, memory);
    if (status.ok()) status = guest.CoRead((i * 7) % (kSectors - 2) * kSector, memory);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// n0 <- n1 <- n2 <- n3 <- n4 <- n5: n1 goes into n2, while n4 goes into n3 right above.
void RunIn(JobWorld& world) {
  world.Run([&]() MILLRACE_MAY_SUSPEND {
    std::vector<OverlayChain> chains;
    chains.push_back(world.CoAddChain("drive", MakeImages()));
    OverlayChain& chain = chains[0];
    TaskScope scope("guest");
    scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return CoGuest(chain.guest); });
    CommitOptions commit;
    commit.job.spec.id = "commit";
    commit.root = chain.nodes[5];
    commit.top = chain.nodes[4];
    commit.base = chain.nodes[3];
    MustBeOk(CoStartCommit(world.graph, world.jobs, commit).status());
    StreamOptions stream;
    stream.job.spec.id = "stream";
    stream.top = chain.nodes[2];
    stream.bottom = chain.nodes[1];
    MustBeOk(CoStartStream(world.graph, world.jobs, stream).status());
    for (const char* id : {"stream", "commit"}) world.jobs.CoWaitUntilOver(id).IgnoreError();
    MustBeOk(scope.CoJoin());
    world.CoClose(chains);
  });
}

// Returns the steps taken.
uint64_t RunScenario(uint64_t seed, StackPool& stacks) {
  RandomDecider decider(seed, {}, RandomDecider::Recording::kOff);
  JobWorld world({.simulated = true, .decider = &decider, .stacks = &stacks});
  RunIn(world);
  return world.engine->scheduler().steps();
}

uint64_t RunYields(uint64_t seed, uint64_t steps, StackPool& stacks) {
  constexpr uint64_t kCoroutines = 6;
  RandomDecider decider(seed, {}, RandomDecider::Recording::kOff);
  auto engine = *Engine::Create({.simulated = true, .decider = &decider, .stacks = &stacks});
  MustBeOk(engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("actors");
    for (uint64_t i = 0; i < kCoroutines; ++i) {
      scope.Spawn("actor", [&]() MILLRACE_MAY_SUSPEND {
        for (uint64_t step = 1; step < steps / kCoroutines; ++step) CoYield("bench.step");
      });
    }
    return scope.CoJoin();
  }));
  return engine->scheduler().steps();
}

void StreamMeetsCommit(benchmark::State& state) {
  StackPool stacks;
  uint64_t seed = 0;
  uint64_t steps = 0;
  std::vector<double> ratios;
  double peer_ns = 0;
  double our_ns = 0;
  const uint64_t typical_steps = RunScenario(0, stacks);
  for (auto _ : state) {
    const double start = ThreadNanoseconds();
    const uint64_t taken = RunScenario(++seed, stacks);
    const double middle = ThreadNanoseconds();
    const uint64_t yields = RunYields(seed, typical_steps, stacks);
    const double end = ThreadNanoseconds();
    steps += taken;
    our_ns += middle - start;
    peer_ns += end - middle;
    ratios.push_back((middle - start) / static_cast<double>(taken) /
                     ((end - middle) / static_cast<double>(yields)));
    state.SetIterationTime((middle - start) / 1e9);
  }
  const auto schedules = static_cast<double>(seed);
  state.counters["schedules"] = schedules * 1e9 / our_ns;
  state.counters["of_floor_2000"] = schedules * 1e9 / our_ns / 2000;
  state.counters["steps"] = static_cast<double>(steps) * 1e9 / our_ns;
  state.counters["steps_each"] = static_cast<double>(steps) / schedules;
  state.counters["peer_schedules"] = schedules * 1e9 / peer_ns;
  state.counters["ratio"] = Median(ratios);
}

BENCHMARK(StreamMeetsCommit)->UseManualTime();

// The same scenario under the explorer, in its child process, fork and shared memory included.
template <typename MakeStrategy>
void Explored(benchmark::State& state, MakeStrategy make) {
  const Scenario scenario{"stream meets commit", [](ScenarioRun& run) {
                            JobWorld world(run.engine());
                            RunIn(world);
                            return absl::OkStatus();
                          }};
  constexpr uint64_t kSchedules = 2000;
  uint64_t schedules = 0;
  for (auto _ : state) {
    const std::unique_ptr<Strategy> strategy = make(schedules + 1);
    const ExploreReport report =
        Explore(scenario, *strategy, {.budget = {.schedules = kSchedules}});
    MILLRACE_CHECK(!report.finding, report.finding->failure.text);
    schedules += report.schedules;
  }
  state.counters["schedules"] =
      benchmark::Counter(static_cast<double>(schedules), benchmark::Counter::kIsRate);
}

void ExploredAtRandom(benchmark::State& state) {
  Explored(state, [](uint64_t seed) { return std::make_unique<RandomWalk>(seed); });
}

void ExploredByPortfolio(benchmark::State& state) {
  Explored(state, [](uint64_t seed) { return std::make_unique<Portfolio>(seed); });
}

BENCHMARK(ExploredAtRandom)->UseRealTime();
BENCHMARK(ExploredByPortfolio)->UseRealTime();

}  // namespace
}  // namespace millrace::bench
