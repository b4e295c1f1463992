#include "tests/support/toy_format.h"

#include <sstream>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

class ToyDriver final : public FormatDriver {
 public:
  std::string_view driver_name() const override { return "toy"; }

  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND {
    std::string header(kToyClusterBytes, '\0');
    MILLRACE_RETURN_IF_ERROR(
        context.CoReadChild(Role::kPrimary, 0, IoVector(header.data(), header.size())));
    std::istringstream words(header);
    std::string magic;
    if (!(words >> magic >> backing_.filename >> backing_.format >> map_) || magic != "TOY") {
      return absl::InvalidArgumentError("not a toy image");
    }
    if (backing_.filename == "-") backing_.filename = "";
    if (backing_.format == "-") backing_.format = "";
    return absl::OkStatus();
  }
  uint64_t bytes() const override { return map_.size() * kToyClusterBytes; }

  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND {
    const uint64_t cluster = range.offset / kToyClusterBytes;
    const uint64_t inside = range.offset % kToyClusterBytes;
    Extent extent;
    extent.bytes = std::min(range.bytes, kToyClusterBytes - inside);
    if (map_[cluster] == 'Z') extent.kind = ExtentKind::kZero;
    if (map_[cluster] == 'D') {
      extent.kind = ExtentKind::kData;
      extent.host = HostOffset((cluster + 1) * kToyClusterBytes + inside);
    }
    return extent;
  }
  absl::StatusOr<std::unique_ptr<Allocation>> CoAllocate(ByteRange, WriteFlags) override
      MILLRACE_MAY_SUSPEND {
    return absl::UnimplementedError("toy images are read-only");
  }
  absl::Status CoLink(Allocation&) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  void CoAbandon(Allocation&) override MILLRACE_MAY_SUSPEND {}
  absl::Status CoFlushMetadata() override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }

  bool supports_backing() const override { return true; }
  BackingReference backing_reference() const override { return backing_; }

 private:
  BackingReference backing_;
  std::string map_;
};

}  // namespace

std::unique_ptr<FormatDriver> MakeToyDriver() { return std::make_unique<ToyDriver>(); }

std::string ToyImage(std::string_view backing, std::string_view format, std::string_view map,
                     char fill) {
  std::string image = StrCat("TOY ", backing.empty() ? std::string_view("-") : backing, " ",
                             format.empty() ? std::string_view("-") : format, " ", map, "\n");
  image.resize(kToyClusterBytes, '\0');
  return image + std::string(map.size() * kToyClusterBytes, fill);
}

}  // namespace millrace
