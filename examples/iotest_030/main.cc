// iotest_030: the cases of QEMU's iotest 030 over real images, told and checked by one command.
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

#include "examples/common/sizes.h"
#include "examples/iotest_030/cases.h"
#include "examples/iotest_030/job_log.h"
#include "examples/iotest_030/machine.h"
#include "examples/iotest_030/minutes.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/jobs/block_job.h"

namespace millrace {
namespace {

constexpr char kHelp[] =
    "usage: iotest_030 [--case=NAME]... [--io=auto|io_uring|threads] [--repeat=N] [--seed=N]\n"
    "                  [--deadline=SECONDS] [--no-qemu] [--keep] [--list]\n"
    "\n"
    "Runs the cases of QEMU's iotest 030 (image streaming, alone and beside other jobs) over real\n"
    "images in a temporary folder, and prints for each what was asked, what was refused with "
    "which\n"
    "text, the chain at its end, and the verdict.\n"
    "\n"
    "  --case     only this case; more than one may be given\n"
    "  --io       which I/O backend; auto takes io_uring where the host allows it\n"
    "  --repeat   all of it so many times, with seeds that count up; after the first time only\n"
    "             what fails is printed\n"
    "  --seed     from which the order is drawn in which held jobs are let go\n"
    "  --deadline a case that takes longer does not go on (120 seconds)\n"
    "  --no-qemu  do not ask qemu-img and qemu-io, also where they are installed\n"
    "  --keep     leave the images behind, as is done after a failure\n"
    "  --list     print the names of the cases\n"
    "\n"
    "Exit status: 0 all cases are ok, 1 one is not, 2 usage.\n";

struct Options {
  std::vector<std::string> cases;
  IoBackendKind io = IoBackendKind::kAutomatic;
  uint64_t repeat = 1;
  uint64_t seed = 1;
  // Only there to end a run in which what a case waits for never happens.
  uint64_t deadline_seconds = 120;
  bool asks_qemu = true;
  bool keeps_images = false;
  bool is_list_wanted = false;
};

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const absl::Span<const Case> section :
       {OneDriveCases(), ParallelCases(), OtherChainCases(), ErrorCases(), CancelSpeedCases()}) {
    cases.insert(cases.end(), section.begin(), section.end());
  }
  return cases;
}

// One engine, on which case after case is run.
class Runner {
 public:
  explicit Runner(const Options& options) : options_(options) {}
  ~Runner() {
    if (!keeps_folder_ && !folder_.empty()) std::filesystem::remove_all(folder_, ignored_);
  }

  absl::Status Start() {
    MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry_));
    Engine::Options options;
    options.io = options_.io;
    options.observer = &log_;
    MILLRACE_ASSIGN_OR_RETURN(engine_, Engine::Create(options));
    folder_ = (std::filesystem::temp_directory_path() / "millrace-030-XXXXXX").string();
    if (mkdtemp(folder_.data()) != nullptr) return absl::OkStatus();
    return absl::UnavailableError(StrCat("cannot make a folder like '", folder_, "'"));
  }

  std::string_view io_name() const { return engine_->io().name(); }
  const std::string& folder() const { return folder_; }

  Minutes Run(const Case& which, uint64_t seed) {
    const auto start = std::chrono::steady_clock::now();
    const std::string folder = StrCat(folder_, "/", which.name);
    std::filesystem::create_directory(folder, ignored_);
    Minutes minutes;
    const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      return CoRunInTime(which, folder, seed, &minutes);
    });
    if (!status.ok()) minutes.Fail(status.ToString());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    minutes.SetTime(took.count());
    keeps_folder_ = keeps_folder_ || options_.keeps_images || minutes.has_failed();
    if (!keeps_folder_) std::filesystem::remove_all(folder, ignored_);
    return minutes;
  }

 private:
  absl::Status CoRunInTime(const Case& which, const std::string& folder, uint64_t seed,
                           Minutes* minutes) MILLRACE_MAY_SUSPEND {
    TaskScope watch("watch");
    watch.Spawn("watch", [&]() MILLRACE_MAY_SUSPEND {
      // Second by second: while the program is stopped, by Ctrl-Z or SIGSTOP, no more than one goes
      // by.
      for (uint64_t second = 0; second < options_.deadline_seconds; ++second) {
        if (!CoSleepFor(kSecond).ok()) return;  // the case is over
      }
      minutes->Fail(
          StrCat("it does not go on; who waits for what:\n", engine_->scheduler().DescribeWaits()));
      minutes->Print(stdout, which);
      std::fflush(stdout);
      std::_Exit(1);
    });
    CoRunOne(which, folder, seed, minutes);
    watch.Cancel();
    return watch.CoJoin();
  }

  void CoRunOne(const Case& which, const std::string& folder, uint64_t seed, Minutes* minutes)
      MILLRACE_MAY_SUSPEND {
    log_.Clear();
    Graph graph(*engine_);
    BlockJobCommitter committer(graph);
    JobManager jobs(*engine_, committer);
    {
      Machine machine({graph, jobs, log_, registry_, *minutes}, folder, options_.asks_qemu, seed);
      which.run(machine);
      machine.CoFinish();
    }
    jobs.CoShutdown();
    graph.CoClose();
  }

  const Options& options_;
  std::error_code ignored_;
  JobLog log_;
  DriverRegistry registry_;
  std::unique_ptr<Engine> engine_;
  std::string folder_;
  bool keeps_folder_ = false;
};

int RunAll(const Options& options, const std::vector<Case>& cases) {
  Runner runner(options);
  if (const absl::Status status = runner.Start(); !status.ok()) {
    fprintf(stderr, "iotest_030: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  printf("engine: %s\n\n", std::string(runner.io_name()).c_str());
  Minutes::PrintHeadline(stdout);
  uint64_t failures = 0;
  for (uint64_t round = 0; round < options.repeat; ++round) {
    for (const Case& which : cases) {
      const Minutes minutes = runner.Run(which, options.seed + round);
      if (round == 0 || minutes.has_failed()) minutes.Print(stdout, which);
      if (minutes.has_failed()) {
        ++failures;
        printf("seed %s; the images are kept in %s\n\n",
               std::to_string(options.seed + round).c_str(), runner.folder().c_str());
      }
      std::fflush(stdout);
    }
  }
  printf("%zu cases, %s times: %s\n", cases.size(), std::to_string(options.repeat).c_str(),
         failures == 0 ? "all ok" : StrCat(failures, " FAILED").c_str());
  return failures == 0 ? 0 : 1;
}

bool ParseNumber(std::string_view text, uint64_t* number) {
  const absl::StatusOr<uint64_t> parsed = ParseBytes(text);
  if (parsed.ok()) *number = *parsed;
  return parsed.ok();
}

bool ParseIo(std::string_view value, Options* options) {
  if (value == "io_uring") options->io = IoBackendKind::kIoUring;
  if (value == "threads") options->io = IoBackendKind::kThreads;
  return value == "auto" || options->io != IoBackendKind::kAutomatic;
}

// `value` is what stands behind the equals sign, or the next word.
bool ParseOption(std::string_view name, std::string_view value, Options* options) {
  if (name == "--repeat") return ParseNumber(value, &options->repeat);
  if (name == "--seed") return ParseNumber(value, &options->seed);
  if (name == "--io") return ParseIo(value, options);
  if (name == "--deadline") {
    return ParseNumber(value, &options->deadline_seconds) && options->deadline_seconds <= 86400;
  }
  if (name != "--case") return false;
  for (const Case& which : AllCases()) {
    if (which.name != value) continue;
    options->cases.emplace_back(value);
    return true;
  }
  return false;
}

bool ParseFlag(std::string_view word, Options* options) {
  if (word == "--no-qemu") options->asks_qemu = false;
  if (word == "--keep") options->keeps_images = true;
  if (word == "--list") options->is_list_wanted = true;
  return word == "--no-qemu" || word == "--keep" || word == "--list";
}

// What was not understood; empty if all was.
std::string Parse(const std::vector<std::string>& words, Options* options) {
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (ParseFlag(word, options)) continue;
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (equals == std::string::npos && i + 1 == words.size()) return word;
    const std::string value = equals == std::string::npos ? words[++i] : word.substr(equals + 1);
    if (!ParseOption(name, value, options)) return StrCat(name, " ", value);
  }
  return {};
}

int Main(const std::vector<std::string>& words) {
  if (!words.empty() && (words[0] == "--help" || words[0] == "-h")) {
    fputs(kHelp, stdout);
    return 0;
  }
  Options options;
  if (const std::string wrong = Parse(words, &options); !wrong.empty()) {
    fprintf(stderr, "iotest_030: '%s' is not understood\n\n%s", wrong.c_str(), kHelp);
    return 2;
  }
  std::vector<Case> cases = AllCases();
  if (!options.cases.empty()) {
    std::erase_if(cases, [&](const Case& which) {
      for (const std::string& name : options.cases) {
        if (which.name == name) return false;
      }
      return true;
    });
  }
  if (!options.is_list_wanted) return RunAll(options, cases);
  for (const Case& which : cases) {
    printf("%c %s\n", which.section, std::string(which.name).c_str());
  }
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  return millrace::Main(std::vector<std::string>(argv + 1, argv + argc));
}
