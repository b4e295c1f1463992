// Checker, third part: new refcount structures in place of broken ones.
#include <algorithm>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/checker.h"
#include "millrace/graph/drivers/qcow2/refcount_codec.h"

namespace millrace::qcow2 {

// A refcount table and its blocks, in a row behind the end of the file.
struct Checker::NewStructure {
  uint64_t first = 0;  // cluster of the table
  uint64_t table_clusters = 0;
  std::vector<uint64_t> blocks;  // numbers of the blocks there are, ascending

  uint64_t end() const { return first + table_clusters + blocks.size(); }
};

Checker::NewStructure Checker::PlanStructure() const {
  NewStructure structure;
  structure.first = std::max(file_clusters(), uses_.end());
  const uint64_t block_bits = geometry_.refcount_block_bits();
  std::vector<uint64_t> used;
  const uint64_t end = uses_.end();
  for (uint64_t cluster = uses_.Next(0, end); cluster < end;
       cluster = uses_.Next((used.back() + 1) << block_bits, end)) {
    used.push_back(cluster >> block_bits);
  }
  structure.table_clusters = 1;
  // The blocks must cover the structure itself, which grows with the blocks.
  for (uint64_t before = 0; before != structure.end();) {
    before = structure.end();
    structure.blocks = used;
    const uint64_t first_own = structure.first >> block_bits;
    for (uint64_t block = first_own; block <= (before - 1) >> block_bits; ++block) {
      if (structure.blocks.empty() || structure.blocks.back() < block) {
        structure.blocks.push_back(block);
      }
    }
    structure.table_clusters = geometry_.ClustersFor((structure.blocks.back() + 1) * 8);
  }
  return structure;
}

absl::Status Checker::CoWriteStructure(const NewStructure& structure) {
  const uint64_t cluster_bytes = geometry_.cluster_bytes();
  std::vector<uint8_t> table(structure.table_clusters * cluster_bytes);
  uint64_t place = structure.first + structure.table_clusters;
  for (uint64_t block : structure.blocks) {
    std::vector<uint8_t> counts(cluster_bytes);
    const uint64_t first = block << geometry_.refcount_block_bits();
    for (uint64_t i = 0; i < geometry_.refcounts_per_block(); ++i) {
      const uint64_t cluster = first + i;
      const bool is_own = cluster >= structure.first && cluster < structure.end();
      const uint64_t uses = is_own ? 1 : uses_.Get(cluster);
      StoreRefcount(counts.data(), i, geometry_.refcount_order,
                    std::min(uses, geometry_.refcount_max()));
    }
    MILLRACE_RETURN_IF_ERROR(file_.CoWriteBytes(place * cluster_bytes, counts));
    StoreBig<uint64_t>(&table[8 * block], place * cluster_bytes);
    ++place;
  }
  return file_.CoWriteBytes(structure.first * cluster_bytes, table);
}

absl::Status Checker::CoRebuildRefcounts() {
  // Without the old structures, which are given up.
  Qcow2CheckResult unused;
  Qcow2CheckOptions options = options_;
  options.findings_max = 0;
  Checker counter(file_, header_, options, unused);
  counter.has_written_ = has_written_;
  MILLRACE_RETURN_IF_ERROR(counter.CoCountUses());
  uses_ = std::move(counter.uses_);
  const NewStructure structure = PlanStructure();
  if (structure.table_clusters << geometry_.cluster_bits > kRefcountTableBytesMax ||
      structure.end() > kHostOffsetEnd >> geometry_.cluster_bits) {
    return absl::ResourceExhaustedError(StrCat("the image needs a refcount table of ",
                                               structure.table_clusters,
                                               " clusters, more than the format allows"));
  }
  has_written_ = true;
  MILLRACE_RETURN_IF_ERROR(CoWriteStructure(structure));
  MILLRACE_RETURN_IF_ERROR(file_.CoFlush());
  header_.refcount_table_offset = structure.first << geometry_.cluster_bits;
  header_.refcount_table_clusters = static_cast<uint32_t>(structure.table_clusters);
  MILLRACE_RETURN_IF_ERROR(file_.CoWriteBytes(0, SerialiseHeaderFields(header_)));
  MILLRACE_RETURN_IF_ERROR(file_.CoFlush());
  cache_.Forget(HostOffset(0), kHostOffsetEnd);
  return absl::OkStatus();
}

}  // namespace millrace::qcow2
