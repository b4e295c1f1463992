#include "millrace/graph/filters/copy_on_read.h"

#include <utility>

#include "millrace/engine/base/status_macros.h"

namespace millrace {
namespace {

class CopyOnReadFilter final : public FilterDriver {
 public:
  explicit CopyOnReadFilter(CopyOnReadOptions options) : options_(std::move(options)) {}

  std::string_view driver_name() const override { return "copy-on-read"; }
  bool is_transparent_for_writes() const override { return true; }

  Permissions DerivePermissions(const PermissionContext& context) const override {
    Permissions derived;
    derived.used = (context.parents.used & (kConsistentRead | kWrite | kResize)) | kWriteUnchanged;
    derived.shared =
        (context.parents.shared & (kConsistentRead | kWrite | kResize)) | kWriteUnchanged;
    return derived;
  }

  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    for (uint64_t done = 0; done < target.bytes();) {
      const ByteRange rest(offset + done, target.bytes() - done);
      MILLRACE_ASSIGN_OR_RETURN(ChainExtent extent,
                                context().CoMapChildChain(Role::kFiltered, rest, options_.bottom));
      const IoVector piece = target.Slice(done, extent.bytes);
      MILLRACE_RETURN_IF_ERROR(context().CoReadChild(Role::kFiltered, rest.offset, piece));
      if (extent.layer == ChainExtent::Layer::kBetween) {
        MILLRACE_RETURN_IF_ERROR(CoKeep(rest.offset, piece));
      }
      done += extent.bytes;
    }
    return absl::OkStatus();
  }

 private:
  // By now the guest may have written here itself; then its data stay.
  absl::Status CoKeep(uint64_t offset, const IoVector& piece) MILLRACE_MAY_SUSPEND {
    if (piece.IsZero()) {
      ZeroFlags flags;
      flags.only_if_unallocated = true;
      return context().CoWriteZeroesChild(Role::kFiltered, ByteRange(offset, piece.bytes()), flags);
    }
    WriteFlags flags;
    flags.only_if_unallocated = true;
    return context().CoWriteChild(Role::kFiltered, offset, piece, flags);
  }

  const CopyOnReadOptions options_;
};

}  // namespace

std::unique_ptr<FilterDriver> MakeCopyOnReadFilter(CopyOnReadOptions options) {
  return std::make_unique<CopyOnReadFilter>(std::move(options));
}

}  // namespace millrace
