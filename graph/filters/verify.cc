#include "millrace/graph/filters/verify.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/io_error.h"

namespace millrace {
namespace {

int ErrnoOrZero(const absl::Status& status) { return status.ok() ? 0 : ErrnoOf(status); }

class VerifyDriver final : public FilterDriver {
 public:
  explicit VerifyDriver(VerifyOptions options) : options_(std::move(options)) {}

  std::string_view driver_name() const override { return "blkverify"; }
  std::string_view protocol_name() const override { return "blkverify"; }
  std::string_view filtered_edge_name() const override { return "raw"; }
  std::optional<Role> RoleOfChild(std::string_view name) const override {
    if (name == "test") return Role::kData;
    return FilterDriver::RoleOfChild(name);
  }

  absl::Status CoOpenFilter() override MILLRACE_MAY_SUSPEND {
    if (context().HasChild(Role::kData)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        StrCat("cannot open '", context().node_name(), "': a verifying filter has a child 'test'"));
  }

  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    const absl::Status raw = FilterDriver::CoWrite(offset, source, flags);
    const absl::Status test = context().CoWriteChild(Role::kData, offset, source, flags);
    return Compare(true, ByteRange(offset, source.bytes()), raw, test);
  }
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    const absl::Status raw = FilterDriver::CoWriteZeroes(range, flags);
    const absl::Status test = context().CoWriteZeroesChild(Role::kData, range, flags);
    return Compare(true, range, raw, test);
  }
  absl::Status CoDiscard(ByteRange) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND {
    const absl::Status raw = FilterDriver::CoFlush();
    MILLRACE_RETURN_IF_ERROR(context().CoFlushChild(Role::kData));
    return raw;
  }
  absl::Status CoResize(uint64_t) override MILLRACE_MAY_SUSPEND {
    return absl::UnimplementedError(StrCat("cannot resize '", context().node_name(),
                                           "': a verifying filter keeps its children's size"));
  }

 private:
  // What both came to; if they differ, it is told, and is an error.
  absl::Status Compare(bool is_write, ByteRange range, const absl::Status& raw,
                       const absl::Status& test) const;
  absl::Status Mismatch(bool is_write, ByteRange range, std::string words) const;

  const VerifyOptions options_;
};

absl::Status VerifyDriver::Mismatch(bool is_write, ByteRange range, std::string words) const {
  absl::Status status =
      ErrnoStatus(EIO, StrCat(is_write ? "write '" : "read '", context().node_name(), "' at ",
                              range.offset, ": ", words));
  if (options_.on_mismatch) {
    options_.on_mismatch({context().node_name(), is_write, range, std::move(words)});
  }
  return status;
}

absl::Status VerifyDriver::Compare(bool is_write, ByteRange range, const absl::Status& raw,
                                   const absl::Status& test) const {
  const int raw_errno = ErrnoOrZero(raw);
  const int test_errno = ErrnoOrZero(test);
  if (raw_errno == test_errno) return test;
  return Mismatch(is_write, range,
                  StrCat("return value mismatch ", -test_errno, " != ", -raw_errno));
}

absl::Status VerifyDriver::CoRead(uint64_t offset, const IoVector& target) {
  const ByteRange range(offset, target.bytes());
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer raw,
                            context().engine().buffers().TryTake(range.bytes, "blkverify"));
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer test,
                            context().engine().buffers().TryTake(range.bytes, "blkverify"));
  const absl::Status of_raw = FilterDriver::CoRead(offset, IoVector(raw.data(), range.bytes));
  const absl::Status of_test =
      context().CoReadChild(Role::kData, offset, IoVector(test.data(), range.bytes));
  MILLRACE_RETURN_IF_ERROR(Compare(false, range, of_raw, of_test));
  const auto [at, other] = std::mismatch(test.data(), test.data() + range.bytes, raw.data());
  const auto same_bytes = static_cast<uint64_t>(at - test.data());
  if (same_bytes < range.bytes) {
    return Mismatch(false, range, StrCat("contents mismatch at offset ", offset + same_bytes));
  }
  target.CopyFrom(0, test.data(), range.bytes);
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<FilterDriver> MakeVerifyDriver(VerifyOptions options) {
  return std::make_unique<VerifyDriver>(std::move(options));
}

}  // namespace millrace
