// Session: an engine with a graph and a job manager, for one run of one command.
//
//   Session session;
//   MILLRACE_RETURN_IF_ERROR(session.Start(flags));
//   absl::Status status = session.Run([&]() MILLRACE_MAY_SUSPEND { return CoWork(session); });
#ifndef MILLRACE_EXAMPLES_CLI_SESSION_H_
#define MILLRACE_EXAMPLES_CLI_SESSION_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "examples/cli/command_line.h"
#include "examples/common/interruptible_run.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

// What every command that opens images can be told.
struct SessionFlags {
  std::string format;  // of the image that is named; empty: guessed
  std::string io = "auto";
  std::string open_root;
  bool direct = false;
  bool like_qemu = false;
  bool ignores_locks = false;     // only where `can_ignore_locks`
  bool can_ignore_locks = false;  // set by AddTo()
  bool json = false;

  // Adds the options to a command's line; those that say how backing files are opened only if the
  // command opens any.
  void AddTo(CommandLine& line, bool has_force_share, bool opens_backing_files = true);
  // Options to open `path` with, read-only or not.
  OpenImageOptions OpenOptions(const std::string& path, bool is_read_only) const;
  ImagePathOptions PathOptions(const std::string& path) const;
};

// What is said at once when a signal was heard, as "ending". Whether it has interrupted anything is
// said at the end, when it is known: the work may be over before it can be cancelled.
std::string HeardInWords(std::string_view what);
void SayHeard(std::string_view what);
// CancelledError if the program was interrupted; for a coroutine, between two steps that are not
// cancellable.
absl::Status StopIfInterrupted();

class Session final : private EngineObserver {
 public:
  Session() = default;
  ~Session() override;

  // InvalidArgument or Unavailable: the I/O backend.
  absl::Status Start(const SessionFlags& flags);

  // Runs `main` in a coroutine; ends the jobs and closes the images when it has returned. Ctrl-C
  // and SIGTERM cancel its scope, unless it says with run().OnInterrupt() what they shall do; once
  // it has returned they change nothing any more. With `changes_images`, what was done, or why it
  // failed, is told whatever comes.
  template <typename Main>
  absl::Status Run(Main main, bool changes_images = false) {
    run_.OnInterrupt([this] {
      SayHeard("ending");
      run_.CancelMain();
    });
    absl::Status status = run_.Run(*engine_, [&]() MILLRACE_MAY_SUSPEND {
      absl::Status result = main();
      run_.OnInterrupt([] { SayHeard("closing the images"); });
      CoEnd();
      return result;
    });
    run_.End(changes_images && !absl::IsCancelled(status));
    return status;
  }

  Engine& engine() { return *engine_; }
  Graph& graph() { return *graph_; }
  DriverRegistry& registry() { return registry_; }
  JobManager& jobs() { return *jobs_; }
  InterruptibleRun& run() { return run_; }

 private:
  void OnLog(LogLevel level, std::string_view line) override;
  void CoEnd() MILLRACE_MAY_SUSPEND;

  InterruptibleRun run_;  // before the engine: its threads are not to take signals
  std::unique_ptr<Engine> engine_;
  DriverRegistry registry_;
  std::unique_ptr<Graph> graph_;
  std::unique_ptr<BlockJobCommitter> committer_;
  std::unique_ptr<JobManager> jobs_;
};

// The text of an error, with what to do next in the words of this program: of an image that is
// locked, whether the command can look at it all the same.
std::string TextOf(const absl::Status& status, bool can_ignore_locks);
// Prints an error for people: "millrace: ..."; with --json, as a JSON object on standard output
// too. Returns the exit code, which for CancelledError is that of an interrupt.
int ReportError(const absl::Status& status, const SessionFlags& flags);
// For errors of the command line.
int ReportUsage(const absl::Status& status);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_CLI_SESSION_H_
