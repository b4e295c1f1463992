#include "millrace/graph/drivers/raw.h"

#include <cerrno>
#include <memory>
#include <utility>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/drivers/first_sector.h"

namespace millrace {
namespace {

// Everything is in place already, so there is nothing to hold, to link or to fill.
class RawAllocation final : public Allocation {
 public:
  RawAllocation(ByteRange range, HostOffset host) {
    bytes_ = range.bytes;
    host_ = host;
    fill_before_ = ByteRange(range.offset, 0);
    fill_after_ = ByteRange(range.end(), 0);
  }
  // The driver looks at what is written.
  static std::unique_ptr<RawAllocation> Watched(ByteRange range, HostOffset host) {
    auto allocation = std::make_unique<RawAllocation>(range, host);
    allocation->is_opaque_ = true;
    return allocation;
  }
  static std::unique_ptr<RawAllocation> Skipping(ByteRange range) {
    auto allocation = std::make_unique<RawAllocation>(ByteRange(range.offset, 0), HostOffset());
    allocation->skip_bytes_ = range.bytes;
    return allocation;
  }
};

// The same for several ranges.
class RawBatch final : public BatchAllocation {
 public:
  void Add(ByteRange range, HostOffset host) { places_.push_back({range, host}); }
};

class RawDriver final : public FormatDriver {
 public:
  explicit RawDriver(const RawOptions& options) : options_(options) {}

  std::string_view driver_name() const override { return "raw"; }

  uint64_t bytes() const override {
    if (options_.bytes.has_value()) return *options_.bytes;
    const uint64_t child = context_ == nullptr ? 0 : context_->ChildBytes(Role::kPrimary);
    return child > options_.offset ? child - options_.offset : 0;
  }

  std::optional<uint64_t> offset_in_primary() const override { return options_.offset; }
  bool is_window() const override { return options_.bytes.has_value(); }

  void TakeOptionsOf(Driver& fresh) override {
    const bool was_guessed = options_.was_guessed;
    options_ = static_cast<RawDriver&>(fresh).options_;
    options_.was_guessed = was_guessed;
  }
  const Driver& AsWithOptionsOf(const Driver& fresh) const override { return fresh; }
  absl::Status CheckOptionsOf(const Driver& fresh, uint64_t primary_bytes) const override {
    return CheckWindow("reopen", static_cast<const RawDriver&>(fresh).options_, primary_bytes);
  }

  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND {
    context_ = &context;
    return CheckWindow("open", options_, context.ChildBytes(Role::kPrimary));
  }

  // Raw keeps no tables: it asks of its file what is asked of it, and several windows on one file
  // may have writers. Only a window must keep others from changing the file's size.
  Permissions DerivePermissions(const PermissionContext& permissions) const override {
    if (permissions.role != Role::kPrimary) return FormatDriver::DerivePermissions(permissions);
    const Permissions derived = DeriveForFilter(permissions);
    if (options_.offset == 0 && !options_.bytes.has_value()) return derived;
    return {derived.used, derived.shared - kResize};
  }

  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND {
    Extent extent{.bytes = range.bytes, .kind = ExtentKind::kData, .host = HostOf(range.offset)};
    if (!IsOutside(range)) return extent;
    if (range.offset >= *options_.bytes) return Extent{range.bytes, ExtentKind::kZero, {}};
    extent.bytes = *options_.bytes - range.offset;
    return extent;
  }

  absl::StatusOr<std::unique_ptr<Allocation>> CoAllocate(ByteRange range, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    std::unique_ptr<Allocation> allocation;
    if (flags.only_if_unallocated) {
      allocation = RawAllocation::Skipping(range);
    } else {
      MILLRACE_RETURN_IF_ERROR(CheckRoom("write", range));
      allocation = IsWatched(range) ? RawAllocation::Watched(range, HostOf(range.offset))
                                    : std::make_unique<RawAllocation>(range, HostOf(range.offset));
    }
    return allocation;
  }
  absl::StatusOr<std::unique_ptr<BatchAllocation>> CoAllocateBatch(
      absl::Span<const ByteRange> ranges, WriteFlags flags) override MILLRACE_MAY_SUSPEND {
    auto batch = std::make_unique<RawBatch>();
    if (!flags.only_if_unallocated) {
      for (const ByteRange& range : ranges) {
        if (IsWatched(range)) return std::unique_ptr<BatchAllocation>();
      }
      for (const ByteRange& range : ranges) {
        MILLRACE_RETURN_IF_ERROR(CheckRoom("write", range));
        batch->Add(range, HostOf(range.offset));
      }
    }
    return std::unique_ptr<BatchAllocation>(std::move(batch));
  }
  absl::Status CoWriteOpaque(Allocation&, uint64_t offset, const IoVector& source) override
      MILLRACE_MAY_SUSPEND {
    return first_sector_.CoWrite(*context_, HostOf(offset).value(), source);
  }
  absl::Status CoLink(Allocation&) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  void CoAbandon(Allocation&) override MILLRACE_MAY_SUSPEND {}

  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    if (flags.only_if_unallocated) return absl::OkStatus();
    MILLRACE_RETURN_IF_ERROR(CheckRoom("write zeroes", range));
    if (IsWatched(range)) return first_sector_.CoWriteZeroes(*context_, InChild(range), flags);
    return context_->CoWriteZeroesChild(Role::kPrimary, InChild(range), flags);
  }
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(CheckRoom("discard", range));
    const ByteRange there =
        options_.was_guessed ? FirstSector::ToDiscard(InChild(range)) : InChild(range);
    return there.empty() ? absl::OkStatus() : context_->CoDiscardChild(Role::kPrimary, there);
  }
  absl::Status CoFlushMetadata() override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }

  absl::Status CoResize(uint64_t new_bytes, ResizeFlags) override MILLRACE_MAY_SUSPEND {
    if (options_.bytes.has_value()) {
      if (new_bytes == *options_.bytes) return absl::OkStatus();
      return absl::FailedPreconditionError(
          StrCat("resize raw image '", context_->node_name(), "' to ", new_bytes,
                 " bytes: its size was fixed when it was opened; open it without a size"));
    }
    if (!ByteRange::IsRepresentable(options_.offset, new_bytes)) {
      return absl::ResourceExhaustedError(StrCat("resize raw image '", context_->node_name(),
                                                 "' to ", new_bytes, " bytes: at most ",
                                                 kBytesMax - options_.offset, " are possible"));
    }
    return context_->CoResizeChild(Role::kPrimary, options_.offset + new_bytes);
  }

 private:
  absl::Status CheckWindow(std::string_view action, const RawOptions& options,
                           uint64_t child) const {
    const uint64_t size = options.bytes.value_or(0);
    if (options.offset <= child && size <= child - options.offset) return absl::OkStatus();
    Conflict conflict;
    conflict.reason = ConflictReason::kInvalidOption;
    conflict.object = context_->node_name();
    conflict.detail = StrCat("raw-window ", options.offset, " ", size, " ", child);
    conflict.next_step = "name a part that lies inside it";
    return ConflictStatus(absl::StatusCode::kInvalidArgument, conflict,
                          StrCat(action, " raw image '", context_->node_name(), "': offset ",
                                 options.offset, " and size ", size, " reach beyond the ", child,
                                 " bytes of the file; ", conflict.next_step));
  }

  HostOffset HostOf(uint64_t offset) const { return HostOffset(options_.offset + offset); }
  ByteRange InChild(ByteRange range) const {
    return ByteRange(options_.offset + range.offset, range.bytes);
  }

  bool IsWatched(ByteRange range) const {
    return options_.was_guessed && FirstSector::Touches(InChild(range));
  }

  // A format above grows its file by writing behind the end: a window does not grow, and what lies
  // behind it belongs to somebody else.
  bool IsOutside(ByteRange range) const {
    return options_.bytes.has_value() && range.end() > *options_.bytes;
  }
  absl::Status CheckRoom(std::string_view action, ByteRange range) const {
    if (!IsOutside(range)) return absl::OkStatus();
    return ErrnoStatus(ENOSPC, StrCat(action, " ", range.bytes, " bytes at ", range.offset,
                                      " of raw image '", context_->node_name(), "', which has ",
                                      *options_.bytes, " bytes and does not grow"));
  }

  RawOptions options_;
  FirstSector first_sector_;
  DriverContext* context_ = nullptr;
};

}  // namespace

std::unique_ptr<FormatDriver> MakeRawDriver(const RawOptions& options) {
  return std::make_unique<RawDriver>(options);
}

}  // namespace millrace
