#include "examples/quickstart/chain_run.h"

#include <memory>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/filters/throttle.h"
#include "millrace/graph/graph_view.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace {
namespace {

// Bytes a second. A job copies its first piece at once, and then waits for days.
constexpr int64_t kHeldBack = 1;
// Both reads and writes, each time that jobs are held back.
constexpr uint64_t kGuestRequests = 50;
// That the filters stay in, once the jobs have been let go.
constexpr Nanoseconds kThrottledFor = 150 * kMillisecond;

Witness::Demands WhatARunHasToShow() {
  return {.jobs_at_once = {"stream1", "stream2", "stream3", "commit1"},
          .filters = {"throttle1", "throttle2", "throttle3"},
          .reads = 2 * kGuestRequests,
          .writes = 2 * kGuestRequests};
}

std::shared_ptr<ThrottleGroup> MakeGroup(Engine& engine, const std::string& name) {
  ThrottleLimits limits;
  limits.bytes_total.average = 64 << 20;
  limits.operations_total.average = 2000;
  return std::make_shared<ThrottleGroup>(engine.scheduler(), name, limits);
}

absl::Status StopIfCancelled() {
  if (!Coroutine::Current()->is_cancelled()) return absl::OkStatus();
  return absl::CancelledError("the run was cancelled");
}

absl::StatusOr<NodeId> FindNode(Graph& graph, std::string_view name) MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Find(name));
  return node.id();
}

}  // namespace

ExpectedChain ChainRun::Expected() const {
  // A stream changes nothing that its image shows. A commit makes its base show what its top did.
  const std::vector<uint64_t>& built = chain_.digests;
  return {{11, 10, 8, 4, 1, 0},
          {{10, built[10]}, {8, built[8]}, {4, built[6]}, {1, built[3]}, {0, built[0]}}};
}

absl::Status ChainRun::CoRun() {
  OpenImageOptions open;
  open.path = chain_.paths.back();
  open.format = "qcow2";
  open.names_nodes_after_files = true;
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph_, registry_, open));
  images_ = image.images;
  AttachmentOptions guest;
  guest.holder = MakeHolder(chain_.name, "guest");
  guest.device_name = StrCat("drive-", chain_.name);
  guest.permissions.used = kConsistentRead | kWrite;
  guest.permissions.shared = kConsistentRead | kWriteUnchanged | kResize;
  absl::StatusOr<Attachment> disk = Attachment::Attach(graph_, image.top(), std::move(guest));
  absl::Status status = disk.status();
  if (status.ok()) status = CoRunOpened(*disk);
  if (disk.ok()) disk->CoDetach();
  image.holds[0].CoDetach();
  return status;
}

absl::Status ChainRun::CoRunOpened(Attachment& disk) {
  Guest guest(disk, chain_.model, witness_, options_.seed);
  TaskScope scope("guest");
  scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return guest.CoRun(); });
  absl::Status status = CoRunJobs(disk);
  guest.Stop();
  absl::Status guest_status = scope.CoJoin();
  counts_ = guest.counts();
  if (!guest_status.ok()) return guest_status;
  if (status.ok()) status = disk.CoFlush();
  if (status.ok()) status = witness_.Verdict(WhatARunHasToShow());
  return status;
}

absl::Status ChainRun::CoRunJobs(Attachment& disk) {
  Jobs first;
  absl::Status status = CoStartFirstJobs(disk.node(), first);
  MILLRACE_RETURN_IF_ERROR(CoMeet(status, first,
                                  {{"throttle1", disk.node(), "below the guest"},
                                   {"throttle2", Image(4), "between stream3 and commit1"}}));
  Jobs second;
  status = CoCommit("commit2", disk.node(), 6, 4, second);
  return CoMeet(status, second, {{"throttle3", disk.node(), "below the guest"}});
}

// Neighbouring ranges: each stream's base is the next one's top, and the commit's overlay is the
// last one's base. They share no link that a job holds, so they run and end in any order.
absl::Status ChainRun::CoStartFirstJobs(NodeId root, Jobs& jobs) {
  MILLRACE_RETURN_IF_ERROR(StopIfCancelled());
  MILLRACE_RETURN_IF_ERROR(CoStream("stream1", 10, 8, jobs));
  MILLRACE_RETURN_IF_ERROR(CoStream("stream2", 8, 6, jobs));
  MILLRACE_RETURN_IF_ERROR(CoStream("stream3", 6, 4, jobs));
  return CoCommit("commit1", root, 3, 1, jobs);
}

absl::Status ChainRun::CoMeet(absl::Status started, const Jobs& jobs,
                              const std::vector<FilterPlace>& filters) {
  absl::Status status = std::move(started);
  if (status.ok()) status = StopIfCancelled();
  for (const FilterPlace& place : filters) {
    if (status.ok()) status = CoInsertThrottle(place);
  }
  if (status.ok()) witness_.CoAwaitGuest(kGuestRequests);
  // Whatever has happened: a job that is held back would be waited for in vain. One that has ended
  // by now is not to be found; how it ended is asked below.
  for (const JobNumber job : jobs) {
    jobs_.SetSpeed(job, options_.job_bytes_per_second).IgnoreError();
    // One that was just being started when the run was cancelled.
    if (Coroutine::Current()->is_cancelled()) jobs_.Cancel(job, /*force=*/true).IgnoreError();
  }
  if (status.ok()) status = CoSleepFor(kThrottledFor);
  for (const FilterPlace& place : filters) {
    if (status.ok()) status = CoTakeOut(place);
  }
  for (const JobNumber job : jobs) status.Update(jobs_.CoWaitUntilOver(job));
  return status;
}

JobSpec ChainRun::SpecFor(std::string_view name, int64_t speed) const {
  JobSpec spec;
  spec.id = StrCat(chain_.name, "-", name);
  spec.speed = speed;
  return spec;
}

absl::Status ChainRun::CoStream(std::string_view name, size_t top, size_t base, Jobs& jobs) {
  StreamOptions options;
  options.job.spec = SpecFor(name, kHeldBack);
  options.top = Image(top);
  options.base = Image(base);
  MILLRACE_ASSIGN_OR_RETURN(const JobNumber job, CoStartStream(graph_, jobs_, std::move(options)));
  jobs.push_back(job);
  return absl::OkStatus();
}

absl::Status ChainRun::CoCommit(std::string_view name, NodeId root, size_t top, size_t base,
                                Jobs& jobs) {
  CommitOptions options;
  options.job.spec = SpecFor(name, kHeldBack);
  options.root = root;
  options.top = Image(top);
  options.base = Image(base);
  MILLRACE_ASSIGN_OR_RETURN(const JobNumber job, CoStartCommit(graph_, jobs_, std::move(options)));
  jobs.push_back(job);
  return absl::OkStatus();
}

absl::Status ChainRun::CoInsertThrottle(const FilterPlace& place) {
  const std::string node_name = StrCat(chain_.name, "-", place.name);
  InsertFilterOptions insert;
  insert.spec = SpecFor(StrCat(place.name, "-in"), 0);
  insert.below = place.below;
  insert.filter_name = node_name;
  MILLRACE_ASSIGN_OR_RETURN(
      const JobNumber job,
      CoStartInsertFilter(graph_, jobs_, MakeThrottleDriver(MakeGroup(graph_.engine(), node_name)),
                          std::move(insert)));
  MILLRACE_RETURN_IF_ERROR(jobs_.CoWaitUntilOver(job));
  options_.say(StrCat(chain_.name, ": a throttle filter was inserted ", place.in_words));
  return absl::OkStatus();
}

absl::Status ChainRun::CoTakeOut(const FilterPlace& place) {
  RemoveFilterOptions remove;
  remove.spec = SpecFor(StrCat(place.name, "-out"), 0);
  MILLRACE_ASSIGN_OR_RETURN(remove.filter, FindNode(graph_, StrCat(chain_.name, "-", place.name)));
  MILLRACE_ASSIGN_OR_RETURN(const JobNumber job,
                            CoStartRemoveFilter(graph_, jobs_, std::move(remove)));
  MILLRACE_RETURN_IF_ERROR(jobs_.CoWaitUntilOver(job));
  options_.say(StrCat(chain_.name, ": the filter ", place.in_words, " was taken out"));
  return absl::OkStatus();
}

}  // namespace millrace
