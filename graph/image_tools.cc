#include "millrace/graph/image_tools.h"

#include <memory>
#include <utility>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/graph/drivers/file.h"
#include "millrace/graph/whole_file.h"

namespace millrace {
namespace {

// A raw image can be of any size up to this; files cannot be longer.
constexpr uint64_t kRawBytesMax = kBytesMax;

absl::StatusOr<std::unique_ptr<WholeFile>> CoOpenToCreate(Graph& graph,
                                                          const DriverRegistry& registry,
                                                          const CreateImageOptions& options)
    MILLRACE_MAY_SUSPEND {
  absl::Status status = CoCreateFile(graph.engine(), options.path, 0);
  if (!status.ok() && !(options.overwrites && status.code() == absl::StatusCode::kAlreadyExists)) {
    return status;
  }
  OpenFileOptions file;
  file.path = options.path;
  file.is_read_only = false;
  return WholeFile::CoOpen(graph, registry, file);
}

absl::Status CoFill(WholeFile& file, const CreateImageOptions& options) MILLRACE_MAY_SUSPEND {
  if (options.format == "qcow2") return CoCreateQcow2(file, options.qcow2);
  MILLRACE_RETURN_IF_ERROR(file.CoResize(0));
  MILLRACE_RETURN_IF_ERROR(file.CoResize(options.qcow2.bytes));
  return file.CoFlush();
}

// Opening may have taken its time, and until now nothing is lost of what was there.
absl::Status CoFillUnlessCancelled(WholeFile& file, const CreateImageOptions& options)
    MILLRACE_MAY_SUSPEND {
  if (!Coroutine::Current()->is_cancelled()) return CoFill(file, options);
  return absl::CancelledError(
      StrCat("create '", options.path,
             "': cancelled; what was there is as it was, and a new file is empty"));
}

// "create 'PATH' WHAT".
absl::Status RefuseToCreate(const CreateImageOptions& options, ConflictReason reason,
                            std::string_view object, std::string_view what,
                            std::string_view next_step, std::string_view detail = {}) {
  return RefusalStatus(absl::StatusCode::kInvalidArgument,
                       {.reason = reason,
                        .object = std::string(object),
                        .next_step = std::string(next_step),
                        .detail = std::string(detail)},
                       StrCat("create '", options.path, "' ", what));
}

// What could not be opened afterwards is not made.
absl::Status CheckBacking(const DriverRegistry& registry, const CreateImageOptions& options) {
  const Qcow2CreateOptions& qcow2 = options.qcow2;
  if (qcow2.backing_filename.empty()) return absl::OkStatus();
  if (qcow2.backing_format.empty()) {
    return RefuseToCreate(options, ConflictReason::kMissingFormat, qcow2.backing_filename,
                          "over a backing file without its format: it would have to be guessed at "
                          "every open, and a guest could choose the guess",
                          "set backing_format");
  }
  if (!registry.KindOf(qcow2.backing_format)) {
    return RefuseToCreate(
        options, ConflictReason::kUnknownFormat, qcow2.backing_format,
        StrCat("over a backing file of format '", PrintableName(qcow2.backing_format),
               "': there is no such format here"),
        "state one that there is, as qcow2 or raw");
  }
  if (qcow2.bytes == 0) {
    return RefuseToCreate(options, ConflictReason::kInvalidOption, options.path,
                          "as an overlay of 0 bytes: nothing of the backing file would show",
                          "set bytes, to the size of the backing file as a rule",
                          "bytes more than 0");
  }
  return absl::OkStatus();
}

struct OpenedFile {
  std::unique_ptr<WholeFile> file;
  std::string format;
};

absl::StatusOr<OpenedFile> CoOpenToLook(Graph& graph, const DriverRegistry& registry,
                                        const ImagePathOptions& options, bool is_read_only)
    MILLRACE_MAY_SUSPEND {
  OpenFileOptions open;
  open.path = options.path;
  open.is_read_only = is_read_only;
  open.direct = options.direct;
  if (options.ignores_locks) open.locking = "off";
  OpenedFile opened;
  opened.format = options.format;
  MILLRACE_ASSIGN_OR_RETURN(opened.file, WholeFile::CoOpen(graph, registry, open));
  if (!opened.format.empty()) return opened;
  absl::StatusOr<std::string> guess = CoGuessFormat(graph, opened.file->user());
  if (!guess.ok()) opened.file->CoClose();
  MILLRACE_RETURN_IF_ERROR(guess.status());
  opened.format = *std::move(guess);
  return opened;
}

absl::StatusOr<ImageDescription> CoDescribe(OpenedFile& opened) MILLRACE_MAY_SUSPEND {
  ImageDescription description;
  description.format = opened.format;
  description.file_bytes = opened.file->bytes();
  MILLRACE_ASSIGN_OR_RETURN(description.allocated_bytes, opened.file->CoAllocatedBytes());
  if (opened.format == "raw") {
    description.bytes = opened.file->bytes();
    return description;
  }
  if (opened.format != "qcow2") {
    return RefusalStatus(absl::StatusCode::kInvalidArgument,
                         {.reason = ConflictReason::kUnknownFormat,
                          .object = opened.format,
                          .next_step = "say qcow2 or raw"},
                         StrCat("describe '", opened.file->name(), "' as '", opened.format,
                                "': no images of this format can be described"));
  }
  MILLRACE_ASSIGN_OR_RETURN(description.qcow2, CoReadQcow2Info(*opened.file));
  description.bytes = description.qcow2->bytes;
  description.backing = description.qcow2->backing;
  return description;
}

absl::Status CannotCheck(const OpenedFile& opened) {
  const bool is_raw = opened.format == "raw";
  return RefusalStatus(absl::StatusCode::kUnimplemented,
                       {.reason = ConflictReason::kUnknownFormat,
                        .object = opened.format,
                        .next_step = is_raw ? "say qcow2 if it is one" : "say qcow2"},
                       StrCat("check '", opened.file->name(), "' as '", opened.format,
                              is_raw ? "': a raw image has no structure that could be checked"
                                     : "': images of this format cannot be checked"));
}

}  // namespace

absl::Status CheckCreateImage(const DriverRegistry& registry, const CreateImageOptions& options) {
  if (options.format == "qcow2") return CheckBacking(registry, options);
  if (options.format != "raw") {
    return RefuseToCreate(
        options, ConflictReason::kUnknownFormat, options.format,
        StrCat("as '", PrintableName(options.format), "': no images of this format can be made"),
        "make it qcow2 or raw");
  }
  if (!options.qcow2.backing_filename.empty()) {
    return RefuseToCreate(options, ConflictReason::kMutuallyExclusive, options.path,
                          "as raw with a backing file: raw images have none", "make it qcow2",
                          "format backing_filename");
  }
  if (options.qcow2.bytes > kRawBytesMax) {
    return RefuseToCreate(options, ConflictReason::kInvalidOption, options.path,
                          StrCat("with ", options.qcow2.bytes, " bytes: it is too large"),
                          StrCat("use at most ", kRawBytesMax),
                          StrCat("bytes at most ", kRawBytesMax));
  }
  return absl::OkStatus();
}

absl::Status CoCreateImage(Graph& graph, const DriverRegistry& registry,
                           const CreateImageOptions& options) {
  MILLRACE_RETURN_IF_ERROR(CheckCreateImage(registry, options));
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<WholeFile> file,
                            CoOpenToCreate(graph, registry, options));
  absl::Status status = CoFillUnlessCancelled(*file, options);
  file->CoClose();
  return status;
}

absl::StatusOr<ImageDescription> CoDescribeImage(Graph& graph, const DriverRegistry& registry,
                                                 const ImagePathOptions& options) {
  MILLRACE_ASSIGN_OR_RETURN(OpenedFile opened, CoOpenToLook(graph, registry, options, true));
  absl::StatusOr<ImageDescription> description = CoDescribe(opened);
  opened.file->CoClose();
  return description;
}

absl::StatusOr<Qcow2CheckResult> CoCheckImage(Graph& graph, const DriverRegistry& registry,
                                              const ImagePathOptions& options,
                                              const Qcow2CheckOptions& check) {
  const bool is_read_only = check.repair == Qcow2Repair::kNone;
  MILLRACE_ASSIGN_OR_RETURN(OpenedFile opened,
                            CoOpenToLook(graph, registry, options, is_read_only));
  absl::StatusOr<Qcow2CheckResult> result = CannotCheck(opened);
  if (opened.format == "qcow2") result = CoCheckQcow2(*opened.file, check);
  opened.file->CoClose();
  return result;
}

}  // namespace millrace
