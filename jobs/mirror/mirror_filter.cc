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
    const Permissions derived = DeriveForFilter(context);
    if (!is_target_below_) return derived;
    return {derived.used - kConsistentRead, derived.shared | kWrite};
  }
  Permissions DeriveReserved(const PermissionContext& context) const override {
    return DeriveForFilter(context);
  }

  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    const ByteRange range(offset, source.bytes());
    BeforeChange(range);
    absl::Status status = FilterDriver::CoWrite(offset, source, flags);
    if (status.ok()) changes_->CoSync(range);
    return status;
  }
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    BeforeChange(range);
    absl::Status status = FilterDriver::CoWriteZeroes(range, flags);
    if (status.ok()) changes_->CoSync(range);
    return status;
  }
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND {
    BeforeChange(range);
    absl::Status status = FilterDriver::CoDiscard(range);
    if (status.ok()) changes_->CoSync(range);
    return status;
  }

 private:
  void BeforeChange(ByteRange range) const {
    MILLRACE_MUTANT(kR29a) changes_->Mark(range);  // marked before the data are there
  }

  const std::shared_ptr<MirrorChanges> changes_;
  const bool is_target_below_;
};

}  // namespace

class MirrorChanges::Listener final : public ContentListener {
 public:
  explicit Listener(MirrorChanges& changes) : changes_(changes) {}

 private:
  void OnContentChange(ByteRange range) override {
    MILLRACE_MUTANT(kR29a) return;
    MILLRACE_MUTANT(kR11) {  // in place before its job's lists are
      if (!MutantNote<bool>(&changes_)) return;
    }
    changes_.Mark(range);
  }

  MirrorChanges& changes_;
};

MirrorChanges::MirrorChanges(uint64_t bytes, uint64_t granularity) : bitmap_(bytes, granularity) {}

MirrorChanges::~MirrorChanges() = default;

absl::Status MirrorChanges::Track(Graph& graph, NodeId source, ContentListener::Depth depth) {
  listener_ = std::make_unique<Listener>(*this);
  return listener_->ListenTo(graph, source, depth);
}

std::vector<NodeId> MirrorChanges::tracked() const {
  return listener_ == nullptr ? std::vector<NodeId>() : listener_->places();
}

void MirrorChanges::Stop() {
  is_tracking_ = false;
  listener_.reset();
  on_mark_ = nullptr;
  sync_ = nullptr;
}

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
