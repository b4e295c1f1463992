#include "tests/support/crash_case.h"

#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/graph_view.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/chain_story.h"

namespace millrace {

std::string_view CrashJobName(CrashJob job) {
  switch (job) {
    case CrashJob::kNone:
      return "guest alone";
    case CrashJob::kStream:
      return "stream";
    case CrashJob::kCommit:
      return "commit";
    case CrashJob::kActiveCommit:
      return "active commit";
    case CrashJob::kMirror:
      return "mirror";
    case CrashJob::kInsertFilter:
      return "insert filter";
    case CrashJob::kStreamAndCommit:
      return "stream and commit";
  }
  return "?";
}

namespace {

void ChooseRange(CrashCase& chosen, RandomStream& random) {
  switch (chosen.job) {
    case CrashJob::kStream:
      chosen.layers = 2 + random.Below(3);
      chosen.top = chosen.layers - 1 - (chosen.layers > 2 ? random.Below(2) : 0);
      if (chosen.top >= 2 && random.OneIn(2)) chosen.base = random.Below(chosen.top - 1);
      break;
    case CrashJob::kCommit:
      chosen.layers = 3 + random.Below(2);
      chosen.top = 1 + random.Below(chosen.layers - 2);
      chosen.base = random.Below(chosen.top);
      break;
    case CrashJob::kActiveCommit:
      chosen.layers = 2 + random.Below(3);
      chosen.top = chosen.layers - 1;
      chosen.base = random.Below(chosen.top);
      break;
    case CrashJob::kStreamAndCommit:
      chosen.layers = 5;  // root, two of the commit, two of the stream
      chosen.top = 1;
      break;
    default:
      chosen.layers = 1 + random.Below(4);
      chosen.top = random.Below(chosen.layers);
  }
}

Qcow2CreateOptions ChooseImage(uint64_t cluster_bytes, RandomStream& random) {
  Qcow2CreateOptions options;
  options.cluster_bytes = cluster_bytes;
  if (random.OneIn(5)) {
    options.version = 2;
    return options;
  }
  if (random.OneIn(3)) options.refcount_bits = uint32_t{1} << random.Below(7);
  options.lazy_refcounts = random.OneIn(5);
  options.extended_l2 = cluster_bytes >= 16384 && random.OneIn(2);
  return options;
}

}  // namespace

CrashCase CrashCase::Random(CrashJob job, uint64_t cluster_bytes, uint64_t seed) {
  RandomStream random(seed, "crash case");
  CrashCase chosen;
  chosen.job = job;
  ChooseRange(chosen, random);
  chosen.has_guest = job == CrashJob::kNone || !random.OneIn(4);
  chosen.finalizes_late = random.OneIn(2);
  chosen.guest_operations = 4 + random.Below(job == CrashJob::kNone ? 32 : 12);
  // Two to four L2 tables of the smallest clusters; a few clusters of the others.
  chosen.sectors = std::max<uint64_t>(96, 3 * cluster_bytes / 512) + random.Below(3) * 64;
  chosen.lowest_sectors = random.OneIn(4) ? chosen.sectors / 2 + 3 : chosen.sectors;
  for (size_t layer = 0; layer < chosen.layers; ++layer) {
    Qcow2CreateOptions options = ChooseImage(cluster_bytes, random);
    options.bytes = 512 * (layer == 0 ? chosen.lowest_sectors : chosen.sectors);
    if (chosen.layers == 1) options.bytes = 512 * chosen.sectors;
    if (layer > 0) {
      options.backing_filename = PathOf(layer - 1);
      options.backing_format = "qcow2";
    }
    chosen.images.push_back(options);
  }
  chosen.guest_copies = job == CrashJob::kMirror && random.OneIn(2);
  return chosen;
}

std::string CrashCase::Describe() const {
  std::string text = StrCat(
      CrashJobName(job), ", ", layers, " layers, top ", top, ", base ",
      base ? StrCat(*base) : "none", has_guest ? ", guest" : "", guest_copies ? " that copies" : "",
      finalizes_late ? ", finalized late" : "", ", clusters of ", images[0].cluster_bytes);
  for (const Qcow2CreateOptions& image : images) {
    StrAppend(&text, " [v", image.version, " r", image.refcount_bits,
              image.lazy_refcounts ? " lazy" : "", image.extended_l2 ? " extended" : "", " ",
              image.bytes / 512, "]");
  }
  return text;
}

std::string CrashCase::moved_path() const {
  if (job == CrashJob::kMirror) return kTargetPath;
  return job == CrashJob::kActiveCommit ? PathOf(*base) : root_path();
}

// ---- Open --------------------------------------------------------------------------------------

NodeId OpenCrashCase::NodeOf(Graph& graph, std::string_view path) const {
  GraphView view(graph);
  for (NodeId id : chain.images) {
    const absl::StatusOr<NodeView> node = view.Resolve(id);
    if (node.ok() && node->filename() == path) return id;
  }
  return NodeId();
}

NodeId OpenCrashCase::MovedNode(Graph& graph, const CrashCase& crash_case) const {
  if (target) return target->top();
  const std::string path = crash_case.moved_path();
  return path == crash_case.root_path() ? NodeId() : NodeOf(graph, path);
}

void OpenCrashCase::CoClose() {
  for (Attachment& hold : chain.holds) hold.CoDetach();
  if (!target) return;
  for (Attachment& hold : target->holds) hold.CoDetach();
}

absl::StatusOr<OpenCrashCase> CoOpenCrashCase(Graph& graph, const DriverRegistry& registry,
                                              const CrashCase& crash_case,
                                              const std::string& root_path) {
  OpenCrashCase opened;
  OpenImageOptions open;
  open.path = root_path;
  open.format = "qcow2";
  MILLRACE_ASSIGN_OR_RETURN(opened.chain, CoOpenImage(graph, registry, open));
  if (crash_case.job != CrashJob::kMirror || root_path == CrashCase::kTargetPath) return opened;
  open.path = CrashCase::kTargetPath;
  absl::StatusOr<OpenedImage> target = CoOpenImage(graph, registry, open);
  if (!target.ok()) {
    opened.CoClose();
    return target.status();
  }
  opened.target = *std::move(target);
  return opened;
}

// ---- Jobs --------------------------------------------------------------------------------------

namespace {

// Waits for the end of a job; one that becomes ready is completed, and one that is pending
// finalized, after a while in which the guest goes on. A schedule may starve the job for as long as
// somebody asks for it: then it is given up.
absl::Status CoFinish(JobWorld& world, const std::string& id, bool must_finalize)
    MILLRACE_MAY_SUSPEND {
  constexpr int kPollsMax = 1000;
  for (int polls = 0;; ++polls) {
    const absl::StatusOr<JobInfo> info = world.jobs().Query(id);
    if (!info.ok() || info->state == JobState::kConcluded) break;
    if (info->state == JobState::kReady && polls % 4 == 3) {
      MILLRACE_RETURN_IF_ERROR(world.jobs().Complete(id));
    } else if (info->state == JobState::kPending && must_finalize && polls % 4 == 3) {
      must_finalize = false;
      MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize(id));
    }
    if (polls == kPollsMax) {
      world.jobs().Cancel(id, true).IgnoreError();
      world.jobs().CoWaitUntilOver(id).IgnoreError();
      return world.jobs().Dismiss(id);
    }
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
  const absl::Status over = world.jobs().CoWaitUntilOver(id);
  MILLRACE_RETURN_IF_ERROR(over);
  return world.jobs().Dismiss(id);
}

class Runner {
 public:
  Runner(JobWorld& world, const CrashCase& crash_case, const OpenCrashCase& open)
      : world_(world), case_(crash_case), open_(open) {}

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    switch (case_.job) {
      case CrashJob::kNone:
        return absl::OkStatus();
      case CrashJob::kStream:
        MILLRACE_RETURN_IF_ERROR(CoStartStreamJob());
        return CoFinish("stream");
      case CrashJob::kCommit:
      case CrashJob::kActiveCommit:
        MILLRACE_RETURN_IF_ERROR(CoStartCommitJob(case_.top, *case_.base));
        return CoFinish("commit");
      case CrashJob::kMirror:
        MILLRACE_RETURN_IF_ERROR(CoStartMirrorJob());
        return CoFinish("mirror");
      case CrashJob::kInsertFilter:
        return CoInsertAndRemove();
      case CrashJob::kStreamAndCommit:
        break;
    }
    MILLRACE_RETURN_IF_ERROR(CoStartStreamJob());
    MILLRACE_RETURN_IF_ERROR(CoStartCommitJob(3, 2));
    MILLRACE_RETURN_IF_ERROR(CoFinish("stream"));
    return CoFinish("commit");
  }

 private:
  NodeId Node(size_t layer) MILLRACE_OPENS_VIEW {
    return open_.NodeOf(world_.graph(), CrashCase::PathOf(layer));
  }
  JobSpec Spec(const char* id) const {
    JobSpec spec;
    spec.finalizes_automatically = !case_.finalizes_late;
    spec.id = id;
    spec.dismisses_automatically = false;
    return spec;
  }
  absl::Status CoFinish(const char* id) MILLRACE_MAY_SUSPEND {
    if (!world_.jobs().Query(id).ok()) return absl::OkStatus();
    return millrace::CoFinish(world_, id, case_.finalizes_late);
  }
  // Nothing is left to stream once the header names the base, or nobody.
  absl::Status CoStartStreamJob() MILLRACE_MAY_SUSPEND {
    StreamOptions options;
    options.job.spec = Spec("stream");
    options.top = Node(case_.top);
    if (!Node(case_.top - 1).is_valid()) return absl::OkStatus();
    if (case_.base) options.base = Node(*case_.base);
    return CoStartStream(world_.graph(), world_.jobs(), options).status();
  }
  absl::Status CoStartCommitJob(size_t top, size_t base) MILLRACE_MAY_SUSPEND {
    CommitOptions options;
    options.job.spec = Spec("commit");
    options.root = open_.chain.top();
    options.top = Node(top);
    options.base = Node(base);
    if (!options.top.is_valid()) return absl::OkStatus();
    return CoStartCommit(world_.graph(), world_.jobs(), options).status();
  }
  absl::Status CoStartMirrorJob() MILLRACE_MAY_SUSPEND {
    if (!open_.target) return absl::OkStatus();
    MirrorOptions options;
    options.job.spec = Spec("mirror");
    options.source = open_.chain.top();
    options.target = open_.target->top();
    if (case_.guest_copies) options.copy_mode = MirrorCopyMode::kWriteBlocking;
    return CoStartMirror(world_.graph(), world_.jobs(), options).status();
  }
  absl::Status CoInsertAndRemove() MILLRACE_MAY_SUSPEND {
    InsertFilterOptions insert;
    insert.spec = Spec("insert");
    insert.below = Node(case_.top);
    insert.filter_name = "pass";
    MILLRACE_RETURN_IF_ERROR(
        CoStartInsertFilter(world_.graph(), world_.jobs(), MakePassFilter(), insert).status());
    MILLRACE_RETURN_IF_ERROR(CoFinish("insert"));
    RemoveFilterOptions remove;
    remove.spec = Spec("remove");
    {
      GraphView view(world_.graph());
      MILLRACE_ASSIGN_OR_RETURN(const NodeView filter, view.Find("pass"));
      remove.filter = filter.id();
    }
    MILLRACE_RETURN_IF_ERROR(CoStartRemoveFilter(world_.graph(), world_.jobs(), remove).status());
    return CoFinish("remove");
  }

  JobWorld& world_;
  const CrashCase& case_;
  const OpenCrashCase& open_;
};

}  // namespace

absl::Status CoRunCrashJobs(JobWorld& world, const CrashCase& crash_case,
                            const OpenCrashCase& open) {
  Runner runner(world, crash_case, open);
  return runner.CoRun();
}

}  // namespace millrace
