#include "examples/cli/session.h"

#include <cerrno>
#include <cstdio>
#include <optional>

#include "examples/cli/exit_code.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/builtin_drivers.h"

namespace millrace {

void SessionFlags::AddTo(CommandLine& line, bool has_force_share, bool opens_backing_files) {
  can_ignore_locks = has_force_share;
  line.Group("Opening images");
  line.Option("format", "FORMAT", &format,
              "qcow2 or raw; guessed from the first bytes if absent\n"
              "(then a raw image is only read)");
  if (can_ignore_locks) {
    line.Flag("force-share", &ignores_locks,
              "look at an image that another program has open for\n"
              "writing; what is shown may be half of a change");
  }
  if (opens_backing_files) {
    line.Flag("like-qemu", &like_qemu,
              "accept 'file:' names and missing formats in headers,\n"
              "as qemu-img does; a guest may then choose a format");
    line.Option("open-root", "FOLDER", &open_root, "open backing files below this folder only");
  } else {
    for (const std::string_view name : {"like-qemu", "open-root"}) {
      line.Refuse(name, "it opens no backing file, so there is nothing to allow or to forbid");
    }
  }
  line.Flag("direct", &direct, "bypass the host's page cache (O_DIRECT)");
  line.Choice("io", "BACKEND", &io, {"auto", "io_uring", "threads"}, "auto, io_uring or threads");
  line.Group("Output");
  line.Flag("json", &json, "print JSON on standard output");
}

OpenImageOptions SessionFlags::OpenOptions(const std::string& path, bool is_read_only) const {
  OpenImageOptions options;
  options.path = path;
  options.format = format;
  options.is_read_only = is_read_only;
  options.direct = direct;
  if (ignores_locks) options.locking = "off";
  options.gate.like_qemu = like_qemu;
  options.gate.open_root = open_root;
  options.names_nodes_after_files = true;
  return options;
}

ImagePathOptions SessionFlags::PathOptions(const std::string& path) const {
  return {.path = path, .format = format, .ignores_locks = ignores_locks, .direct = direct};
}

Session::~Session() {
  jobs_.reset();
  graph_.reset();
}

absl::Status Session::Start(const SessionFlags& flags) {
  Engine::Options options;
  options.observer = this;
  if (flags.io == "io_uring") {
    options.io = IoBackendKind::kIoUring;
  } else if (flags.io == "threads") {
    options.io = IoBackendKind::kThreads;
  }
  MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry_));
  MILLRACE_ASSIGN_OR_RETURN(engine_, Engine::Create(options));
  graph_ = std::make_unique<Graph>(*engine_);
  committer_ = std::make_unique<BlockJobCommitter>(*graph_);
  jobs_ = std::make_unique<JobManager>(*engine_, *committer_);
  return absl::OkStatus();
}

void Session::CoEnd() {
  jobs_->CoShutdown();
  graph_->CoClose();
}

void Session::OnLog(LogLevel level, std::string_view line) {
  if (level == LogLevel::kInfo) return;
  fprintf(stderr, "millrace: %s: %.*s\n", level == LogLevel::kWarning ? "warning" : "error",
          static_cast<int>(line.size()), line.data());
}

namespace {

std::string NextStep(const Conflict& conflict, bool can_ignore_locks) {
  const bool is_here = !conflict.holders.empty() && conflict.holders.front().type == "node";
  if (conflict.reason != ConflictReason::kImageLocked || is_here) return conflict.next_step;
  std::string step = "close it there first";
  const bool is_for_a_look = conflict.next_step.find("force-share") != std::string::npos;
  if (is_for_a_look && can_ignore_locks) {
    step += ", or look at what may be half of a change with --force-share";
  }
  return step;
}

// The host says so of a write; what a user can do about it, the library does not know.
bool IsForWantOfRoom(const absl::Status& status) {
  return CarriesErrno(status) && (ErrnoOf(status) == ENOSPC || ErrnoOf(status) == EDQUOT);
}

}  // namespace

std::string TextOf(const absl::Status& status, bool can_ignore_locks) {
  std::string text(FromAbsl(status.message()));
  const std::optional<Conflict> conflict = ConflictOf(status);
  if (!conflict && IsForWantOfRoom(status)) {
    return StrCat(text, "; make room on its file system, then run this again");
  }
  if (!conflict || conflict->next_step.empty()) return text;
  // The library's own advice, wherever it stands, gives way to ours.
  const std::string step = NextStep(*conflict, can_ignore_locks);
  const size_t place = text.find(conflict->next_step);
  if (place == text.npos) return StrCat(text, "; ", step);
  return text.replace(place, conflict->next_step.size(), step);
}

std::string HeardInWords(std::string_view what) {
  return StrCat("asked to end: ", what, "; once more ends the program at once");
}
void SayHeard(std::string_view what) {
  fprintf(stderr, "millrace: %s\n", HeardInWords(what).c_str());
}

absl::Status StopIfInterrupted() {
  if (!Coroutine::Current()->is_cancelled()) return absl::OkStatus();
  return absl::CancelledError("nothing was changed");
}

int ReportError(const absl::Status& status, const SessionFlags& flags) {
  if (status.ok()) return kExitSuccess;
  const bool was_interrupted = absl::IsCancelled(status);
  const std::string message =
      StrCat(was_interrupted ? "interrupted: " : "", TextOf(status, flags.can_ignore_locks));
  fprintf(stderr, "millrace: %s\n", message.c_str());
  if (flags.json) {
    const std::optional<Conflict> conflict = ConflictOf(status);
    JsonWriter json;
    json.BeginObject();
    if (was_interrupted) json.Key("status").String("cancelled");
    json.Key("error").BeginObject().Key("text").String(message);
    if (conflict) {
      json.Key("reason").String(ConflictReasonName(conflict->reason));
      json.Key("object").String(conflict->object).Key("holders").BeginArray();
      for (const ConflictHolder& holder : conflict->holders) {
        json.BeginObject().Key("type").String(holder.type).Key("id").String(holder.id).EndObject();
      }
      json.EndArray().Key("next-step").String(NextStep(*conflict, flags.can_ignore_locks));
    }
    puts(json.EndObject().EndObject().Take().c_str());
  }
  return was_interrupted ? kExitInterrupted : kExitFailure;
}

int ReportUsage(const absl::Status& status) {
  const std::string_view message = FromAbsl(status.message());
  fprintf(stderr, "millrace: %.*s\n", static_cast<int>(message.size()), message.data());
  return kExitUsage;
}

}  // namespace millrace
