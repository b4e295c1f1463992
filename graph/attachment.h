// Attachment: a user's root edge into the graph: a guest device's disk, a job's access, an export.
// (QEMU's BlockBackend.)
//
// It keeps its node alive, carries a holder, a purpose and permissions, and is the way to do I/O.
// It is made by a GraphTransaction (or Attachment::Attach, a transaction of its own), follows its
// node through edits (a filter put above the node comes under it), and detaches when it goes.
//
// While its node is drained, requests of a guest's attachment queue, in order, and are not in
// flight; a job's attachment never queues: the job is at a pause point then, unless it owns the
// section.
//
// Other threads do I/O through guest_port(). Move-only. Home thread only. Destroying an attachment
// that Detach() would refuse to detach is a bug of its user (checked): drain first, or CoDetach().
#ifndef MILLRACE_GRAPH_ATTACHMENT_H_
#define MILLRACE_GRAPH_ATTACHMENT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/guest_port.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/io/io_vector.h"
#include "millrace/graph/node_id.h"
#include "millrace/graph/permission.h"

namespace millrace {

class DrainedSection;
class Graph;
struct AttachmentCore;

struct AttachmentOptions {
  HolderRef holder{};
  std::string purpose{};      // "root", "main node", "intermediate node"
  std::string device_name{};  // "drive0"; empty: none. Unique among attachments.
  Permissions permissions{};
  // What is reserved (permission.h), if that is something else: of a job's edges, which go with its
  // filter, what others must not come to do beside them.
  std::optional<Permissions> reserved{};
  // Whether requests wait while the node is drained. Off for jobs.
  bool queues_requests = true;
  // Stays on its node when a filter is put above it or the node is replaced. On for jobs.
  bool stays_at_node = false;
};

// The disk of a guest that is called `name`, in refusals and as the device that jobs are called
// after. Nobody else writes while it is there (GuestDevicePermissions()). `since` is
// Engine::clock().Now(), as explanations show it.
AttachmentOptions GuestDeviceOptions(std::string name, bool is_writable = true,
                                     Nanoseconds since = 0);

// A run of the answer to "where does this range come from?"
struct AllocationRun {
  uint64_t bytes = 0;         // from the start of the range; at least 1
  bool is_allocated = false;  // some layer asked about decides these bytes
  bool is_zero = false;       // and they read as zeroes without reading them
  NodeId layer;               // the layer that decides; invalid if none
  uint64_t revision = 0;      // of CoAllocations: for ChainPart
};

// What stands on the way of reads from an attachment down to a layer, the attachment's own node
// excepted.
struct PathTraits {
  bool is_plain = true;       // formats whose data lie in files; nobody else sees the reads
  bool wants_events = false;  // fault injection, which must meet operations one at a time
};

class Attachment {
 public:
  // One transaction that attaches to a node. Errors as of GraphTransaction::Commit.
  static absl::StatusOr<Attachment> Attach(Graph& graph, NodeId node, AttachmentOptions options)
      MILLRACE_OPENS_VIEW;

  Attachment();
  ~Attachment();
  Attachment(Attachment&& other) noexcept;
  Attachment& operator=(Attachment&& other) noexcept;

  bool is_attached() const;
  // The node it points at now. Changes when the graph is edited.
  NodeId node() const;
  const HolderRef& holder() const;
  const std::string& purpose() const;
  const std::string& device_name() const;
  uint64_t bytes() const;
  // Operations of its own that have begun on its node and not ended; those that queue do not count.
  size_t requests_in_flight() const;
  // What it uses and shares now.
  Permissions permissions() const;

  // How other threads do I/O through this attachment, which must queue its requests: always the
  // same port, made at the first call. A port that refuses everything if nothing is attached.
  GuestPort guest_port();

  // Detaches; nodes that nobody else holds go to the reaper, and are named. Closes the guest port:
  // what has just arrived there is completed as Cancelled before this returns. FailedPrecondition,
  // and the attachment and its port stay as they are: a request of its own is in flight or queued,
  // or anybody's through a node that would go (kNodeInUse); or a link of somebody else's lease
  // would go (kFrozenLink).
  absl::StatusOr<std::vector<NodeId>> Detach() MILLRACE_OPENS_VIEW;
  // The same, after waiting for requests in flight; then waits for the dropped nodes to be closed.
  // The user starts no further requests meanwhile; its guest port may be used as ever, is closed
  // first of all, and every request that it took has been completed when this returns. No lease
  // without a user of its own may hang on this attachment (checked; see graph/freeze.h).
  void CoDetach() MILLRACE_MAY_SUSPEND;

  // The holder of these attachments can be brought to rest from now on (its Holder::quiescable was
  // just set): drained sections that cover them already count on it too.
  static void BindQuiescable(const std::vector<Attachment*>& attachments);

  // ---- I/O -------------------------------------------------------------------------------------
  // A ByteRange that wraps is a bug of its maker (checked); what comes from outside is asked by
  // ByteRange::IsRepresentable() first. Errors: InvalidArgument beyond the end or without the
  // permission; ResourceExhausted (no space), DataLoss (corrupt image), Unavailable (host I/O),
  // with the errno attached; and whatever else a driver on the way answers with (PermissionDenied,
  // of a filter). Not cancellable once started. An exception that leaves a driver's function ends
  // the program here, before it unwinds anything of the caller's.
  absl::Status CoRead(uint64_t offset, const IoVector& target) noexcept MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags = {}) noexcept
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags = {}) noexcept MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) noexcept MILLRACE_MAY_SUSPEND;
  // Empties the image at or right below the node, in part (whole clusters, or up to the end): what
  // its backing has shows through. Only where that is the same, and nobody writes meanwhile: for
  // jobs, not for guests (InvalidArgument where requests queue). For kWrite or kWriteUnchanged;
  // Unimplemented: the format cannot.
  absl::Status CoForget(ByteRange range) noexcept MILLRACE_MAY_SUSPEND;
  // Everything acknowledged before is durable when it returns.
  absl::Status CoFlush() noexcept MILLRACE_MAY_SUSPEND;
  // One at a time on a node: of several, each finds the size that the one before has left. Where it
  // cuts, it waits for a drained section of its own, so that nothing is written behind the new end:
  // called by whoever holds a section over the node already, it would wait for its caller. If that
  // section names this attachment's holder as an owner it is refused with FailedPrecondition
  // (kNodeInUse); else that cannot be known, and it waits. Growing in one's own section is fine.
  absl::Status CoResize(uint64_t bytes) noexcept MILLRACE_MAY_SUSPEND;

  // Whether the start of `range` is allocated in the chain from layer `first` down to layer `last`,
  // both included; layers are non-filter nodes below this attachment. An invalid `first` means the
  // first layer, an invalid `last` the bottom of the chain. NotFound if a layer is not there.
  absl::StatusOr<AllocationRun> CoAllocation(ByteRange range, NodeId first, NodeId last) noexcept
      MILLRACE_MAY_SUSPEND;

  // ---- Much at once ------------------------------------------------------------------------------
  // The answers for all of `range`, appended in order. On an error some are missing.
  absl::Status CoAllocations(ByteRange range, NodeId first, NodeId last,
                             std::vector<AllocationRun>* runs) noexcept MILLRACE_MAY_SUSPEND;
  // Several ranges as one request, ascending and disjoint; `target` and `source` hold one after the
  // other. What is contiguous in a file goes there as one operation. On an error any part of them
  // may have been read or written.
  absl::Status CoReadParts(absl::Span<const ChainPart> parts, const IoVector& target) noexcept
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteParts(absl::Span<const ByteRange> ranges, const IoVector& source,
                            WriteFlags flags = {}) noexcept MILLRACE_MAY_SUSPEND;
  // Has the host copy, or share, what `parts` show into the same ranges of `target`'s image, so
  // that the bytes do not pass through here. `memory` is as long as the parts together; it only
  // names the bytes. False if that cannot be done, or not all of it: the caller reads and writes
  // the same ranges, which hold old or new bytes until then.
  bool CoTryShareParts(absl::Span<const ChainPart> parts, Attachment& target,
                       const IoVector& memory) noexcept MILLRACE_MAY_SUSPEND;
  // Reads without handing out, for what a filter at this attachment's node does when it is read
  // through. Ranges as above.
  absl::Status CoPrefetch(absl::Span<const ChainPart> parts) noexcept MILLRACE_MAY_SUSPEND;
  // Of the way down to layer `last`, or, if that is invalid, to the bottom; as the graph is now.
  PathTraits PathBelow(NodeId last) const;

 private:
  friend class GraphTransaction;
  friend struct AttachmentAccess;
  explicit Attachment(std::unique_ptr<AttachmentCore> core);
  void DetachForDestructor();
  absl::Status CheckDetach() MILLRACE_OPENS_VIEW;

  std::unique_ptr<AttachmentCore> core_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_ATTACHMENT_H_
