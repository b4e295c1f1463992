// What happens on one chain of the quickstart: a guest at work all the time, and below it three
// parallel streams, a commit, filters that come and go, and a second commit.
//
//   before:  11 <- 10 <- 9 <- 8 <- 7 <- 6 <- 5 <- 4 <- 3 <- 2 <- 1 <- 0
//   jobs:          10 over 8; 8 over 6; 6 over 4 (streams); 3 into 1 (commit); then 6 into 4
//   after:   11 <- 10 <- 8 <- 4 <- 1 <- 0
//
// That they meet is no luck: jobs are held back once they have begun, until all of them have, the
// filters are in, and the guest has done its share. The Witness says whether it was so.
#ifndef MILLRACE_EXAMPLES_QUICKSTART_CHAIN_RUN_H_
#define MILLRACE_EXAMPLES_QUICKSTART_CHAIN_RUN_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "examples/quickstart/chain_builder.h"
#include "examples/quickstart/guest.h"
#include "examples/quickstart/verify.h"
#include "examples/quickstart/witness.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/graph/open_image.h"

namespace millrace {

class ChainRun {
 public:
  struct Options {
    uint64_t seed = 0;
    int64_t job_bytes_per_second = 0;
    std::function<void(std::string_view)> say;  // a line for people
  };

  // All must outlive the run. The chain's model follows the guest's writes. The engine's observer
  // tells the run's witness of jobs.
  ChainRun(Graph& graph, const DriverRegistry& registry, JobManager& jobs, BuiltChain& chain,
           Options options)
      : graph_(graph),
        registry_(registry),
        jobs_(jobs),
        chain_(chain),
        options_(std::move(options)),
        witness_(chain.name) {}

  // From opening the images to closing them. The first error of the guest or of a job, or what the
  // run did not show; whatever happens, everything is closed. CancelledError if the coroutine's
  // scope is cancelled; jobs that run then are for the caller to cancel.
  absl::Status CoRun() MILLRACE_MAY_SUSPEND;

  // What the images should look like afterwards.
  ExpectedChain Expected() const;
  const Guest::Counts& guest_counts() const { return counts_; }
  Witness& witness() { return witness_; }

 private:
  struct FilterPlace {
    std::string name;
    NodeId below;
    std::string in_words;
  };
  using Jobs = std::vector<JobNumber>;

  absl::Status CoRunOpened(Attachment& disk) MILLRACE_MAY_SUSPEND;
  absl::Status CoRunJobs(Attachment& disk) MILLRACE_MAY_SUSPEND;
  absl::Status CoStartFirstJobs(NodeId root, Jobs& jobs) MILLRACE_MAY_SUSPEND;
  // Starts a job, which is held back, and adds it to `jobs`.
  absl::Status CoStream(std::string_view name, size_t top, size_t base, Jobs& jobs)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoCommit(std::string_view name, NodeId root, size_t top, size_t base, Jobs& jobs)
      MILLRACE_MAY_SUSPEND;
  // Puts the filters in beside `jobs`, has the guest do its share, lets the jobs go, takes the
  // filters out, and waits until the jobs are over. If they were not all `started`, or something
  // fails, all that is left to do is to let go and to wait.
  absl::Status CoMeet(absl::Status started, const Jobs& jobs,
                      const std::vector<FilterPlace>& filters) MILLRACE_MAY_SUSPEND;
  absl::Status CoInsertThrottle(const FilterPlace& place) MILLRACE_MAY_SUSPEND;
  absl::Status CoTakeOut(const FilterPlace& place) MILLRACE_MAY_SUSPEND;
  JobSpec SpecFor(std::string_view name, int64_t speed) const;
  NodeId Image(size_t number) const { return images_[images_.size() - 1 - number]; }

  Graph& graph_;
  const DriverRegistry& registry_;
  JobManager& jobs_;
  BuiltChain& chain_;
  const Options options_;
  std::vector<NodeId> images_;  // from the top down
  Guest::Counts counts_;
  Witness witness_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_QUICKSTART_CHAIN_RUN_H_
