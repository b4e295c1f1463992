// blockdev-create.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/create_job.h"
#include "examples/hypervisor/block/driver_schemas.h"
#include "examples/hypervisor/block/tree_options.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/drivers/qcow2/image_file.h"
#include "millrace/graph/drivers/qcow2/qcow2_create.h"
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
  void CoClose() MILLRACE_MAY_SUSPEND { user_.CoDetach(); }

 private:
  Attachment user_;
  const std::string name_;
};

absl::StatusOr<Attachment> AttachWriter(BlockLayer& layer, const std::string& name)
    MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, layer.FindDeviceOrNode(name));
  AttachmentOptions options;
  options.holder = MakeHolder("", "block device");
  options.purpose = "root";
  options.permissions = {kConsistentRead | kWrite | kResize, kAllPermissions};
  return Attachment::Attach(layer.graph(), node, std::move(options));
}

absl::Status CheckQcow2(const Qcow2CreateOptions& options) {
  if (options.bytes % 512 != 0) {
    return GenericError("Image size must be a multiple of 512 bytes");
  }
  const uint64_t cluster = options.cluster_bytes;
  if (cluster < 512 || cluster > (2u << 20) || (cluster & (cluster - 1)) != 0) {
    return GenericError("Cluster size must be a power of two between 512 and 2048k");
  }
  return absl::OkStatus();
}

absl::Status CoCreateInNode(BlockLayer& layer, const std::string& name,
                            const Qcow2CreateOptions& options) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(Attachment user, AttachWriter(layer, name));
  NodeFile file(std::move(user), name);
  absl::Status status = CheckQcow2(options);
  if (status.ok()) status = CoCreateQcow2(file, options);
  file.CoClose();
  return status;
}

absl::Status CoCreateHostFile(BlockLayer& layer, const std::string& path, uint64_t bytes)
    MILLRACE_MAY_SUSPEND {
  CreateImageOptions options;
  options.path = path;
  options.format = "raw";
  options.overwrites = true;
  options.qcow2.bytes = bytes;
  absl::Status status = CoCreateImage(layer.graph(), layer.registry(), options);
  if (!CarriesErrno(status)) return status;
  return GenericError(StrCat("Could not create '", path, "': ", ErrnoText(ErrnoOf(status))));
}

// ---- Options -----------------------------------------------------------------------------------

absl::StatusOr<CreateJob::Work> ReadFile(BlockLayer& layer, ArgumentReader& reader) {
  constexpr std::string_view kModes[] = {"off", "metadata", "falloc", "full"};
  const std::string path = reader.String("filename");
  const bool has_size = reader.Has("size");
  const uint64_t bytes = reader.OptionalSize("size").value_or(0);
  if (!has_size) reader.Fail(GenericError("Parameter 'options.size' is missing"));
  const size_t mode = reader.OptionalEnum("preallocation", kModes).value_or(0);
  reader.OptionalBool("nocow");
  reader.OptionalSize("extent-size-hint");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return CreateJob::Work([&layer, path, bytes, mode]() MILLRACE_MAY_SUSPEND -> absl::Status {
    constexpr std::string_view kNames[] = {"off", "metadata", "falloc", "full"};
    if (mode != 0) {
      return GenericError(StrCat("Unsupported preallocation mode '", kNames[mode], "'"));
    }
    return CoCreateHostFile(layer, path, bytes);
  });
}

void ReadQcow2Limits(ArgumentReader& reader, Qcow2CreateOptions* options) {
  constexpr std::string_view kVersions[] = {"v2", "v3"};
  constexpr std::string_view kModes[] = {"off", "metadata", "falloc", "full"};
  constexpr std::string_view kCompressions[] = {"zlib", "zstd"};
  if (!reader.Has("size")) reader.Fail(GenericError("Parameter 'options.size' is missing"));
  options->bytes = reader.OptionalSize("size").value_or(0);
  options->version = reader.OptionalEnum("version", kVersions).value_or(1) == 0 ? 2 : 3;
  options->backing_filename = reader.OptionalString("backing-file").value_or("");
  options->cluster_bytes = reader.OptionalSize("cluster-size").value_or(65536);
  options->extended_l2 = reader.OptionalBool("extended-l2").value_or(false);
  options->lazy_refcounts = reader.OptionalBool("lazy-refcounts").value_or(false);
  options->refcount_bits = static_cast<uint32_t>(reader.OptionalSize("refcount-bits").value_or(16));
  const size_t mode = reader.OptionalEnum("preallocation", kModes).value_or(0);
  if (mode == 1) options->preallocation = Qcow2Preallocation::kMetadata;
  if (mode > 1) {
    reader.Fail(GenericError(StrCat("Parameter 'options.preallocation' = '", kModes[mode],
                                    "' is not supported: use off or metadata")));
  }
  if (reader.OptionalEnum("compression-type", kCompressions).value_or(0) == 1) {
    options->compression = Qcow2Compression::kZstd;
  }
  for (const char* missing : {"data-file", "data-file-raw", "encrypt"}) {
    if (!reader.Has(missing)) continue;
    reader.Fail(GenericError(StrCat("Parameter 'options.", missing, "' is not supported")));
  }
}

absl::StatusOr<CreateJob::Work> ReadQcow2(BlockLayer& layer, ArgumentReader& reader) {
  Qcow2CreateOptions options;
  const std::string file = reader.String("file");
  ReadQcow2Limits(reader, &options);
  std::vector<std::string_view> formats;
  for (const DriverSchema& schema : DriverSchemas()) formats.push_back(schema.name);
  if (auto format = reader.OptionalEnum("backing-fmt", formats)) {
    options.backing_format = std::string(formats[*format]);
  }
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return CreateJob::Work([&layer, file, options]()
                             MILLRACE_MAY_SUSPEND { return CoCreateInNode(layer, file, options); });
}

absl::StatusOr<CreateJob::Work> ReadWork(BlockLayer& layer, ArgumentReader& reader) {
  const std::string driver = reader.String("driver");
  MILLRACE_RETURN_IF_ERROR(reader.ok() ? absl::OkStatus() : reader.Finish());
  if (driver == "file") return ReadFile(layer, reader);
  if (driver == "qcow2") return ReadQcow2(layer, reader);
  if (FindDriverSchema(driver) == nullptr) {
    return GenericError(StrCat("Parameter 'driver' does not accept value '", driver, "'"));
  }
  reader.AcceptRest();
  return GenericError("Driver does not support blockdev-create");
}

CommandResult CoBlockdevCreate(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  JobSpec spec;
  spec.id = reader.String("job-id");
  spec.dismisses_automatically = false;
  std::optional<ArgumentReader> options = reader.OptionalObject("options");
  if (!options) return GenericError("Parameter 'options' is missing");
  MILLRACE_ASSIGN_OR_RETURN(CreateJob::Work work, ReadWork(layer, *options));
  MILLRACE_ASSIGN_OR_RETURN(
      const JobNumber job,
      layer.jobs().CoCreate(std::move(spec), std::make_unique<CreateJob>(std::move(work))));
  MILLRACE_RETURN_IF_ERROR(layer.jobs().CoStart(job));
  return json::object();
}

}  // namespace

void RegisterCreateJob(BlockLayer& layer) {
  layer.host().commands.Register(
      {.name = "blockdev-create",
       .arguments = {{{"job-id"}, {"options", ArgumentType::kObject}}},
       .handler = [&layer](const json::object& arguments)
                      MILLRACE_MAY_SUSPEND { return CoBlockdevCreate(layer, arguments); }});
}

}  // namespace millrace
