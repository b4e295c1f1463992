#include "millrace/graph/filters/fault_injection.h"

#include <algorithm>
#include <list>
#include <utility>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_internals.h"

namespace millrace {
namespace {

constexpr uint64_t kRuleSectorBytes = 512;
constexpr int kErrorNumberMax = 4095;  // the kernel's own bound

absl::Status CheckRule(std::string_view kind, const std::string& event) {
  if (IsFaultEvent(event)) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat("fault injection: a rule to ", kind,
                                           " names the event '", event, "', which does not exist"));
}

absl::Status CheckOptions(const FaultInjectionOptions& options) {
  for (const FaultInjectRule& rule : options.inject) {
    MILLRACE_RETURN_IF_ERROR(CheckRule("inject an error", rule.event));
    if (rule.error_number >= 0 && rule.error_number <= kErrorNumberMax) continue;
    return absl::InvalidArgumentError(StrCat("fault injection: a rule at '", rule.event,
                                             "' injects errno ", rule.error_number, "; use 0 to ",
                                             kErrorNumberMax));
  }
  for (const FaultSetStateRule& rule : options.set_state) {
    MILLRACE_RETURN_IF_ERROR(CheckRule("set the state", rule.event));
    if (rule.new_state != 0) continue;
    return absl::InvalidArgumentError(
        StrCat("fault injection: a rule at '", rule.event,
               "' sets the state to 0, which means any state; use 1 or more"));
  }
  return absl::OkStatus();
}

class FaultInjectionDriver final : public FilterDriver {
 public:
  explicit FaultInjectionDriver(FaultInjectionOptions options)
      : inject_(options.inject.begin(), options.inject.end()),
        set_state_(std::move(options.set_state)),
        limits_(options.limits),
        break_points_(std::move(options.break_points)),
        take_(options.take_child_permissions),
        unshare_(options.unshare_child_permissions) {}

  std::string_view driver_name() const override { return "blkdebug"; }
  std::string_view protocol_name() const override { return "blkdebug"; }
  bool wants_events() const override { return true; }
  std::shared_ptr<BreakPoints> break_points() const override { return break_points_; }
  std::string_view filtered_edge_name() const override { return "image"; }

  Permissions DerivePermissions(const PermissionContext& context) const override {
    Permissions derived = FilterDriver::DerivePermissions(context);
    return {derived.used | take_, derived.shared - unshare_};
  }

  uint64_t request_alignment() const override { return std::max<uint64_t>(limits_.align, 1); }

  absl::Status CoOpenFilter() override MILLRACE_MAY_SUSPEND {
    Apply("none");
    return absl::OkStatus();
  }

  void CoEvent(std::string_view event) override MILLRACE_MAY_SUSPEND {
    Apply(event);
    if (break_points_ != nullptr) break_points_->CoReach(event);
  }

  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoBeforeMap(ByteRange range) override MILLRACE_MAY_SUSPEND {
    return CoCheck(kFaultMap, "map", range);
  }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(CoCheck(kFaultFlush, "flush", ByteRange()));
    return FilterDriver::CoFlush();
  }

 private:
  using Rules = std::list<FaultInjectRule>;

  // Requests of the sizes that the limits allow.
  absl::Status CoReadBlocks(uint64_t offset, const IoVector& target) MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteBlocks(uint64_t offset, const IoVector& source, WriteFlags flags)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteAligned(uint64_t offset, const IoVector& source, WriteFlags flags)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteUnaligned(ByteRange blocks, uint64_t offset, const IoVector& source,
                                WriteFlags flags) MILLRACE_MAY_SUSPEND;
  absl::Status CoReadSurroundings(ByteRange blocks, ByteRange range, IoBuffer& bounce)
      MILLRACE_MAY_SUSPEND;
  ByteRange BlocksInside(ByteRange range) const;

  bool InState(uint32_t wanted) const { return wanted == 0 || wanted == state_; }
  bool Matches(const FaultInjectRule& rule, FaultIoType type, const ByteRange& range) const;
  void Apply(std::string_view event);
  absl::Status CoCheck(FaultIoType type, std::string_view what, ByteRange range)
      MILLRACE_MAY_SUSPEND;

  Rules inject_;
  // What the latest event that injects anything has armed; of those that match the first counts.
  std::vector<Rules::iterator> armed_;
  const std::vector<FaultSetStateRule> set_state_;
  const FaultLimits limits_;
  Mutex block_writes_{"blkdebug blocks"};
  const std::shared_ptr<BreakPoints> break_points_;
  const PermissionSet take_;
  const PermissionSet unshare_;
  uint32_t state_ = 1;
};

// ---- Requests ----------------------------------------------------------------------------------

absl::Status FaultInjectionDriver::CoReadBlocks(uint64_t offset, const IoVector& target) {
  const ByteRange range(offset, target.bytes());
  for (const ByteRange& part : SplitRange(range, limits_.max_transfer)) {
    MILLRACE_RETURN_IF_ERROR(CoCheck(kFaultRead, "read", part));
    MILLRACE_RETURN_IF_ERROR(
        FilterDriver::CoRead(part.offset, target.Slice(part.offset - offset, part.bytes)));
  }
  return absl::OkStatus();
}

absl::Status FaultInjectionDriver::CoWriteBlocks(uint64_t offset, const IoVector& source,
                                                 WriteFlags flags) {
  const ByteRange range(offset, source.bytes());
  for (const ByteRange& part : SplitRange(range, limits_.max_transfer)) {
    MILLRACE_RETURN_IF_ERROR(CoCheck(kFaultWrite, "write", part));
    MILLRACE_RETURN_IF_ERROR(
        FilterDriver::CoWrite(part.offset, source.Slice(part.offset - offset, part.bytes), flags));
  }
  return absl::OkStatus();
}

// The blocks around a range, without what lies behind the end.
ByteRange FaultInjectionDriver::BlocksInside(ByteRange range) const {
  const ByteRange blocks = limits_.BlocksAround(range);
  const uint64_t end = std::min(blocks.end(), std::max(bytes(), range.end()));
  return ByteRange(blocks.offset, end - blocks.offset);
}

absl::Status FaultInjectionDriver::CoRead(uint64_t offset, const IoVector& target) {
  const ByteRange range(offset, target.bytes());
  const ByteRange blocks = BlocksInside(range);
  if (blocks == range) return CoReadBlocks(offset, target);
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer bounce,
                            context().engine().buffers().TryTake(blocks.bytes, "blkdebug"));
  MILLRACE_RETURN_IF_ERROR(CoReadBlocks(blocks.offset, IoVector(bounce.data(), blocks.bytes)));
  target.CopyFrom(0, bounce.data() + (offset - blocks.offset), target.bytes());
  return absl::OkStatus();
}

// What is in the first and the last block around `range`. One block, or two with nothing between,
// are read at once, and then the events of both ends come together.
absl::Status FaultInjectionDriver::CoReadSurroundings(ByteRange blocks, ByteRange range,
                                                      IoBuffer& bounce) {
  const uint64_t unit = limits_.align;
  const bool has_head = range.offset > blocks.offset;
  const bool has_tail = range.end() < blocks.end();
  const bool at_once = blocks.bytes <= (has_head && has_tail ? 2 * unit : unit);
  auto read = [&](bool head, bool tail, ByteRange part) MILLRACE_MAY_SUSPEND -> absl::Status {
    if (head) CoEvent("pwritev_rmw_head");
    if (tail) CoEvent("pwritev_rmw_tail");
    const uint64_t at = part.offset - blocks.offset;
    MILLRACE_RETURN_IF_ERROR(CoReadBlocks(part.offset, IoVector(bounce.data() + at, part.bytes)));
    if (head) CoEvent("pwritev_rmw_after_head");
    if (tail) CoEvent("pwritev_rmw_after_tail");
    return absl::OkStatus();
  };
  if (at_once) return read(has_head, has_tail, blocks);
  if (has_head) {
    MILLRACE_RETURN_IF_ERROR(read(true, false, ByteRange(blocks.offset, unit)));
  }
  if (!has_tail) return absl::OkStatus();
  const uint64_t last = AlignDown(range.end(), unit);
  return read(false, true, ByteRange(last, blocks.end() - last));
}

absl::Status FaultInjectionDriver::CoWriteUnaligned(ByteRange blocks, uint64_t offset,
                                                    const IoVector& source, WriteFlags flags) {
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer bounce,
                            context().engine().buffers().TryTake(blocks.bytes, "blkdebug"));
  MILLRACE_RETURN_IF_ERROR(CoReadSurroundings(blocks, ByteRange(offset, source.bytes()), bounce));
  source.CopyTo(0, bounce.data() + (offset - blocks.offset), source.bytes());
  return CoWriteAligned(blocks.offset, IoVector(bounce.data(), blocks.bytes), flags);
}

absl::Status FaultInjectionDriver::CoWriteAligned(uint64_t offset, const IoVector& source,
                                                  WriteFlags flags) {
  CoEvent("pwritev");
  absl::Status status = CoWriteBlocks(offset, source, flags);
  CoEvent("pwritev_done");
  return status;
}

absl::Status FaultInjectionDriver::CoWrite(uint64_t offset, const IoVector& source,
                                           WriteFlags flags) {
  if (limits_.align <= 1) return CoWriteAligned(offset, source, flags);
  const ByteRange range(offset, source.bytes());
  const ByteRange blocks = BlocksInside(range);
  // A block that is read, changed and written must not be written by others meanwhile.
  MutexLock lock(CoHold(block_writes_));
  if (blocks == range) return CoWriteAligned(offset, source, flags);
  return CoWriteUnaligned(blocks, offset, source, flags);
}

absl::Status FaultInjectionDriver::CoWriteZeroes(ByteRange range, ZeroFlags flags) {
  const uint64_t unit = std::max(limits_.opt_write_zero, limits_.align);
  // Less than the preferred unit is written as data.
  if (unit > 1 && !flags.only_if_unallocated &&
      (!IsAligned(range.offset, unit) || !IsAligned(range.bytes, unit))) {
    MILLRACE_ASSIGN_OR_RETURN(IoBuffer zeroes,
                              context().engine().buffers().TryTake(range.bytes, "blkdebug"));
    const IoVector vector(zeroes.data(), range.bytes);
    vector.FillZero();
    return CoWrite(range.offset, vector, {});
  }
  CoEvent("pwritev_zero");
  absl::Status status;
  for (const ByteRange& part : SplitRange(range, limits_.max_write_zero)) {
    status = CoCheck(kFaultWriteZeroes, "write zeroes to", part);
    if (status.ok()) status = FilterDriver::CoWriteZeroes(part, flags);
    if (!status.ok()) break;
  }
  CoEvent("pwritev_done");
  return status;
}

absl::Status FaultInjectionDriver::CoDiscard(ByteRange range) {
  const uint64_t unit = std::max(limits_.opt_discard, limits_.align);
  // A discard is a hint: only whole units are passed on.
  if (unit > 1) {
    const uint64_t from = AlignUp(range.offset, unit);
    const uint64_t to = AlignDown(range.end(), unit);
    if (from >= to) return absl::OkStatus();
    range = ByteRange(from, to - from);
  }
  for (const ByteRange& part : SplitRange(range, limits_.max_discard)) {
    MILLRACE_RETURN_IF_ERROR(CoCheck(kFaultDiscard, "discard", part));
    MILLRACE_RETURN_IF_ERROR(FilterDriver::CoDiscard(part));
  }
  return absl::OkStatus();
}

// ---- Rules -------------------------------------------------------------------------------------

void FaultInjectionDriver::Apply(std::string_view event) {
  bool is_first = true;
  for (auto rule = inject_.begin(); rule != inject_.end(); ++rule) {
    if (rule->event != event || !InState(rule->state)) continue;
    if (std::exchange(is_first, false)) armed_.clear();
    armed_.push_back(rule);
  }
  uint32_t new_state = state_;
  for (const FaultSetStateRule& rule : set_state_) {
    if (rule.event == event && InState(rule.state)) new_state = rule.new_state;
  }
  state_ = new_state;
}

bool FaultInjectionDriver::Matches(const FaultInjectRule& rule, FaultIoType type,
                                   const ByteRange& range) const {
  if ((rule.io_types & type) == 0) return false;
  if (!rule.sector.has_value()) return true;
  return *rule.sector <= kBytesMax / kRuleSectorBytes &&
         range.Contains(*rule.sector * kRuleSectorBytes);
}

absl::Status FaultInjectionDriver::CoCheck(FaultIoType type, std::string_view what,
                                           ByteRange range) {
  const auto hit = std::find_if(armed_.begin(), armed_.end(),
                                [&](Rules::iterator rule) { return Matches(*rule, type, range); });
  if (hit == armed_.end()) return absl::OkStatus();
  const FaultInjectRule rule = **hit;
  if (rule.error_number == 0) return absl::OkStatus();
  if (rule.once) {
    inject_.erase(*hit);
    armed_.erase(hit);
  }
  if (!rule.immediately) CoYield();
  return ErrnoStatus(rule.error_number, StrCat(what, " '", context().node_name(), "' at ",
                                               range.offset, " (injected at ", rule.event, ")"));
}

}  // namespace

std::shared_ptr<BreakPoints> BreakPointsBelow(const Graph& graph, NodeId id) {
  const Node* node = GraphInternals::Of(graph).Resolve(id);
  while (node != nullptr) {
    if (node->is_filter()) {
      auto points = static_cast<const FilterDriver&>(*node->driver).break_points();
      if (points != nullptr) return points;
    }
    const Edge* edge = node->FindChild(node->is_filter() ? Role::kFiltered : Role::kPrimary);
    node = edge == nullptr ? nullptr : edge->child;
  }
  return nullptr;
}

absl::StatusOr<std::unique_ptr<FilterDriver>> MakeFaultInjectionDriver(
    FaultInjectionOptions options) {
  MILLRACE_RETURN_IF_ERROR(CheckOptions(options));
  MILLRACE_RETURN_IF_ERROR(options.limits.Validate());
  return std::make_unique<FaultInjectionDriver>(std::move(options));
}

}  // namespace millrace
