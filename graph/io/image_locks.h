// ImageLocks: what a node may do with its file, told to every other program that looks.
//
// QEMU's scheme, so that QEMU's tools and we respect each other. Every user of an image keeps
// shared locks on single bytes of the file itself (open-file-description locks; the bytes need not
// exist):
//   100 + bit   for each permission bit that it uses;
//   200 + bit   for each permission bit that it does not share.
// Locks never conflict by themselves. Whoever wants to use a bit checks that nobody holds 200 +
// bit, and whoever will not share one checks that nobody holds 100 + bit, each after taking its own
// locks: of two that meet, at least one sees the other.
//
// Only what is new is checked: it was free when it was taken, and nobody has come by it since. Who
// asks about us holds locks for a moment too, before it is refused, and must not make the loosening
// of permissions fail, which nothing above expects.
//
// The bits are PermissionSet's: consistent read, write, write unchanged, resize. Going from one set
// of permissions to another holds the union in between, so neither is lost if the step fails.
// Nothing here suspends; home thread only.
#ifndef MILLRACE_GRAPH_IO_IMAGE_LOCKS_H_
#define MILLRACE_GRAPH_IO_IMAGE_LOCKS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/graph/permission.h"

namespace millrace {

class ImageLocks {
 public:
  // Tells who in this process has the file open in a way that excludes `need`; empty if that is not
  // known.
  using NameOthers = std::function<std::vector<ConflictHolder>(const Permissions& need)>;

  // Holds nothing at first. `name` is for error texts. The backend must outlive this. The host
  // cannot tell more than that it is this process who is in the way; `others` is asked then.
  ImageLocks(IoBackend& io, IoFile file, std::string name, NameOthers others = nullptr)
      : io_(io), file_(file), name_(std::move(name)), others_(std::move(others)) {}
  // Does not unlock: closing the file does (or Release()).
  ~ImageLocks() = default;
  ImageLocks(const ImageLocks&) = delete;
  ImageLocks& operator=(const ImageLocks&) = delete;

  // Takes the locks of `next` in addition to those held, and checks that nobody objects to those
  // that were not. Undone on failure; cannot fail if all are held. FailedPrecondition: another
  // user, named where the host tells; any other code: the host cannot lock this file. A second call
  // without Commit() or Abort() replaces the first.
  absl::Status Prepare(const Permissions& next);
  // Whether Prepare() would be refused now. Takes nothing, and lets go of nothing.
  absl::Status Rehearse(const Permissions& next);
  // Lets go of what only the old permissions needed.
  void Commit();
  // Lets go of what only the prepared permissions needed.
  void Abort();

  // Keeps the right to use `more` beside all that until DropReserve(), whatever is prepared,
  // committed and aborted meanwhile. Errors as of Prepare(). A second call replaces the first.
  absl::Status Reserve(PermissionSet more);
  // Whether that would be refused now. Takes nothing.
  absl::Status RehearseReserve(PermissionSet more) { return Rehearse({more, kAllPermissions}); }
  void DropReserve();

  // Takes all locks that are held on another open of the same file as well, then lets go of them
  // here. Cannot be refused by another user, who would need what is held here; a failure is the
  // host's, and leaves the locks with the old file.
  absl::Status MoveTo(IoFile other);
  void Release();

  // The bytes that `permissions` lock, ascending.
  static std::vector<uint64_t> BytesOf(const Permissions& permissions);

 private:
  // One bit per byte that can be locked: the lower four are 100..103, the upper four 200..203.
  using ByteMask = uint8_t;
  static ByteMask MaskOf(const Permissions& permissions);
  static std::vector<uint64_t> BytesOfMask(ByteMask mask);
  static PermissionSet UsedIn(ByteMask mask);
  static PermissionSet UnsharedIn(ByteMask mask);
  // Whether somebody objects to what `next` needs beside the locks of `had`.
  absl::Status Probe(const Permissions& next, ByteMask had);
  absl::Status Lock(ByteMask mask);
  // What the host said to a lock of ours, in words.
  absl::Status RefusedLock(absl::Status by_host) const;
  ByteMask held() const {
    return static_cast<ByteMask>(committed_ | reserved_ | (is_prepared_ ? prepared_ : 0));
  }
  // Lets go of what was held and is not any more.
  void UnlockSince(ByteMask held_before);
  // Who holds what the host refused of `need`, as far as that is known.
  std::vector<ConflictHolder> HoldersIn(const absl::Status& refusal, const Permissions& need) const;
  // What the host refused, told of the image: `is_to_look` if nothing was to be written.
  absl::Status Refused(const absl::Status& by_host, std::vector<ConflictHolder> holders,
                       std::string detail, bool is_to_look, std::string_view text) const;

  IoBackend& io_;
  IoFile file_;
  const std::string name_;
  const NameOthers others_;
  ByteMask committed_ = 0;
  ByteMask prepared_ = 0;  // what Commit() will keep
  bool is_prepared_ = false;
  ByteMask reserved_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_IMAGE_LOCKS_H_
