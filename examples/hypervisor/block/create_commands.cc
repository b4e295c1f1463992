// blockdev-create: what it takes. How images are made is in image_creation.cc.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/create_job.h"
#include "examples/hypervisor/block/driver_schemas.h"
#include "examples/hypervisor/block/image_creation.h"
#include "examples/hypervisor/block/tree_options.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kPreallocations[] = {"off", "metadata", "falloc", "full"};

absl::StatusOr<CreateJob::Work> ReadFile(BlockLayer& layer, ArgumentReader& reader) {
  FileImageRequest request;
  request.path = reader.String("filename");
  const bool has_size = reader.Has("size");
  request.bytes = reader.OptionalSize("size").value_or(0);
  if (!has_size) reader.Fail(GenericError("Parameter 'options.size' is missing"));
  const size_t mode = reader.OptionalEnum("preallocation", kPreallocations).value_or(0);
  reader.OptionalBool("nocow");
  reader.OptionalSize("extent-size-hint");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  request.is_allocated = mode >= 2;
  return CreateJob::Work([&layer, request, mode](JobContext& context)
                             MILLRACE_MAY_SUSPEND -> absl::Status {
                               if (mode == 1)
                                 return GenericError("Unsupported preallocation mode 'metadata'");
                               return CoCreateFileImage(layer, request, context);
                             });
}

// The node that the image is made in: one that there is, or one to be opened for it.
void ReadFileNode(ArgumentReader& reader, Qcow2ImageRequest* request) {
  const json::value* file = reader.OptionalAny("file");
  if (file == nullptr) {
    reader.FailMissing("file");
  } else if (file->is_string()) {
    request->file = std::string(View(file->get_string()));
  } else if (file->is_object()) {
    ArgumentReader nested = reader.Nested("file", file->get_object());
    absl::StatusOr<NodeTree> tree = ReadNodeTree(nested, TreeStyle::kBlockdev);
    if (!tree.ok()) return reader.Fail(tree.status());
    request->new_file = std::make_shared<NodeTree>(*std::move(tree));
  } else {
    reader.Fail(GenericError("Invalid parameter type for 'options.file', expected: BlockdevRef"));
  }
}

void ReadQcow2Limits(ArgumentReader& reader, Qcow2ImageRequest* request) {
  constexpr std::string_view kVersions[] = {"v2", "v3"};
  constexpr std::string_view kCompressions[] = {"zlib", "zstd"};
  Qcow2CreateOptions& options = request->options;
  if (!reader.Has("size")) reader.Fail(GenericError("Parameter 'options.size' is missing"));
  options.bytes = reader.OptionalSize("size").value_or(0);
  options.version = reader.OptionalEnum("version", kVersions).value_or(1) == 0 ? 2 : 3;
  options.backing_filename = reader.OptionalString("backing-file").value_or("");
  options.cluster_bytes = reader.OptionalSize("cluster-size").value_or(65536);
  options.extended_l2 = reader.OptionalBool("extended-l2").value_or(false);
  options.lazy_refcounts = reader.OptionalBool("lazy-refcounts").value_or(false);
  request->refcount_bits = reader.OptionalInteger("refcount-bits").value_or(16);
  const size_t mode = reader.OptionalEnum("preallocation", kPreallocations).value_or(0);
  if (mode > 0) options.preallocation = Qcow2Preallocation::kMetadata;
  request->is_allocated = mode >= 2;
  if (reader.OptionalEnum("compression-type", kCompressions).value_or(0) == 1) {
    options.compression = Qcow2Compression::kZstd;
  }
  request->has_data_file = reader.OptionalAny("data-file") != nullptr;
  request->wants_raw_data_file = reader.OptionalBool("data-file-raw").value_or(false);
  if (reader.Has("encrypt")) {
    reader.Fail(GenericError("Parameter 'options.encrypt' is not supported"));
  }
}

absl::StatusOr<CreateJob::Work> ReadQcow2(BlockLayer& layer, ArgumentReader& reader) {
  Qcow2ImageRequest request;
  ReadFileNode(reader, &request);
  ReadQcow2Limits(reader, &request);
  std::vector<std::string_view> formats;
  for (const DriverSchema& schema : DriverSchemas()) formats.push_back(schema.name);
  if (auto format = reader.OptionalEnum("backing-fmt", formats)) {
    request.options.backing_format = std::string(formats[*format]);
  }
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return CreateJob::Work([&layer, request](JobContext& context) MILLRACE_MAY_SUSPEND {
    return CoCreateQcow2Image(layer, request, context);
  });
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

absl::StatusOr<CreateJob::Work> ReadWorkOf(BlockLayer& layer, ArgumentReader& reader) {
  std::optional<ArgumentReader> options = reader.OptionalObject("options");
  if (!options) return GenericError("Parameter 'options' is missing");
  return ReadWork(layer, *options);
}

// What the work itself would meet is the job's affair.
PlanResult PlanBlockdevCreate(BlockLayer& layer, const json::object& arguments) {
  ArgumentReader reader(arguments);
  const std::string id = reader.String("job-id");
  MILLRACE_RETURN_IF_ERROR(ReadWorkOf(layer, reader).status());
  MILLRACE_RETURN_IF_ERROR(layer.jobs().CheckNewId(id, false));
  return PlanOfStep(StrCat("start the job '", id, "', which makes the image"));
}

CommandResult CoBlockdevCreate(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  JobSpec spec;
  spec.id = reader.String("job-id");
  spec.dismisses_automatically = false;
  MILLRACE_ASSIGN_OR_RETURN(CreateJob::Work work, ReadWorkOf(layer, reader));
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
  layer.host().commands.SetPlanner("blockdev-create", [&layer](const json::object& arguments) {
    return PlanBlockdevCreate(layer, arguments);
  });
}

}  // namespace millrace
