// Attachment's I/O: bounds, permissions, the queue at a drain, then the generic path.
#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/drain_core.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/io/chain_parts.h"
#include "millrace/graph/io/node_io.h"

namespace millrace {
namespace {

absl::Status CheckRange(const AttachmentCore& core, std::string_view operation, uint64_t offset,
                        uint64_t bytes) {
  const Node& node = *core.edge.child;
  MILLRACE_RETURN_IF_ERROR(CheckOpen(node));
  const uint64_t node_bytes = node.driver->bytes();
  if (ByteRange::IsRepresentable(offset, bytes) && offset + bytes <= node_bytes) {
    return absl::OkStatus();
  }
  return RefusalStatus(absl::StatusCode::kInvalidArgument,
                       {.reason = ConflictReason::kOutOfRange,
                        .object = node.name,
                        .next_step = "stay inside, or resize it first",
                        .detail = StrCat(node_bytes)},
                       StrCat("cannot ", operation, " ", bytes, " bytes at ", offset, " of node '",
                              node.InWords(), "': it has ", node_bytes, " bytes"));
}

absl::Status CheckPermission(const AttachmentCore& core, std::string_view operation,
                             PermissionSet any_of) {
  if (core.edge.permissions.used.Intersects(any_of)) return absl::OkStatus();
  const Holder& holder = *core.options.holder;
  const Node& node = *core.edge.child;
  return RefusalStatus(
      absl::StatusCode::kInvalidArgument,
      {.reason = ConflictReason::kNotPermitted,
       .object = node.name,
       .holders = {holder.AsConflictHolder()},
       .next_step = node.is_read_only ? "open it for writing, and attach with the permission"
                                      : "attach with it",
       .detail = any_of.ToString()},
      StrCat("cannot ", operation, " node '", node.InWords(),
             "': ", node.is_read_only ? "it is read-only, and " : "", holder.Describe(),
             " did not ask for the permission '", any_of.ToString(), "'"));
}

// Whoever empties an image answers for it that the same is shown; a guest knows nothing of that.
absl::Status CheckMayForget(const AttachmentCore& core) {
  if (!core.options.queues_requests) return absl::OkStatus();
  const Holder& holder = *core.options.holder;
  return RefusalStatus(absl::StatusCode::kInvalidArgument,
                       {.reason = ConflictReason::kNotPermitted,
                        .object = core.edge.child->name,
                        .holders = {holder.AsConflictHolder()},
                        .next_step = "discard it, or attach as a job does (queues_requests off)"},
                       StrCat("cannot empty node '", core.edge.child->InWords(),
                              "': ", holder.Describe(), " does I/O as a guest"));
}

absl::Status NotAttached() {
  return RefusalStatus(absl::StatusCode::kFailedPrecondition,
                       {.reason = ConflictReason::kNotAttached, .next_step = "attach it first"},
                       "the attachment is not attached to a node");
}

}  // namespace

// ---- A request that has entered ----------------------------------------------------------------

namespace {

GuestLoad* GuestLoadOf(const AttachmentCore& core) {
  return core.options.queues_requests ? &core.graph.guest_load() : nullptr;
}

}  // namespace

absl::Status AttachmentCore::CoRead(const InFlightRequest& entered, uint64_t offset,
                                    const IoVector& target) {
  MILLRACE_RETURN_IF_ERROR(CheckRange(*this, "read", offset, target.bytes()));
  const GuestLoad::Request timed(GuestLoadOf(*this), /*is_write=*/false);
  return CoReadNode(entered.node(), offset, target);
}

absl::Status AttachmentCore::CoWrite(const InFlightRequest& entered, uint64_t offset,
                                     const IoVector& source, WriteFlags flags) {
  const PermissionSet needed = flags.only_if_unallocated ? kWrite | kWriteUnchanged : kWrite;
  MILLRACE_RETURN_IF_ERROR(CheckPermission(*this, "write", needed));
  MILLRACE_RETURN_IF_ERROR(CheckRange(*this, "write", offset, source.bytes()));
  const GuestLoad::Request timed(GuestLoadOf(*this), /*is_write=*/true);
  return CoWriteNode(entered.node(), offset, source, flags);
}

absl::Status AttachmentCore::CoWriteZeroes(const InFlightRequest& entered, uint64_t offset,
                                           uint64_t bytes, ZeroFlags flags) {
  const PermissionSet needed = flags.only_if_unallocated ? kWrite | kWriteUnchanged : kWrite;
  MILLRACE_RETURN_IF_ERROR(CheckPermission(*this, "write zeroes to", needed));
  MILLRACE_RETURN_IF_ERROR(CheckRange(*this, "write zeroes to", offset, bytes));
  const GuestLoad::Request timed(GuestLoadOf(*this), /*is_write=*/true);
  return CoWriteZeroesNode(entered.node(), ByteRange(offset, bytes), flags);
}

absl::Status AttachmentCore::CoDiscard(const InFlightRequest& entered, uint64_t offset,
                                       uint64_t bytes) {
  MILLRACE_RETURN_IF_ERROR(CheckPermission(*this, "discard", kWrite));
  MILLRACE_RETURN_IF_ERROR(CheckRange(*this, "discard", offset, bytes));
  const GuestLoad::Request timed(GuestLoadOf(*this), /*is_write=*/true);
  return CoDiscardNode(entered.node(), ByteRange(offset, bytes));
}

absl::Status AttachmentCore::CoFlush(const InFlightRequest& entered) {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(entered.node()));
  // A node that nobody may write has nothing to make durable.
  if (entered.node().is_read_only) return absl::OkStatus();
  return CoFlushNode(entered.node());
}

// ---- Attachment --------------------------------------------------------------------------------

absl::Status Attachment::CoRead(uint64_t offset, const IoVector& target) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;  // this object may move while the operation is under way
  const AttachmentUse use(core);
  InFlightRequest request;
  core.CoEnter(request);
  return core.CoRead(request, offset, target);
}

absl::Status Attachment::CoWrite(uint64_t offset, const IoVector& source,
                                 WriteFlags flags) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;
  const AttachmentUse use(core);
  InFlightRequest request;
  core.CoEnter(request);
  return core.CoWrite(request, offset, source, flags);
}

absl::Status Attachment::CoWriteZeroes(ByteRange range, ZeroFlags flags) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;
  const AttachmentUse use(core);
  InFlightRequest request;
  core.CoEnter(request);
  return core.CoWriteZeroes(request, range.offset, range.bytes, flags);
}

absl::Status Attachment::CoDiscard(ByteRange range) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;
  const AttachmentUse use(core);
  MILLRACE_MUTANT(kR90) return CoDiscardNode(*core.edge.child, range);  // and takes no lock
  InFlightRequest request;
  core.CoEnter(request);
  return core.CoDiscard(request, range.offset, range.bytes);
}

absl::Status Attachment::CoForget(ByteRange range) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;
  const AttachmentUse use(core);
  InFlightRequest request;
  core.CoEnter(request);
  MILLRACE_RETURN_IF_ERROR(CheckMayForget(core));
  MILLRACE_RETURN_IF_ERROR(CheckPermission(core, "empty", kWrite | kWriteUnchanged));
  MILLRACE_RETURN_IF_ERROR(CheckRange(core, "empty", range.offset, range.bytes));
  return CoForgetNode(request.node(), range);
}

absl::Status Attachment::CoFlush() noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;
  const AttachmentUse use(core);
  InFlightRequest request;
  core.CoEnter(request);
  return core.CoFlush(request);
}

namespace {

// An operation of its attachment that has no request of the attachment's in flight.
class IdleUse {
 public:
  explicit IdleUse(AttachmentCore& core) : core_(core) { ++core_.idle_uses; }
  ~IdleUse() { --core_.idle_uses; }
  IdleUse(const IdleUse&) = delete;
  IdleUse& operator=(const IdleUse&) = delete;

 private:
  AttachmentCore& core_;
};

Mutex& ResizeMutexOf(Node& node) {
  if (node.resize_mutex == nullptr) node.resize_mutex = std::make_unique<Mutex>("resize");
  return *node.resize_mutex;
}

// False, and nothing is done: by the time it has its turn, somebody else has made the node larger
// than that.
absl::StatusOr<bool> CoGrow(AttachmentCore& core, uint64_t bytes) MILLRACE_MAY_SUSPEND {
  InFlightRequest request;
  core.CoEnter(request);
  Node& node = request.node();
  const MutexLock turn = CoHold(ResizeMutexOf(node));
  if (bytes < node.driver->bytes()) return false;
  MILLRACE_RETURN_IF_ERROR(CoResizeNode(node, bytes));
  return true;
}

absl::Status CheckRepresentable(const Node& node, uint64_t bytes) {
  if (bytes <= kBytesMax) return absl::OkStatus();
  return RefusalStatus(absl::StatusCode::kInvalidArgument,
                       {.reason = ConflictReason::kOutOfRange,
                        .object = node.name,
                        .next_step = "choose a smaller size",
                        .detail = StrCat(kBytesMax)},
                       StrCat("cannot resize node '", node.InWords(), "' to ", bytes,
                              " bytes: no disk is larger than ", kBytesMax));
}

// A granted section of the attachment's own user would have to end first, which it will not do
// before this returns.
absl::Status CheckNotInOwnSection(const AttachmentCore& core) {
  if (!core.options.queues_requests) return absl::OkStatus();  // a job: its sections do not exclude
  const Node& node = *core.edge.child;
  const HolderRef& user = core.options.holder;
  const bool is_own = std::any_of(
      node.sections.begin(), node.sections.end(),
      [&](const SectionCore* section) { return section->is_granted && section->IsOwner(user); });
  if (!is_own) return absl::OkStatus();
  return RefusalStatus(
      absl::StatusCode::kFailedPrecondition,
      {.reason = ConflictReason::kNodeInUse,
       .object = node.name,
       .holders = {user->AsConflictHolder()},
       .next_step = "end that section first"},
      StrCat("cannot shrink node '", node.InWords(), "': ", user->Describe(),
             " holds a drained section over it, and a shrink waits for one of its own"));
}

// What is cut off must not be written meanwhile: it would come back when the node grows again. So
// the section is nobody's who has requests, and those of the attachment itself queue, too; a job,
// whose requests never queue, has none on their way while it resizes.
absl::Status CoShrink(AttachmentCore& core, uint64_t bytes) MILLRACE_MAY_SUSPEND {
  const HolderRef& user = core.options.holder;
  const HolderRef owner = core.options.queues_requests ? MakeHolder(user->id, "resize") : user;
  MILLRACE_RETURN_IF_ERROR(CheckNotInOwnSection(core));
  const IdleUse idle(core);
  for (;;) {
    const NodeId at = core.edge.child->id;
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(core.graph, {at}, {owner}));
    if (core.edge.child->id != at) continue;  // it has moved while the drain waited
    MILLRACE_MUTANT(kR74) drained.End();      // at rest for a moment
    InFlightRequest request(*core.edge.child);
    const MutexLock turn = CoHold(ResizeMutexOf(request.node()));
    return CoResizeNode(request.node(), bytes);
  }
}

}  // namespace

absl::Status Attachment::CoResize(uint64_t bytes) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;  // this object may move while the operation is under way
  const AttachmentUse use(core);
  MILLRACE_RETURN_IF_ERROR(CheckPermission(core, "resize", kResize));
  MILLRACE_RETURN_IF_ERROR(CheckOpen(*core.edge.child));
  MILLRACE_RETURN_IF_ERROR(CheckRepresentable(*core.edge.child, bytes));
  if (bytes >= core.edge.child->driver->bytes()) {
    MILLRACE_ASSIGN_OR_RETURN(const bool is_done, CoGrow(core, bytes));
    if (is_done) return absl::OkStatus();
  }
  return CoShrink(core, bytes);
}

namespace {

// The layers that an allocation is asked of; null where the caller named none.
struct Layers {
  const Node* first = nullptr;
  const Node* last = nullptr;
};

absl::StatusOr<Layers> ResolveLayers(const Graph& graph, NodeId first, NodeId last) {
  const GraphInternals& internals = GraphInternals::Of(graph);
  Layers layers;
  if (first.is_valid()) layers.first = internals.Resolve(first);
  if (last.is_valid()) layers.last = internals.Resolve(last);
  if (first.is_valid() && layers.first == nullptr) return internals.StaleError(first);
  if (last.is_valid() && layers.last == nullptr) return internals.StaleError(last);
  return layers;
}

}  // namespace

absl::StatusOr<AllocationRun> Attachment::CoAllocation(ByteRange range, NodeId first,
                                                       NodeId last) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;  // this object may move while the operation is under way
  const AttachmentUse use(core);
  InFlightRequest request;
  core.CoEnter(request);
  MILLRACE_RETURN_IF_ERROR(CheckRange(core, "map", range.offset, range.bytes));
  MILLRACE_ASSIGN_OR_RETURN(const Layers layers, ResolveLayers(core.graph, first, last));
  return CoAllocationInChain(request.node(), range, layers.first, layers.last);
}

// ---- Much at once ------------------------------------------------------------------------------

absl::Status Attachment::CoAllocations(ByteRange range, NodeId first, NodeId last,
                                       std::vector<AllocationRun>* runs) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;
  const AttachmentUse use(core);
  InFlightRequest request;
  core.CoEnter(request);
  MILLRACE_RETURN_IF_ERROR(CheckRange(core, "map", range.offset, range.bytes));
  MILLRACE_ASSIGN_OR_RETURN(const Layers layers, ResolveLayers(core.graph, first, last));
  return CoAllocationsInChain(request.node(), range, layers.first, layers.last, runs);
}

absl::Status Attachment::CoReadParts(absl::Span<const ChainPart> parts,
                                     const IoVector& target) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;
  const AttachmentUse use(core);
  InFlightRequest request;
  core.CoEnter(request);
  for (const ChainPart& part : parts) {
    MILLRACE_RETURN_IF_ERROR(CheckRange(core, "read", part.range.offset, part.range.bytes));
  }
  return CoReadNodeParts(request.node(), parts, target);
}

absl::Status Attachment::CoWriteParts(absl::Span<const ByteRange> ranges, const IoVector& source,
                                      WriteFlags flags) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;
  const AttachmentUse use(core);
  InFlightRequest request;
  core.CoEnter(request);
  const PermissionSet needed = flags.only_if_unallocated ? kWrite | kWriteUnchanged : kWrite;
  MILLRACE_RETURN_IF_ERROR(CheckPermission(core, "write", needed));
  for (const ByteRange& range : ranges) {
    MILLRACE_RETURN_IF_ERROR(CheckRange(core, "write", range.offset, range.bytes));
  }
  return CoWriteNodeParts(request.node(), ranges, source, flags);
}

bool Attachment::CoTryShareParts(absl::Span<const ChainPart> parts, Attachment& target,
                                 const IoVector& memory) noexcept {
  if (!is_attached() || !target.is_attached()) return false;
  AttachmentCore& to = *target.core_;
  const AttachmentUse use(*core_);
  const AttachmentUse target_use(to);
  InFlightRequest request;
  core_->CoEnter(request);
  InFlightRequest target_request;
  to.CoEnter(target_request);
  bool may_share = CheckPermission(to, "write", kWrite).ok();
  for (const ChainPart& part : parts) {
    may_share = may_share &&
                CheckRange(*core_, "share", part.range.offset, part.range.bytes).ok() &&
                CheckRange(to, "share", part.range.offset, part.range.bytes).ok();
  }
  return may_share && CoTryShareNodeParts(request.node(), parts, target_request.node(), memory, {});
}

absl::Status Attachment::CoPrefetch(absl::Span<const ChainPart> parts) noexcept {
  if (!is_attached()) return NotAttached();
  AttachmentCore& core = *core_;
  const AttachmentUse use(core);
  InFlightRequest request;
  core.CoEnter(request);
  for (const ChainPart& part : parts) {
    MILLRACE_RETURN_IF_ERROR(CheckRange(core, "prefetch", part.range.offset, part.range.bytes));
  }
  return CoPrefetchNode(request.node(), parts);
}

PathTraits Attachment::PathBelow(NodeId last) const {
  if (!is_attached()) return {};
  const Node* const end =
      last.is_valid() ? GraphInternals::Of(core_->graph).Resolve(last) : nullptr;
  return PathTraitsBelow(*core_->edge.child, end);
}

}  // namespace millrace
