#include "examples/own_driver/blob_driver.h"

#include <algorithm>
#include <memory>

#include "millrace/engine/base/status_macros.h"

namespace millrace::example {

absl::Status BlobDriver::CoOpen(DriverContext&) { return absl::OkStatus(); }

absl::Status BlobDriver::CoRead(uint64_t offset, const IoVector& target) {
  target.CopyFrom(0, blob_.data() + offset, target.bytes());
  return absl::OkStatus();
}

absl::Status BlobDriver::CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) {
  if (flags.only_if_unallocated) return absl::OkStatus();  // every byte is allocated
  MILLRACE_RETURN_IF_ERROR(CheckFits(offset + source.bytes()));
  source.CopyTo(0, blob_.data() + offset, source.bytes());
  return absl::OkStatus();
}

absl::Status BlobDriver::CoWriteZeroes(ByteRange range, ZeroFlags flags) {
  if (flags.only_if_unallocated) return absl::OkStatus();
  MILLRACE_RETURN_IF_ERROR(CheckFits(range.end()));
  std::fill_n(blob_.data() + range.offset, range.bytes, uint8_t{0});
  return absl::OkStatus();
}

absl::Status BlobDriver::CoDiscard(ByteRange) { return absl::OkStatus(); }

absl::Status BlobDriver::CoFlush() { return absl::OkStatus(); }

absl::Status BlobDriver::CoResize(uint64_t bytes) {
  if (bytes < blob_.size()) return absl::FailedPreconditionError("a blob does not shrink");
  return CheckFits(bytes);
}

absl::StatusOr<Extent> BlobDriver::CoMap(ByteRange range) {
  return Extent{.bytes = range.bytes, .kind = ExtentKind::kData, .host = HostOffset(range.offset)};
}

absl::Status BlobDriver::CheckFits(uint64_t end) const {
  if (end <= blob_.size()) return absl::OkStatus();
  return absl::ResourceExhaustedError("a blob does not grow");
}

absl::Status RegisterBlobDriver(DriverRegistry& registry, Blobs& blobs) {
  const auto make =
      [&blobs](const DriverOptions& options) -> absl::StatusOr<std::unique_ptr<Driver>> {
    DriverOptionReader reader("blob", options);
    std::string name;
    MILLRACE_RETURN_IF_ERROR(reader.Require("blob", &name));
    MILLRACE_RETURN_IF_ERROR(reader.Finish());
    const auto blob = blobs.find(name);
    if (blob == blobs.end()) return reader.Bad("blob", "the name of a blob that there is");
    return std::make_unique<BlobDriver>(blob->second);
  };
  return registry.Register("blob", make, NodeKind::kProtocol);
}

}  // namespace millrace::example
