// info block, info blockstats, info block-jobs, info status and the rest of the human monitor's
// questions: answers of QMP's queries, written for people.
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "examples/hypervisor/block/human_tools.h"
#include "examples/hypervisor/block/image_info_text.h"
#include "examples/hypervisor/qmp/json_fields.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// The answer of a query, as a list; empty if it was refused.
json::array CoQuery(BlockLayer& layer, std::string_view command, const json::object& arguments = {})
    MILLRACE_MAY_SUSPEND {
  CommandResult result = layer.host().commands.CoCall(command, arguments);
  return result.ok() && result->is_array() ? std::move(result->get_array()) : json::array();
}

// ---- info block --------------------------------------------------------------------------------

std::string TitleOf(const json::object* drive, const json::object* inserted) {
  const std::string_view node = inserted == nullptr ? "" : TextOf(*inserted, "node-name");
  const std::string_view device = drive == nullptr ? "" : TextOf(*drive, "device");
  if (!device.empty()) {
    return node.empty() ? std::string(device) : StrCat(device, " (", node, ")");
  }
  if (!node.empty()) return std::string(node);
  const std::string_view place = drive == nullptr ? "" : TextOf(*drive, "qdev");
  return place.empty() ? "<anonymous>" : std::string(place);
}

std::string SlotText(const json::object& drive) {
  std::string text;
  const std::string_view place = TextOf(drive, "qdev");
  if (!place.empty()) StrAppend(&text, "    Attached to:      ", place, "\n");
  const std::string_view status = TextOf(drive, "io-status");
  if (!status.empty() && status != "ok") StrAppend(&text, "    I/O status:       ", status, "\n");
  if (IsSet(drive, "removable")) {
    StrAppend(&text, "    Removable device: ", IsSet(drive, "locked") ? "" : "not ",
              "locked, tray ", IsSet(drive, "tray_open") ? "open" : "closed", "\n");
  }
  return text;
}

std::string ThrottleText(const json::object& inserted) {
  const auto has = [&](std::string_view name) { return NumberOf(inserted, name) != 0; };
  if (!has("bps") && !has("bps_rd") && !has("bps_wr") && !has("iops") && !has("iops_rd") &&
      !has("iops_wr")) {
    return {};
  }
  std::string text = "    I/O throttling:  ";
  for (const char* name :
       {"bps", "bps_rd", "bps_wr", "bps_max", "bps_rd_max", "bps_wr_max", "iops", "iops_rd",
        "iops_wr", "iops_max", "iops_rd_max", "iops_wr_max", "iops_size"}) {
    StrAppend(&text, " ", name, "=", NumberOf(inserted, name));
  }
  StrAppend(&text, " group=", TextOf(inserted, "group"), "\n");
  return text;
}

std::string ImagesText(const json::object& inserted) {
  std::string text = "\nImages:\n";
  const json::value* image = inserted.if_contains("image");
  while (image != nullptr) {
    text += ImageInfoText(image->as_object());
    image = image->as_object().if_contains("backing-image");
  }
  return text;
}

std::string MediumText(const json::object& inserted, bool is_verbose) {
  const json::object& cache = inserted.at("cache").as_object();
  std::string text =
      StrCat("    Cache mode:       ", IsSet(cache, "writeback") ? "writeback" : "writethrough",
             IsSet(cache, "direct") ? ", direct" : "",
             IsSet(cache, "no-flush") ? ", ignore flushes" : "", "\n");
  const std::string_view backing = TextOf(inserted, "backing_file");
  if (!backing.empty()) {
    StrAppend(&text, "    Backing file:     ", backing,
              " (chain depth: ", NumberOf(inserted, "backing_file_depth"), ")\n");
  }
  const std::string_view zeroes = TextOf(inserted, "detect_zeroes");
  if (zeroes != "off") StrAppend(&text, "    Detect zeroes:    ", zeroes, "\n");
  text += ThrottleText(inserted);
  return is_verbose ? text + ImagesText(inserted) : text;
}

// `drive`: null for a node that is asked for itself; `inserted`: null if there is no medium.
std::string BlockText(const json::object* drive, const json::object* inserted, bool is_verbose) {
  std::string text = TitleOf(drive, inserted);
  if (inserted == nullptr) {
    text += ": [not inserted]\n";
  } else {
    StrAppend(&text, ": ", TextOf(*inserted, "file"), " (", TextOf(*inserted, "drv"),
              IsSet(*inserted, "ro") ? ", read-only" : "", ")\n");
  }
  if (drive != nullptr) text += SlotText(*drive);
  return inserted == nullptr ? text : text + MediumText(*inserted, is_verbose);
}

// Drives or nodes, all of them or the one of that name.
std::string CoBlockTexts(BlockLayer& layer, bool wants_nodes, std::string_view name,
                         bool is_verbose) MILLRACE_MAY_SUSPEND {
  const json::array list = CoQuery(layer, wants_nodes ? "query-named-block-nodes" : "query-block");
  std::string text;
  for (const json::value& one : list) {
    const json::object& shown = one.as_object();
    if (!name.empty() && TextOf(shown, wants_nodes ? "node-name" : "device") != name) continue;
    // Between two, even if the first is not shown.
    if (&one != &list.front()) text += '\n';
    const json::value* inserted = wants_nodes ? &one : shown.if_contains("inserted");
    text += BlockText(wants_nodes ? nullptr : &shown,
                      inserted == nullptr ? nullptr : &inserted->as_object(), is_verbose);
  }
  return text;
}

// A name that no drive has is a node's.
std::string CoInfoBlock(BlockLayer& layer, const json::object& asked) MILLRACE_MAY_SUSPEND {
  const std::string_view name = TextOf(asked, "device");
  const bool is_verbose = IsSet(asked, "verbose");
  if (!IsSet(asked, "nodes")) {
    std::string text = CoBlockTexts(layer, /*wants_nodes=*/false, name, is_verbose);
    if (name.empty() || !text.empty()) return text;
  }
  return CoBlockTexts(layer, /*wants_nodes=*/true, name, is_verbose);
}

// ---- The other questions -----------------------------------------------------------------------

std::string CoInfoStatistics(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  std::string text;
  for (const json::value& one : CoQuery(layer, "query-blockstats")) {
    StrAppend(&text, TextOf(one.as_object(), "device"), ":");
    for (const char* name : {"rd_bytes", "wr_bytes", "rd_operations", "wr_operations",
                             "flush_operations", "wr_total_time_ns", "rd_total_time_ns",
                             "flush_total_time_ns", "rd_merged", "wr_merged", "idle_time_ns"}) {
      StrAppend(&text, " ", name, "=", NumberOf(one.at("stats").as_object(), name));
    }
    text += '\n';
  }
  return text;
}

std::string CoInfoJobs(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  std::string text;
  for (const json::value& one : CoQuery(layer, "query-block-jobs")) {
    const json::object& job = one.as_object();
    const std::string_view type = TextOf(job, "type");
    StrAppend(&text, type == "stream" ? "Streaming device " : StrCat("Type ", type, ", device "),
              TextOf(job, "device"), ": Completed ", NumberOf(job, "offset"), " of ",
              NumberOf(job, "len"), " bytes, speed limit ", NumberOf(job, "speed"), " bytes/s\n");
  }
  return text.empty() ? "No active jobs\n" : text;
}

std::string CoInfoStatus(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  const CommandResult status = layer.host().commands.CoCall("query-status", json::object());
  const bool runs = status.ok() && IsSet(status->as_object(), "running");
  return StrCat("VM status: ", runs ? "running" : "paused", "\n");
}

std::string CoInfoVersion(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  const CommandResult told = layer.host().commands.CoCall("query-version", json::object());
  if (!told.ok()) return {};
  const json::object& version = told->as_object();
  const json::object& qemu = version.at("qemu").as_object();
  return StrCat(NumberOf(qemu, "major"), ".", NumberOf(qemu, "minor"), ".", NumberOf(qemu, "micro"),
                TextOf(version, "package"), "\n");
}

std::string CoInfoIothreads(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  std::string text;
  for (const json::value& one : CoQuery(layer, "query-iothreads")) {
    const json::object& thread = one.as_object();
    StrAppend(&text, TextOf(thread, "id"), ":\n  thread_id=", NumberOf(thread, "thread-id"), "\n");
    for (const char* name : {"poll-max-ns", "poll-grow", "poll-shrink", "aio-max-batch"}) {
      StrAppend(&text, "  ", name, "=", NumberOf(thread, name), "\n");
    }
  }
  return text;
}

struct Question {
  HmpSyntax syntax;
  std::function<std::string(const json::object& asked)> answer;
};

using Questions = std::map<std::string, Question, std::less<>>;

void Add(Questions* questions, std::string_view name, std::string_view topic,
         std::vector<HmpParameter> parameters,
         std::function<std::string(const json::object&)> answer) {
  (*questions)[std::string(name)] = {{name, topic, std::move(parameters)}, std::move(answer)};
}

Questions MakeQuestions(BlockLayer& layer) {
  Questions questions;
  Add(&questions, "block", "info block",
      {{"nodes", HmpKind::kFlag, true, 'n'},
       {"verbose", HmpKind::kFlag, true, 'v'},
       {"device", HmpKind::kDevice, true}},
      [&layer](const json::object& asked)
          MILLRACE_MAY_SUSPEND { return CoInfoBlock(layer, asked); });
  Add(&questions, "blockstats", "info blockstats", {},
      [&layer](const json::object&) MILLRACE_MAY_SUSPEND { return CoInfoStatistics(layer); });
  Add(&questions, "block-jobs", "info block-jobs", {},
      [&layer](const json::object&) MILLRACE_MAY_SUSPEND { return CoInfoJobs(layer); });
  Add(&questions, "status", "info status", {},
      [&layer](const json::object&) MILLRACE_MAY_SUSPEND { return CoInfoStatus(layer); });
  Add(&questions, "version", "info version", {},
      [&layer](const json::object&) MILLRACE_MAY_SUSPEND { return CoInfoVersion(layer); });
  Add(&questions, "iothreads", "info iothreads", {},
      [&layer](const json::object&) MILLRACE_MAY_SUSPEND { return CoInfoIothreads(layer); });
  Add(&questions, "name", "info name", {}, [](const json::object&) { return std::string(); });
  Add(&questions, "uuid", "info uuid", {}, [](const json::object&) {
    return std::string("00000000-0000-0000-0000-000000000000\n");  // nobody gave it one
  });
  return questions;
}

struct AskedQuestion {
  const Question* question;
  json::object asked;
};

// The question of a line; a refusal's message is what the terminal shows.
absl::StatusOr<AskedQuestion> ReadQuestion(const Questions& questions, std::string_view line) {
  const std::string_view name = line.substr(0, line.find_first_of(" \t"));
  const auto found = questions.find(name);
  if (found == questions.end()) {
    return absl::NotFoundError(StrCat("unknown command: 'info ", line, "'\r\n"));
  }
  AskedQuestion asked = {&found->second, {}};
  MILLRACE_ASSIGN_OR_RETURN(asked.asked,
                            ReadHmpArguments(asked.question->syntax, line.substr(name.size())));
  return asked;
}

std::string CoInfo(const Questions& questions, std::string_view line) MILLRACE_MAY_SUSPEND {
  const absl::StatusOr<AskedQuestion> asked = ReadQuestion(questions, line);
  if (!asked.ok()) return std::string(asked.status().message());
  return TerminalLines(asked->question->answer(asked->asked));
}

PlanResult PlanInfo(const Questions& questions, std::string_view line) {
  const absl::Status refusal = ReadQuestion(questions, line).status();
  if (!refusal.ok()) return RefusedLine(FromAbsl(refusal.message()));
  return PlanOfStep("answer; nothing changes");
}

}  // namespace

void RegisterHumanInfo(BlockLayer& layer) {
  const auto questions = std::make_shared<const Questions>(MakeQuestions(layer));
  layer.host().hmp.Register("info", [questions](std::string_view line)
                                        MILLRACE_MAY_SUSPEND { return CoInfo(*questions, line); });
  layer.host().hmp.SetPlanner(
      "info", [questions](std::string_view line) { return PlanInfo(*questions, line); });
}

}  // namespace millrace
