#include "examples/hypervisor/nbd/export.h"

#include <algorithm>
#include <array>
#include <utility>

#include "examples/hypervisor/nbd/protocol.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/map_image.h"

namespace millrace {

namespace {

uint32_t StateOf(const MapExtent& run, uint32_t context) {
  if (context == kNbdAllocationDepth) return run.allocation_depth;
  return (run.is_data ? 0 : nbd::kStateHole) | (run.is_zero ? nbd::kStateZero : 0);
}

// False: there is no room for one more, and it is of another kind than the last.
bool AppendExtent(const NbdExtent& extent, size_t extents_max, std::vector<NbdExtent>* extents) {
  if (!extents->empty() && extents->back().state == extent.state) {
    extents->back().bytes += extent.bytes;
    return true;
  }
  if (extents->size() == extents_max) return false;
  extents->push_back(extent);
  return true;
}

}  // namespace

AttachmentOptions ExportAttachment(Graph& graph, bool is_writable) {
  AttachmentOptions attachment;
  // Without an id, as QEMU's refusals have it.
  attachment.holder = MakeHolder("", "block device", graph.engine().clock().Now());
  attachment.purpose = "root";
  attachment.permissions.used = is_writable ? kConsistentRead | kWrite : kConsistentRead;
  attachment.permissions.shared = kAllPermissions - kResize;
  return attachment;
}

absl::StatusOr<std::shared_ptr<NbdExport>> NbdExport::Create(Graph& graph, NodeId node,
                                                             NbdExportOptions options) {
  MILLRACE_ASSIGN_OR_RETURN(
      Attachment backend,
      Attachment::Attach(graph, node, ExportAttachment(graph, options.is_writable)));
  return std::shared_ptr<NbdExport>(new NbdExport(graph, std::move(options), std::move(backend)));
}

NbdExport::NbdExport(Graph& graph, NbdExportOptions options, Attachment backend)
    : graph_(graph),
      options_(std::move(options)),
      backend_(std::move(backend)),
      port_(backend_.guest_port()),
      bytes_(backend_.bytes()),
      queries_(graph.engine().scheduler(), "nbd block status") {}

void NbdExport::CoEnd() {
  is_ending_ = true;
  queries_.CoJoin();
  bool is_over = false;
  TaskScope detaching("nbd export end");
  const bool is_started = detaching.Spawn("nbd export detach", [&]() MILLRACE_MAY_SUSPEND {
    backend_.CoDetach();
    is_over = true;
  });
  if (!is_started) {  // no stack: without hurry then
    backend_.CoDetach();
    is_over = true;
  }
  // What a throttle group holds back would hold up the end: a drain makes it let go.
  while (CoSleepFor(kMillisecond).ok() && !is_over) {
    absl::StatusOr<DrainedSection> drained = DrainedSection::CoBegin(graph_, {backend_.node()}, {});
    if (drained.ok()) drained->End();
  }
  detaching.CoJoin().IgnoreError();
}

uint16_t NbdExport::transmission_flags() const {
  // One attachment serves all connections, so a flush on one covers what was written on others.
  const uint16_t common =
      nbd::kHasFlags | nbd::kSendFlush | nbd::kSendFua | nbd::kSendCache | nbd::kCanMultiConn;
  if (!options_.is_writable) return common | nbd::kReadOnly;
  return common | nbd::kSendTrim | nbd::kSendWriteZeroes | nbd::kSendFastZero;
}

NbdContextSet NbdExport::contexts() const {
  const NbdContextSet depth =
      options_.tells_allocation_depth ? OnlyNbdContext(kNbdAllocationDepth) : 0;
  return OnlyNbdContext(kNbdAllocation) | depth;
}

// ---- Block status ------------------------------------------------------------------------------

void NbdExport::Ask(NbdStatusQuery& query) {
  if (is_ending_) {
    query.status = absl::CancelledError("the export is being removed");
    return query.on_done(query);
  }
  const bool is_started = queries_.Spawn("nbd block status", [this, &query]() MILLRACE_MAY_SUSPEND {
    query.status = CoAnswer(query);
    query.on_done(query);
  });
  if (is_started) return;
  query.status = absl::ResourceExhaustedError(
      "cannot look up what is allocated: no memory for a coroutine's stack; finish other work "
      "first");
  query.on_done(query);
}

absl::Status NbdExport::CoAnswer(NbdStatusQuery& query) {
  const auto is_asked = [&query](uint32_t context) {
    return ((query.contexts >> context) & 1) != 0;
  };
  for (std::vector<NbdExtent>& extents : query.extents) extents.clear();
  std::array<bool, kNbdContexts> is_full = {};  // each ends where its own runs have become too many
  for (uint64_t at = query.range.offset; at < query.range.end();) {
    if (!backend_.is_attached()) return absl::CancelledError("the export is being removed");
    MILLRACE_ASSIGN_OR_RETURN(const MapExtent run,
                              CoMapStart(backend_, ByteRange(at, query.range.end() - at)));
    at += run.bytes;
    bool is_enough = true;
    for (uint32_t context = 0; context < kNbdContexts; ++context) {
      if (!is_asked(context)) continue;
      const NbdExtent extent = {static_cast<uint32_t>(run.bytes), StateOf(run, context)};
      is_full[context] =
          is_full[context] || !AppendExtent(extent, query.extents_max, &query.extents[context]);
      is_enough = is_enough && is_full[context];
    }
    if (is_enough) break;
  }
  return absl::OkStatus();
}

}  // namespace millrace
