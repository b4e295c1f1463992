// millrace map: says where each byte of a disk comes from. The JSON has the keys of
// `qemu-img map --output=json`, and `compressed`.
#include <cinttypes>
#include <cstdio>
#include <string>
#include <vector>

#include "examples/cli/chain.h"
#include "examples/cli/commands.h"
#include "examples/cli/exit_code.h"
#include "examples/cli/session.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/map_image.h"

namespace millrace {
namespace {

constexpr std::string_view kMapHelp =
    "Lists the runs of data on a disk: which image of the chain has them, and where in its file.\n"
    "With --json also what reads as zeroes. 'depth' counts images from the top, 'present' says "
    "that\n"
    "some image has the run allocated. Opens the backing files; never writes.\n"
    "\n"
    "  millrace map overlay.qcow2\n"
    "  millrace map --json overlay.qcow2";

void WriteRun(JsonWriter& json, const MapExtent& run) {
  json.BeginObject().Key("start").Number(run.offset).Key("length").Number(run.bytes);
  json.Key("depth").Number(uint64_t{run.depth}).Key("present").Bool(run.is_present);
  json.Key("zero").Bool(run.is_zero).Key("data").Bool(run.is_data);
  json.Key("compressed").Bool(run.is_compressed);
  if (run.host_offset) json.Key("offset").Number(*run.host_offset);
  json.EndObject();
}

void PrintRun(const MapExtent& run, const std::string& file) {
  const std::string host =
      run.host_offset ? StrCat("0x", absl::Hex(*run.host_offset)) : std::string("compressed");
  printf("%#-16" PRIx64 "%#-16" PRIx64 "%-16s%s\n", run.offset, run.bytes, host.c_str(),
         file.c_str());
}

absl::Status CoMap(Session& session, const SessionFlags& flags, const std::string& path)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(session.graph(), session.registry(),
                                                           flags.OpenOptions(path, true)));
  const std::vector<ChainLink> chain = ChainOf(session.graph(), image.top());
  if (!flags.json) printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
  // A list that breaks off is no JSON: it is shown once it is whole.
  std::string list;
  absl::Status status = CoMapImage(image.holds[0], [&](const MapExtent& run) {
    if (flags.json) {
      JsonWriter json;
      WriteRun(json, run);
      StrAppend(&list, list.empty() ? "[" : ",\n", json.Take());
    } else if (run.is_data && !run.is_zero) {
      PrintRun(run, chain[run.depth].path);
    }
  });
  if (status.ok()) status = StopIfInterrupted();
  // An empty disk is an empty list.
  if (flags.json && status.ok()) puts(list.empty() ? "[]" : StrCat(list, "]").c_str());
  image.holds[0].CoDetach();
  if (!absl::IsCancelled(status)) return status;
  return absl::CancelledError("the list is not whole; the images were only read");
}

}  // namespace

int RunMap(Words words) {
  SessionFlags flags;
  std::string path;
  CommandLine line("map", "map [OPTION...] IMAGE", kMapHelp);
  flags.AddTo(line, /*has_force_share=*/true);
  line.Argument("IMAGE", &path);
  if (absl::Status status = line.Parse(words); !status.ok()) return ReportUsage(status);
  if (line.wants_help()) return fputs(line.Help().c_str(), stdout), kExitSuccess;
  Session session;
  absl::Status status = session.Start(flags);
  if (status.ok()) {
    status = session.Run([&]() MILLRACE_MAY_SUSPEND { return CoMap(session, flags, path); });
  }
  return ReportError(status, flags);
}

}  // namespace millrace
