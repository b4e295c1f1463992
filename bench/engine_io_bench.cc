// Question: what does a request cost through an engine, per backend, against the same pread(2) made
// directly? And how many small simulated scenarios run in a second?
//
// "ratio" is the time per read divided by that of raw pread, measured in the same process just
// before; depth 1 shows the cost of a switch and a wake-up, depth 32 that of a request in a batch.
// The file is in the page cache, so that the host's disk does not matter.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/engine/scope/task_scope.h"

namespace millrace {
namespace {

constexpr uint64_t kFileBytes = 64 << 20;
constexpr size_t kReadBytes = 4096;

// A file of random bytes in the page cache, removed at the end.
class CachedFile {
 public:
  CachedFile() : path_("/tmp/millrace-bench-XXXXXX"), descriptor_(mkstemp(path_.data())) {
    std::string block(1 << 20, 'x');
    for (uint64_t done = 0; done < kFileBytes; done += block.size()) {
      if (pwrite(descriptor_, block.data(), block.size(), static_cast<off_t>(done)) < 0) abort();
    }
  }
  ~CachedFile() {
    close(descriptor_);
    unlink(path_.c_str());
  }
  CachedFile(const CachedFile&) = delete;
  CachedFile& operator=(const CachedFile&) = delete;
  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }

 private:
  std::string path_;
  int descriptor_;
};

uint64_t RandomOffset(RandomStream& random) {
  return random.Below(kFileBytes / kReadBytes) * kReadBytes;
}

double RawPreadNanoseconds(const CachedFile& file) {
  constexpr int kReads = 20'000;
  RandomStream random(1);
  std::array<char, kReadBytes> buffer;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kReads; ++i) {
    const ssize_t count = pread(file.descriptor(), buffer.data(), buffer.size(),
                                static_cast<off_t>(RandomOffset(random)));
    benchmark::DoNotOptimize(count);
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  return took.count() / kReads;
}

void BM_RawPread(benchmark::State& state) {
  CachedFile file;
  RandomStream random(1);
  std::array<char, kReadBytes> buffer;
  for (auto _ : state) {
    benchmark::DoNotOptimize(pread(file.descriptor(), buffer.data(), buffer.size(),
                                   static_cast<off_t>(RandomOffset(random))));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_RawPread);

void CoReadMany(Engine& engine, IoFile file, uint64_t seed, int count) MILLRACE_MAY_SUSPEND {
  RandomStream random(seed);
  absl::StatusOr<IoBuffer> buffer = engine.buffers().TryTake(kReadBytes, "bench");
  const iovec iov = buffer->iov();
  for (int i = 0; i < count; ++i) {
    IoRequest request;
    request.opcode = file.is_valid() ? IoOpcode::kRead : IoOpcode::kMemory;
    request.file = file;
    request.offset = RandomOffset(random);
    request.bytes = kReadBytes;
    request.iov = absl::MakeConstSpan(&iov, 1);
    CoSubmit(engine.io(), request);
  }
}

// `depth` coroutines that each make one request after the other.
void RunReads(benchmark::State& state, IoBackendKind kind, bool is_nop) {
  constexpr int kPerCoroutine = 200;
  const auto depth = static_cast<int>(state.range(0));
  absl::StatusOr<std::unique_ptr<Engine>> made = Engine::Create({.io = kind});
  if (!made.ok()) return state.SkipWithError("this host refuses the backend");
  Engine& engine = **made;
  CachedFile cached;
  const double raw = RawPreadNanoseconds(cached);
  const IoFile file = is_nop ? IoFile{} : *engine.io().Adopt(cached.descriptor());
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) {
    const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND {
      TaskScope scope("bench");
      for (int i = 0; i < depth; ++i) {
        scope.Spawn("reader", [&, i]() MILLRACE_MAY_SUSPEND {
          CoReadMany(engine, file, static_cast<uint64_t>(i), kPerCoroutine);
        });
      }
      return scope.CoJoin();
    });
    if (!status.ok()) state.SkipWithError("a coroutine did not start");
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  const auto requests = state.iterations() * depth * kPerCoroutine;
  state.SetItemsProcessed(requests);
  if (!is_nop) state.counters["ratio"] = took.count() / static_cast<double>(requests) / raw;
}

void BM_UringRead(benchmark::State& state) { RunReads(state, IoBackendKind::kIoUring, false); }
void BM_ThreadsRead(benchmark::State& state) { RunReads(state, IoBackendKind::kThreads, false); }
void BM_UringNop(benchmark::State& state) { RunReads(state, IoBackendKind::kIoUring, true); }
void BM_ThreadsNop(benchmark::State& state) { RunReads(state, IoBackendKind::kThreads, true); }
BENCHMARK(BM_UringRead)->Arg(1)->Arg(32)->UseRealTime();
BENCHMARK(BM_ThreadsRead)->Arg(1)->Arg(32)->UseRealTime();
BENCHMARK(BM_UringNop)->Arg(1)->Arg(32)->UseRealTime();
BENCHMARK(BM_ThreadsNop)->Arg(1)->Arg(32)->UseRealTime();

// One scenario: a clone of a disk of two 64 KiB files, an engine, 6 coroutines, 40 requests in
// random order. items/s is scenarios per second; the goal is 10,000.
void BM_SimulatedScenario(benchmark::State& state) {
  SimulatedDisk origin;
  origin.Put("a", std::string(65536, 'a'));
  origin.Put("b", std::string(65536, 'b'));
  StackPool stacks;
  uint64_t seed = 0;
  for (auto _ : state) {
    const std::unique_ptr<SimulatedDisk> disk = origin.Clone();
    RandomDecider decider(++seed);
    auto engine = Engine::Create(
        {.simulated = true, .decider = &decider, .stacks = &stacks, .disk = disk.get()});
    const absl::Status status = (*engine)->Run([&]() MILLRACE_MAY_SUSPEND {
      IoBackend& io = (*engine)->io();
      absl::StatusOr<IoFile> file = io.CoOpen("a", {.writable = true});
      TaskScope scope("scenario");
      for (uint64_t i = 0; i < 6; ++i) {
        scope.Spawn("worker", [&, i]() MILLRACE_MAY_SUSPEND {
          std::array<char, 512> block = {};
          const iovec iov = {block.data(), block.size()};
          for (uint64_t j = 0; j < 6; ++j) {
            IoRequest request;
            request.opcode = j % 3 == 2   ? IoOpcode::kSync
                             : j % 3 == 1 ? IoOpcode::kRead
                                          : IoOpcode::kWrite;
            request.file = *file;
            request.offset = (i * 6 + j) * 512;
            request.bytes = block.size();
            request.iov = absl::MakeConstSpan(&iov, 1);
            CoSubmit(io, request);
          }
        });
      }
      absl::Status joined = scope.CoJoin();
      io.CoClose(*file);
      return joined;
    });
    if (!status.ok()) state.SkipWithError("the scenario failed");
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SimulatedScenario)->UseRealTime();

}  // namespace
}  // namespace millrace
