// millrace check: looks for corruption and leaks. The JSON has the keys of
// `qemu-img check --output=json`, and `findings`.
#include <cstdio>
#include <string>

#include "examples/cli/commands.h"
#include "examples/cli/exit_code.h"
#include "examples/cli/session.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kCheckHelp =
    "Compares what a qcow2 image's tables refer to with its reference counts. Without --repair it\n"
    "reads only. Leaked clusters waste space and harm nothing; corruption means that data may be\n"
    "lost or may get lost at the next write: make a copy of the file before you repair that.\n"
    "Raw images have nothing to check.\n"
    "\n"
    "  millrace check disk.qcow2\n"
    "  millrace check --repair leaks disk.qcow2\n"
    "\n"
    "Exit codes: 0 clean (or all repaired), 3 leaks are left, 4 corruption is left, 1 could not "
    "check.";

struct CheckFlags {
  SessionFlags session;
  std::string path;
  std::string repair;
};

void PrintJson(const CheckFlags& flags, const Qcow2CheckResult& result) {
  JsonWriter json;
  json.BeginObject().Key("filename").String(flags.path).Key("format").String("qcow2");
  json.Key("check-errors").Number(result.errors);
  json.Key("corruptions").Number(result.corruptions).Key("leaks").Number(result.leaks);
  json.Key("corruptions-fixed").Number(result.corruptions_fixed);
  json.Key("leaks-fixed").Number(result.leaks_fixed);
  json.Key("image-end-offset").Number(result.image_end_offset);
  json.Key("total-clusters").Number(result.total_clusters);
  json.Key("allocated-clusters").Number(result.allocated_clusters);
  json.Key("fragmented-clusters").Number(result.fragmented_clusters);
  json.Key("compressed-clusters").Number(result.compressed_clusters);
  json.Key("findings").BeginArray();
  for (const std::string& finding : result.findings) json.String(finding);
  puts(json.EndArray().EndObject().Take().c_str());
}

std::string PartInWords(uint64_t part, uint64_t whole, std::string_view what) {
  const double percent =
      whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  char text[32];
  snprintf(text, sizeof(text), "%.2f %% ", percent);
  return StrCat(text, what);
}

void PrintText(const CheckFlags& flags, const Qcow2CheckResult& result) {
  for (const std::string& finding : result.findings) printf("%s\n", finding.c_str());
  if (result.is_clean()) {
    puts("no errors were found on the image");
  } else {
    printf("%s corruptions (%s repaired), %s leaked clusters (%s repaired), %s places unreadable\n",
           std::to_string(result.corruptions).c_str(),
           std::to_string(result.corruptions_fixed).c_str(), std::to_string(result.leaks).c_str(),
           std::to_string(result.leaks_fixed).c_str(), std::to_string(result.errors).c_str());
  }
  if (!result.is_clean_now() && flags.repair.empty()) {
    printf("to put it right: millrace check --repair %s %s\n",
           result.corruptions > 0 ? "all" : "leaks", flags.path.c_str());
  }
  const std::string allocated =
      PartInWords(result.allocated_clusters, result.total_clusters, "allocated");
  const std::string fragmented =
      PartInWords(result.fragmented_clusters, result.allocated_clusters, "fragmented");
  const std::string compressed =
      PartInWords(result.compressed_clusters, result.allocated_clusters, "compressed");
  printf("%s of %s clusters: %s, %s, %s\n", std::to_string(result.allocated_clusters).c_str(),
         std::to_string(result.total_clusters).c_str(), allocated.c_str(), fragmented.c_str(),
         compressed.c_str());
  printf("image end offset: %s\n", std::to_string(result.image_end_offset).c_str());
}

int ExitCodeOf(const Qcow2CheckResult& result) {
  if (result.errors > 0) return kExitFailure;
  if (result.corruptions > result.corruptions_fixed) return kExitCorrupt;
  if (result.leaks > result.leaks_fixed) return kExitLeaks;
  return kExitSuccess;
}

}  // namespace

int RunCheck(Words words) {
  CheckFlags flags;
  CommandLine line("check", "check [OPTION...] IMAGE", kCheckHelp);
  line.Choice(
      "repair", "WHAT", &flags.repair, {"leaks", "all"},
      "leaks: give back leaked space; all: also wrong\nrefcounts and flags. Writes to the image");
  flags.session.AddTo(line, /*has_force_share=*/true, /*opens_backing_files=*/false);
  line.Argument("IMAGE", &flags.path);
  if (absl::Status status = line.Parse(words); !status.ok()) return ReportUsage(status);
  if (line.wants_help()) return fputs(line.Help().c_str(), stdout), kExitSuccess;
  Qcow2CheckOptions options;
  options.is_cancellable = true;
  if (flags.repair == "leaks") options.repair = Qcow2Repair::kLeaks;
  if (flags.repair == "all") options.repair = Qcow2Repair::kAll;
  if (flags.session.ignores_locks && !flags.repair.empty()) {
    return ReportUsage(
        absl::InvalidArgumentError("--repair needs the image for itself; leave out --force-share"));
  }
  Session session;
  Qcow2CheckResult result;
  absl::Status status = session.Start(flags.session);
  if (status.ok()) {
    status = session.Run(
        [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(result,
                                    CoCheckImage(session.graph(), session.registry(),
                                                 flags.session.PathOptions(flags.path), options));
          // What a repair has done is told.
          return flags.repair.empty() ? StopIfInterrupted() : absl::OkStatus();
        },
        /*changes_images=*/!flags.repair.empty());
  }
  if (!status.ok()) return ReportError(status, flags.session);
  flags.session.json ? PrintJson(flags, result) : PrintText(flags, result);
  return ExitCodeOf(result);
}

}  // namespace millrace
