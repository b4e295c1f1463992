// Checker: one pass over all tables of an image that counts uses (use_counter part), compares them
// with the refcounts and flags (comparison part), and mends what it is asked to (repair part).
// The public face is CoCheckQcow2(). Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_CHECKER_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_CHECKER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/drivers/qcow2/bitmap_directory.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/image_file.h"
#include "millrace/graph/drivers/qcow2/l2_entry.h"
#include "millrace/graph/drivers/qcow2/qcow2_check.h"
#include "millrace/graph/drivers/qcow2/table_cache.h"
#include "millrace/graph/drivers/qcow2/use_counts.h"

namespace millrace::qcow2 {

inline constexpr std::string_view kRefcountTableName = "refcount table";

class Checker {
 public:
  // All must outlive it. Findings go to `result`.
  Checker(ImageFile& file, Header& header, const Qcow2CheckOptions& options,
          Qcow2CheckResult& result);

  // Everything, with repairs as asked. A status means that I/O failed, or that it was cancelled.
  absl::Status CoRun(Qcow2Repair repair) MILLRACE_MAY_SUSPEND;
  // Whether a repair has changed the image.
  bool has_written() const { return has_written_; }

 private:
  // Between two tables: CancelledError where that is asked for and nothing is half written.
  absl::Status StopIfCancelled() const;

  // ---- Counting (checker_uses.cc) ---------------------------------------------------------------
  absl::Status CoCountUses() MILLRACE_MAY_SUSPEND;
  // An L2 table, and how often L1 tables refer to it. It is walked once, and what it refers to is
  // counted so many times: a small file whose entries all name one table would cost hours.
  struct L2Uses {
    HostOffset place;
    uint64_t l1_index = 0;  // of the first reference
    uint32_t active = 0;    // from the active L1 table
    uint32_t all = 0;
  };
  // Counts the L2 tables, and notes them.
  absl::Status CoCountL1(uint64_t offset, uint64_t entries, bool is_active) MILLRACE_MAY_SUSPEND;
  void NoteL2(uint64_t l1_index, HostOffset place, bool is_active);
  absl::Status CoCountL2(const L2Uses& table) MILLRACE_MAY_SUSPEND;
  void CountL2Entry(uint64_t guest, const L2Entry& entry, const L2Uses& table);
  // Whether one more table of an owner's own (L1, bitmap) may be read. Each has its clusters for
  // itself, so that all of them are smaller than the file; but where owners without end claim one
  // and the same, a small file would cost hours.
  absl::Status SpendTable(uint64_t bytes);
  absl::Status CoCountBitmap(const BitmapEntry& bitmap) MILLRACE_MAY_SUSPEND;
  absl::Status CoCountSnapshots() MILLRACE_MAY_SUSPEND;
  absl::Status CoCountBitmaps() MILLRACE_MAY_SUSPEND;
  absl::Status CoCountRefcountStructures() MILLRACE_MAY_SUSPEND;
  // Counts the clusters of a range of the file, or reports that it lies outside.
  void CountRange(uint64_t offset, uint64_t bytes, std::string_view what, uint32_t times = 1);
  bool EndsInFile(uint64_t offset, uint64_t bytes) const;
  // The same, of a table that is changed where it is, whatever its refcount says: it must have its
  // clusters for itself. `what` must outlive the check.
  void CountTable(uint64_t offset, uint64_t bytes, std::string_view what);
  // Once all is counted: which of those tables do not. Nothing can mend that, but for the refcount
  // table, which can be made anew.
  void ReportSharedTables();

  // ---- Comparing (checker_refcounts.cc) ---------------------------------------------------------
  absl::Status CoCompareRefcounts(Qcow2Repair repair) MILLRACE_MAY_SUSPEND;
  absl::Status CoCompareBlock(uint64_t block, HostOffset place, Qcow2Repair repair)
      MILLRACE_MAY_SUSPEND;
  bool CompareOne(uint64_t cluster, uint64_t refcount, Qcow2Repair repair);
  // Blocks that there are none of, `to_block` not included.
  void ReportUncovered(uint64_t from_block, uint64_t to_block);
  absl::StatusOr<uint64_t> CoRefcountOf(uint64_t cluster) MILLRACE_MAY_SUSPEND;
  // The refcount block named by the table, 0 if none or broken.
  absl::StatusOr<HostOffset> CoBlockPlace(uint64_t block) MILLRACE_MAY_SUSPEND;
  absl::Status CoCompareFlags(Qcow2Repair repair) MILLRACE_MAY_SUSPEND;
  absl::Status CoCompareL2Flags(HostOffset table, Qcow2Repair repair) MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteChanges() MILLRACE_MAY_SUSPEND;

  // ---- Rebuilding (checker_rebuild.cc) ----------------------------------------------------------
  struct NewStructure;
  absl::Status CoRebuildRefcounts() MILLRACE_MAY_SUSPEND;
  NewStructure PlanStructure() const;
  absl::Status CoWriteStructure(const NewStructure& structure) MILLRACE_MAY_SUSPEND;

  // `times`: so often is the same wrong.
  void Corruption(std::string_view text, uint64_t times = 1);
  void Leak(std::string_view text);
  void Finding(std::string_view text);
  uint64_t table_entries() const;
  // One behind the last cluster that the file has a byte of.
  uint64_t file_clusters() const { return geometry_.ClustersFor(file_.bytes()); }

  ImageFile& file_;
  Header& header_;
  const Geometry geometry_;
  const Qcow2CheckOptions options_;
  Qcow2CheckResult& result_;
  TableCache cache_;
  UseCounts uses_;
  struct Table {
    uint64_t offset = 0;
    uint64_t bytes = 0;
    std::string_view what;
  };
  std::vector<Table> tables_;
  bool needs_rebuild_ = false;
  bool has_written_ = false;                          // a repair, which goes on to its end
  std::vector<L2Uses> l2_tables_;                     // in the order of their first references
  absl::flat_hash_map<uint64_t, size_t> l2_numbers_;  // by place; look-ups only
  uint64_t table_bytes_left_;
  uint64_t next_host_ = 0;  // where guest data would go on without a gap
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_CHECKER_H_
