// BlockRuntime: what an embedder needs beside an engine to run block jobs: the drivers by name, a
// graph, and its jobs; and their end, which comes whatever happens. The one header of a program
// that opens images and runs the library's jobs on them.
//
//   return BlockRuntime::Run({}, [](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND -> absl::Status {
//     MILLRACE_ASSIGN_OR_RETURN(Attachment guest,
//                               blocks.CoOpenDevice("drive0", {.path = "disk.qcow2"}));
//     MILLRACE_RETURN_IF_ERROR(blocks.CoStartStream({.top = guest.node()}).status());
//     return blocks.jobs().CoWaitUntilOver("drive0");  // may return early: `guest` goes with it
//   });
//
// A program with an engine of its own, and a loop, makes one in a coroutine and calls CoRun()
// (examples/embed).
//
// It holds no more than four objects that can be had one by one: who wants a committer of his own,
// or other drivers, or an end in another order, makes them himself (graph/README.md, "Taking it
// down"). Home thread.
#ifndef MILLRACE_JOBS_BLOCK_RUNTIME_H_
#define MILLRACE_JOBS_BLOCK_RUNTIME_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/describe.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/block_job.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace {

class BlockRuntime {
 public:
  // All of a program that has no loop of its own: makes an engine and a runtime, and returns what
  // `main(blocks)` returns, a coroutine of it, once everything is closed. Errors of Engine::Create,
  // too. Called outside of coroutines; blocks the thread.
  template <typename Main>
  static absl::Status Run(const Engine::Options& options, Main&& main) {
    MILLRACE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
    return engine->Run([&]() MILLRACE_MAY_SUSPEND {
      BlockRuntime blocks(*engine);
      return blocks.CoRun([&]() MILLRACE_MAY_SUSPEND { return main(blocks); });
    });
  }

  // Registers the library's own drivers; more may be added to drivers(). The engine outlives it
  // (checked).
  explicit BlockRuntime(Engine& engine, BuiltinDriverServices services = {});
  // CoEnd() has run, if anything was opened or started (checked).
  ~BlockRuntime() = default;
  BlockRuntime(const BlockRuntime&) = delete;
  BlockRuntime& operator=(const BlockRuntime&) = delete;

  Engine& engine() const { return graph_.engine(); }
  DriverRegistry& drivers() { return drivers_; }
  Graph& graph() { return graph_; }
  JobManager& jobs() { return jobs_; }

  // CoOpenImage (graph/open_image.h) and CoCreateImage (graph/image_tools.h) with its graph and
  // drivers.
  absl::StatusOr<OpenedImage> CoOpenImage(const OpenImageOptions& options) MILLRACE_MAY_SUSPEND {
    return millrace::CoOpenImage(graph_, drivers_, options);
  }
  absl::Status CoCreateImage(const CreateImageOptions& options) MILLRACE_MAY_SUSPEND {
    return millrace::CoCreateImage(graph_, drivers_, options);
  }
  // Opens an image, with what lies below it, for a guest's device of that name: the device alone
  // keeps it open. It may write unless the image is opened read-only. Errors of CoOpenImage, and of
  // Attachment::Attach.
  absl::StatusOr<Attachment> CoOpenDevice(std::string name, const OpenImageOptions& options)
      MILLRACE_MAY_SUSPEND;

  // The jobs' factories with its graph and jobs; waited for by jobs().CoWaitUntilOver().
  absl::StatusOr<JobNumber> CoStartStream(StreamOptions options) MILLRACE_MAY_SUSPEND {
    return millrace::CoStartStream(graph_, jobs_, std::move(options));
  }
  absl::StatusOr<JobNumber> CoStartCommit(CommitOptions options) MILLRACE_MAY_SUSPEND {
    return millrace::CoStartCommit(graph_, jobs_, std::move(options));
  }
  absl::StatusOr<JobNumber> CoStartMirror(MirrorOptions options) MILLRACE_MAY_SUSPEND {
    return millrace::CoStartMirror(graph_, jobs_, std::move(options));
  }
  absl::StatusOr<JobNumber> CoStartInsertFilter(std::unique_ptr<FilterDriver> filter,
                                                InsertFilterOptions options) MILLRACE_MAY_SUSPEND {
    return millrace::CoStartInsertFilter(graph_, jobs_, std::move(filter), std::move(options));
  }
  absl::StatusOr<JobNumber> CoStartRemoveFilter(RemoveFilterOptions options) MILLRACE_MAY_SUSPEND {
    return millrace::CoStartRemoveFilter(graph_, jobs_, std::move(options));
  }

  // Calls `main` and returns what it returns, after CoEnd(). Attachments that `main` has made must
  // be gone or unused by then: those on its stack are, an early return included. An exception that
  // leaves `main` ends the program here.
  template <typename Main>
  absl::Status CoRun(Main&& main) noexcept MILLRACE_MAY_SUSPEND {
    absl::Status status;
    try {
      status = main();
    } catch (...) {
      internal::ExceptionEscaped("the function that BlockRuntime runs",
                                 "return an absl::Status: what it has opened must be closed");
    }
    CoEnd();
    return status;
  }

  // Cancels the jobs (JobManager::CoShutdown: who wants a job's result waits for it before, by
  // JobManager::CoWaitUntilOver) and closes what nobody holds any more. Nothing can be started
  // afterwards.
  void CoEnd() MILLRACE_MAY_SUSPEND;

 private:
  DriverRegistry drivers_;
  Graph graph_;
  BlockJobCommitter committer_;
  JobManager jobs_;
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_BLOCK_RUNTIME_H_
