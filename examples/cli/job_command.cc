#include "examples/cli/job_command.h"

#include <algorithm>
#include <cstdio>

#include "examples/cli/exit_code.h"
#include "examples/common/progress_display.h"
#include "examples/common/sizes.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drivers/qcow2/qcow2_info.h"
#include "millrace/graph/map_image.h"
#include "millrace/graph/operation_claim.h"
#include "millrace/graph/whole_file.h"

namespace millrace {

void JobFlags::AddTo(CommandLine& line) {
  line.Option("backing-file", "NAME", &backing_file,
              "what the header is to say about the new backing\nfile; derived if absent");
  line.Option("speed", "BYTES", &speed, "at most this much a second, as 50M; 0: no limit");
  line.Choice("on-error", "WHAT", &on_error, {"report", "ignore"},
              "report (end the job) or ignore (go on, then fail)");
  line.Flag("dry-run", &is_dry_run, "say what would happen and who is in the way; write\nnothing");
  line.Flag("quiet", &is_quiet, "no progress bar");
  session.AddTo(line, /*has_force_share=*/false);
  line.Argument("IMAGE", &image);
}

void JobFlags::ApplyTo(BlockJobOptions& options, std::string_view id) const {
  options.spec.id = std::string(id);
  options.spec.speed = static_cast<int64_t>(speed);
  options.spec.dismisses_automatically = false;
  if (on_error == "ignore") options.on_error = OnError::kIgnore;
}

OpenImageOptions JobFlags::OptionsToPlan() const {
  OpenImageOptions options = session.OpenOptions(image, /*is_read_only=*/true);
  options.locking = "off";
  return options;
}

// ---- Watching -----------------------------------------------------------------------------------

namespace {

std::string PhaseInWords(const JobInfo& info) {
  if (info.state != JobState::kConcluded) return std::string(JobStateName(info.state));
  if (info.status.ok()) return "done";
  return absl::IsCancelled(info.status) ? "cancelled" : "failed";
}

}  // namespace

absl::Status CoWatchJob(Session& session, const JobFlags& flags, JobNumber job,
                        JobOutcome* outcome) {
  JobManager& jobs = session.jobs();
  ProgressDisplay display(stderr, flags.is_quiet);
  session.run().OnInterrupt([&]() {
    constexpr std::string_view kWhat = "cancelling the job";
    if (flags.is_quiet) SayHeard(kWhat);
    display.Say(HeardInWords(kWhat));
    jobs.Cancel(job, /*force=*/true).IgnoreError();  // it may be over already
  });
  if (session.run().was_interrupted()) jobs.Cancel(job, /*force=*/true).IgnoreError();
  Nanoseconds pause = 5 * kMillisecond;
  absl::Status status;
  for (;;) {
    absl::StatusOr<JobInfo> info = jobs.Query(job);
    if (!info.ok()) return info.status();
    const bool is_over = info->state == JobState::kConcluded;
    outcome->done_bytes = info->current;
    outcome->total_bytes = info->total;
    display.Show(session.engine().clock().Now(),
                 {{info->id, PhaseInWords(*info), info->current, info->total}});
    if (is_over) {
      status = info->status;
      break;
    }
    CoSleepFor(pause).IgnoreError();
    pause = std::min<Nanoseconds>(100 * kMillisecond, pause * 2);
  }
  session.run().OnInterrupt([] {});
  jobs.Dismiss(job).IgnoreError();
  return status;
}

// ---- The dry run --------------------------------------------------------------------------------

void FindClaims(Graph& graph, JobPlan* plan) {
  GraphView view(graph);
  for (size_t i = 0; i < plan->before.size(); ++i) {
    const NodeId node = plan->before[i].node;
    if (!OperationClaim::Check(view, node, Operation::kStream).ok() ||
        !OperationClaim::Check(view, node, Operation::kCommitTarget).ok()) {
      plan->claimed.push_back(i);
    }
    // What the users of its file share is what the file's locks leave to other programs.
    const absl::StatusOr<NodeView> image = view.Resolve(node);
    const NodeView file = image->Child(Role::kPrimary).value_or(*image);
    if (!file.cumulative_permissions().shared.Contains(kWrite)) plan->locked.push_back(i);
  }
}

namespace {

// What the job would hear when it opens the image for writing; the plan reads it only.
absl::Status CoRefuseIfCorrupt(WholeFile& file, const ChainLink& image) MILLRACE_MAY_SUSPEND {
  if (image.format != "qcow2") return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(const Qcow2Info info, CoReadQcow2Info(file));
  if (!info.is_corrupt) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("open image '", image.path,
             "' for writing: it is marked corrupt; look at it with 'millrace check', and put it "
             "right with 'millrace check --repair all'"));
}

}  // namespace

void CoFindOtherPrograms(Session& session, const JobFlags& flags, JobPlan* plan) {
  for (size_t i = 0; i < plan->before.size(); ++i) {
    if (!plan->refusal.ok()) return;
    // Opening takes the locks that the job would take; nothing is written.
    OpenFileOptions options;
    options.path = plan->before[i].path;
    options.is_read_only =
        std::find(plan->written.begin(), plan->written.end(), i) == plan->written.end();
    options.direct = flags.session.direct;
    absl::StatusOr<std::unique_ptr<WholeFile>> file =
        WholeFile::CoOpen(session.graph(), session.registry(), options);
    plan->refusal = file.status();
    if (!file.ok()) return;
    if (!options.is_read_only) plan->refusal = CoRefuseIfCorrupt(**file, plan->before[i]);
    (*file)->CoClose();
  }
}

absl::StatusOr<uint64_t> CoBytesIn(Graph& graph, const std::vector<ChainLink>& chain, size_t first,
                                   size_t last) {
  AttachmentOptions options;
  options.holder = MakeHolder("plan", "dry run");
  options.permissions.used = kConsistentRead;
  MILLRACE_ASSIGN_OR_RETURN(Attachment disk,
                            Attachment::Attach(graph, chain[first].node, std::move(options)));
  uint64_t bytes = 0;
  absl::Status status = CoMapImage(disk, [&](const MapExtent& run) {
    if (run.is_data && run.depth <= last - first) bytes += run.bytes;
  });
  disk.CoDetach();
  if (!status.ok()) return status;
  return bytes;
}

namespace {

std::string FilesInWords(const std::vector<ChainLink>& chain, const std::vector<size_t>& indices) {
  std::string words;
  for (const size_t index : indices) {
    if (!words.empty()) words += ", ";
    words += chain[index].path;
  }
  return words.empty() ? "none" : words;
}

void PrintPlan(const JobPlan& plan) {
  printf("before: %s\n", ChainInWords(plan.before).c_str());
  if (!plan.after.empty()) {
    printf("after:  %s\n", ChainInWords(plan.after).c_str());
    printf("copies about %s into %s\n", BytesInWords(plan.copied_bytes).c_str(),
           plan.before[plan.target].path.c_str());
    printf("writes to: %s\n", FilesInWords(plan.before, plan.written).c_str());
    printf("while it runs, no other job could start on: %s\n",
           FilesInWords(plan.before, plan.claimed).c_str());
    printf("while it runs, other programs could not write to: %s\n",
           FilesInWords(plan.before, plan.locked).c_str());
  }
  if (plan.refusal.ok()) {
    puts("nobody is in the way; nothing was changed");
  } else {
    printf("would be refused: %s\n", TextOf(plan.refusal, false).c_str());
  }
}

void WriteFiles(JsonWriter& json, std::string_view key, const JobPlan& plan,
                const std::vector<size_t>& indices) {
  json.Key(key).BeginArray();
  for (const size_t index : indices) json.String(plan.before[index].path);
  json.EndArray();
}

}  // namespace

int ReportPlan(const JobPlan& plan, bool as_json) {
  if (!as_json) {
    PrintPlan(plan);
    return plan.refusal.ok() ? kExitSuccess : kExitRefused;
  }
  JsonWriter json;
  json.BeginObject().Key("job").String(plan.job).Key("dry-run").Bool(true).Key("before");
  WriteChain(json, plan.before);
  json.Key("after");
  WriteChain(json, plan.after);
  json.Key("copy-bytes").Number(plan.copied_bytes);
  json.Key("target").String(plan.before.empty() ? "" : plan.before[plan.target].path);
  WriteFiles(json, "writes", plan, plan.written);
  WriteFiles(json, "claims", plan, plan.claimed);
  WriteFiles(json, "locks", plan, plan.locked);
  json.Key("refused");
  plan.refusal.ok() ? json.Null() : json.String(TextOf(plan.refusal, false));
  puts(json.EndObject().Take().c_str());
  return plan.refusal.ok() ? kExitSuccess : kExitRefused;
}

namespace {

void PrintOutcome(std::string_view job, std::string_view status, const JobOutcome& outcome) {
  JsonWriter json;
  json.BeginObject().Key("job").String(job).Key("status").String(status);
  json.Key("offset").Number(outcome.done_bytes).Key("len").Number(outcome.total_bytes);
  json.Key("chain");
  WriteChain(json, outcome.chain);
  puts(json.EndObject().Take().c_str());
}

}  // namespace

int ReportJob(std::string_view job, const JobFlags& flags, const JobOutcome& outcome,
              const absl::Status& status) {
  if (absl::IsCancelled(status)) {
    fprintf(stderr,
            "millrace: interrupted: the %s was cancelled; the images are valid and show what they "
            "showed before; what was copied so far stays copied; run it again to finish\n",
            std::string(job).c_str());
    if (flags.session.json) PrintOutcome(job, "cancelled", outcome);
    return kExitInterrupted;
  }
  if (!status.ok()) return ReportError(status, flags.session);
  if (flags.session.json) {
    PrintOutcome(job, "completed", outcome);
  } else {
    printf("done: %s\n", ChainInWords(outcome.chain).c_str());
  }
  return kExitSuccess;
}

}  // namespace millrace
