#include "millrace/graph/drivers/qcow2/qcow2_check.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/graph/drivers/qcow2/checker.h"
#include "millrace/graph/drivers/qcow2/read_header.h"

namespace millrace {
namespace qcow2 {
namespace {

constexpr uint64_t kCacheBytes = uint64_t{4} << 20;
// How much of L1 and bitmap tables may be read: so many times the file, but no more than so many of
// the longest L1 tables, for the file may be holes; and one of these, for it may be cut off.
constexpr uint64_t kReadsPerByte = 8;
constexpr uint64_t kLongestTables = 256;

}  // namespace

Checker::Checker(ImageFile& file, Header& header, const Qcow2CheckOptions& options,
                 Qcow2CheckResult& result)
    : file_(file),
      header_(header),
      geometry_(header.geometry),
      options_(options),
      result_(result),
      cache_(file, header.geometry, kCacheBytes),
      table_bytes_left_(kL1BytesMax +
                        kReadsPerByte *
                            std::min(file.bytes(), kLongestTables / kReadsPerByte * kL1BytesMax)) {}

void Checker::Finding(std::string_view text) {
  if (result_.findings.size() < options_.findings_max) result_.findings.emplace_back(text);
}
void Checker::Corruption(std::string_view text, uint64_t times) {
  result_.corruptions += times;
  Finding(text);
}
void Checker::Leak(std::string_view text) {
  ++result_.leaks;
  Finding(text);
}

absl::Status Checker::StopIfCancelled() const {
  if (!options_.is_cancellable || has_written_ || !Coroutine::Current()->is_cancelled()) {
    return absl::OkStatus();
  }
  return absl::CancelledError(
      StrCat("check image '", file_.name(), "': cancelled; it was not changed"));
}

absl::Status Checker::CoRun(Qcow2Repair repair) {
  MILLRACE_RETURN_IF_ERROR(CoCountUses());
  MILLRACE_RETURN_IF_ERROR(CoCountRefcountStructures());
  ReportSharedTables();
  result_.image_end_offset = uses_.end() << geometry_.cluster_bits;
  MILLRACE_RETURN_IF_ERROR(CoCompareRefcounts(needs_rebuild_ ? Qcow2Repair::kNone : repair));
  if (needs_rebuild_ && repair == Qcow2Repair::kAll) {
    MILLRACE_RETURN_IF_ERROR(CoRebuildRefcounts());
  }
  return CoCompareFlags(repair);
}

}  // namespace qcow2

namespace {

// What a repair has left: that tells what it has fixed.
absl::StatusOr<Qcow2CheckResult> CoLookAgain(ImageFile& file, qcow2::Header& header,
                                             Qcow2CheckOptions options) MILLRACE_MAY_SUSPEND {
  options.findings_max = 0;
  Qcow2CheckResult result;
  qcow2::Checker checker(file, header, options, result);
  const absl::Status status = checker.CoRun(Qcow2Repair::kNone);
  if (absl::IsCancelled(status)) {
    return absl::CancelledError(StrCat("check image '", file.name(),
                                       "': cancelled after the repair, before it was looked at "
                                       "again"));
  }
  if (!status.ok()) return status;
  return result;
}

}  // namespace

absl::StatusOr<Qcow2CheckResult> CoCheckQcow2(ImageFile& file, const Qcow2CheckOptions& options) {
  MILLRACE_ASSIGN_OR_RETURN(qcow2::Header header,
                            qcow2::CoReadHeader(file, qcow2::HeaderUse::kCheck));
  Qcow2CheckResult result;
  bool has_repaired = false;
  {
    qcow2::Checker checker(file, header, options, result);
    MILLRACE_RETURN_IF_ERROR(checker.CoRun(options.repair));
    has_repaired = checker.has_written();
  }
  if (options.repair == Qcow2Repair::kNone) return result;
  if (has_repaired) {
    MILLRACE_ASSIGN_OR_RETURN(const Qcow2CheckResult after, CoLookAgain(file, header, options));
    result.corruptions_fixed = result.corruptions - std::min(after.corruptions, result.corruptions);
    result.leaks_fixed = result.leaks - std::min(after.leaks, result.leaks);
    result.image_end_offset = after.image_end_offset;
  }
  if (result.is_clean_now() && (header.is_dirty() || header.is_corrupt())) {
    header.incompatible_features &= ~(qcow2::kIncompatibleDirty | qcow2::kIncompatibleCorrupt);
    MILLRACE_RETURN_IF_ERROR(file.CoFlush());
    MILLRACE_RETURN_IF_ERROR(file.CoWriteBytes(0, qcow2::SerialiseHeaderFields(header)));
    MILLRACE_RETURN_IF_ERROR(file.CoFlush());
  }
  return result;
}

}  // namespace millrace
