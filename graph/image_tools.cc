#include "millrace/graph/image_tools.h"

#include <memory>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
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

absl::Status CheckCreateOptions(const CreateImageOptions& options) {
  if (options.format == "qcow2") return absl::OkStatus();
  if (options.format != "raw") {
    return absl::InvalidArgumentError(StrCat("create '", options.path, "' as '", options.format,
                                             "': images can be made as qcow2 or raw"));
  }
  if (!options.qcow2.backing_filename.empty()) {
    return absl::InvalidArgumentError(
        StrCat("create '", options.path,
               "' as raw with a backing file: raw images have none; make it qcow2"));
  }
  if (options.qcow2.bytes > kRawBytesMax) {
    return absl::InvalidArgumentError(StrCat("create '", options.path, "' with ",
                                             options.qcow2.bytes, " bytes: at most ", kRawBytesMax,
                                             " are possible"));
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
    return absl::InvalidArgumentError(StrCat("describe '", opened.file->name(), "' as '",
                                             opened.format, "': the formats are qcow2 and raw"));
  }
  MILLRACE_ASSIGN_OR_RETURN(description.qcow2, CoReadQcow2Info(*opened.file));
  description.bytes = description.qcow2->bytes;
  description.backing = description.qcow2->backing;
  return description;
}

}  // namespace

absl::Status CoCreateImage(Graph& graph, const DriverRegistry& registry,
                           const CreateImageOptions& options) {
  MILLRACE_RETURN_IF_ERROR(CheckCreateOptions(options));
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<WholeFile> file,
                            CoOpenToCreate(graph, registry, options));
  absl::Status status = CoFill(*file, options);
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
  absl::StatusOr<Qcow2CheckResult> result =
      absl::UnimplementedError(StrCat("check '", options.path, "': a ", opened.format,
                                      " image has no structure that could be checked"));
  if (opened.format == "qcow2") result = CoCheckQcow2(*opened.file, check);
  opened.file->CoClose();
  return result;
}

}  // namespace millrace
