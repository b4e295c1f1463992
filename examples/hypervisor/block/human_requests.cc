// Commands of the human monitor that are commands of QMP with another spelling: jobs, snapshots,
// media, limits, the NBD server.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/human_tools.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr HmpParameter kDevice = {"device", HmpKind::kDevice};

bool TakeHumanFlag(json::object* arguments, std::string_view name) {
  return arguments->erase(json::string_view(name.data(), name.size())) > 0;
}

std::string TakeHumanText(json::object* arguments, std::string_view name) {
  const json::string_view key(name.data(), name.size());
  const json::value* value = arguments->if_contains(key);
  if (value == nullptr) return {};
  std::string text(View(value->as_string()));
  arguments->erase(key);
  return text;
}

// A command whose arguments are QMP's as they are.
void RegisterSame(BlockLayer& layer, std::string_view name, std::string_view command,
                  std::vector<HmpParameter> parameters) {
  RegisterHumanCaller(layer, name, {name, "", std::move(parameters)},
                      [command](const json::object& arguments, const HumanCall& call) {
                        return call(command, arguments);
                      });
}

// A command with several names.
void RegisterNames(BlockLayer& layer, std::string_view long_name, std::string_view short_name,
                   std::string_view shown, std::string_view command) {
  for (std::string_view name : {long_name, short_name}) {
    RegisterHumanCaller(layer, name, {shown, long_name, {}},
                        [command](const json::object& arguments, const HumanCall& call) {
                          return call(command, arguments);
                        });
  }
}

// ---- Jobs and snapshots ------------------------------------------------------------------------

void RegisterJobRequests(BlockLayer& layer) {
  RegisterSame(layer, "block_job_set_speed", "block-job-set-speed",
               {kDevice, {"speed", HmpKind::kSize}});
  RegisterSame(layer, "block_job_cancel", "block-job-cancel",
               {{"force", HmpKind::kFlag, true, 'f'}, kDevice});
  RegisterSame(layer, "block_job_pause", "block-job-pause", {kDevice});
  RegisterSame(layer, "block_job_resume", "block-job-resume", {kDevice});
  RegisterSame(layer, "block_job_complete", "block-job-complete", {kDevice});
  const HmpParameter speed = {"speed", HmpKind::kSize, true};
  RegisterHumanCaller(layer, "block_stream",
                      {"block_stream", "", {kDevice, speed, {"base", HmpKind::kText, true}}},
                      [](json::object arguments, const HumanCall& call) {
                        arguments["on-error"] = "report";
                        return call("block-stream", arguments);
                      });
}

std::string MissingParameter(std::string_view name) {
  return StrCat("Error: Parameter '", name, "' is missing\r\n");
}

std::string Mirror(json::object arguments, const HumanCall& call) {
  arguments["sync"] = TakeHumanFlag(&arguments, "full") ? "full" : "top";
  arguments["mode"] = TakeHumanFlag(&arguments, "reuse") ? "existing" : "absolute-paths";
  arguments["unmap"] = true;
  return call("drive-mirror", arguments);
}

std::string HumanSnapshot(json::object arguments, const HumanCall& call) {
  if (!arguments.contains("snapshot-file")) return MissingParameter("snapshot-file");
  arguments["mode"] = TakeHumanFlag(&arguments, "reuse") ? "existing" : "absolute-paths";
  return call("blockdev-snapshot-sync", arguments);
}

void RegisterImageRequests(BlockLayer& layer) {
  const HmpParameter reuse = {"reuse", HmpKind::kFlag, true, 'n'};
  const HmpParameter format = {"format", HmpKind::kText, true};
  RegisterHumanCaller(layer, "drive_mirror",
                      {"drive_mirror",
                       "",
                       {reuse, {"full", HmpKind::kFlag, true, 'f'}, kDevice, {"target"}, format}},
                      Mirror);
  RegisterHumanCaller(
      layer, "snapshot_blkdev",
      {"snapshot_blkdev", "", {reuse, kDevice, {"snapshot-file", HmpKind::kText, true}, format}},
      HumanSnapshot);
  RegisterSame(layer, "block_resize", "block_resize", {kDevice, {"size", HmpKind::kSize}});
  RegisterSame(layer, "eject", "eject", {{"force", HmpKind::kFlag, true, 'f'}, kDevice});
  RegisterSame(layer, "change", "blockdev-change-medium",
               {kDevice,
                {"force", HmpKind::kFlag, true, 'f'},
                {"filename", HmpKind::kFileName},
                format,
                {"read-only-mode", HmpKind::kText, true}});
  RegisterSame(layer, "block_set_io_throttle", "block_set_io_throttle",
               {kDevice,
                {"bps", HmpKind::kNumber},
                {"bps_rd", HmpKind::kNumber},
                {"bps_wr", HmpKind::kNumber},
                {"iops", HmpKind::kNumber},
                {"iops_rd", HmpKind::kNumber},
                {"iops_wr", HmpKind::kNumber}});
}

// ---- The NBD server ----------------------------------------------------------------------------

// "unix:PATH", "HOST:PORT", "tcp:HOST:PORT".
json::object ServerAddress(std::string_view place) {
  constexpr std::string_view kUnix = "unix:";
  constexpr std::string_view kTcp = "tcp:";
  if (place.starts_with(kUnix)) {
    const std::string path(place.substr(kUnix.size()));
    return {{"type", "unix"}, {"data", {{"path", path}}}};
  }
  if (place.starts_with(kTcp)) place.remove_prefix(kTcp.size());
  const size_t colon = place.rfind(':');
  const std::string host(colon == std::string_view::npos ? "" : place.substr(0, colon));
  const std::string port(place.substr(colon == std::string_view::npos ? 0 : colon + 1));
  return {{"type", "inet"}, {"data", {{"host", host}, {"port", port}}}};
}

// Every drive with a medium, under its own name.
std::string ExportAll(BlockLayer& layer, bool is_writable, const HumanCall& call) {
  if (call.PlansWithout("whether each drive can be exported")) return {};
  std::vector<std::string> ids;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    if (!drive->id.empty() && drive->backend.is_attached()) ids.push_back(drive->id);
  }
  for (const std::string& id : ids) {
    const json::object one = {{"device", id}, {"writable", is_writable}};
    std::string refused = call("nbd-server-add", one);
    if (refused.empty()) continue;
    call("nbd-server-stop", {});
    return refused;
  }
  return {};
}

std::string StartServer(BlockLayer& layer, json::object arguments, const HumanCall& call) {
  const bool all = TakeHumanFlag(&arguments, "all");
  const bool is_writable = TakeHumanFlag(&arguments, "writable");
  if (is_writable && !all) return "Error: -w only valid together with -a\r\n";
  const json::object start = {{"addr", ServerAddress(TakeHumanText(&arguments, "uri"))}};
  std::string refused = call("nbd-server-start", start);
  return refused.empty() && all ? ExportAll(layer, is_writable, call) : refused;
}

std::string RemoveExport(json::object arguments, const HumanCall& call) {
  if (TakeHumanFlag(&arguments, "force")) arguments["mode"] = "hard";
  return call("nbd-server-remove", arguments);
}

void RegisterServerRequests(BlockLayer& layer) {
  const HmpParameter writable = {"writable", HmpKind::kFlag, true, 'w'};
  RegisterHumanCaller(
      layer, "nbd_server_start",
      {"nbd_server_start", "", {{"all", HmpKind::kFlag, true, 'a'}, writable, {"uri"}}},
      [&layer](json::object arguments, const HumanCall& call) {
        return StartServer(layer, std::move(arguments), call);
      });
  RegisterSame(layer, "nbd_server_add", "nbd-server-add",
               {writable, kDevice, {"name", HmpKind::kText, true}});
  RegisterHumanCaller(layer, "nbd_server_remove",
                      {"nbd_server_remove", "", {{"force", HmpKind::kFlag, true, 'f'}, {"name"}}},
                      RemoveExport);
  RegisterSame(layer, "nbd_server_stop", "nbd-server-stop", {});
}

// ---- What there is not -------------------------------------------------------------------------

struct Absent {
  std::string_view name;
  std::string_view instead;
};

constexpr Absent kAbsent[] = {
    {"drive_backup", "there is no backup job yet: use drive_mirror"},
    {"savevm", "no guest's memory is here to be saved: use snapshot_blkdev"},
    {"loadvm", "no guest's memory is here to be loaded: use qemu-img snapshot -a after 'quit'"},
    {"delvm", "internal snapshots are kept as they are: use qemu-img snapshot -d after 'quit'"},
    {"snapshot_blkdev_internal", "internal snapshots are not taken here: use snapshot_blkdev"},
    {"snapshot_delete_blkdev_internal",
     "internal snapshots are kept as they are: use qemu-img snapshot -d after 'quit'"},
};

void RegisterAbsent(BlockLayer& layer) {
  for (const Absent& absent : kAbsent) {
    const std::string told =
        StrCat("Error: '", absent.name, "' is not available: ", absent.instead, "\r\n");
    layer.host().hmp.Register(absent.name, [told](std::string_view) { return told; });
    layer.host().hmp.SetPlanner(absent.name,
                                [told](std::string_view) { return RefusedLine(told); });
  }
}

}  // namespace

void RegisterHumanRequests(BlockLayer& layer) {
  RegisterAbsent(layer);
  RegisterHumanCommit(layer);
  RegisterJobRequests(layer);
  RegisterImageRequests(layer);
  RegisterServerRequests(layer);
  RegisterNames(layer, "stop", "s", "stop|s", "stop");
  RegisterNames(layer, "cont", "c", "cont|c", "cont");
  RegisterNames(layer, "quit", "q", "quit|q", "quit");
  RegisterSame(layer, "system_reset", "system_reset", {});
}

}  // namespace millrace
