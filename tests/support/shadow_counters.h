// O6: counters that the harness keeps, compared with the graph's.
//
// A counting filter counts the calls that are inside it; the graph must know of each of them,
// whatever its own lists agree upon, and of none where it is drained. And of each stream and commit
// the harness knows which links were to be leased when it began; they must be, and no others for
// that job, for as long as it is at work, and none once it is over.
//
//   ShadowCounters shadow(graph, jobs);
//   change.AddNode(shadow.MakeFilter(), {.name = "f"});
//   const ShadowLease lease = shadow.LeaseOf(options);   // right before the job is started
//   if (started.ok()) shadow.BeginLease(lease);
//   MILLRACE_RETURN_IF_ERROR(shadow.CheckInvariants());  // simulations do it after steps, too
#ifndef MILLRACE_TESTS_SUPPORT_SHADOW_COUNTERS_H_
#define MILLRACE_TESTS_SUPPORT_SHADOW_COUNTERS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/scheduler/invariant_checker.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/node_id.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace {

// Of all counting filters of one harness.
struct ShadowCalls {
  int now = 0;  // inside their drivers
  int most = 0;
  uint64_t all = 0;
};

// What a job of this id has to lease besides the link of its own filter: ends, upper and lower.
struct ShadowLease {
  std::string job;
  std::vector<std::pair<NodeId, NodeId>> links{};
};

class ShadowCounters final : public InvariantChecker {
 public:
  // Both outlive it; without a job manager there are no leases to look at.
  explicit ShadowCounters(Graph& graph, JobManager* jobs = nullptr);
  ~ShadowCounters();
  ShadowCounters(const ShadowCounters&) = delete;
  ShadowCounters& operator=(const ShadowCounters&) = delete;

  // Passes everything, and counts. It must not outlive this.
  std::unique_ptr<FilterDriver> MakeFilter();
  const ShadowCalls& calls() const { return calls_; }

  // The range as it is now, before the job's first step.
  ShadowLease LeaseOf(const StreamOptions& options) const;
  ShadowLease LeaseOf(const CommitOptions& options) const;
  // The job has been started.
  void BeginLease(ShadowLease lease);
  // The times that a job was seen to hold what it has to.
  uint64_t leases_seen() const { return leases_seen_; }
  // The job is over, or, without an id, all of them are: nothing is leased for it.
  absl::Status CheckReleased(const std::optional<std::string>& job) const;

  absl::Status CheckInvariants() override;

 private:
  absl::Status CheckCalls() const;
  absl::Status CheckLease(const ShadowLease& lease) const;
  size_t LinksLeasedFor(const std::optional<std::string>& job) const;
  bool IsAtWork(const std::string& job) const;

  Graph& graph_;
  JobManager* const jobs_;
  ShadowCalls calls_;
  std::vector<ShadowLease> leases_;
  uint64_t leases_seen_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_SHADOW_COUNTERS_H_
