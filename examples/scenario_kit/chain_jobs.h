// Jobs on a memory chain, named by layers: what scenarios of the tests and of the race gallery
// start.
#ifndef MILLRACE_EXAMPLES_SCENARIO_KIT_CHAIN_JOBS_H_
#define MILLRACE_EXAMPLES_SCENARIO_KIT_CHAIN_JOBS_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "examples/scenario_kit/memory_chain.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/graph.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace {

class ChainJobs {
 public:
  virtual ~ChainJobs() = default;
  virtual Graph& graph() = 0;
  virtual JobManager& jobs() = 0;
  virtual MemoryChain& chain() = 0;

  NodeId node(size_t layer) { return chain().nodes[layer]; }
  // Of a node by its name; invalid if there is none.
  NodeId Find(std::string_view name) MILLRACE_OPENS_VIEW;
  std::string Shape() MILLRACE_OPENS_VIEW { return chain().Shape(graph()); }

  StreamOptions Stream(std::string id, size_t top, std::optional<size_t> base);
  // Down to `bottom`, which is copied too; what lies below it stays, filters included.
  StreamOptions StreamToBottom(std::string id, size_t top, size_t bottom);
  CommitOptions Commit(std::string id, size_t top, size_t base);  // root: the top layer

  absl::Status CoStart(StreamOptions options) MILLRACE_MAY_SUSPEND;
  absl::Status CoStart(CommitOptions options) MILLRACE_MAY_SUSPEND;
  absl::Status CoStart(MirrorOptions options) MILLRACE_MAY_SUSPEND;

 private:
  void NoteStart(std::string_view type, const JobSpec& spec);
};

// A filter that passes everything.
std::unique_ptr<FilterDriver> MakePassFilter();

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_SCENARIO_KIT_CHAIN_JOBS_H_
