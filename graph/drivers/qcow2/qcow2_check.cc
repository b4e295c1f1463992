#include "millrace/graph/drivers/qcow2/qcow2_check.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
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

Checker::Checker(ImageFile& file, Header& header, uint64_t findings_max, Qcow2CheckResult& result)
    : file_(file),
      header_(header),
      geometry_(header.geometry),
      findings_max_(findings_max),
      result_(result),
      cache_(file, header.geometry, kCacheBytes),
      table_bytes_left_(kL1BytesMax +
                        kReadsPerByte *
                            std::min(file.bytes(), kLongestTables / kReadsPerByte * kL1BytesMax)) {}

void Checker::Finding(std::string_view text) {
  if (result_.findings.size() < findings_max_) result_.findings.emplace_back(text);
}
void Checker::Corruption(std::string_view text, uint64_t times) {
  result_.corruptions += times;
  Finding(text);
}
void Checker::Leak(std::string_view text) {
  ++result_.leaks;
  Finding(text);
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

absl::StatusOr<Qcow2CheckResult> CoCheckQcow2(ImageFile& file, const Qcow2CheckOptions& options) {
  MILLRACE_ASSIGN_OR_RETURN(qcow2::Header header,
                            qcow2::CoReadHeader(file, qcow2::HeaderUse::kCheck));
  Qcow2CheckResult result;
  {
    qcow2::Checker checker(file, header, options.findings_max, result);
    MILLRACE_RETURN_IF_ERROR(checker.CoRun(options.repair));
  }
  if (options.repair == Qcow2Repair::kNone) return result;
  if (!result.is_clean()) {
    // What is fixed is told by looking again.
    Qcow2CheckResult after;
    qcow2::Checker checker(file, header, 0, after);
    MILLRACE_RETURN_IF_ERROR(checker.CoRun(Qcow2Repair::kNone));
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
