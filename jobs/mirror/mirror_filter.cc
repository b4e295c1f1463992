#include "millrace/jobs/mirror/mirror_filter.h"

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

class MirrorFilter final : public FilterDriver {
 public:
  MirrorFilter(std::shared_ptr<MirrorChanges> changes, bool is_target_below)
      : changes_(std::move(changes)), is_target_below_(is_target_below) {}

  std::string_view driver_name() const override { return "mirror_top"; }
  std::string state_in_words() const override { return changes_->InWords(); }
  bool is_transparent_for_reads() const override { return true; }
  bool is_unleasable() const override { return true; }
  std::string_view filtered_edge_name() const override { return "backing"; }

  Permissions DerivePermissions(const PermissionContext& context) const override {
    Permissions derived = DeriveForFilter(context);
    if (is_target_below_) return {derived.used - kConsistentRead, derived.shared | kWrite};
    if (!derived.used.Intersects(kWrite)) return derived;
    return {derived.used, derived.shared - kWrite - kResize};
  }

  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    MILLRACE_MUTANT(kR29a) {  // marked before the data are there
      changes_->Mark(ByteRange(offset, source.bytes()));
      return FilterDriver::CoWrite(offset, source, flags);
    }
    absl::Status status = FilterDriver::CoWrite(offset, source, flags);
    MILLRACE_MUTANT(kR11) {  // in place before its job's lists are
      if (!MutantNote<bool>(changes_.get())) return status;
    }
    changes_->Mark(ByteRange(offset, source.bytes()));  // a failed one may have changed something
    if (status.ok()) changes_->CoSync(ByteRange(offset, source.bytes()));
    return status;
  }
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    absl::Status status = FilterDriver::CoWriteZeroes(range, flags);
    changes_->Mark(range);
    if (status.ok()) changes_->CoSync(range);
    return status;
  }
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND {
    absl::Status status = FilterDriver::CoDiscard(range);
    changes_->Mark(range);
    if (status.ok()) changes_->CoSync(range);
    return status;
  }

 private:
  const std::shared_ptr<MirrorChanges> changes_;
  const bool is_target_below_;
};

}  // namespace

std::string MirrorChanges::InWords() const {
  if (!is_tracking_) return "marks nothing any more";
  const uint64_t granularity = bitmap_.granularity();
  const uint64_t marks = (bitmap_.dirty_bytes() + granularity - 1) / granularity;
  return StrCat(marks, marks == 1 ? " mark" : " marks");
}

std::unique_ptr<FilterDriver> MakeMirrorFilter(std::shared_ptr<MirrorChanges> changes,
                                               bool is_target_below) {
  return std::make_unique<MirrorFilter>(std::move(changes), is_target_below);
}

}  // namespace millrace
