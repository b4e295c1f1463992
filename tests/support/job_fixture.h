// What a simulated test of block jobs needs: an engine, a graph, a job manager, a chain, and the
// events of its jobs in order.
#ifndef MILLRACE_TESTS_SUPPORT_JOB_FIXTURE_H_
#define MILLRACE_TESTS_SUPPORT_JOB_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "examples/scenario_kit/memory_chain.h"
#include "examples/scenario_kit/tagged_disk.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/graph.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

// A graph with jobs on an engine that somebody else drives.
class JobWorld {
 public:
  explicit JobWorld(Engine& engine)
      : engine_(engine), graph_(engine), committer_(graph_), jobs_(engine, committer_) {}

  Engine& engine() { return engine_; }
  Graph& graph() { return graph_; }
  JobManager& jobs() { return jobs_; }

  // Lets everything end and checks that nothing is left behind.
  void CoClose(MemoryChain& chain) MILLRACE_MAY_SUSPEND {
    const absl::Status left = CoCloseAndLook(chain);
    EXPECT_TRUE(left.ok()) << left;
  }
  // The same for whoever judges by itself. "G5: ...", "O12: ..." of what is wrong.
  absl::Status CoCloseAndLook(MemoryChain& chain) MILLRACE_MAY_SUSPEND {
    jobs_.CoShutdown();
    absl::Status left = graph_.CheckInvariants();
    chain.guest.CoDetach();
    chain.monitor.clear();
    graph_.CoClose();
    if (graph_.node_count() > 0) {
      left.Update(absl::InternalError(
          StrCat("O12: nodes are left: ", graph_.node_count(), " after all was closed")));
    }
    return left;
  }

 private:
  Engine& engine_;
  Graph graph_;
  BlockJobCommitter committer_;
  JobManager jobs_;
};

// All that the attachment's user sees.
inline absl::StatusOr<std::string> CoContent(Attachment& guest) MILLRACE_MAY_SUSPEND {
  std::string content(guest.bytes(), '?');
  MILLRACE_RETURN_IF_ERROR(guest.CoRead(0, IoVector(content.data(), content.size())));
  return content;
}

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_JOB_FIXTURE_H_
