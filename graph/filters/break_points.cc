#include "millrace/graph/filters/break_points.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kEvents[] = {
    "l1_update",
    "l1_grow_alloc_table",
    "l1_grow_write_table",
    "l1_grow_activate_table",
    "l2_load",
    "l2_update",
    "l2_update_compressed",
    "l2_alloc_cow_read",
    "l2_alloc_write",
    "read_aio",
    "read_backing_aio",
    "read_compressed",
    "write_aio",
    "write_compressed",
    "vmstate_load",
    "vmstate_save",
    "cow_read",
    "cow_write",
    "reftable_load",
    "reftable_grow",
    "reftable_update",
    "refblock_load",
    "refblock_update",
    "refblock_update_part",
    "refblock_alloc",
    "refblock_alloc_hookup",
    "refblock_alloc_write",
    "refblock_alloc_write_blocks",
    "refblock_alloc_write_table",
    "refblock_alloc_switch_table",
    "cluster_alloc",
    "cluster_alloc_bytes",
    "cluster_free",
    "flush_to_os",
    "flush_to_disk",
    "pwritev_rmw_head",
    "pwritev_rmw_after_head",
    "pwritev_rmw_tail",
    "pwritev_rmw_after_tail",
    "pwritev",
    "pwritev_zero",
    "pwritev_done",
    "empty_image_prepare",
    "l1_shrink_write_table",
    "l1_shrink_free_l2_clusters",
    "cor_write",
    "cluster_alloc_space",
    "none",
};

absl::Status NoSuchTag(std::string_view what, std::string_view tag) {
  return absl::NotFoundError(StrCat(what, " '", tag, "': no request is suspended under that tag"));
}

}  // namespace

bool IsFaultEvent(std::string_view name) {
  return std::find(std::begin(kEvents), std::end(kEvents), name) != std::end(kEvents);
}

std::vector<std::string_view> FaultEventNames() { return {std::begin(kEvents), std::end(kEvents)}; }

absl::Status BreakPoints::Add(std::string_view event, std::string tag) {
  if (!IsFaultEvent(event)) {
    return absl::InvalidArgumentError(
        StrCat("break point '", tag, "': there is no event '", event, "'"));
  }
  break_points_.push_back({std::string(event), std::move(tag)});
  return absl::OkStatus();
}

BreakPoints::Suspended* BreakPoints::Find(std::string_view tag) const {
  for (Suspended* each = suspended_.front(); each != nullptr; each = suspended_.After(*each)) {
    if (each->tag == tag) return each;
  }
  return nullptr;
}

bool BreakPoints::IsSuspended(std::string_view tag) const { return Find(tag) != nullptr; }

absl::Status BreakPoints::Resume(std::string_view tag) {
  Suspended* const request = Find(tag);
  if (request == nullptr) return NoSuchTag("resume", tag);
  if (listener_) listener_("Resuming", tag);
  suspended_.Remove(*request);
  request->queue.WakeOne();
  return absl::OkStatus();
}

absl::Status BreakPoints::Remove(std::string_view tag) {
  const size_t removed =
      std::erase_if(break_points_, [&](const BreakPoint& each) { return each.tag == tag; });
  if (Resume(tag).ok()) {
    while (Resume(tag).ok()) continue;
    return absl::OkStatus();
  }
  return removed > 0 ? absl::OkStatus() : NoSuchTag("remove break point", tag);
}

bool BreakPoints::Has(std::string_view tag) const {
  return IsSuspended(tag) || std::any_of(break_points_.begin(), break_points_.end(),
                                         [&](const BreakPoint& each) { return each.tag == tag; });
}

void BreakPoints::RemoveAll() {
  break_points_.clear();
  while (Suspended* const request = suspended_.PopFront()) request->queue.WakeOne();
}

void BreakPoints::Close() {
  is_closed_ = true;
  RemoveAll();
  watchers_.WakeAll();
}

void BreakPoints::CoWaitSuspended(std::string_view tag) {
  while (!is_closed_ && !IsSuspended(tag)) watchers_.CoWait("break_points.watch", this);
}

void BreakPoints::CoReach(std::string_view event) {
  if (is_closed_) return;
  const auto found = std::find_if(break_points_.begin(), break_points_.end(),
                                  [&](const BreakPoint& each) { return each.event == event; });
  if (found == break_points_.end()) return;
  Suspended request(std::move(found->tag));
  break_points_.erase(found);
  suspended_.PushBack(request);
  if (listener_) listener_("Suspended", request.tag);
  watchers_.WakeAll();
  request.queue.CoWait("break_point", &request);
}

void BreakPoints::DescribeWait(WaitDescription& description) const {
  description.object = "a request at a break point";
}

void BreakPoints::Suspended::DescribeWait(WaitDescription& description) const {
  description.object = StrCat("break point '", tag, "'; resume it");
}

}  // namespace millrace
