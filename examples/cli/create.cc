// millrace create: makes a new image.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "examples/cli/commands.h"
#include "examples/cli/exit_code.h"
#include "examples/cli/session.h"
#include "examples/common/sizes.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kCreateHelp =
    "Makes a new, empty image of SIZE bytes (64M, 10G ...). With --backing the image is an "
    "overlay:\n"
    "it shows the backing file until something is written to it, and SIZE may be left out (then "
    "it\n"
    "is the backing file's). The name of the backing file is stored as given; a relative one "
    "means\n"
    "the new image's folder.\n"
    "\n"
    "  millrace create disk.qcow2 20G\n"
    "  millrace create --backing disk.qcow2 --backing-format qcow2 overlay.qcow2\n"
    "  millrace create --format raw disk.img 64M";

struct CreateFlags {
  std::string path;
  std::string size;
  CreateImageOptions image;
  std::string refcount_bits = "16";
  std::string compression = "zlib";
  std::string preallocation = "off";
  std::string compat = "1.1";
  std::string io = "auto";
  bool json = false;
};

absl::Status ReadChoices(const CommandLine& line, CreateFlags& flags) {
  Qcow2CreateOptions& qcow2 = flags.image.qcow2;
  if (flags.image.format == "raw") {
    MILLRACE_RETURN_IF_ERROR(line.RefuseAny(
        {"cluster-size", "refcount-bits", "extended-l2", "lazy-refcounts", "compression",
         "preallocation", "compat"},
        "with --format raw: a raw image has a size and nothing else; leave that out, or make the "
        "image qcow2"));
  }
  if (flags.compression == "zstd") qcow2.compression = Qcow2Compression::kZstd;
  if (flags.preallocation == "metadata") qcow2.preallocation = Qcow2Preallocation::kMetadata;
  if (flags.compat == "0.10") qcow2.version = 2;
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t bits, ParseBytes(flags.refcount_bits));
  qcow2.refcount_bits = static_cast<uint32_t>(bits);
  if (qcow2.backing_filename.empty() != qcow2.backing_format.empty()) {
    return absl::InvalidArgumentError(
        "--backing and --backing-format go together: without a stated format it would have to be "
        "guessed each time, and a guest could choose the guess; give both");
  }
  if (flags.size.empty() && qcow2.backing_filename.empty()) {
    return absl::InvalidArgumentError("SIZE is missing; only an overlay can do without");
  }
  if (flags.size.empty()) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(qcow2.bytes, ParseBytes(flags.size));
  return absl::OkStatus();
}

CommandLine LineFor(CreateFlags& flags) {
  CommandLine line("create", "create [OPTION...] IMAGE [SIZE]", kCreateHelp);
  Qcow2CreateOptions& qcow2 = flags.image.qcow2;
  line.Option("format", "FORMAT", &flags.image.format, "qcow2 (the default) or raw");
  line.Flag("force", &flags.image.overwrites, "replace an image that exists");
  line.Option("backing", "FILE", &qcow2.backing_filename, "make an overlay over this image");
  line.Option("backing-format", "FORMAT", &qcow2.backing_format, "the format of that image");
  line.Choice("io", "BACKEND", &flags.io, {"auto", "io_uring", "threads"},
              "auto, io_uring or threads");
  line.Flag("json", &flags.json, "print JSON on standard output");
  line.Group("qcow2");
  line.Option("cluster-size", "BYTES", &qcow2.cluster_bytes, "512 to 2M, a power of two; 64K");
  line.Choice("refcount-bits", "N", &flags.refcount_bits, {"1", "2", "4", "8", "16", "32", "64"},
              "1, 2, 4, ... 64; 16");
  line.Flag("extended-l2", &qcow2.extended_l2, "32 subclusters per cluster");
  line.Flag("lazy-refcounts", &qcow2.lazy_refcounts, "write refcounts late, repair after a crash");
  line.Choice("compression", "TYPE", &flags.compression, {"zlib", "zstd"}, "zlib or zstd");
  line.Choice("preallocation", "MODE", &flags.preallocation, {"off", "metadata"},
              "off or metadata");
  line.Choice("compat", "VERSION", &flags.compat, {"1.1", "0.10"},
              "1.1, or 0.10 for very old programs");
  line.Argument("IMAGE", &flags.path);
  line.Argument("SIZE", &flags.size, /*is_optional=*/true);
  return line;
}

// An overlay is as large as its backing file unless told otherwise. This also proves that the
// backing file is there and can be opened.
absl::Status CoTakeSizeOfBacking(Session& session, CreateFlags& flags) MILLRACE_MAY_SUSPEND {
  const BackingReference reference{flags.image.qcow2.backing_filename,
                                   flags.image.qcow2.backing_format};
  if (reference.filename.empty()) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(const GatedImage image,
                            ResolveBackingReference({}, flags.path, reference));
  ImagePathOptions backing;
  backing.path = image.path;
  backing.format = image.format;
  MILLRACE_ASSIGN_OR_RETURN(const ImageDescription description,
                            CoDescribeImage(session.graph(), session.registry(), backing));
  if (flags.size.empty()) flags.image.qcow2.bytes = description.bytes;
  return absl::OkStatus();
}

absl::Status CoCreate(Session& session, CreateFlags& flags) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoTakeSizeOfBacking(session, flags));
  MILLRACE_RETURN_IF_ERROR(StopIfInterrupted());
  flags.image.path = flags.path;
  // Itself, not what a link leads to; a name that nothing can have does not exist.
  std::error_code no_such_name;
  const bool existed =
      std::filesystem::exists(std::filesystem::symlink_status(flags.path, no_such_name));
  absl::Status status = CoCreateImage(session.graph(), session.registry(), flags.image);
  if (status.code() == absl::StatusCode::kAlreadyExists) {
    return absl::AlreadyExistsError(StrCat(
        "'", flags.path, "' exists already; choose another name, or replace it with --force"));
  }
  // What somebody else has made meanwhile, and holds, is not this one's to remove.
  const bool is_somebody_elses = absl::IsFailedPrecondition(status);
  if (!status.ok() && !existed && !is_somebody_elses) unlink(flags.path.c_str());
  if (absl::IsCancelled(status) && !existed) {
    return absl::CancelledError("no image was made, and no file is left");
  }
  return status;
}

}  // namespace

int RunCreate(Words words) {
  CreateFlags flags;
  CommandLine line = LineFor(flags);
  if (absl::Status status = line.Parse(words); !status.ok()) return ReportUsage(status);
  if (line.wants_help()) return fputs(line.Help().c_str(), stdout), kExitSuccess;
  if (absl::Status status = ReadChoices(line, flags); !status.ok()) return ReportUsage(status);
  Session session;
  SessionFlags session_flags;
  session_flags.io = flags.io;
  absl::Status status = session.Start(session_flags);
  if (status.ok()) {
    status = session.Run([&]() MILLRACE_MAY_SUSPEND { return CoCreate(session, flags); },
                         /*changes_images=*/true);
  }
  session_flags.json = flags.json;
  if (!status.ok()) return ReportError(status, session_flags);
  if (flags.json) {
    JsonWriter json;
    json.BeginObject().Key("filename").String(flags.path).Key("format").String(flags.image.format);
    json.Key("virtual-size").Number(flags.image.qcow2.bytes).EndObject();
    puts(json.Take().c_str());
  } else {
    printf("created %s image '%s' of %s\n", flags.image.format.c_str(), flags.path.c_str(),
           BytesInWords(flags.image.qcow2.bytes).c_str());
  }
  return kExitSuccess;
}

}  // namespace millrace
