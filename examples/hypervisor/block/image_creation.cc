#include "examples/hypervisor/block/image_creation.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "examples/hypervisor/block/node_checks.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/drivers/qcow2/image_file.h"
#include "millrace/graph/image_tools.h"

namespace millrace {
namespace {

// A node as the file that an image is made in.
class NodeFile final : public ImageFile {
 public:
  NodeFile(Attachment user, std::string name) : user_(std::move(user)), name_(std::move(name)) {}

  std::string_view name() const override { return name_; }
  uint64_t bytes() const override { return user_.bytes(); }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    return user_.CoRead(offset, target);
  }
  absl::Status CoWrite(uint64_t offset, const IoVector& source) override MILLRACE_MAY_SUSPEND {
    const uint64_t end = offset + source.bytes();
    if (end > user_.bytes()) MILLRACE_RETURN_IF_ERROR(user_.CoResize(end));
    return user_.CoWrite(offset, source);
  }
  absl::Status CoWriteZeroes(ByteRange range) override MILLRACE_MAY_SUSPEND {
    if (range.end() > user_.bytes()) MILLRACE_RETURN_IF_ERROR(user_.CoResize(range.end()));
    return user_.CoWriteZeroes(range);
  }
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND {
    return user_.CoDiscard(range);
  }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND { return user_.CoFlush(); }
  absl::Status CoResize(uint64_t bytes) override MILLRACE_MAY_SUSPEND {
    return user_.CoResize(bytes);
  }
  // Writes zeroes wherever the file below has holes, so that the host gives space for all of it.
  absl::Status CoFillHoles(JobContext& context) MILLRACE_MAY_SUSPEND;
  void CoClose() MILLRACE_MAY_SUSPEND { user_.CoDetach(); }

 private:
  Attachment user_;
  const std::string name_;
};

absl::Status NodeFile::CoFillHoles(JobContext& context) {
  const std::vector<uint8_t> zeroes(size_t{64} << 10);
  for (uint64_t offset = 0; offset < user_.bytes();) {
    // It may take hours, and writes to memory suspend nowhere.
    CoYield("filling an image");
    if (context.is_cancelled()) return absl::CancelledError("the job is cancelled");
    MILLRACE_ASSIGN_OR_RETURN(
        const AllocationRun run,
        user_.CoAllocation(ByteRange(offset, user_.bytes() - offset), NodeId(), NodeId()));
    const uint64_t bytes = std::min<uint64_t>(run.bytes, zeroes.size());
    const bool is_hole = !run.is_allocated || run.is_zero;
    if (is_hole) {
      MILLRACE_RETURN_IF_ERROR(user_.CoWrite(offset, IoVector::OfConst(zeroes.data(), bytes)));
    }
    offset += is_hole ? bytes : run.bytes;
  }
  return user_.CoFlush();
}

absl::StatusOr<Attachment> AttachWriter(BlockLayer& layer, NodeId node) MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("", "block device");
  options.purpose = "root";
  options.permissions = {kConsistentRead | kWrite | kResize, kAllPermissions};
  return Attachment::Attach(layer.graph(), node, std::move(options));
}

absl::StatusOr<Attachment> CoOpenWriter(BlockLayer& layer, const Qcow2ImageRequest& request)
    MILLRACE_MAY_SUSPEND {
  if (request.new_file == nullptr) {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId node, layer.FindDeviceOrNode(request.file));
    return AttachWriter(layer, node);
  }
  MILLRACE_ASSIGN_OR_RETURN(Attachment hold, layer.CoOpen(std::move(*request.new_file)));
  absl::StatusOr<Attachment> user = AttachWriter(layer, hold.node());
  hold.CoDetach();
  return user;
}

// ---- What goes together --------------------------------------------------------------------------

absl::Status CheckSize(uint64_t bytes) {
  if (bytes > kBytesMax) {
    return GenericError("Could not resize image: Image size cannot be negative");
  }
  const absl::Status status = CheckSizeMax(bytes);
  if (status.ok()) return absl::OkStatus();
  return GenericError(StrCat("Could not resize image: ", QmpErrorOf(status)->desc));
}

bool IsPowerOf2(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

absl::Status CheckClusters(const Qcow2CreateOptions& options) {
  const uint64_t cluster = options.cluster_bytes;
  if (cluster < 512 || cluster > (uint64_t{2} << 20) || !IsPowerOf2(cluster)) {
    return GenericError("Cluster size must be a power of two between 512 and 2048k");
  }
  if (!options.extended_l2) return absl::OkStatus();
  if (cluster < 16384) {
    return GenericError(
        "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
  }
  if (options.version >= 3) return absl::OkStatus();
  return GenericError(
      "Extended L2 entries are only supported with compatibility level 1.1 and above (use "
      "version=v3 or greater)");
}

absl::Status CheckRefcounts(const Qcow2ImageRequest& request) {
  const int64_t bits = request.refcount_bits;
  if (bits < 1 || bits > 64 || !IsPowerOf2(static_cast<uint64_t>(bits))) {
    return GenericError("Refcount width must be a power of two and may not exceed 64 bits");
  }
  if (request.options.version >= 3 || bits == 16) return absl::OkStatus();
  return GenericError(
      "Different refcount widths than 16 bits require compatibility level 1.1 or above (use "
      "version=v3 or greater)");
}

absl::Status CheckBacking(const Qcow2CreateOptions& options) {
  const bool has_backing = !options.backing_filename.empty();
  const bool is_preallocated = options.preallocation != Qcow2Preallocation::kOff;
  if (is_preallocated && has_backing && !options.extended_l2) {
    return GenericError(
        "Backing file and preallocation can only be used at the same time if extended_l2 is on");
  }
  if (has_backing || options.backing_format.empty()) return absl::OkStatus();
  return GenericError("Backing format cannot be used without backing file");
}

absl::Status CheckDataFile(const Qcow2ImageRequest& request) {
  if (request.wants_raw_data_file && !request.has_data_file) {
    return GenericError("data-file-raw requires data-file");
  }
  if (!request.has_data_file) return absl::OkStatus();
  return GenericError("data-file is not supported: make the image without an external data file");
}

absl::Status CheckQcow2(const Qcow2ImageRequest& request) {
  const Qcow2CreateOptions& options = request.options;
  if (options.bytes % 512 != 0) return GenericError("Image size must be a multiple of 512 bytes");
  MILLRACE_RETURN_IF_ERROR(CheckClusters(options));
  MILLRACE_RETURN_IF_ERROR(CheckBacking(options));
  if (options.version < 3 && options.lazy_refcounts) {
    return GenericError(
        "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or "
        "greater)");
  }
  MILLRACE_RETURN_IF_ERROR(CheckRefcounts(request));
  MILLRACE_RETURN_IF_ERROR(CheckDataFile(request));
  if (options.version < 3 && options.compression != Qcow2Compression::kZlib) {
    return GenericError(
        "Non-zlib compression type is only supported with compatibility level 1.1 and above (use "
        "version=v3 or greater)");
  }
  return CheckSize(options.bytes);
}

absl::Status CoFillFile(BlockLayer& layer, const std::string& path, JobContext& context)
    MILLRACE_MAY_SUSPEND {
  NodeTree tree;
  tree.driver = "file";
  tree.filename = path;
  tree.is_plain_path = true;
  MILLRACE_ASSIGN_OR_RETURN(Attachment hold, layer.CoOpen(std::move(tree)));
  absl::StatusOr<Attachment> user = AttachWriter(layer, hold.node());
  hold.CoDetach();
  MILLRACE_RETURN_IF_ERROR(user.status());
  NodeFile file(*std::move(user), path);
  const absl::Status status = file.CoFillHoles(context);
  file.CoClose();
  return status;
}

}  // namespace

absl::Status CoFormatImage(BlockLayer& layer, const CreateImageOptions& image) {
  PrintLikeQemuIo(layer, FormattingLine(image));
  return CoCreateImage(layer.graph(), layer.registry(), image);
}

std::string FormattingLine(const CreateImageOptions& image) {
  const Qcow2CreateOptions& options = image.qcow2;
  const auto on_off = [](bool is_on) { return is_on ? "on" : "off"; };
  const auto option = [](std::string_view name, std::string_view value) {
    return value.empty()
               ? std::string()
               : StrCat(" ", name, "=", absl::StrReplaceAll(ToAbsl(value), {{",", ",,"}}));
  };
  std::string line = StrCat("Formatting '", image.path, "', fmt=", image.format);
  if (image.format != "qcow2") return StrCat(line, " size=", options.bytes, "\n");
  const bool is_zlib = options.compression == Qcow2Compression::kZlib;
  StrAppend(&line, " cluster_size=", options.cluster_bytes,
            " extended_l2=", on_off(options.extended_l2),
            " compression_type=", is_zlib ? "zlib" : "zstd", " size=", options.bytes,
            option("backing_file", options.backing_filename),
            option("backing_fmt", options.backing_format));
  return StrCat(line, " lazy_refcounts=", on_off(options.lazy_refcounts),
                " refcount_bits=", options.refcount_bits, "\n");
}

absl::Status CoCreateFileImage(BlockLayer& layer, const FileImageRequest& request,
                               JobContext& context) {
  CreateImageOptions options;
  options.path = request.path;
  options.format = "raw";
  options.overwrites = true;
  options.qcow2.bytes = request.bytes;
  absl::Status status = CoCreateImage(layer.graph(), layer.registry(), options);
  if (CarriesErrno(status)) {
    return GenericError(
        StrCat("Could not create '", request.path, "': ", ErrnoText(ErrnoOf(status))));
  }
  MILLRACE_RETURN_IF_ERROR(status);
  return request.is_allocated ? CoFillFile(layer, request.path, context) : absl::OkStatus();
}

absl::Status CoCreateQcow2Image(BlockLayer& layer, const Qcow2ImageRequest& request,
                                JobContext& context) {
  MILLRACE_ASSIGN_OR_RETURN(Attachment user, CoOpenWriter(layer, request));
  NodeFile file(std::move(user), request.file);
  absl::Status status = CheckQcow2(request);
  if (status.ok()) {
    Qcow2CreateOptions options = request.options;
    options.refcount_bits = static_cast<uint32_t>(request.refcount_bits);
    status = CoCreateQcow2(file, options);
  }
  if (status.ok() && request.is_allocated) status = file.CoFillHoles(context);
  file.CoClose();
  return status;
}

}  // namespace millrace
