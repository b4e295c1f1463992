// quickstart: the main job of the project, on real images. Two chains of twelve qcow2 images each,
// a guest at work on each all the time, and jobs that run below them at once; then every byte is
// verified. The exit status tells.
#include <stdlib.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/common/interruptible_run.h"
#include "examples/common/progress_display.h"
#include "examples/common/sizes.h"
#include "examples/quickstart/chain_builder.h"
#include "examples/quickstart/chain_run.h"
#include "examples/quickstart/job_board.h"
#include "examples/quickstart/verify.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/graph.h"
#include "millrace/jobs/block_job.h"

namespace millrace {
namespace {

constexpr char kHelp[] =
    "usage: quickstart [--small] [--io=auto|io_uring|threads] [--runs=N] [--seed=N] [--keep]\n"
    "\n"
    "Builds two chains of twelve qcow2 images in a temporary folder, lets a guest read and write\n"
    "each at random, and meanwhile runs three streams and a commit at once on each chain, then a\n"
    "second commit, with throttle filters inserted and taken out below them. Then it reopens "
    "every\n"
    "image from its header, verifies every byte, and asks qemu-img where it is installed.\n"
    "\n"
    "  --small   64 MiB disks instead of 1 GiB: a few seconds\n"
    "  --io      which I/O backend; auto takes io_uring where the host allows it\n"
    "  --runs    so many times (1), with seeds that count up from --seed (1)\n"
    "  --keep    leave the images behind\n"
    "\n"
    "Exit status: 0 all is well, 1 something is not, 2 usage, 130 interrupted.\n";

struct Options {
  bool is_small = false;
  bool keeps_images = false;
  IoBackendKind io = IoBackendKind::kAutomatic;
  uint64_t runs = 1;
  uint64_t seed = 1;
};

// One run: an engine, two chains, and what is to be seen of them.
class Quickstart {
 public:
  Quickstart(const Options& options, uint64_t seed, std::string folder)
      : options_(options), seed_(seed), folder_(std::move(folder)), display_(stdout, false) {}

  absl::Status Run() {
    MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry_));
    Engine::Options engine_options;
    engine_options.io = options_.io;
    engine_options.observer = &board_;
    MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create(engine_options));
    printf("engine: %s; images in %s; seed %s\n", std::string(engine->io().name()).c_str(),
           folder_.c_str(), std::to_string(seed_).c_str());
    fflush(stdout);
    engine_ = engine.get();
    CancelMainOnInterrupt();
    MILLRACE_RETURN_IF_ERROR(
        run_.Run(*engine, [this]() MILLRACE_MAY_SUSPEND { return CoEverything(); }));
    for (const BuiltChain& chain : chains_) {
      MILLRACE_ASSIGN_OR_RETURN(const std::string verdict,
                                VerifyWithQemu(chain, [this] { return run_.Listen(); }));
      printf("chain %s: %s\n", chain.name.c_str(), verdict.c_str());
      fflush(stdout);
    }
    ShowCounts();
    return absl::OkStatus();
  }
  bool was_interrupted() { return run_.Listen(); }

 private:
  // Where nothing else is to be ended than what `main` itself does.
  void CancelMainOnInterrupt() {
    run_.OnInterrupt([this] {
      display_.Say("interrupted: ending; once more ends the program at once");
      run_.CancelMain();
    });
  }

  void ShowCounts() const {
    const auto count = [this](Counter counter) { return std::to_string(board_.Of(counter)); };
    printf(
        "counted: %s guest requests; %s reads (%s), %s writes (%s), %s flushes; %s jobs, "
        "%s graph edits, %s drains, %s leases\n",
        count(Counter::kGuestRequests).c_str(), count(Counter::kIoReads).c_str(),
        BytesInWords(board_.Of(Counter::kIoReadBytes)).c_str(), count(Counter::kIoWrites).c_str(),
        BytesInWords(board_.Of(Counter::kIoWriteBytes)).c_str(), count(Counter::kIoFlushes).c_str(),
        count(Counter::kJobsEnded).c_str(), count(Counter::kGraphEdits).c_str(),
        count(Counter::kDrainsGranted).c_str(), count(Counter::kLeases).c_str());
  }

  absl::Status CoEverything() MILLRACE_MAY_SUSPEND {
    Graph graph(*engine_);
    absl::Status status = CoBuild(graph);
    if (status.ok()) status = CoWork(graph);
    if (status.ok()) status = CoVerify(graph);
    graph.CoClose();
    return status;
  }

  absl::Status CoBuild(Graph& graph) MILLRACE_MAY_SUSPEND {
    ChainShape shape;
    shape.folder = folder_;
    shape.disk_bytes = uint64_t{options_.is_small ? 64u : 1024u} << 20;
    shape.bytes_per_image = uint64_t{options_.is_small ? 1u : 12u} << 20;
    shape.seed = seed_;
    // Beside each other: making an image is mostly waiting for the host to store it.
    std::vector<absl::StatusOr<BuiltChain>> built(2);
    TaskScope scope("build");
    for (size_t i = 0; i < built.size(); ++i) {
      scope.Spawn("build/chain", [&, i]() MILLRACE_MAY_SUSPEND {
        ChainShape own = shape;
        own.name = std::string(1, static_cast<char>('a' + i));
        built[i] = CoBuildChain(graph, registry_, own);
        return built[i].status();
      });
    }
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    for (absl::StatusOr<BuiltChain>& chain : built) chains_.push_back(*std::move(chain));
    printf("built 2 chains of %zu images; disks of %s, %s of data\n", shape.images,
           BytesInWords(shape.disk_bytes).c_str(),
           BytesInWords(2 * shape.images * shape.bytes_per_image).c_str());
    fflush(stdout);
    // What follows is ended in another way.
    return run_.was_interrupted() ? absl::CancelledError("interrupted") : absl::OkStatus();
  }

  absl::Status CoWork(Graph& graph) MILLRACE_MAY_SUSPEND {
    BlockJobCommitter committer(graph);
    JobManager jobs(*engine_, committer);
    for (BuiltChain& chain : chains_) {
      runs_.push_back(MakeRun(graph, jobs, chain));
      board_.Tell(runs_.back()->witness());
    }
    bool is_over = false;
    TaskScope watch("watch");
    watch.Spawn("watch", [&]() MILLRACE_MAY_SUSPEND {
      while (!is_over) {
        ShowJobs(jobs);
        CoSleepFor(100 * kMillisecond).IgnoreError();
      }
    });
    TaskScope scope("chains");
    run_.OnInterrupt([&] {
      display_.Say("interrupted: cancelling the jobs; once more ends the program at once");
      // What waits for a job is not cancellable: it is over once the job is.
      scope.Cancel();
      for (const JobInfo& job : jobs.QueryAll()) jobs.Cancel(job.number, true).IgnoreError();
    });
    for (const std::unique_ptr<ChainRun>& run : runs_) {
      scope.Spawn("chain", [&run]() MILLRACE_MAY_SUSPEND { return run->CoRun(); });
    }
    absl::Status status = scope.CoJoin();
    CancelMainOnInterrupt();
    is_over = true;
    watch.CoJoin().IgnoreError();
    ShowJobs(jobs);
    display_.Finish();
    jobs.CoShutdown();
    ReportGuests();
    return status;
  }

  std::unique_ptr<ChainRun> MakeRun(Graph& graph, JobManager& jobs, BuiltChain& chain) {
    ChainRun::Options options;
    options.seed = seed_ * 2 + (chain.name == "a" ? 0 : 1);
    // Slow enough to be watched, once they are let go, and to be at work when the filters leave.
    options.job_bytes_per_second = options_.is_small ? 8 << 20 : 12 << 20;
    options.say = [this](std::string_view line) { display_.Say(line); };
    return std::make_unique<ChainRun>(graph, registry_, jobs, chain, std::move(options));
  }

  void ShowJobs(const JobManager& jobs) {
    board_.Refresh(jobs);
    display_.Show(engine_->clock().Now(), board_.entries());
  }

  void ReportGuests() {
    for (size_t i = 0; i < runs_.size(); ++i) {
      const Guest::Counts& counts = runs_[i]->guest_counts();
      const Witness& witness = runs_[i]->witness();
      printf(
          "guest %s: %s reads (%s while jobs were at work), %s writes (%s), %s flushes, %s, each "
          "read as expected\n",
          chains_[i].name.c_str(), std::to_string(counts.reads).c_str(),
          std::to_string(witness.reads()).c_str(), std::to_string(counts.writes).c_str(),
          std::to_string(witness.writes()).c_str(), std::to_string(counts.flushes).c_str(),
          BytesInWords(counts.bytes).c_str());
    }
    for (const std::string& warning : board_.warnings()) printf("warning: %s\n", warning.c_str());
  }

  absl::Status CoVerify(Graph& graph) MILLRACE_MAY_SUSPEND {
    for (size_t i = 0; i < chains_.size(); ++i) {
      MILLRACE_RETURN_IF_ERROR(CoVerifyChain(graph, registry_, chains_[i], runs_[i]->Expected()));
      MILLRACE_RETURN_IF_ERROR(CoCheckImages(graph, registry_, chains_[i]));
      printf("chain %s: reopened from its headers; every byte of every image is as it should be\n",
             chains_[i].name.c_str());
      fflush(stdout);
    }
    return absl::OkStatus();
  }

  const Options& options_;
  const uint64_t seed_;
  const std::string folder_;
  InterruptibleRun run_;  // before the engine: its threads are not to take signals
  DriverRegistry registry_;
  JobBoard board_;
  ProgressDisplay display_;
  Engine* engine_ = nullptr;
  std::vector<BuiltChain> chains_;
  std::vector<std::unique_ptr<ChainRun>> runs_;
};

bool ParseNumber(std::string_view text, uint64_t* number) {
  const absl::StatusOr<uint64_t> parsed = ParseBytes(text);
  if (parsed.ok()) *number = *parsed;
  return parsed.ok();
}

bool ParseIo(std::string_view text, IoBackendKind* io) {
  if (text == "auto") {
    *io = IoBackendKind::kAutomatic;
  } else if (text == "io_uring") {
    *io = IoBackendKind::kIoUring;
  } else if (text == "threads") {
    *io = IoBackendKind::kThreads;
  } else {
    return false;
  }
  return true;
}

bool ParseWord(std::string_view word, Options* options) {
  const size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  const std::string_view value = equals == word.npos ? std::string_view() : word.substr(equals + 1);
  if (word == "--small") return options->is_small = true;
  if (word == "--keep") return options->keeps_images = true;
  // No run at all would be a success that looked at nothing.
  if (name == "--runs") return ParseNumber(value, &options->runs) && options->runs > 0;
  if (name == "--seed") return ParseNumber(value, &options->seed);
  return name == "--io" && ParseIo(value, &options->io);
}

// 0, 1 or 130.
int RunOnce(const Options& options, uint64_t seed) {
  std::string folder = (std::filesystem::temp_directory_path() / "millrace-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) {
    fprintf(stderr, "quickstart: cannot make a folder like '%s'\n", folder.c_str());
    return 1;
  }
  const auto start = std::chrono::steady_clock::now();
  Quickstart quickstart(options, seed, folder);
  absl::Status status = quickstart.Run();
  const bool was_interrupted = quickstart.was_interrupted();
  std::error_code ignored;
  const bool is_wanted = options.keeps_images || (!status.ok() && !was_interrupted);
  if (!is_wanted) {
    std::filesystem::remove_all(folder, ignored);
  } else if (!std::filesystem::remove(folder, ignored)) {  // which takes an empty one only
    printf("the images are kept in %s\n", folder.c_str());
  }
  if (was_interrupted) {
    puts("interrupted");
    return 130;
  }
  if (!status.ok()) {
    printf("FAILED with seed %s: %s\n", std::to_string(seed).c_str(), status.ToString().c_str());
    return 1;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  printf("all is well, after %.1f s\n", took.count());
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using millrace::kHelp;
  millrace::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--help" || word == "-h") {
      fputs(kHelp, stdout);
      return 0;
    }
    if (!millrace::ParseWord(word, &options)) {
      fprintf(stderr, "quickstart: '%s' is not understood\n\n%s", argv[i], kHelp);
      return 2;
    }
  }
  for (uint64_t run = 0; run < options.runs; ++run) {
    if (options.runs > 1) {
      printf("run %s of %s\n", std::to_string(run + 1).c_str(),
             std::to_string(options.runs).c_str());
    }
    if (const int code = millrace::RunOnce(options, options.seed + run); code != 0) return code;
  }
  return 0;
}
