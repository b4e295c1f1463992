#include "millrace/graph/drivers/qcow2/cluster_writer.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace::qcow2 {
namespace {

// What the tables of one allocation may span at most, so that one request cannot claim a whole L2
// table of 2 MiB clusters (512 GiB) of host space before it has written anything.
constexpr uint64_t kAllocationBytesMax = uint64_t{64} << 20;

bool has_data(const L2Entry& entry) { return entry.is_compressed || entry.allocated != 0; }

}  // namespace

bool ClusterWriter::has_backing() const {
  return image_.context().HasChild(Role::kBacking) || !image_.header().backing.filename.empty();
}

ByteRange ClusterWriter::ClusterAligned(ByteRange range) const {
  const uint64_t bytes = image_.geometry().cluster_bytes();
  const uint64_t begin = AlignDown(range.offset, bytes);
  return ByteRange(begin, AlignUp(range.end(), bytes) - begin);
}

ByteRange ClusterWriter::WholeSubclusters(ByteRange range) const {
  const Geometry& geometry = image_.geometry();
  const uint64_t end = range.end() >= image_.header().bytes
                           ? AlignUp(range.end(), geometry.cluster_bytes())
                           : AlignDown(range.end(), geometry.subcluster_bytes());
  return ByteRange(range.offset, std::max(end, range.offset) - range.offset);
}

uint32_t ClusterWriter::SubclusterMask(uint64_t cluster, ByteRange range) const {
  const Geometry& geometry = image_.geometry();
  const ByteRange part = range.Intersect(ByteRange(cluster, geometry.cluster_bytes()));
  if (part.empty()) return 0;
  const uint64_t first = (part.offset - cluster) >> geometry.subcluster_bits();
  const uint64_t last = (part.end() - 1 - cluster) >> geometry.subcluster_bits();
  const uint64_t below_end = (uint64_t{1} << (last + 1)) - 1;
  return static_cast<uint32_t>(below_end & ~((uint64_t{1} << first) - 1));
}

ClusterWriter::Plan ClusterWriter::PlanCluster(const L2Entry& entry, ByteRange part,
                                               bool only_if_unallocated) const {
  const Geometry& geometry = image_.geometry();
  const uint64_t cluster = AlignDown(part.offset, geometry.cluster_bytes());
  Plan plan;
  plan.first = plan.last = entry;
  if (only_if_unallocated) {
    const uint32_t used =
        entry.is_compressed ? geometry.all_subclusters() : entry.allocated | entry.zero;
    auto is_used = [&](uint64_t guest) {
      return (used >> ((guest - cluster) >> geometry.subcluster_bits()) & 1) != 0;
    };
    uint64_t end = part.offset;
    while (end < part.end() && is_used(end) == is_used(part.offset)) {
      end = AlignDown(end, geometry.subcluster_bytes()) + geometry.subcluster_bytes();
    }
    part.bytes = std::min(end, part.end()) - part.offset;
    if (is_used(part.offset)) {
      plan.bytes = part.bytes;
      return plan;
    }
  }
  plan.bytes = part.bytes;
  plan.host = entry.host + geometry.OffsetInCluster(part.offset);
  const uint32_t mask = SubclusterMask(cluster, part);
  if (entry.is_compressed || !entry.has_host() || !entry.is_copied) {
    plan.placement = Placement::kNew;
  } else {
    plan.placement = (entry.allocated & mask) == mask ? Placement::kInPlace : Placement::kReuse;
  }
  return plan;
}

bool ClusterWriter::Continues(const Plan& plan, const Plan& next) const {
  if (next.placement != plan.placement) return false;
  const bool has_place =
      plan.placement == Placement::kInPlace || plan.placement == Placement::kReuse;
  return !has_place || next.host == plan.host + plan.bytes;
}

absl::StatusOr<ClusterWriter::Plan> ClusterWriter::CoPlan(ByteRange range,
                                                          bool only_if_unallocated) {
  const uint64_t cluster_bytes = image_.geometry().cluster_bytes();
  MILLRACE_ASSIGN_OR_RETURN(std::optional<L2Window> window,
                            mapping_.CoLookUp(range.offset, Access::kWrite));
  if (!window.has_value()) {
    Plan plan;
    plan.placement = Placement::kNew;
    plan.bytes = range.bytes;
    return plan;
  }
  Plan plan;
  for (uint64_t guest = range.offset; guest < range.end();) {
    if (guest >= window->guest_end()) {
      MILLRACE_ASSIGN_OR_RETURN(window, mapping_.CoLookUp(guest, Access::kWrite));
      if (!window.has_value()) break;
    }
    const uint64_t cluster_end = AlignDown(guest, cluster_bytes) + cluster_bytes;
    const ByteRange part(guest, std::min(cluster_end, range.end()) - guest);
    const absl::StatusOr<L2Entry> entry = window->Load(guest);
    if (!entry.ok() && plan.bytes > 0) break;
    if (!entry.ok()) return window->CoReportBroken(guest, Access::kWrite);
    const Plan next = PlanCluster(*entry, part, only_if_unallocated);
    if (plan.bytes == 0) {
      plan = next;
    } else if (Continues(plan, next)) {
      plan.bytes += next.bytes;
      plan.last = next.last;
    } else {
      break;
    }
    if (next.bytes < part.bytes) break;
    guest = part.end();
  }
  return plan;
}

absl::StatusOr<bool> ClusterWriter::CoTryInPlace(ByteRange range, ClusterAllocation& allocation) {
  MILLRACE_ASSIGN_OR_RETURN(Plan plan, CoPlan(range, false));
  if (plan.placement != Placement::kInPlace) return false;
  range.bytes = plan.bytes;
  // Shared: such writes need not wait for each other, but nobody may unmap the clusters meanwhile.
  guest_ranges_.CoAcquire(ClusterAligned(range), LockMode::kShared, allocation.hold_);
  // While we waited, the clusters may have been zeroed, discarded or become somebody's copy.
  MILLRACE_ASSIGN_OR_RETURN(plan, CoPlan(range, false));
  if (plan.placement != Placement::kInPlace) {
    MILLRACE_SOMETIMES(true, "qcow2: clusters have changed while a write in place waited");
    allocation.hold_.Release();
    return false;
  }
  MILLRACE_RETURN_IF_ERROR(mapping_.CoCheckDataPlace(plan.host, plan.bytes));
  allocation.placement_ = Placement::kInPlace;
  allocation.bytes_ = plan.bytes;
  allocation.host_ = plan.host;
  allocation.covered_ = ByteRange(range.offset, plan.bytes);
  return true;
}

absl::StatusOr<std::unique_ptr<Allocation>> ClusterWriter::CoAllocate(ByteRange range,
                                                                      WriteFlags flags) {
  const Geometry& geometry = image_.geometry();
  const uint64_t table_bytes = geometry.l2_table_guest_bytes();
  const uint64_t table_end = AlignDown(range.offset, table_bytes) + table_bytes;
  const uint64_t bytes_max = MILLRACE_BUGGIFY("qcow2: allocates cluster by cluster")
                                 ? geometry.cluster_bytes()
                                 : std::max(kAllocationBytesMax, geometry.cluster_bytes());
  range.bytes = std::min({range.bytes, table_end - range.offset, bytes_max});
  auto allocation = std::make_unique<ClusterAllocation>();
  if (!flags.only_if_unallocated) {
    MILLRACE_ASSIGN_OR_RETURN(const bool in_place, CoTryInPlace(range, *allocation));
    if (in_place) return allocation;
  }
  guest_ranges_.CoAcquire(ClusterAligned(range), LockMode::kExclusive, allocation->hold_);
  MILLRACE_ASSIGN_OR_RETURN(const Plan plan, CoPlan(range, flags.only_if_unallocated));
  allocation->placement_ = plan.placement;
  if (plan.placement == Placement::kSkip) {
    allocation->skip_bytes_ = plan.bytes;
    allocation->hold_.Release();
    return allocation;
  }
  allocation->covered_ = ByteRange(range.offset, plan.bytes);
  MILLRACE_RETURN_IF_ERROR(CoPlace(plan, *allocation));
  return allocation;
}

absl::Status ClusterWriter::CoPlace(const Plan& plan, ClusterAllocation& allocation) {
  const Geometry& geometry = image_.geometry();
  Plan placed = plan;
  if (plan.placement != Placement::kNew) {
    MILLRACE_RETURN_IF_ERROR(mapping_.CoCheckDataPlace(plan.host, plan.bytes));
    allocation.host_ = plan.host;
  } else {
    // The table first, so that what can fail has failed before anything is written.
    MILLRACE_RETURN_IF_ERROR(mapping_.CoLookUpForChange(allocation.covered_.offset).status());
    const ByteRange clusters = ClusterAligned(allocation.covered_);
    MILLRACE_ASSIGN_OR_RETURN(allocation.run_,
                              refcounts_.CoAllocate(clusters.bytes >> geometry.cluster_bits));
    const uint64_t end = clusters.offset + (allocation.run_.count << geometry.cluster_bits);
    if (end < allocation.covered_.end()) {
      allocation.covered_.bytes = end - allocation.covered_.offset;
      placed.last = {};  // ends with a cluster: nothing to fill behind
    }
    allocation.host_ = geometry.OffsetOf(allocation.run_.first) +
                       geometry.OffsetInCluster(allocation.covered_.offset);
  }
  allocation.bytes_ = allocation.covered_.bytes;
  allocation.needs_link_ = plan.placement != Placement::kInPlace;
  if (allocation.needs_link_) SetFill(placed, allocation);
  return absl::OkStatus();
}

void ClusterWriter::SetFill(const Plan& plan, ClusterAllocation& allocation) const {
  const Geometry& geometry = image_.geometry();
  const ByteRange covered = allocation.covered_;
  // What shows content of its own must be copied whole; else a subcluster is enough.
  auto unit = [&](const L2Entry& entry) {
    const bool whole = plan.placement == Placement::kNew && has_data(entry);
    return whole ? geometry.cluster_bytes() : geometry.subcluster_bytes();
  };
  // With kReuse, subclusters that show already need no filling.
  auto shows = [&](const L2Entry& entry, uint64_t guest) {
    const uint64_t cluster = AlignDown(guest, geometry.cluster_bytes());
    return plan.placement == Placement::kReuse &&
           (entry.allocated & SubclusterMask(cluster, ByteRange(guest, 1))) != 0;
  };
  const uint64_t begin = shows(plan.first, covered.offset)
                             ? covered.offset
                             : AlignDown(covered.offset, unit(plan.first));
  const uint64_t end =
      shows(plan.last, covered.end() - 1) ? covered.end() : AlignUp(covered.end(), unit(plan.last));
  const uint64_t image_end = std::max(image_.header().bytes, covered.end());
  const uint64_t fill_end = std::min(end, image_end);
  allocation.fill_before_ = ByteRange(begin, covered.offset - begin);
  allocation.fill_after_ = ByteRange(covered.end(), fill_end - covered.end());
  // What lies behind the image's end would show when the image grows.
  allocation.tail_zero_ =
      ByteRange(allocation.host_.value() + (fill_end - covered.offset), end - fill_end);
}

L2Entry ClusterWriter::LinkedEntry(const L2Entry& old, const ClusterAllocation& allocation,
                                   uint64_t cluster) const {
  const Geometry& geometry = image_.geometry();
  const ByteRange written(allocation.fill_before_.offset,
                          allocation.fill_after_.end() - allocation.fill_before_.offset);
  L2Entry entry = old;
  uint32_t shown = SubclusterMask(cluster, written);
  if (allocation.placement_ == Placement::kNew) {
    if (has_data(old)) shown = geometry.all_subclusters();
    const uint64_t first = AlignDown(allocation.covered_.offset, geometry.cluster_bytes());
    entry = L2Entry();
    entry.zero = old.is_compressed ? 0 : old.zero;
    entry.host = geometry.OffsetOf(allocation.run_.first) + (cluster - first);
    entry.is_copied = true;
  }
  entry.allocated |= shown;
  entry.zero &= ~shown;
  return entry;
}

ClusterRun ClusterWriter::UsedByOld(const L2Entry& old, const L2Entry& now) const {
  const Geometry& geometry = image_.geometry();
  if (old.is_compressed) {
    const HostCluster first = geometry.ClusterOf(old.compressed.offset);
    const HostCluster last = geometry.ClusterOf(old.compressed.offset + (old.compressed.bytes - 1));
    return {first, last.value() - first.value() + 1};
  }
  if (old.has_host() && old.host != now.host) return {geometry.ClusterOf(old.host), 1};
  return {};
}

absl::Status ClusterWriter::CoCheckOld(const L2Entry& old, const L2Entry& now) {
  const ClusterRun run = UsedByOld(old, now);
  return run.count == 0 ? absl::OkStatus() : image_.CoCheckNoMetadata(run, kGuestData);
}

void ClusterWriter::ReleaseOld(const L2Entry& old, const L2Entry& now, bool discard) {
  const ClusterRun run = UsedByOld(old, now);
  // Compressed data are never given back to the host: others may lie in the same clusters.
  if (run.count > 0) frees_.Add(run, discard && !old.is_compressed);
}

absl::Status ClusterWriter::CoLinkEntries(ClusterAllocation& allocation) {
  const uint64_t cluster_bytes = image_.geometry().cluster_bytes();
  const ByteRange clusters = ClusterAligned(allocation.covered_);
  // All entries are there before the first one changes: all of the range is linked, or none.
  std::vector<L2Window> windows;
  std::vector<std::pair<L2Entry, L2Entry>> changes;  // old and new
  for (uint64_t cluster = clusters.offset; cluster < clusters.end(); cluster += cluster_bytes) {
    if (windows.empty() || cluster >= windows.back().guest_end()) {
      MILLRACE_ASSIGN_OR_RETURN(L2Window window, mapping_.CoLookUpForChange(cluster));
      windows.push_back(std::move(window));
    }
    absl::StatusOr<L2Entry> entry = windows.back().Load(cluster);
    if (!entry.ok()) return windows.back().CoReportBroken(cluster, Access::kWrite);
    changes.emplace_back(*entry, LinkedEntry(*entry, allocation, cluster));
  }
  for (const auto& [old, now] : changes) MILLRACE_RETURN_IF_ERROR(CoCheckOld(old, now));
  auto window = windows.begin();
  uint64_t cluster = clusters.offset;
  for (const auto& [old, now] : changes) {
    if (cluster >= window->guest_end()) ++window;
    window->Store(cluster, now);
    ReleaseOld(old, now, false);
    cluster += cluster_bytes;
  }
  writeback_.OnDataWritten();
  return absl::OkStatus();
}

absl::Status ClusterWriter::CoLink(ClusterAllocation& allocation) {
  absl::Status status;
  if (allocation.needs_link_) {
    if (!allocation.tail_zero_.empty()) {
      status = image_.file().CoWriteZeroes(allocation.tail_zero_);
    }
    if (status.ok()) status = image_.write_error();
    if (status.ok()) status = CoLinkEntries(allocation);
  }
  if (!status.ok()) {
    CoAbandon(allocation);
    return status;
  }
  allocation.hold_.Release();
  return absl::OkStatus();
}

void ClusterWriter::CoAbandon(ClusterAllocation& allocation) {
  if (allocation.run_.count > 0) CoGiveBack(std::exchange(allocation.run_, {}));
  allocation.hold_.Release();
}

void ClusterWriter::CoGiveBack(ClusterRun run) {
  const absl::Status status = refcounts_.CoRelease(run, false);
  if (status.ok()) return;
  image_.context().LogWarning(
      StrCat("leaked ", run.count, " clusters: ", FromAbsl(status.message())));
}

absl::Status ClusterWriter::CoReplace(uint64_t guest, absl::Span<const uint8_t> content) {
  // The table first, so that what can fail has failed before anything is written.
  MILLRACE_RETURN_IF_ERROR(mapping_.CoLookUpForChange(guest).status());
  MILLRACE_ASSIGN_OR_RETURN(const ClusterRun run, refcounts_.CoAllocate(1));
  const HostOffset host = image_.geometry().OffsetOf(run.first);
  absl::Status status = image_.file().CoWriteBytes(host.value(), content);
  if (status.ok()) status = CoLinkReplaced(guest, run.first);
  if (!status.ok()) CoGiveBack(run);
  return status;
}

absl::Status ClusterWriter::CoLinkReplaced(uint64_t guest, HostCluster fresh) {
  MILLRACE_RETURN_IF_ERROR(image_.write_error());
  MILLRACE_ASSIGN_OR_RETURN(L2Window window, mapping_.CoLookUpForChange(guest));
  MILLRACE_ASSIGN_OR_RETURN(const L2Entry old, window.Load(guest));
  L2Entry now = old;
  if (old.is_compressed) {
    now = L2Entry();
    now.allocated = image_.geometry().all_subclusters();
  }
  now.host = image_.geometry().OffsetOf(fresh);
  now.is_copied = true;
  MILLRACE_RETURN_IF_ERROR(CoCheckOld(old, now));
  window.Store(guest, now);
  ReleaseOld(old, now, false);
  writeback_.OnDataWritten();
  return absl::OkStatus();
}

absl::Status ClusterWriter::ZeroEntry(L2Entry& entry, uint32_t subclusters, ZeroFlags flags) const {
  const Geometry& geometry = image_.geometry();
  if (flags.only_if_unallocated) {
    if (entry.is_compressed) return absl::OkStatus();
    entry.zero |= subclusters & ~entry.allocated;
    return absl::OkStatus();
  }
  if (subclusters == geometry.all_subclusters()) {
    const bool keeps_host =
        !entry.is_compressed && entry.has_host() && !flags.may_unmap && geometry.version >= 3;
    if (!keeps_host) entry = L2Entry();
    entry.allocated = 0;
    entry.zero = geometry.version >= 3 ? subclusters : 0;
    return absl::OkStatus();
  }
  if (entry.is_compressed) {
    return absl::UnimplementedError("a compressed cluster cannot be zeroed in part");
  }
  entry.allocated &= ~subclusters;
  entry.zero |= subclusters;
  return absl::OkStatus();
}

absl::Status ClusterWriter::DiscardEntry(L2Entry& entry, uint32_t subclusters, ZeroFlags) const {
  const Geometry& geometry = image_.geometry();
  // Parts of clusters stay as they are.
  if (subclusters != geometry.all_subclusters()) return absl::OkStatus();
  // What was never written reads as zeroes from now on too, as in QEMU, where a backing shows.
  if (entry.is_unallocated() && !entry.has_host() && !has_backing()) return absl::OkStatus();
  entry = L2Entry();
  if (geometry.version >= 3) entry.zero = subclusters;
  return absl::OkStatus();
}

absl::Status ClusterWriter::ForgetEntry(L2Entry& entry, uint32_t, ZeroFlags) const {
  entry = L2Entry();
  return absl::OkStatus();
}

absl::Status ClusterWriter::CoChangeWindow(ByteRange range, ChangeEntry change, ZeroFlags flags,
                                           bool makes_tables, bool discard, uint64_t& done) {
  const Geometry& geometry = image_.geometry();
  MILLRACE_ASSIGN_OR_RETURN(std::optional<L2Window> window,
                            mapping_.CoLookUp(range.offset, Access::kWrite));
  if (!window.has_value() && !makes_tables) {
    const uint64_t table_bytes = geometry.l2_table_guest_bytes();
    done = std::min(range.end(), AlignDown(range.offset, table_bytes) + table_bytes);
    return absl::OkStatus();
  }
  MILLRACE_ASSIGN_OR_RETURN(window, mapping_.CoLookUpForChange(range.offset));
  const uint64_t end = std::min(range.end(), window->guest_end());
  for (uint64_t cluster = window->guest_begin(); cluster < end;
       cluster += geometry.cluster_bytes()) {
    const absl::StatusOr<L2Entry> old = window->Load(cluster);
    if (!old.ok()) return window->CoReportBroken(cluster, Access::kRead);
    L2Entry now = *old;
    MILLRACE_RETURN_IF_ERROR((this->*change)(now, SubclusterMask(cluster, range), flags));
    if (EncodeL2Entry(now, geometry) == EncodeL2Entry(*old, geometry)) continue;
    MILLRACE_RETURN_IF_ERROR(CoCheckOld(*old, now));
    window->Store(cluster, now);
    ReleaseOld(*old, now, discard);
  }
  done = end;
  return absl::OkStatus();
}

absl::StatusOr<bool> ClusterWriter::CoChangeEntries(ByteRange range, ChangeEntry change,
                                                    ZeroFlags flags, bool makes_tables,
                                                    bool discard) {
  const uint64_t table_bytes = image_.geometry().l2_table_guest_bytes();
  for (uint64_t guest = range.offset; guest < range.end();) {
    const uint64_t table_end = AlignDown(guest, table_bytes) + table_bytes;
    const ByteRange part(guest, std::min(range.end(), table_end) - guest);
    RangeLock::Hold hold;
    guest_ranges_.CoAcquire(ClusterAligned(part), LockMode::kExclusive, hold);
    // Not before it is ours: the image may have grown since the range was asked for, and others may
    // have written behind its old end.
    const ByteRange whole = WholeSubclusters(part);
    for (uint64_t done = whole.offset; done < whole.end();) {
      MILLRACE_RETURN_IF_ERROR(image_.write_error());
      MILLRACE_RETURN_IF_ERROR(CoChangeWindow(ByteRange(done, whole.end() - done), change, flags,
                                              makes_tables, discard, done));
    }
    if (whole.end() < part.end()) return false;
    guest = part.end();
  }
  return true;
}

absl::Status ClusterWriter::CoZero(ByteRange range, ZeroFlags flags, bool pass_discards) {
  if (image_.geometry().version < 3) {
    // Without zero clusters, only what nothing shows through can be made to read as zeroes: by
    // forgetting it, whether or not its space was to be kept (QEMU does the same).
    if (has_backing()) {
      return absl::UnimplementedError("version 2 images have no zero clusters");
    }
    if (flags.only_if_unallocated) return absl::OkStatus();
  }
  const bool makes_tables = image_.geometry().version >= 3;
  MILLRACE_ASSIGN_OR_RETURN(const bool is_whole,
                            CoChangeEntries(range, &ClusterWriter::ZeroEntry, flags, makes_tables,
                                            pass_discards && flags.may_unmap));
  return is_whole ? absl::OkStatus()
                  : absl::UnimplementedError("a subcluster cannot be zeroed in part");
}

absl::Status ClusterWriter::CoDiscard(ByteRange range, bool pass_discards) {
  if (image_.geometry().version < 3 && has_backing()) return absl::OkStatus();
  return CoChangeEntries(range, &ClusterWriter::DiscardEntry, {}, /*makes_tables=*/has_backing(),
                         pass_discards)
      .status();
}

absl::Status ClusterWriter::CoForget(ByteRange range) {
  return CoChangeEntries(range, &ClusterWriter::ForgetEntry, {}, false, /*discard=*/true).status();
}

}  // namespace millrace::qcow2
