#include "examples/quickstart/chain_run.h"

#include <memory>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
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

constexpr Nanoseconds kThrottledFor = 300 * kMillisecond;

std::shared_ptr<ThrottleGroup> MakeGroup(Engine& engine, const std::string& name) {
  ThrottleLimits limits;
  limits.bytes_total.average = 64 << 20;
  limits.operations_total.average = 2000;
  return std::make_shared<ThrottleGroup>(engine.scheduler(), name, limits);
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
  Guest guest(disk, chain_.model, options_.seed);
  TaskScope scope("guest");
  scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return guest.CoRun(); });
  absl::Status status = CoRunJobs(disk);
  guest.Stop();
  absl::Status guest_status = scope.CoJoin();
  counts_ = guest.counts();
  if (!guest_status.ok()) return guest_status;
  if (status.ok()) status = disk.CoFlush();
  return status;
}

absl::Status ChainRun::CoRunJobs(Attachment& disk) {
  MILLRACE_RETURN_IF_ERROR(CoRunFirstJobs(disk));
  return CoRunSecondCommit(disk);
}

// Neighbouring ranges: each stream's base is the next one's top, and the commit's overlay is the
// last one's base. They share no link that a job holds, so they run and end in any order.
absl::Status ChainRun::CoRunFirstJobs(Attachment& disk) {
  TaskScope scope("jobs");
  const auto spawn = [&](auto body) { scope.Spawn("jobs/one", body); };
  spawn([this]() MILLRACE_MAY_SUSPEND { return CoStream("stream1", 10, 8); });
  spawn([this]() MILLRACE_MAY_SUSPEND { return CoStream("stream2", 8, 6); });
  spawn([this]() MILLRACE_MAY_SUSPEND { return CoStream("stream3", 6, 4); });
  spawn([&]() MILLRACE_MAY_SUSPEND { return CoCommit("commit1", disk.node(), 3, 1); });
  spawn([&]() MILLRACE_MAY_SUSPEND {
    return CoThrottleForAWhile("throttle1", disk.node(), "below the guest");
  });
  spawn([this]() MILLRACE_MAY_SUSPEND {
    return CoThrottleForAWhile("throttle2", Image(4), "between stream3 and commit1");
  });
  return scope.CoJoin();
}

absl::Status ChainRun::CoRunSecondCommit(Attachment& disk) {
  TaskScope scope("jobs");
  scope.Spawn("jobs/commit",
              [&]() MILLRACE_MAY_SUSPEND { return CoCommit("commit2", disk.node(), 6, 4); });
  scope.Spawn("jobs/throttle", [&]() MILLRACE_MAY_SUSPEND {
    return CoThrottleForAWhile("throttle3", disk.node(), "below the guest");
  });
  return scope.CoJoin();
}

JobSpec ChainRun::SpecFor(std::string_view name) const {
  JobSpec spec;
  spec.id = StrCat(chain_.name, "-", name);
  spec.speed = options_.job_bytes_per_second;
  return spec;
}

absl::Status ChainRun::CoStream(std::string_view name, size_t top, size_t base) {
  StreamOptions options;
  options.spec = SpecFor(name);
  options.top = Image(top);
  options.base = Image(base);
  MILLRACE_ASSIGN_OR_RETURN(const JobNumber job, CoStartStream(graph_, jobs_, std::move(options)));
  return jobs_.CoWaitUntilOver(job);
}

absl::Status ChainRun::CoCommit(std::string_view name, NodeId root, size_t top, size_t base) {
  CommitOptions options;
  options.spec = SpecFor(name);
  options.root = root;
  options.top = Image(top);
  options.base = Image(base);
  MILLRACE_ASSIGN_OR_RETURN(const JobNumber job, CoStartCommit(graph_, jobs_, std::move(options)));
  return jobs_.CoWaitUntilOver(job);
}

absl::Status ChainRun::CoThrottleForAWhile(std::string_view name, NodeId below,
                                           std::string_view place) {
  const std::string node_name = StrCat(chain_.name, "-", name);
  InsertFilterOptions insert;
  insert.spec = SpecFor(StrCat(name, "-in"));
  insert.spec.speed = 0;
  insert.below = below;
  insert.filter_name = node_name;
  MILLRACE_ASSIGN_OR_RETURN(
      const JobNumber inserting,
      CoStartInsertFilter(graph_, jobs_, MakeThrottleDriver(MakeGroup(graph_.engine(), node_name)),
                          std::move(insert)));
  MILLRACE_RETURN_IF_ERROR(jobs_.CoWaitUntilOver(inserting));
  options_.say(StrCat(chain_.name, ": a throttle filter was inserted ", place));
  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kThrottledFor));
  RemoveFilterOptions remove;
  remove.spec = SpecFor(StrCat(name, "-out"));
  remove.spec.speed = 0;
  MILLRACE_ASSIGN_OR_RETURN(remove.filter, FindNode(graph_, node_name));
  MILLRACE_ASSIGN_OR_RETURN(const JobNumber removing,
                            CoStartRemoveFilter(graph_, jobs_, std::move(remove)));
  MILLRACE_RETURN_IF_ERROR(jobs_.CoWaitUntilOver(removing));
  options_.say(StrCat(chain_.name, ": the filter ", place, " was taken out"));
  return absl::OkStatus();
}

}  // namespace millrace
