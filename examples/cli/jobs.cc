// millrace jobs: the jobs of a running daemon, live.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "examples/cli/command_line.h"
#include "examples/cli/commands.h"
#include "examples/cli/exit_code.h"
#include "examples/cli/remote.h"
#include "examples/cli/session.h"
#include "examples/common/progress_display.h"
#include "examples/common/qmp_client.h"
#include "examples/common/sizes.h"
#include "examples/hypervisor/qmp/json_format.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kJobsHelp =
    "Shows the block jobs of a running millraced: phase, progress, rate and the time that is "
    "left.\n"
    "On a terminal it goes on until there is no job any more, redrawing itself; elsewhere it "
    "prints\n"
    "a line when a job's phase changes and every two seconds. Ctrl-C ends the look, not the jobs.\n"
    "\n"
    "  millrace jobs --socket /tmp/qmp\n"
    "  millrace jobs --socket /tmp/qmp --once --json";

constexpr QmpClient::Timeout kLookEvery(250);

Nanoseconds Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// "running", and what stands beside it: "running, paused by the user".
std::string PhaseOf(const json::value& job) {
  std::string phase(TextAt(job, "status"));
  if (phase == "running" && FlagAt(job, "paused")) phase = "pausing";
  if (TextAt(job, "io-status") == "failed") phase += ", I/O error";
  if (TextAt(job, "io-status") == "nospace") phase += ", no space";
  return phase;
}

ProgressEntry EntryOf(const json::value& job) {
  ProgressEntry entry;
  entry.name = StrCat(TextAt(job, "type"), " ", TextAt(job, "device"));
  entry.phase = PhaseOf(job);
  entry.done_bytes = static_cast<uint64_t>(NumberAt(job, "offset"));
  entry.total_bytes = static_cast<uint64_t>(NumberAt(job, "len"));
  return entry;
}

void PrintOnce(const json::array& jobs) {
  if (jobs.empty()) puts("no jobs");
  for (const json::value& job : jobs) {
    const int64_t speed = NumberAt(job, "speed");
    const std::string limit =
        speed == 0 ? "" : StrCat(", at most ", BytesInWords(static_cast<uint64_t>(speed)), "/s");
    const ProgressEntry entry = EntryOf(job);
    printf("%s: %s%s\n", entry.name.c_str(), ProgressDisplay::Describe(entry, 0).c_str(),
           limit.c_str());
    if (const std::string error(TextAt(job, "error")); !error.empty()) {
      printf("  failed: %s\n", error.c_str());
    }
  }
}

// Until the time for the next look has come, or something has happened to a job.
absl::Status WaitForNextLook(QmpClient& client) {
  const Nanoseconds until = Now() + kLookEvery.count() * kMillisecond;
  for (Nanoseconds left = until - Now(); left > 0; left = until - Now()) {
    MILLRACE_RETURN_IF_ERROR(
        client.NextEvent(QmpClient::Timeout(left / kMillisecond + 1)).status());
  }
  return absl::OkStatus();
}

absl::Status Watch(QmpClient& client, bool as_json, bool once) {
  ProgressDisplay display(stdout, as_json);
  for (;;) {
    MILLRACE_ASSIGN_OR_RETURN(const json::value told, client.Execute("query-block-jobs"));
    const json::array& jobs = told.as_array();
    if (as_json) {
      puts(FormatJson(told, JsonLayout::kLine).c_str());
      fflush(stdout);
    } else if (once || jobs.empty()) {
      PrintOnce(jobs);
    } else {
      std::vector<ProgressEntry> entries;
      for (auto job = jobs.rbegin(); job != jobs.rend(); ++job) entries.push_back(EntryOf(*job));
      display.Show(Now(), entries);
    }
    if (once || jobs.empty()) return absl::OkStatus();
    MILLRACE_RETURN_IF_ERROR(WaitForNextLook(client));
  }
}

}  // namespace

int RunJobs(Words words) {
  std::string socket;
  bool as_json = false;
  bool once = false;
  CommandLine line("jobs", "jobs --socket PATH [OPTION...]", kJobsHelp);
  line.Option("socket", "PATH", &socket, "the daemon's QMP socket");
  line.Flag("once", &once, "look once and end");
  line.Flag("json", &as_json, "print what query-block-jobs answers, a line for each look");
  if (absl::Status status = line.Parse(words); !status.ok()) return ReportUsage(status);
  if (line.wants_help()) return fputs(line.Help().c_str(), stdout), kExitSuccess;
  if (socket.empty()) {
    return ReportUsage(absl::InvalidArgumentError("jobs needs --socket PATH; see --help"));
  }
  absl::StatusOr<std::unique_ptr<QmpClient>> client = QmpClient::Connect(socket);
  absl::Status status = client.status();
  if (status.ok()) status = Watch(**client, as_json, once);
  return ReportRemoteError(status, as_json);
}

}  // namespace millrace
