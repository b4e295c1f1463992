#include "millrace/graph/drivers/memory.h"

#include <algorithm>
#include <utility>

#include "millrace/graph/drivers/memory_step.h"

namespace millrace {
namespace {

class MemoryDriver final : public ProtocolDriver {
 public:
  explicit MemoryDriver(MemoryOptions options)
      : filename_(std::move(options.filename)), image_(std::move(options.image)) {
    if (image_ != nullptr) return;
    image_ = std::make_shared<MemoryImage>();
    image_->bytes = options.bytes;
  }

  std::string_view driver_name() const override { return "memory"; }
  uint64_t bytes() const override { return image_->bytes; }
  std::string filename() const override { return filename_; }

  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND {
    context_ = &context;
    return absl::OkStatus();
  }

  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    return CoMemoryStep(*context_, "read", ByteRange(offset, target.bytes()),
                        [&] { image_->content.Read(offset, target); });
  }

  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    if (flags.only_if_unallocated) return absl::OkStatus();  // every byte of a file is its own
    const ByteRange range(offset, source.bytes());
    return CoMemoryStep(*context_, "write", range, [&] {
      image_->content.Write(offset, source);
      GrowTo(range.end());
    });
  }

  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    if (flags.only_if_unallocated) return absl::OkStatus();
    return CoMemoryStep(*context_, "write zeroes to", range, [&] {
      image_->content.Zero(range);
      GrowTo(range.end());
    });
  }

  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND {
    return CoMemoryStep(*context_, "discard", range, [&] { image_->content.Zero(range); });
  }

  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND {
    return CoMemoryStep(*context_, "flush", ByteRange(), [] {});
  }

  absl::Status CoResize(uint64_t new_bytes) override MILLRACE_MAY_SUSPEND {
    return CoMemoryStep(*context_, "resize", ByteRange(new_bytes, 0), [&] {
      // What a file loses by shrinking must not come back when it grows again.
      if (new_bytes < image_->bytes) {
        image_->content.Zero(ByteRange(new_bytes, image_->bytes - new_bytes));
      }
      image_->bytes = new_bytes;
    });
  }

  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND {
    bool exists = false;
    Extent extent;
    extent.bytes = image_->content.FindRun(range, &exists);
    extent.kind = exists ? ExtentKind::kData : ExtentKind::kZero;
    extent.host = HostOffset(range.offset);
    return extent;
  }

  absl::StatusOr<uint64_t> CoAllocatedBytes() override MILLRACE_MAY_SUSPEND {
    return image_->content.allocated_bytes();
  }

 private:
  void GrowTo(uint64_t end) { image_->bytes = std::max(image_->bytes, end); }

  const std::string filename_;
  std::shared_ptr<MemoryImage> image_;
  DriverContext* context_ = nullptr;
};

}  // namespace

std::unique_ptr<ProtocolDriver> MakeMemoryDriver(MemoryOptions options) {
  return std::make_unique<MemoryDriver>(std::move(options));
}

}  // namespace millrace
