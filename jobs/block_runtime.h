// BlockRuntime: what an embedder needs beside an engine to run block jobs: the drivers by name, a
// graph, and its jobs; and their end, which comes whatever happens.
//
//   BlockRuntime blocks(engine);
//   return blocks.CoRun([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
//     MILLRACE_ASSIGN_OR_RETURN(OpenedImage disk,
//                               CoOpenImage(blocks.graph(), blocks.drivers(), options));
//     return CoWork(blocks, disk);      // may return early: attachments of its own go with it
//   });
//
// It holds no more than four objects that can be had one by one: who wants a committer of his own,
// or other drivers, or an end in another order, makes them himself (graph/README.md, "Taking it
// down"). Home thread.
#ifndef MILLRACE_JOBS_BLOCK_RUNTIME_H_
#define MILLRACE_JOBS_BLOCK_RUNTIME_H_

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

class BlockRuntime {
 public:
  // Registers the library's own drivers; more may be added to drivers(). The engine outlives it
  // (checked).
  explicit BlockRuntime(Engine& engine, BuiltinDriverServices services = {});
  // CoEnd() has run (checked).
  ~BlockRuntime() = default;
  BlockRuntime(const BlockRuntime&) = delete;
  BlockRuntime& operator=(const BlockRuntime&) = delete;

  Engine& engine() const { return graph_.engine(); }
  DriverRegistry& drivers() { return drivers_; }
  Graph& graph() { return graph_; }
  JobManager& jobs() { return jobs_; }

  // Calls `main` and returns what it returns, after CoEnd(). Attachments that `main` has made must
  // be gone or unused by then: those on its stack are, an early return included.
  template <typename Main>
  absl::Status CoRun(Main&& main) MILLRACE_MAY_SUSPEND {
    absl::Status status = main();
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
