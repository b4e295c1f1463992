#include "millrace/graph/drivers/qcow2/batch_writer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace::qcow2 {
namespace {

// By how many batches like the present one the file is made longer at least.
constexpr uint64_t kBatchesAhead = 32;

}  // namespace

bool BatchWriter::Suits(absl::Span<const ByteRange> ranges) const {
  const Geometry& geometry = image_.geometry();
  // Subclusters, and the cluster that the image's end cuts off, need surroundings.
  if (geometry.extended_l2 || ranges.empty()) return false;
  return std::all_of(ranges.begin(), ranges.end(), [&](const ByteRange& range) {
    return !range.empty() && geometry.IsClusterAligned(range.offset) &&
           geometry.IsClusterAligned(range.bytes);
  });
}

absl::Status BatchWriter::CoPlanCluster(const L2Entry& entry, uint64_t guest, WriteFlags flags,
                                        ClusterBatch& batch) {
  if (flags.only_if_unallocated && !entry.is_unallocated()) return absl::OkStatus();
  ClusterBatch::Cluster cluster;
  cluster.guest = guest;
  if (entry.is_compressed || !entry.has_host() || !entry.is_copied) {
    cluster.is_new = true;
    cluster.needs_link = true;
  } else {
    MILLRACE_RETURN_IF_ERROR(
        mapping_.CoCheckDataPlace(entry.host, image_.geometry().cluster_bytes()));
    cluster.host = entry.host;
    cluster.needs_link = entry.allocated == 0;
  }
  batch.clusters_.push_back(cluster);
  return absl::OkStatus();
}

absl::Status BatchWriter::CoPlan(ByteRange range, WriteFlags flags, ClusterBatch& batch) {
  const Geometry& geometry = image_.geometry();
  for (uint64_t guest = range.offset; guest < range.end();) {
    MILLRACE_ASSIGN_OR_RETURN(const std::optional<L2Window> window,
                              mapping_.CoLookUp(guest, Access::kWrite));
    const uint64_t table_bytes = geometry.l2_table_guest_bytes();
    const uint64_t known_end =
        window.has_value() ? window->guest_end() : AlignDown(guest, table_bytes) + table_bytes;
    const uint64_t end = std::min(range.end(), known_end);
    for (; guest < end; guest += geometry.cluster_bytes()) {
      absl::StatusOr<L2Entry> entry = window.has_value() ? window->Load(guest) : L2Entry();
      if (!entry.ok()) return window->CoReportBroken(guest, Access::kWrite);
      MILLRACE_RETURN_IF_ERROR(CoPlanCluster(*entry, guest, flags, batch));
    }
  }
  return absl::OkStatus();
}

absl::Status BatchWriter::CoPlanAll(absl::Span<const ByteRange> ranges, WriteFlags flags,
                                    ClusterBatch& batch) {
  for (const ByteRange& range : ranges) {
    MILLRACE_RETURN_IF_ERROR(CoPlan(range, flags, batch));
  }
  return absl::OkStatus();
}

absl::Status BatchWriter::CoPlace(ClusterBatch& batch) {
  const Geometry& geometry = image_.geometry();
  // The tables first, so that what can fail has failed before anything is written.
  uint64_t wanted = 0;
  std::optional<uint64_t> table;
  for (const ClusterBatch::Cluster& cluster : batch.clusters_) {
    wanted += cluster.is_new ? 1 : 0;
    if (!cluster.needs_link || geometry.L1IndexOf(cluster.guest) == table) continue;
    table = geometry.L1IndexOf(cluster.guest);
    MILLRACE_RETURN_IF_ERROR(mapping_.CoLookUpForChange(cluster.guest).status());
  }
  auto next = batch.clusters_.begin();
  while (wanted > 0) {
    MILLRACE_ASSIGN_OR_RETURN(const ClusterRun run, refcounts_.CoAllocate(wanted));
    batch.runs_.push_back(run);
    wanted -= run.count;
    for (uint64_t number = run.first.value(); number < run.end(); ++number, ++next) {
      while (!next->is_new) ++next;
      next->host = geometry.OffsetOf(HostCluster(number));
    }
  }
  if (!batch.runs_.empty() &&
      geometry.OffsetOf(HostCluster(batch.runs_.back().end())).value() > image_.file().bytes()) {
    refcounts_.CoGrowFile(kBatchesAhead * (batch.clusters_.size() << geometry.cluster_bits));
  }
  return absl::OkStatus();
}

void BatchWriter::SetPlaces(uint64_t cluster_bytes, ClusterBatch& batch) {
  for (const ClusterBatch::Cluster& cluster : batch.clusters_) {
    if (!batch.places_.empty()) {
      BatchAllocation::Place& last = batch.places_.back();
      if (last.range.end() == cluster.guest && last.host + last.range.bytes == cluster.host) {
        last.range.bytes += cluster_bytes;
        continue;
      }
    }
    batch.places_.push_back({ByteRange(cluster.guest, cluster_bytes), cluster.host});
  }
}

absl::StatusOr<std::unique_ptr<BatchAllocation>> BatchWriter::CoAllocate(
    absl::Span<const ByteRange> ranges, WriteFlags flags) {
  const bool is_refused = MILLRACE_BUGGIFY("qcow2: takes no batches");
  if (is_refused || !Suits(ranges)) return std::unique_ptr<BatchAllocation>();
  auto batch = std::make_unique<ClusterBatch>();
  const uint64_t begin = ranges.front().offset;
  absl::Status status;
  bool is_planned = false;
  MILLRACE_MUTANT(kM15) {  // planned before the range is held
    status = CoPlanAll(ranges, flags, *batch);
    is_planned = true;
  }
  writer_.guest_ranges().CoAcquire(ByteRange(begin, ranges.back().end() - begin),
                                   LockMode::kExclusive, batch->hold_);
  if (!is_planned) status = CoPlanAll(ranges, flags, *batch);
  if (status.ok()) status = CoPlace(*batch);
  if (!status.ok()) {
    CoAbandon(*batch);
    return status;
  }
  SetPlaces(image_.geometry().cluster_bytes(), *batch);
  MILLRACE_MUTANT(kM16) batch->hold_.Release();  // its places are known
  return std::unique_ptr<BatchAllocation>(std::move(batch));
}

L2Entry BatchWriter::OldEntry(const L2Window& window, uint64_t guest) {
  // Nobody has changed it since it was looked at, and found sound: its guest range is held.
  return window.Load(guest).value_or(L2Entry());
}

L2Entry BatchWriter::LinkedEntry(const ClusterBatch::Cluster& cluster) const {
  L2Entry entry;
  entry.host = cluster.host;
  entry.is_copied = true;
  entry.allocated = image_.geometry().all_subclusters();
  return entry;
}

absl::Status BatchWriter::CoCheckOld(const ClusterBatch& batch,
                                     const std::vector<L2Window>& windows) {
  auto window = windows.begin();
  for (const ClusterBatch::Cluster& cluster : batch.clusters_) {
    if (!cluster.needs_link) continue;
    while (cluster.guest >= window->guest_end()) ++window;
    MILLRACE_RETURN_IF_ERROR(
        writer_.CoCheckOld(OldEntry(*window, cluster.guest), LinkedEntry(cluster)));
  }
  return absl::OkStatus();
}

absl::Status BatchWriter::CoLink(ClusterBatch& batch) {
  absl::Status status = image_.write_error();
  // All tables are there before the first entry changes: all of the batch is linked, or none.
  std::vector<L2Window> windows;
  for (const ClusterBatch::Cluster& cluster : batch.clusters_) {
    if (!status.ok()) break;
    if (!cluster.needs_link) continue;
    if (!windows.empty() && cluster.guest < windows.back().guest_end()) continue;
    absl::StatusOr<L2Window> window = mapping_.CoLookUpForChange(cluster.guest);
    status = window.status();
    if (window.ok()) windows.push_back(*std::move(window));
  }
  if (status.ok()) status = CoCheckOld(batch, windows);
  if (!status.ok()) {
    CoAbandon(batch);
    return status;
  }
  auto window = windows.begin();
  for (const ClusterBatch::Cluster& cluster : batch.clusters_) {
    if (!cluster.needs_link) continue;
    while (cluster.guest >= window->guest_end()) ++window;
    const L2Entry old = OldEntry(*window, cluster.guest);
    const L2Entry now = LinkedEntry(cluster);
    window->Store(cluster.guest, now);
    writer_.ReleaseOld(old, now, false);
  }
  writeback_.OnDataWritten();
  batch.hold_.Release();
  return absl::OkStatus();
}

void BatchWriter::CoAbandon(ClusterBatch& batch) {
  for (const ClusterRun& run : std::exchange(batch.runs_, {})) {
    const absl::Status status = refcounts_.CoRelease(run, false);
    if (!status.ok()) {
      image_.context().LogWarning(
          StrCat("leaked ", run.count, " clusters: ", FromAbsl(status.message())));
    }
  }
  batch.hold_.Release();
}

}  // namespace millrace::qcow2
