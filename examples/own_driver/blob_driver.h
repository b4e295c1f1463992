// BlobDriver: a protocol driver of one's own: a disk whose bytes are memory of the embedder's.
#ifndef MILLRACE_EXAMPLES_OWN_DRIVER_BLOB_DRIVER_H_
#define MILLRACE_EXAMPLES_OWN_DRIVER_BLOB_DRIVER_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/graph/driver.h"
#include "millrace/graph/driver_registry.h"

namespace millrace::example {

using Blob = std::vector<uint8_t>;
using Blobs = std::map<std::string, Blob>;

// Its size is the blob's and stays so: to grow is ResourceExhausted, to shrink FailedPrecondition.
// Nothing here waits for anything, so nothing suspends, although each function might.
class BlobDriver final : public ProtocolDriver {
 public:
  explicit BlobDriver(Blob& blob) : blob_(blob) {}

  std::string_view driver_name() const override { return "blob"; }
  uint64_t bytes() const override { return blob_.size(); }
  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND;
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND;
  absl::Status CoResize(uint64_t bytes) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND;

 private:
  absl::Status CheckFits(uint64_t end) const;

  Blob& blob_;
};

// Registers it as "blob", with one option, which must be given: "blob", a name in `blobs`. They
// outlive the registry and every node that is opened with it.
absl::Status RegisterBlobDriver(DriverRegistry& registry, Blobs& blobs);

}  // namespace millrace::example

#endif  // MILLRACE_EXAMPLES_OWN_DRIVER_BLOB_DRIVER_H_
