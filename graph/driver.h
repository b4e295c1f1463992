// Drivers: what a node is made of. A node is a place in the graph; its driver gives it bytes.
//
// There are three kinds, one interface each:
//   FormatDriver    answers where a range lives, and makes room; it moves no guest bytes itself.
//                   One generic path of the graph's does reads and writes from its answers, so
//                   block status, "allocated above base", copying and zero detection are the same
//                   answer.
//   ProtocolDriver  the only kind that touches I/O: file, memory, null.
//   FilterDriver    shows its one filtered child, and may act before or after an operation, or
//                   instead of it.
//
// A driver belongs to one node, from CoOpen() to CoClose(), on the graph's home thread. It reaches
// its children only through DriverContext; during any call but CoOpen() and CoClose() a request is
// in flight on its node, and while one is, the node's children do not change. A driver must not
// keep anything derived from the graph across calls.
#ifndef MILLRACE_GRAPH_DRIVER_H_
#define MILLRACE_GRAPH_DRIVER_H_

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/strong_int.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/graph/io/io_vector.h"
#include "millrace/graph/node_id.h"
#include "millrace/graph/permission.h"
#include "millrace/graph/role.h"

namespace millrace {

class BreakPoints;
class Engine;
class DriverContext;

// A byte position in a format's primary child (or data file).
struct HostOffsetTag;
using HostOffset = StrongInt<HostOffsetTag, uint64_t>;

// A range of a chain, with what is known about it already: which layer decides it, and on which
// state of the layers above that knowledge rests. A hint: whoever uses it checks the revision
// inside the request.
struct ChainPart {
  ByteRange range;
  NodeId layer;  // invalid: not known
  uint64_t revision = 0;
};

// What is at a place of a node.
enum class ExtentKind : uint8_t {
  kData,         // bytes of its own, at Extent::host in the primary child
  kZero,         // reads as zeroes, by a decision of this layer (allocated)
  kUnallocated,  // this layer says nothing: the backing shows through, or zeroes without one
  kEncoded,      // bytes of its own, compressed: only CoReadEncoded() can read them
  kOpaque,       // bytes of its own, at no offset anyone else may use
};

struct Extent {
  uint64_t bytes = 0;  // from the offset asked about; at least 1, at most what was asked
  ExtentKind kind = ExtentKind::kUnallocated;
  HostOffset host;  // kData only

  // Whether this layer decides what is read here.
  bool is_allocated() const { return kind != ExtentKind::kUnallocated; }
};

struct WriteFlags {
  bool force_unit_access = false;  // durable when the write returns
  // "Write what is visible anyway": fills clusters that are unallocated and leaves all others
  // alone, atomically against other writers of the same cluster. What copy-on-read and stream use;
  // a guest write that comes first is never overwritten.
  bool only_if_unallocated = false;
};

struct ZeroFlags {
  // The space may be given back. Off, a driver that can mark space as zeroes keeps it, so that
  // later writes find room: file, qcow2 version 3 in whole clusters that have some. What cannot
  // mark it forgets it all the same: qcow2 version 2 without a backing; over one it is
  // Unimplemented there.
  bool may_unmap = true;
  bool only_if_unallocated = false;  // as in WriteFlags
};

struct ResizeFlags {
  // What is gained by growing must read as zeroes, although the backing has something there: from
  // the old end, rounded up to zero_granularity(), the driver says so before anybody, after a crash
  // as well, can see the new size. The generic path has filled the rest of the last unit.
  bool zero_new_part = false;
};

// A part of a scattered request: consecutive bytes of one file.
struct IoPart {
  uint64_t offset = 0;
  IoVector memory;
};

// How the host brings bytes from one file to another.
enum class ShareBy : uint8_t {
  kAnyMeans,    // it copies them in its own memory, or as below
  kSameBlocks,  // both files use the same blocks until one is written (reflink): it moves nothing
};

// Bytes that go from one file to another.
struct FileShare {
  uint64_t source_offset = 0;
  uint64_t target_offset = 0;
  uint64_t bytes = 0;
};

class Driver {
 public:
  virtual ~Driver() = default;

  virtual std::string_view driver_name() const = 0;  // "qcow2", "file", "copy-on-read"
  virtual NodeKind kind() const = 0;
  // The role of a child that the user calls by this name ("file"); nothing if the driver has no
  // such child. The backing is not asked for here.
  virtual std::optional<Role> RoleOfChild(std::string_view /*name*/) const { return std::nullopt; }

  // Called once, before anything else; `context` outlives the driver's node. Children with the
  // roles the driver needs are there already, except the backing, which is opened afterwards from
  // backing_reference().
  virtual absl::Status CoOpen(DriverContext& context) MILLRACE_MAY_SUSPEND = 0;
  // Writes back what is cached and closes files. Called once, after the last request, also if
  // CoOpen failed, perhaps in a cancelled coroutine: nothing in it may be cancellable. Errors are
  // logged, not returned: there is nobody left to tell.
  virtual void CoClose() MILLRACE_MAY_SUSPEND {}

  // Virtual size in bytes.
  virtual uint64_t bytes() const = 0;
  // Requests are widened to whole multiples of this. Whoever writes must be able to resize the node
  // if its length is none.
  virtual uint64_t request_alignment() const { return 1; }

  // If all that the node shows is what its primary child has, byte by byte, from some offset on:
  // that offset. Others may write to such a child, past the node, if the node's users share it.
  virtual std::optional<uint64_t> offset_in_primary() const { return std::nullopt; }

  // Whether it has a size that was given, as a part of its primary child: it does not grow by being
  // written to, as a file does, and may be shorter than what a format above it has there.
  virtual bool is_window() const { return false; }

  // What people who look at the graph should know of it now, in a few words: "3 marks". Empty:
  // nothing beyond what every node says.
  virtual std::string state_in_words() const { return {}; }

  // Permissions of this node's child edges. Pure: depends on the arguments and on options that only
  // TakeOptionsOf() changes. The default follows the role.
  virtual Permissions DerivePermissions(const PermissionContext& context) const;
  // What is reserved on them (permission.h), from what is reserved above; as pure. The same, but
  // for a filter that holds back what its users ask, or grants what they do not, as long as its job
  // lives: then DeriveForFilter().
  virtual Permissions DeriveReserved(const PermissionContext& context) const {
    return DerivePermissions(context);
  }

  // ---- Going read-only or writable --------------------------------------------------------------
  // Two steps, so that several nodes change together: prepare may suspend and fail, and changes
  // nothing others can see; then exactly one of commit or abort. Called drained.
  virtual absl::Status CoPrepareReopen(bool /*writable*/) MILLRACE_MAY_SUSPEND {
    return absl::OkStatus();
  }
  virtual void CommitReopen(bool /*writable*/) {}
  virtual void CoAbortReopen(bool /*writable*/) MILLRACE_MAY_SUSPEND {}
  // Whether prepare would be refused now, as far as that can be told without suspending and without
  // opening or reading anything: for a dry run. Changes nothing; the driver is open and need not be
  // drained.
  virtual absl::Status RehearseReopen(bool /*writable*/) { return absl::OkStatus(); }

  // From now on the options of `fresh` hold, a driver of the same kind that was made and never
  // opened. Called drained, on an open driver. The default: none can change.
  virtual void TakeOptionsOf(Driver& /*fresh*/) {}
  // Whether they may hold, over a primary child of so many bytes. Called before, on the same
  // driver; changes nothing.
  virtual absl::Status CheckOptionsOf(const Driver& /*fresh*/, uint64_t /*primary_bytes*/) const {
    return absl::OkStatus();
  }
  // Who derives today the permissions that this driver will derive once the options of `fresh`
  // hold: `fresh`, if they matter for them. The default: this driver.
  virtual const Driver& AsWithOptionsOf(const Driver& /*fresh*/) const { return *this; }

  // Whether every data child holds what this node shows, so that one of them may be replaced by a
  // copy of the whole (quorum).
  virtual bool data_children_show_the_same() const { return false; }

  // Name shown to users: a path for protocols; "" lets the graph derive one (graph/file_name.h).
  virtual std::string filename() const { return {}; }
  // Whether filename() is the value of the option "filename" (graph/file_name.h).
  virtual bool is_known_by_filename() const { return false; }
};

// What a format image says about the image below it.
struct BackingReference {
  std::string filename{};  // as in the header, not resolved; empty: none
  std::string format{};    // empty: not given
  friend bool operator==(const BackingReference&, const BackingReference&) = default;
};

// Something that only one format can say about an image, for queries.
struct FormatFact {
  std::string name;  // "refcount-bits", as QEMU calls it
  std::variant<bool, uint64_t, std::string> value;
};

// Room for a write, handed out by FormatDriver::CoAllocate. While it lives, no other allocation
// overlaps its clusters. The generic path writes the data and the surroundings named here to
// `host`, then calls CoLink (which makes them visible), or, after an error, CoAbandon. Exactly one
// of the two, also when needs_link() is false.
class Allocation {
 public:
  virtual ~Allocation() = default;

  // The part of the asked range that this allocation covers: starts where the asked range starts.
  // 0 only with WriteFlags::only_if_unallocated: then skip_bytes() from there are allocated already
  // and must be left alone.
  uint64_t bytes() const { return bytes_; }
  uint64_t skip_bytes() const { return skip_bytes_; }
  HostOffset host() const { return host_; }
  // Guest ranges directly before and after the covered part, inside the same clusters, that must be
  // filled with what is visible there now (from this layer or the backing), at host positions
  // directly before and after. Empty when the cluster is in use already or fully covered.
  const ByteRange& fill_before() const { return fill_before_; }
  const ByteRange& fill_after() const { return fill_after_; }
  // Whether CoLink makes new clusters visible (false: the clusters were in place).
  bool needs_link() const { return needs_link_; }
  // Whether the driver writes the bytes itself, because it must see them: FormatDriver's
  // CoWriteOpaque, in place of a write to the primary child.
  bool is_opaque() const { return is_opaque_; }

 protected:
  uint64_t bytes_ = 0;
  uint64_t skip_bytes_ = 0;
  HostOffset host_;
  ByteRange fill_before_;
  ByteRange fill_after_;
  bool needs_link_ = false;
  bool is_opaque_ = false;
};

// Room for a write of several ranges, whole clusters each, handed out by
// FormatDriver::CoAllocateBatch. What holds for Allocation holds for it: while it lives, no other
// allocation overlaps its clusters; the generic path writes the data, then calls CoLinkBatch, or,
// after an error, CoAbandonBatch.
class BatchAllocation {
 public:
  struct Place {
    ByteRange range;  // of the guest
    HostOffset host;
  };
  virtual ~BatchAllocation() = default;

  // In guest order; together the asked ranges without what must be left alone.
  absl::Span<const Place> places() const { return places_; }

 protected:
  std::vector<Place> places_;
};

class FormatDriver : public Driver {
 public:
  NodeKind kind() const final { return NodeKind::kFormat; }

  // False: the data are not in a primary child but with the driver itself. CoMap then says kOpaque
  // instead of kData, and writes go to CoWriteOpaque.
  virtual bool has_primary() const { return true; }
  std::optional<Role> RoleOfChild(std::string_view name) const override;

  // Where the start of `range` lives. `range` lies inside the image and is not empty. May cover
  // less than asked; answers about as much as one table tells.
  virtual absl::StatusOr<Extent> CoMap(ByteRange range) MILLRACE_MAY_SUSPEND = 0;

  // Makes room for a write to the start of `range`. Waits for overlapping allocations.
  // ResourceExhausted: no space; DataLoss: the metadata is corrupt, nothing was changed.
  virtual absl::StatusOr<std::unique_ptr<Allocation>> CoAllocate(ByteRange range, WriteFlags flags)
      MILLRACE_MAY_SUSPEND = 0;
  // Only if has_primary() is false, or of an allocation that is_opaque(), where else the generic
  // path would write to the primary child: writes guest bytes of the allocation, `offset` being a
  // guest offset. The range lies inside the covered part and its surroundings; one call may span
  // all three, and every byte of the surroundings must have been handed over before CoLink.
  virtual absl::Status CoWriteOpaque(Allocation& allocation, uint64_t offset,
                                     const IoVector& source) MILLRACE_MAY_SUSPEND;
  virtual absl::Status CoLink(Allocation& allocation) MILLRACE_MAY_SUSPEND = 0;
  virtual void CoAbandon(Allocation& allocation) MILLRACE_MAY_SUSPEND = 0;

  // The same for several ranges at once, ascending and disjoint. Null if they are not whole
  // clusters, or the driver does not do this: then the caller writes range by range.
  virtual absl::StatusOr<std::unique_ptr<BatchAllocation>> CoAllocateBatch(
      absl::Span<const ByteRange> ranges, WriteFlags flags) MILLRACE_MAY_SUSPEND;
  virtual absl::Status CoLinkBatch(BatchAllocation& batch) MILLRACE_MAY_SUSPEND;
  virtual void CoAbandonBatch(BatchAllocation& /*batch*/) MILLRACE_MAY_SUSPEND {}

  // Reads bytes that CoMap called kEncoded or kOpaque; `range` lies inside one such extent.
  // Aborted: they have been overwritten since, and are encoded no longer; the caller maps the place
  // again.
  virtual absl::Status CoReadEncoded(ByteRange range, const IoVector& target) MILLRACE_MAY_SUSPEND;

  // Makes `range` read as zeroes. `range` is aligned to zero_granularity(), except at the end of
  // the image as it is by then (it may have grown since). Unimplemented: the generic path writes
  // zeroes instead.
  virtual absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) MILLRACE_MAY_SUSPEND;
  // Forgets `range` (aligned likewise). May leave it as it is.
  virtual absl::Status CoDiscard(ByteRange range) MILLRACE_MAY_SUSPEND;
  // Has this layer say nothing of `range` any more (aligned to cluster_bytes(), except at the end
  // of the image): the backing shows through. Unimplemented: it cannot.
  virtual absl::Status CoForget(ByteRange range) MILLRACE_MAY_SUSPEND;
  virtual uint64_t zero_granularity() const { return 1; }
  // Granularity at which space is handed out; copies are aligned to it where that helps. Of an
  // image that is not open, as zero_granularity(): 1.
  virtual uint64_t cluster_bytes() const { return zero_granularity(); }

  // Writes cached metadata in its safe order; the generic path flushes the primary child
  // afterwards.
  virtual absl::Status CoFlushMetadata() MILLRACE_MAY_SUSPEND = 0;
  // When the image shrinks, no other request is in flight; what is cut off is gone for good.
  virtual absl::Status CoResize(uint64_t bytes, ResizeFlags flags) MILLRACE_MAY_SUSPEND;

  // What stands in the header and concerns this format alone; nothing for most.
  virtual std::vector<FormatFact> facts() const { return {}; }
  // The header says that what it describes was not brought in order since.
  virtual bool is_marked_dirty() const { return false; }

  // The image below, as the header says; changes only through CoWriteBackingReference.
  virtual bool supports_backing() const { return false; }
  virtual BackingReference backing_reference() const { return {}; }
  // InvalidArgument: no header of this format says such a thing.
  virtual absl::Status CheckBackingReference(const BackingReference& /*reference*/) const {
    return absl::OkStatus();
  }
  // Rewrites the header and flushes it. InvalidArgument: as above, or it does not fit.
  virtual absl::Status CoWriteBackingReference(const BackingReference& reference)
      MILLRACE_MAY_SUSPEND;
};

// Which file of the host it is: equal for two names of one file.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  friend auto operator<=>(const FileIdentity&, const FileIdentity&) = default;
};

struct DiscardCounts {
  uint64_t succeeded = 0;
  uint64_t failed = 0;
  uint64_t bytes = 0;  // of those that succeeded
};

class ProtocolDriver : public Driver {
 public:
  NodeKind kind() const final { return NodeKind::kProtocol; }

  // Reads inside [0, bytes()). Bytes beyond the end of the underlying file read as zeroes.
  virtual absl::Status CoRead(uint64_t offset, const IoVector& target) MILLRACE_MAY_SUSPEND = 0;
  // Writes; grows the file if the range ends beyond it.
  virtual absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags)
      MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoDiscard(ByteRange range) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoFlush() MILLRACE_MAY_SUSPEND = 0;
  // Whether something was changed through this driver since its last flush, or that is not known.
  virtual bool has_unflushed_changes() const { return true; }
  virtual absl::Status CoResize(uint64_t bytes) MILLRACE_MAY_SUSPEND = 0;
  // Several reads or writes at once, in any order; the first error, if any. Each as above.
  virtual absl::Status CoReadScattered(absl::Span<const IoPart> parts) MILLRACE_MAY_SUSPEND;
  virtual absl::Status CoWriteScattered(absl::Span<const IoPart> parts) MILLRACE_MAY_SUSPEND;
  // What was written here is to be flushed soon: the host may begin with it. A hint.
  virtual void CoStartWriteback(absl::Span<const ByteRange> /*ranges*/) MILLRACE_MAY_SUSPEND {}
  // Has the host bring bytes of another file here. False if it will not: parts may have been
  // written, the rest not, and there is no use in asking again. Only if CoMayShareWith(source, by).
  virtual bool CoShareFrom(ProtocolDriver& /*source*/, absl::Span<const FileShare> /*shares*/,
                           ShareBy /*by*/) MILLRACE_MAY_SUSPEND {
    return false;
  }
  virtual bool CoMayShareWith(const ProtocolDriver& /*source*/, ShareBy /*by*/)
      MILLRACE_MAY_SUSPEND {
    return false;
  }
  // Whether there may be a file with which it does; asks nobody.
  virtual bool may_share(ShareBy /*by*/) const { return false; }
  // The file of the host, as the engine's I/O knows it; invalid if there is none.
  virtual IoFile io_file() const { return IoFile(); }
  // kData or kZero (a hole), never kUnallocated.
  virtual absl::StatusOr<Extent> CoMap(ByteRange range) MILLRACE_MAY_SUSPEND = 0;
  // Offsets, lengths and memory of requests must be multiples of it; the caller bounces otherwise.
  virtual uint32_t io_alignment() const { return 1; }
  // Discards that reached the host, since the file was opened.
  virtual DiscardCounts discard_counts() const { return {}; }
  // What it takes on disk, in bytes.
  virtual absl::StatusOr<uint64_t> CoAllocatedBytes() MILLRACE_MAY_SUSPEND { return bytes(); }

  // Nothing if it is no file of the host.
  virtual std::optional<FileIdentity> identity() const { return std::nullopt; }

  // The permissions of the node's parents are about to change to `cumulative` (used: union; shared:
  // intersection). Reserves what the host must grant for it (image locks for the union of old and
  // new), then exactly one of commit (lets go of the rest of the old) or abort (of the rest of the
  // new). None suspends; only the first may fail: FailedPrecondition, naming the holder where it
  // can be known. Another call of the first before commit or abort replaces the reservation.
  virtual absl::Status PreparePermissions(Permissions /*cumulative*/) { return absl::OkStatus(); }
  virtual void CommitPermissions() {}
  virtual void AbortPermissions() {}
  // Whether the first would succeed now, without reserving anything or touching what is reserved.
  virtual absl::Status RehearsePermissions(Permissions /*cumulative*/) { return absl::OkStatus(); }
};

// Requests of guests and of jobs pass it alike, from the node that they were made on downwards. An
// exception must not leave any of its functions: they run on a coroutine's stack, which nothing
// unwinds across (engine/coroutine/README.md), and the program ends by std::terminate().
class FilterDriver : public Driver {
 public:
  NodeKind kind() const final { return NodeKind::kFilter; }
  // By default the filtered child, under its edge's name.
  std::optional<Role> RoleOfChild(std::string_view name) const override;

  // Calls CoOpenFilter(), from which on there is a context().
  absl::Status CoOpen(DriverContext& context) final MILLRACE_MAY_SUSPEND;
  virtual absl::Status CoOpenFilter() MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  uint64_t bytes() const override;  // the filtered child's

  // Each default hands the operation to the filtered child. Bytes change by CoWrite, CoWriteZeroes,
  // CoDiscard and CoResize: who watches writes, or refuses some, has a word in all four. (Discards
  // reach a node only if it was opened so: NodeTree::passes_discards. An image that is emptied of
  // what shows through all the same, Attachment::CoForget, changes no byte that is shown, and asks
  // no filter.) Errors are handed up as they are, to the guest or the job, with this text: name the
  // node and the place in it:
  //
  //   return absl::PermissionDeniedError(
  //       StrCat("node '", context().NodeInWords(), "': nobody writes at ", offset));
  virtual absl::Status CoRead(uint64_t offset, const IoVector& target) MILLRACE_MAY_SUSPEND;
  virtual absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags)
      MILLRACE_MAY_SUSPEND;
  virtual absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) MILLRACE_MAY_SUSPEND;
  virtual absl::Status CoDiscard(ByteRange range) MILLRACE_MAY_SUSPEND;
  virtual absl::Status CoFlush() MILLRACE_MAY_SUSPEND;
  virtual absl::Status CoResize(uint64_t bytes) MILLRACE_MAY_SUSPEND;
  // Reads without handing out, for what reading changes: copy-on-read keeps it. `parts` as in
  // Attachment::CoPrefetch. By default nothing is read.
  virtual absl::Status CoPrefetch(absl::Span<const ChainPart> /*parts*/) MILLRACE_MAY_SUSPEND {
    return absl::OkStatus();
  }
  // Somebody asks what is at a place of the filtered child. An error is what he is told.
  virtual absl::Status CoBeforeMap(ByteRange /*range*/) MILLRACE_MAY_SUSPEND {
    return absl::OkStatus();
  }
  // A named event raised by the format above (semantics of blkdebug): "l2_load", "cow_write".
  virtual void CoEvent(std::string_view event) MILLRACE_MAY_SUSPEND;
  virtual bool wants_events() const { return false; }
  // Where requests can be made to stand still; null if nowhere.
  virtual std::shared_ptr<BreakPoints> break_points() const { return nullptr; }

  // The node is being drained: a filter that holds requests back on purpose (throttling) lets them
  // go now, and holds back none until the end, so that the drain does not wait for a clock. Calls
  // nest and are balanced; neither suspends.
  virtual void BeginDrain() {}
  virtual void EndDrain() {}

  // True if such requests may go straight to the filtered child.
  virtual bool is_transparent_for_reads() const { return false; }
  virtual bool is_transparent_for_writes() const { return false; }
  // A lease may not include a link to this filter: its owner must always be able to remove it.
  virtual bool is_unleasable() const { return false; }
  // Nobody writes through it: a node with it is read-only.
  virtual bool passes_no_writes() const { return false; }
  // "blkdebug" if a file name can ask for this filter: "blkdebug:CONFIG:NAME",
  // "blkverify:RAW:TEST". Empty: it cannot.
  virtual std::string_view protocol_name() const { return {}; }
  // The child edge's name in texts: "file", or "backing" for the filters of commit and mirror.
  virtual std::string_view filtered_edge_name() const { return "file"; }

 protected:
  DriverContext& context() const { return *context_; }

 private:
  DriverContext* context_ = nullptr;
};

// Which layer of a chain decides what is read at a place.
struct ChainExtent {
  enum class Layer : uint8_t {
    kTop,      // the chain's uppermost format or protocol node
    kBetween,  // one below it, down to the bottom node inclusive
    kBelow,    // none of these: what is read comes from below the bottom, or is zero without one
  };
  uint64_t bytes = 0;  // from the offset asked about; at least 1, at most what was asked
  Layer layer = Layer::kBelow;
};

// Names a child of a node: by its role and, where a role may have several children (kData), by its
// number among them, in the order in which they were linked. A role alone means the first.
struct ChildKey {
  ChildKey(Role child_role, size_t child_index = 0)  // NOLINT(google-explicit-constructor)
      : role(child_role), index(child_index) {}
  friend auto operator<=>(const ChildKey&, const ChildKey&) = default;

  Role role;
  size_t index;
};

// A driver's window on its node and on its children. Owned by the node.
class DriverContext {
 public:
  virtual ~DriverContext() = default;

  virtual Engine& engine() const = 0;
  virtual const std::string& node_name() const = 0;
  // For texts: the name, and that of the file below if the node's name was generated: "disk",
  // "#block6 (top.qcow2)", "#block8 (throttle above top.qcow2)". Quotes are the text's affair.
  virtual std::string NodeInWords() const { return node_name(); }
  virtual bool is_read_only() const = 0;
  // The other nodes of the graph that have this file of the host open and are used in a way that
  // excludes `need`: each by the image that it is the file of, if that is one node, and who is
  // attached there. `as` is "closing" of one that has been dropped.
  virtual std::vector<ConflictHolder> OthersWithFile(const FileIdentity& /*file*/,
                                                     const Permissions& /*need*/) const {
    return {};
  }

  // Waits until nodes of the graph that were dropped have let go of this file of the host, so that
  // whoever has let go of an image may open it again. True: it has waited, and what was known of
  // the file may be so no longer. Ends early if the scope is cancelled.
  virtual bool CoWaitWhileLettingGoOf(const FileIdentity& /*file*/) MILLRACE_MAY_SUSPEND {
    return false;
  }

  // ---- Children --------------------------------------------------------------------------------
  virtual bool HasChild(ChildKey child) const = 0;
  // The name of the child node, for reports; empty if there is none.
  virtual std::string ChildName(ChildKey /*child*/) const { return {}; }
  virtual uint64_t ChildBytes(ChildKey child) const = 0;
  // Whether the child's end is that of a window (Driver::is_window), its own or one's below that it
  // shows: reads behind it find zeroes, writes no space.
  virtual bool IsChildWindow(ChildKey /*child*/) const { return false; }
  virtual absl::Status CoReadChild(ChildKey child, uint64_t offset, const IoVector& target)
      MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoWriteChild(ChildKey child, uint64_t offset, const IoVector& source,
                                    WriteFlags flags) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoWriteZeroesChild(ChildKey child, ByteRange range, ZeroFlags flags)
      MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoDiscardChild(ChildKey child, ByteRange range) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoFlushChild(ChildKey child) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoResizeChild(ChildKey child, uint64_t bytes) MILLRACE_MAY_SUSPEND = 0;
  // Makes a file at least that long, with place on the host for `range`, in which nobody writes
  // meanwhile; it reads as zeroes. Not a write of the child. Unimplemented if it is no file.
  virtual absl::Status CoReserveInChild(ChildKey /*child*/, ByteRange /*range*/)
      MILLRACE_MAY_SUSPEND {
    return absl::UnimplementedError("reserve: not a file");
  }
  virtual absl::StatusOr<Extent> CoMapChild(ChildKey child, ByteRange range)
      MILLRACE_MAY_SUSPEND = 0;
  // Several ranges at once, ascending and disjoint; `memory` holds one after the other. The hints
  // of `parts` rest on the layers below the child's first one.
  virtual absl::Status CoReadChildParts(ChildKey child, absl::Span<const ChainPart> parts,
                                        const IoVector& memory) MILLRACE_MAY_SUSPEND;
  virtual absl::Status CoWriteChildParts(ChildKey child, absl::Span<const ByteRange> ranges,
                                         const IoVector& memory, WriteFlags flags)
      MILLRACE_MAY_SUSPEND;
  // Has the child keep what its chain shows in `parts`, where it has nothing allocated, by using
  // the same blocks of the host (ShareBy::kSameBlocks). `memory` only names the bytes. False if the
  // host will not, or not all of it can be kept so: nothing has changed.
  virtual bool CoKeepChildParts(ChildKey /*child*/, absl::Span<const ChainPart> /*parts*/,
                                const IoVector& /*memory*/) MILLRACE_MAY_SUSPEND {
    return false;
  }
  // Asks the backing chain that starts at the child (filters skipped) which layer has the start of
  // `range` allocated. `bottom` names the lowest node asked; empty: the whole chain. NotFound if
  // the chain has no such node. Bytes beyond the end of a layer shorter
  // than the one above it are that layer's zeroes: they count as allocated there.
  virtual absl::StatusOr<ChainExtent> CoMapChildChain(ChildKey child, ByteRange range,
                                                      std::string_view bottom) MILLRACE_MAY_SUSPEND;
  // Raises a named event on the primary child; costs nothing unless a filter there listens.
  virtual void CoEvent(std::string_view event) MILLRACE_MAY_SUSPEND = 0;

  // ---- Requests in flight on this node ----------------------------------------------------------
  // Requests are numbered as they start. A host cluster that was freed when request `n` was the
  // newest may be reused once OldestRequest() > n: nobody who could have seen its old mapping is
  // left (race R83). UINT64_MAX if none is in flight.
  virtual uint64_t NewestRequest() const = 0;
  virtual uint64_t OldestRequest() const = 0;

  // One line for the embedder's log, prefixed with the node's name.
  virtual void LogWarning(std::string_view line) = 0;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVER_H_
