#include "millrace/graph/io/node_io.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_context.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/graph/io/format_io.h"
#include "millrace/graph/io/node_drivers.h"
#include "millrace/graph/io/protocol_io.h"

namespace millrace {
namespace {

// The child that a transparent filter stands aside for; null if the filter acts.
Node* StandAside(Node& node, bool is_transparent) {
  if (!is_transparent) return nullptr;
  Edge* edge = node.FindChild(Role::kFiltered);
  return edge == nullptr ? nullptr : edge->child;
}

template <typename Flags>
ChangeNote::Effect EffectOf(const Flags& flags) {
  return flags.only_if_unallocated ? ChangeNote::Effect::kNone : ChangeNote::Effect::kVisible;
}

// Mutant R31: numbers of writes, which of them the last flush was begun and ended for.
struct FlushTurns {
  uint64_t written = 0;
  uint64_t begun = 0;
  uint64_t ended = 0;
  std::shared_ptr<Condition> end_of_one = std::make_shared<Condition>("the flush before");
};

// What a driver answers. An error without a text would leave whoever is told it with nothing.
absl::Status AnswerOf(const Node& node, absl::Status status) {
  if (__builtin_expect(status.ok() || !status.message().empty(), 1)) return status;
  return WithContext(status, StrCat("driver '", node.driver->driver_name(), "' of node '",
                                    node.InWords(), "' has failed and does not say how: ",
                                    std::string(absl::StatusCodeToString(status.code()))));
}

}  // namespace

absl::Status NotOpenError(const Node& node) {
  return RefusalStatus(absl::StatusCode::kFailedPrecondition,
                       {.reason = ConflictReason::kNodeNotOpen,
                        .object = node.name,
                        .next_step = "CoOpenNode it first"},
                       StrCat("node '", node.name, "' is not open"));
}

// The innermost node that was asked is the one whose driver it is.
void DriverThrew(const Node& node) {
  internal::ExceptionEscaped(
      StrCat("driver '", node.driver->driver_name(), "' of node '", node.InWords(), "'"),
      "a driver answers with an absl::Status (graph/driver.h)");
}

absl::Status CoReadNode(Node& node, uint64_t offset, const IoVector& target) try {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(node));
  if (target.bytes() == 0) return absl::OkStatus();
  InFlightRequest request(node);
  switch (node.driver->kind()) {
    case NodeKind::kFormat:
      return AnswerOf(node, CoReadFormat(node, AsFormat(node), offset, target));
    case NodeKind::kProtocol:
      return AnswerOf(node, CoReadProtocol(node, AsProtocol(node), offset, target));
    case NodeKind::kFilter:
      break;
  }
  if (Node* child = StandAside(node, AsFilter(node).is_transparent_for_reads())) {
    return CoReadNode(*child, offset, target);
  }
  return AnswerOf(node, AsFilter(node).CoRead(offset, target));
} catch (...) {
  DriverThrew(node);
}

absl::Status CoWriteNode(Node& node, uint64_t offset, const IoVector& source,
                         WriteFlags flags) try {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(node));
  if (source.bytes() == 0) return absl::OkStatus();
  // A zero write gives no promise about durability.
  if (node.io.detect_zeroes != DetectZeroes::kOff && !flags.force_unit_access && source.IsZero()) {
    return CoWriteZeroesNode(node, ByteRange(offset, source.bytes()),
                             {.may_unmap = node.io.detect_zeroes == DetectZeroes::kUnmap,
                              .only_if_unallocated = flags.only_if_unallocated});
  }
  InFlightRequest request(node);
  const ChangeNote note(node, ByteRange(offset, source.bytes()), EffectOf(flags));
  node.NoteWrite(offset + source.bytes());
  MILLRACE_MUTANT(kR31) ++MutantNote<FlushTurns>(&node).written;
  switch (node.driver->kind()) {
    case NodeKind::kFormat:
      return AnswerOf(node, CoWriteFormat(node, AsFormat(node), offset, source, flags));
    case NodeKind::kProtocol:
      // A protocol has nothing unallocated to fill.
      if (flags.only_if_unallocated) return absl::OkStatus();
      return AnswerOf(node, CoWriteProtocol(node, AsProtocol(node), offset, source, flags));
    case NodeKind::kFilter:
      break;
  }
  if (Node* child = StandAside(node, AsFilter(node).is_transparent_for_writes())) {
    return CoWriteNode(*child, offset, source, flags);
  }
  return AnswerOf(node, AsFilter(node).CoWrite(offset, source, flags));
} catch (...) {
  DriverThrew(node);
}

absl::Status CoWriteZeroesNode(Node& node, ByteRange range, ZeroFlags flags) try {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(node));
  if (range.empty()) return absl::OkStatus();
  InFlightRequest request(node);
  const ChangeNote note(node, range, EffectOf(flags));
  node.NoteWrite(range.end());
  switch (node.driver->kind()) {
    case NodeKind::kFormat:
      return AnswerOf(node, CoWriteZeroesFormat(node, AsFormat(node), range, flags));
    case NodeKind::kProtocol:
      if (flags.only_if_unallocated) return absl::OkStatus();
      return AnswerOf(node, CoWriteZeroesProtocol(node, AsProtocol(node), range, flags));
    case NodeKind::kFilter:
      break;
  }
  if (Node* child = StandAside(node, AsFilter(node).is_transparent_for_writes())) {
    return CoWriteZeroesNode(*child, range, flags);
  }
  return AnswerOf(node, AsFilter(node).CoWriteZeroes(range, flags));
} catch (...) {
  DriverThrew(node);
}

absl::Status CoDiscardNode(Node& node, ByteRange range) try {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(node));
  if (range.empty() || node.io.ignores_discards) return absl::OkStatus();
  InFlightRequest request(node);
  const ChangeNote note(node, range);
  switch (node.driver->kind()) {
    case NodeKind::kFormat:
      return AnswerOf(node, CoDiscardFormat(node, AsFormat(node), range));
    case NodeKind::kProtocol:
      return AnswerOf(node, CoDiscardProtocol(node, AsProtocol(node), range));
    case NodeKind::kFilter:
      break;
  }
  return AnswerOf(node, AsFilter(node).CoDiscard(range));
} catch (...) {
  DriverThrew(node);
}

absl::Status CoForgetNode(Node& node, ByteRange range) {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(node));
  InFlightRequest request(node);
  Node* image = &node;
  while (image->is_filter()) image = image->FilteredOrBacking()->child;
  if (image->driver->kind() != NodeKind::kFormat) {
    return absl::UnimplementedError(
        StrCat("'", image->InWords(), "' is no overlay: there is nothing that could show through"));
  }
  absl::Status status = AsFormat(*image).CoForget(range);
  ++image->mapping_revision;
  return status;
}

namespace {

enum class Owed : uint8_t { kAll, kOwnChanges };

// Declared first: clang 14 drops the mark of a function whose body is a try block.
absl::Status CoFlush(Node& node, Owed owed) MILLRACE_MAY_SUSPEND;
absl::Status CoFlush(Node& node, Owed owed) try {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(node));
  InFlightRequest request(node);
  switch (node.driver->kind()) {
    case NodeKind::kFormat:
      if (Edge* edge = node.FindChild(Role::kPrimary)) CoRaiseEvent(*edge->child, "flush_to_os");
      MILLRACE_RETURN_IF_ERROR(AsFormat(node).CoFlushMetadata());
      if (Edge* edge = node.FindChild(Role::kPrimary)) {
        CoRaiseEvent(*edge->child, "flush_to_disk");
        return CoFlush(*edge->child, owed);
      }
      return absl::OkStatus();
    case NodeKind::kProtocol:
      if (node.io.ignores_flushes) return absl::OkStatus();
      if (owed == Owed::kOwnChanges && !AsProtocol(node).has_unflushed_changes()) {
        return absl::OkStatus();
      }
      return AnswerOf(node, AsProtocol(node).CoFlush());
    case NodeKind::kFilter:
      break;
  }
  return AnswerOf(node, AsFilter(node).CoFlush());
} catch (...) {
  DriverThrew(node);
}

}  // namespace

absl::Status CoFlushNode(Node& node) {
  MILLRACE_MUTANT(kR31) {  // one after the other; but two for the same writes lead both
    FlushTurns& turns = MutantNote<FlushTurns>(&node);
    const uint64_t mine = turns.written;
    turns.end_of_one->CoWaitUntil([&] { return turns.begun == turns.ended; });
    turns.begun = mine;
    absl::Status status = CoFlush(node, Owed::kAll);
    turns.ended = mine;
    turns.end_of_one->Notify();
    return status;
  }
  return CoFlush(node, Owed::kAll);
}

absl::Status CoFlushOwnChanges(Node& node) { return CoFlush(node, Owed::kOwnChanges); }

namespace {

// Declared first: clang 14 drops the mark of a function whose body is a try block.
absl::Status CoResizeDriver(Node& node, uint64_t bytes) MILLRACE_MAY_SUSPEND;
absl::Status CoResizeDriver(Node& node, uint64_t bytes) try {
  switch (node.driver->kind()) {
    case NodeKind::kFormat:
      return AnswerOf(node, CoResizeFormat(node, AsFormat(node), bytes));
    case NodeKind::kProtocol:
      return AnswerOf(node, AsProtocol(node).CoResize(bytes));
    case NodeKind::kFilter:
      break;
  }
  return AnswerOf(node, AsFilter(node).CoResize(bytes));
} catch (...) {
  DriverThrew(node);
}

}  // namespace

absl::Status CoResizeNode(Node& node, uint64_t bytes) {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(node));
  InFlightRequest request(node);
  absl::Status status = CoResizeDriver(node, bytes);
  node.NoteResize();
  return status;
}

absl::Status CoReserveInNode(Node& node, ByteRange range) {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(node));
  if (node.driver->kind() != NodeKind::kProtocol) {
    return absl::UnimplementedError(StrCat("reserve in '", node.name, "': not a file"));
  }
  const InFlightRequest request(node);
  return CoWriteZeroesProtocol(node, AsProtocol(node), range, {});
}

namespace {

// What shows its file byte by byte has all of it, and so does not ask there; but a filter between
// the two may have something to say.
absl::Status CoAskBelow(const Node& node, ByteRange range) MILLRACE_MAY_SUSPEND {
  const std::optional<uint64_t> offset = node.driver->offset_in_primary();
  const Edge* const edge = offset ? node.FindChild(Role::kPrimary) : nullptr;
  if (edge == nullptr || !edge->child->is_filter()) return absl::OkStatus();
  InFlightRequest request(*edge->child);
  return AsFilter(*edge->child).CoBeforeMap(ByteRange(*offset + range.offset, range.bytes));
}

}  // namespace

absl::StatusOr<Extent> CoMapNode(Node& node, ByteRange range) try {
  MILLRACE_RETURN_IF_ERROR(CheckOpen(node));
  InFlightRequest request(node);
  switch (node.driver->kind()) {
    case NodeKind::kFormat:
      MILLRACE_RETURN_IF_ERROR(CoAskBelow(node, range));
      return AsFormat(node).CoMap(range);
    case NodeKind::kProtocol:
      return AsProtocol(node).CoMap(range);
    case NodeKind::kFilter:
      break;
  }
  Edge* edge = node.FindChild(Role::kFiltered);
  if (edge == nullptr) return absl::InternalError(StrCat("filter '", node.name, "' has no child"));
  MILLRACE_RETURN_IF_ERROR(AsFilter(node).CoBeforeMap(range));
  return CoMapNode(*edge->child, range);
} catch (...) {
  DriverThrew(node);
}

void CoRaiseEvent(Node& node, std::string_view event) try {
  if (node.driver->kind() != NodeKind::kFilter) return;
  InFlightRequest request(node);
  if (AsFilter(node).wants_events()) {
    AsFilter(node).CoEvent(event);
  } else if (Edge* edge = node.FindChild(Role::kFiltered)) {
    CoRaiseEvent(*edge->child, event);
  }
} catch (...) {
  DriverThrew(node);
}

absl::StatusOr<AllocationRun> CoAllocationInChain(Node& top, ByteRange range, const Node* first,
                                                  const Node* last) {
  // One request on the top keeps every link below it in place.
  InFlightRequest request(top);
  AllocationRun run;
  run.bytes = range.bytes;
  bool is_inside = first == nullptr;
  for (Node* node = &top; node != nullptr;) {
    is_inside = is_inside || node == first;
    Edge* down = node->FilteredOrBacking();
    Node* next = down == nullptr ? nullptr : down->child;
    if (is_inside && node->is_filter()) {
      MILLRACE_RETURN_IF_ERROR(AsFilter(*node).CoBeforeMap(ByteRange(range.offset, run.bytes)));
    }
    if (is_inside && !node->is_filter()) {
      const uint64_t layer_bytes = node->driver->bytes();
      if (range.offset >= layer_bytes) {
        // A layer shorter than the one above reads as zeroes beyond its end, and hides what is
        // below.
        run.is_allocated = node != &top;
        run.is_zero = true;
        run.layer = node->id;
        return run;
      }
      run.bytes = std::min(run.bytes, layer_bytes - range.offset);
      MILLRACE_ASSIGN_OR_RETURN(Extent extent,
                                CoMapNode(*node, ByteRange(range.offset, run.bytes)));
      run.bytes = std::min(run.bytes, extent.bytes);
      if (extent.is_allocated()) {
        run.is_allocated = true;
        run.is_zero = extent.kind == ExtentKind::kZero;
        run.layer = node->id;
        return run;
      }
    }
    if (node == last) return run;
    node = next;
  }
  if (last != nullptr || !is_inside) {
    return absl::NotFoundError(StrCat("the chain below '", top.name, "' does not contain '",
                                      last != nullptr ? last->name : first->name, "'"));
  }
  return run;
}

}  // namespace millrace
