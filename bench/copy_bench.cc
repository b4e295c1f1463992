// What does a stream or a commit give of what the disk gives: over real qcow2 files, with the data
// in one run or in single clusters, against the same bytes copied from file to file?
//
// The limit reads and writes plain files through an engine of the same kind, kRequests of 1 MiB at
// a time, O_DIRECT like the images; it never waits for metadata. Job and limit take turns, each on
// files made anew. "of_limit" is the median of limit / job, in wall time: goal P1 0.95 for one run,
// P2 0.85 for single clusters. The folder is TMPDIR, or /tmp.
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "bench/compare.h"
#include "bench/job_world.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace::bench {
namespace {

constexpr uint64_t kDataBytes = uint64_t{128} << 20;
constexpr uint64_t kClusterBytes = 65536;
constexpr uint64_t kChunkBytes = uint64_t{1} << 20;
constexpr size_t kRequests = 16;

enum class Kind : int64_t { kStream, kCommit };
// How far apart the clusters that hold data lie, in clusters.
enum class Layout : int64_t { kOneRun = 1, kSingleClusters = 2 };

class Folder {
 public:
  Folder() {
    const char* parent = std::getenv("TMPDIR");
    std::string name = StrCat(parent == nullptr ? "/tmp" : parent, "/copy_bench.XXXXXX");
    MILLRACE_CHECK(mkdtemp(name.data()) != nullptr, "cannot make a folder");
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(std::string_view name) const { return StrCat(path_, "/", name); }

 private:
  std::string path_;
};

double Seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// ---- The limit ---------------------------------------------------------------------------------

void CoTransfer(IoBackend& io, IoOpcode opcode, IoFile file, uint64_t offset, IoBuffer& buffer)
    MILLRACE_MAY_SUSPEND {
  const iovec memory = buffer.iov();
  IoRequest request;
  request.opcode = opcode;
  request.file = file;
  request.offset = offset;
  request.bytes = kChunkBytes;
  request.iov = {&memory, 1};
  request.label = "limit";
  const int64_t moved = CoSubmit(io, request);
  MILLRACE_CHECK(moved == static_cast<int64_t>(kChunkBytes), "a transfer of the limit failed");
}

void CoTruncate(IoBackend& io, IoFile file) MILLRACE_MAY_SUSPEND {
  IoRequest request;
  request.opcode = IoOpcode::kTruncate;
  request.file = file;
  request.offset = kDataBytes;
  request.label = "limit";
  MILLRACE_CHECK(CoSubmit(io, request) >= 0, "cannot set a file's size");
}

void CoFillFlat(Engine& engine, const std::string& path) MILLRACE_MAY_SUSPEND {
  IoBackend& io = engine.io();
  const IoFile file = *io.CoOpen(path, {.writable = true, .create = true, .direct = true});
  IoBuffer buffer = *engine.buffers().TryTake(kChunkBytes, "fill");
  IoVector(buffer.data(), kChunkBytes).Fill(0, 0x5a, kChunkBytes);
  for (uint64_t at = 0; at < kDataBytes; at += kChunkBytes) {
    CoTransfer(io, IoOpcode::kWrite, file, at, buffer);
  }
  io.CoClose(file);
}

double CoCopyFlat(Engine& engine, const std::string& from, const std::string& to)
    MILLRACE_MAY_SUSPEND {
  IoBackend& io = engine.io();
  const IoFile source = *io.CoOpen(from, {.direct = true});
  const IoFile target =
      *io.CoOpen(to, {.writable = true, .create = true, .direct = true, .truncate = true});
  CoTruncate(io, target);
  const double start = Seconds();
  uint64_t next = 0;
  TaskScope scope("limit");
  for (size_t i = 0; i < kRequests; ++i) {
    scope.Spawn("limit", [&]() MILLRACE_MAY_SUSPEND {
      IoBuffer buffer = *engine.buffers().TryTake(kChunkBytes, "limit");
      while (next < kDataBytes) {
        const uint64_t at = next;
        next += kChunkBytes;
        CoTransfer(io, IoOpcode::kRead, source, at, buffer);
        CoTransfer(io, IoOpcode::kWrite, target, at, buffer);
      }
    });
  }
  MustBeOk(scope.CoJoin());
  const double seconds = Seconds() - start;
  io.CoClose(source);
  io.CoClose(target);
  return seconds;
}

// ---- The jobs ----------------------------------------------------------------------------------

// "base <- data <- top": only "data" holds anything.
class ImageChain {
 public:
  ImageChain(JobWorld& world, const Folder& folder, Layout layout)
      : world_(world), folder_(folder), stride_(static_cast<uint64_t>(layout) * kClusterBytes) {
    MustBeOk(RegisterBuiltinDrivers(registry_));
  }

  void CoMakeData() MILLRACE_MAY_SUSPEND {
    CoMake("base", "");
    CoMake("data", "base");
    OpenImageOptions open = Options("data");
    open.opens_backing = false;
    OpenedImage image = *CoOpenImage(world_.graph, registry_, open);
    Attachment writer = Attach(image.top());
    IoBuffer buffer = *world_.engine->buffers().TryTake(kClusterBytes, "fill");
    const IoVector cluster(buffer.data(), kClusterBytes);
    cluster.Fill(0, 0x5a, kClusterBytes);
    for (uint64_t done = 0; done < kDataBytes; done += kClusterBytes) {
      MustBeOk(writer.CoWrite(done / kClusterBytes * stride_, cluster));
    }
    CoLetGo(writer, image);
  }

  // Seconds from the command to the job's end.
  double CoCopy(Kind kind) MILLRACE_MAY_SUSPEND {
    CoMake("base", "");
    CoMake("top", "data");
    OpenedImage image = *CoOpenImage(world_.graph, registry_, Options("top"));
    Attachment guest = Attach(image.top());
    const double start = Seconds();
    if (kind == Kind::kStream) {
      StreamOptions options;
      options.job.spec.id = "job";
      options.top = image.images[0];
      MustBeOk(CoStartStream(world_.graph, world_.jobs, options).status());
    } else {
      CommitOptions options;
      options.job.spec.id = "job";
      options.root = image.images[0];
      options.top = image.images[1];
      options.base = image.images[2];
      MustBeOk(CoStartCommit(world_.graph, world_.jobs, options).status());
    }
    const absl::Status over = world_.jobs.CoWaitUntilOver("job");
    const double seconds = Seconds() - start;
    MILLRACE_CHECK(over.ok(), over.ToString());
    CoLetGo(guest, image);
    return seconds;
  }

 private:
  OpenImageOptions Options(std::string_view name) const {
    OpenImageOptions open;
    open.path = folder_ / name;
    open.format = "qcow2";
    open.direct = true;
    return open;
  }
  void CoMake(std::string_view name, std::string_view backing) MILLRACE_MAY_SUSPEND {
    CreateImageOptions create;
    create.path = folder_ / name;
    create.overwrites = true;
    create.qcow2.bytes = kDataBytes / kClusterBytes * stride_;
    create.qcow2.cluster_bytes = kClusterBytes;
    if (!backing.empty()) {
      create.qcow2.backing_filename = folder_ / backing;
      create.qcow2.backing_format = "qcow2";
    }
    MustBeOk(CoCreateImage(world_.graph, registry_, create));
  }
  Attachment Attach(NodeId node) MILLRACE_OPENS_VIEW {
    AttachmentOptions options;
    options.holder = MakeHolder("guest", "block device");
    options.device_name = "guest";
    options.permissions = {kConsistentRead | kWrite, kConsistentRead | kWriteUnchanged | kResize};
    return *Attachment::Attach(world_.graph, node, options);
  }
  void CoLetGo(Attachment& attachment, OpenedImage& image) MILLRACE_MAY_SUSPEND {
    attachment.CoDetach();
    for (Attachment& hold : image.holds) hold.CoDetach();
    world_.graph.CoWaitForReaper();
  }

  JobWorld& world_;
  const Folder& folder_;
  const uint64_t stride_;
  DriverRegistry registry_;
};

void Copy(benchmark::State& state) {
  const auto kind = static_cast<Kind>(state.range(0));
  const auto layout = static_cast<Layout>(state.range(1));
  const Folder folder;
  JobWorld world({});
  std::vector<double> job_seconds;
  std::vector<double> limit_seconds;
  std::vector<double> of_limit;
  world.Run([&]() MILLRACE_MAY_SUSPEND {
    ImageChain chain(world, folder, layout);
    CoFillFlat(*world.engine, folder / "flat");
    chain.CoMakeData();
    for (auto _ : state) {
      limit_seconds.push_back(CoCopyFlat(*world.engine, folder / "flat", folder / "copy"));
      job_seconds.push_back(chain.CoCopy(kind));
      of_limit.push_back(limit_seconds.back() / job_seconds.back());
      state.SetIterationTime(job_seconds.back());
    }
    world.jobs.CoShutdown();
    world.graph.CoClose();
  });
  constexpr double kMegabytes = kDataBytes / 1e6;
  state.counters["mb_per_s"] = kMegabytes / Median(job_seconds);
  state.counters["limit_mb_per_s"] = kMegabytes / Median(limit_seconds);
  state.counters["of_limit"] = Median(of_limit);
}

BENCHMARK(Copy)
    ->ArgNames({"commit", "stride"})
    ->ArgsProduct({{0, 1}, {1, 2}})
    ->Iterations(5)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace millrace::bench
