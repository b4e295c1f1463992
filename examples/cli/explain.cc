// millrace explain: who holds what in a running daemon, who waits for whom, and since when.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "examples/cli/command_line.h"
#include "examples/cli/commands.h"
#include "examples/cli/exit_code.h"
#include "examples/cli/remote.h"
#include "examples/cli/session.h"
#include "examples/common/qmp_client.h"
#include "examples/common/sizes.h"
#include "examples/hypervisor/qmp/json_format.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {
namespace {

constexpr std::string_view kExplainHelp =
    "Says what the jobs, drives and other users of a running millraced hold: which nodes they "
    "use,\n"
    "on which nothing else may be started because of them, which links nobody else may change, "
    "what\n"
    "they have drained; and who waits for whom.\n"
    "\n"
    "  millrace explain --socket /tmp/qmp";

void AppendWord(std::string* text, std::string_view word) {
  StrAppend(text, text->empty() ? "" : ", ", word);
}

std::string AgeInWords(const json::value& entry, int64_t now) {
  const int64_t age = std::max<int64_t>(0, now - NumberAt(entry, "since"));
  return SecondsInWords(static_cast<uint64_t>(age / kSecond));
}

std::string SinceInWords(const json::value& holder, int64_t now) {
  return NumberAt(holder, "since") == 0 ? "" : StrCat(", for ", AgeInWords(holder, now));
}

const json::value& JobOf(const json::value& told, const json::value& holder) {
  static const json::value none;
  for (const json::value& job : ListAt(told, "jobs")) {
    const std::string type = StrCat(TextAt(job, "type"), " job");
    if (TextAt(job, "id") == TextAt(holder, "id") && type == TextAt(holder, "type")) return job;
  }
  return none;
}

std::string JobInWords(const json::value& job) {
  if (job.is_null()) return {};
  const auto done = static_cast<uint64_t>(NumberAt(job, "offset"));
  const auto total = static_cast<uint64_t>(NumberAt(job, "len"));
  std::string text = StrCat(" is ", TextAt(job, "status"));
  if (total > 0) {
    StrAppend(&text, ", ", done * 100 / total, " % of ", BytesInWords(total));
  }
  if (FlagAt(job, "paused-by-user")) AppendWord(&text, "paused by the user");
  if (NumberAt(job, "drained-by") > 0) AppendWord(&text, "held at rest by a drained section");
  if (FlagAt(job, "cancelling")) AppendWord(&text, "being cancelled");
  return text;
}

void PrintList(std::string_view what, const std::string& list) {
  if (!list.empty()) printf("  %-8s %s\n", std::string(what).c_str(), list.c_str());
}

std::string NodesOf(const json::array& entries, std::string_view detail) {
  std::string list;
  for (const json::value& entry : entries) {
    const std::string_view more = detail.empty() ? std::string_view() : TextAt(entry, detail);
    AppendWord(&list, more.empty() ? std::string(TextAt(entry, "node"))
                                   : StrCat(TextAt(entry, "node"), " as ", more));
  }
  return list;
}

// "top -> mid -> base, t -> u": links that follow each other as one chain.
std::string LinksInWords(const json::array& leases) {
  std::map<std::string_view, std::string_view> below;
  std::set<std::string_view> has_above;
  for (const json::value& lease : leases) {
    below[TextAt(lease, "from")] = TextAt(lease, "to");
    has_above.insert(TextAt(lease, "to"));
  }
  std::string words;
  for (const auto& link : below) {
    if (has_above.count(link.first) > 0) continue;
    AppendWord(&words, link.first);
    for (auto at = below.find(link.first); at != below.end(); at = below.find(at->second)) {
      StrAppend(&words, " -> ", at->second);
    }
  }
  return words;
}

void PrintSections(const json::value& holder) {
  for (const json::value& section : ListAt(holder, "sections")) {
    std::string roots;
    for (const json::value& root : ListAt(section, "roots"))
      AppendWord(&roots, View(root.as_string()));
    PrintList(FlagAt(section, "granted") ? "drains" : "waits to",
              FlagAt(section, "granted")
                  ? roots
                  : StrCat("drain ", roots, ": ", TextAt(section, "waits-for")));
  }
}

void PrintHolder(const json::value& told, const json::value& holder) {
  printf("%s%s%s\n", HolderInWords(holder).c_str(), JobInWords(JobOf(told, holder)).c_str(),
         SinceInWords(holder, NumberAt(told, "now")).c_str());
  PrintList("uses", NodesOf(ListAt(holder, "attachments"), "as"));
  PrintList("blocks", NodesOf(ListAt(holder, "claims"), ""));
  PrintList("freezes", LinksInWords(ListAt(holder, "leases")));
  PrintSections(holder);
  puts("");
}

// "time 123456789 ns", as sleepers say it, becomes "its turn, in 5 s".
std::string WaitInWords(const json::value& wait, int64_t now) {
  std::string_view text = TextAt(wait, "for");
  if (text.empty()) return std::string(TextAt(wait, "at"));
  if (!text.starts_with("time ") || !text.ends_with(" ns")) return std::string(text);
  text.remove_prefix(5);
  int64_t deadline = 0;
  std::from_chars(text.data(), text.data() + text.size(), deadline);
  const int64_t seconds = std::max<int64_t>(0, deadline - now) / kSecond;
  return StrCat("its turn, in ", SecondsInWords(static_cast<uint64_t>(seconds)));
}

void PrintWaits(const json::value& told) {
  bool is_first = true;
  for (const json::value& wait : ListAt(told, "waits")) {
    if (FlagAt(wait, "idle") || FlagAt(wait, "can-run")) continue;
    if (is_first) puts("waiting:");
    is_first = false;
    std::string text =
        StrCat("  ", TextAt(wait, "who"), " for ", WaitInWords(wait, NumberAt(told, "now")));
    std::string holders;
    for (const json::value& holder : ListAt(wait, "held-by")) {
      AppendWord(&holders, View(holder.as_string()));
    }
    if (!holders.empty()) StrAppend(&text, ", held by ", holders);
    StrAppend(&text, " (", AgeInWords(wait, NumberAt(told, "now")), " so far)");
    puts(text.c_str());
  }
  if (const std::string cycle(TextAt(told, "cycle")); !cycle.empty()) {
    printf("they wait for each other: %s\n", cycle.c_str());
  }
}

void Print(const json::value& told) {
  const json::array& holders = ListAt(told, "holders");
  if (holders.empty()) puts("nobody holds anything");
  // Jobs first: they are what is asked about.
  for (const bool is_job : {true, false}) {
    for (const json::value& holder : holders) {
      if (TextAt(holder, "type").ends_with(" job") == is_job) PrintHolder(told, holder);
    }
  }
  PrintWaits(told);
}

}  // namespace

int RunExplain(Words words) {
  std::string socket;
  bool as_json = false;
  CommandLine line("explain", "explain --socket PATH [OPTION...]", kExplainHelp);
  line.Option("socket", "PATH", &socket, "the daemon's QMP socket");
  line.Flag("json", &as_json, "print what x-millrace-explain answers");
  if (absl::Status status = line.Parse(words); !status.ok()) return ReportUsage(status);
  if (line.wants_help()) return fputs(line.Help().c_str(), stdout), kExitSuccess;
  if (socket.empty()) {
    return ReportUsage(absl::InvalidArgumentError("explain needs --socket PATH; see --help"));
  }
  absl::StatusOr<std::unique_ptr<QmpClient>> client = QmpClient::Connect(socket);
  if (!client.ok()) return ReportRemoteError(client.status(), as_json);
  const absl::StatusOr<json::value> told = (*client)->Execute("x-millrace-explain");
  if (!told.ok()) return ReportRemoteError(told.status(), as_json);
  if (as_json) {
    puts(FormatJson(*told, JsonLayout::kPretty).c_str());
  } else {
    Print(*told);
  }
  return kExitSuccess;
}

}  // namespace millrace
