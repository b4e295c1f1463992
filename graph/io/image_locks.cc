#include "millrace/graph/io/image_locks.h"

#include <optional>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/io/lock_refusal.h"

namespace millrace {
namespace {

constexpr int kPermissionBits = 4;
constexpr uint64_t kUsedBase = 100;
constexpr uint64_t kUnsharedBase = 200;

}  // namespace

ImageLocks::ByteMask ImageLocks::MaskOf(const Permissions& permissions) {
  const PermissionSet unshared = kAllPermissions - permissions.shared;
  return static_cast<ByteMask>(permissions.used.bits() | (unshared.bits() << kPermissionBits));
}

PermissionSet ImageLocks::UsedIn(ByteMask mask) {
  return PermissionSet(static_cast<uint8_t>(mask & kAllPermissions.bits()));
}

PermissionSet ImageLocks::UnsharedIn(ByteMask mask) {
  return PermissionSet(static_cast<uint8_t>(mask >> kPermissionBits));
}

std::vector<uint64_t> ImageLocks::BytesOfMask(ByteMask mask) {
  std::vector<uint64_t> bytes;
  for (int bit = 0; bit < 2 * kPermissionBits; ++bit) {
    if ((mask & (1u << bit)) == 0) continue;
    const bool is_used = bit < kPermissionBits;
    bytes.push_back(is_used ? kUsedBase + static_cast<uint64_t>(bit)
                            : kUnsharedBase + static_cast<uint64_t>(bit - kPermissionBits));
  }
  return bytes;
}

std::vector<uint64_t> ImageLocks::BytesOf(const Permissions& permissions) {
  return BytesOfMask(MaskOf(permissions));
}

namespace {

std::string HolderIn(const absl::Status& refusal) {
  const std::optional<Conflict> conflict = ConflictOf(refusal);
  if (!conflict || conflict->holders.empty()) return "somebody else who has it open";
  return DescribeLockHolder(conflict->holders.front());
}

}  // namespace

// What to do is the same whoever holds it: nobody's image is opened behind his back, but for a
// look.
absl::Status ImageLocks::Refused(const absl::Status& by_host, std::string detail, bool is_to_look,
                                 std::string_view text) const {
  Conflict conflict;
  conflict.reason = ConflictReason::kImageLocked;
  conflict.object = name_;
  if (std::optional<Conflict> known = ConflictOf(by_host)) {
    conflict.holders = std::move(known->holders);
  }
  conflict.detail = std::move(detail);
  conflict.next_step = "close the image there first";
  if (is_to_look) {
    conflict.next_step +=
        ", or, if a look at what may be half of a change will do, open it read-only with "
        "force-share";
  }
  return WithErrno(RefusalStatus(absl::StatusCode::kFailedPrecondition, conflict, text),
                   ErrnoOf(by_host));
}

absl::Status ImageLocks::Probe(const Permissions& next, ByteMask had) {
  const PermissionSet new_uses = next.used - UsedIn(had);
  const PermissionSet newly_refused = kAllPermissions - next.shared - UnsharedIn(had);
  const bool is_to_write = next.used.Intersects(kWrite | kWriteUnchanged | kResize);
  for (int bit = 0; bit < kPermissionBits; ++bit) {
    const PermissionSet permission(static_cast<uint8_t>(1u << bit));
    const auto check = [&](uint64_t base, std::string_view want, std::string_view obstacle,
                           std::string_view kind) -> absl::Status {
      const uint64_t byte = base + static_cast<uint64_t>(bit);
      const absl::Status status = io_.ProbeLocks(file_, absl::MakeConstSpan(&byte, 1));
      if (status.code() != absl::StatusCode::kFailedPrecondition) return status;
      const std::string holder = HolderIn(status);
      return Refused(status, StrCat(kind, "\"", permission.ToString(), "\""), !is_to_write,
                     StrCat("lock image '", name_, "' to ", want, " '", permission.ToString(),
                            "': ", holder, " ", obstacle));
    };
    // The order matters to nobody but the text: what we want comes before what we forbid.
    if (new_uses.Contains(permission)) {
      MILLRACE_RETURN_IF_ERROR(check(kUnsharedBase, "use", "does not share it", ""));
    }
    if (newly_refused.Contains(permission)) {
      MILLRACE_RETURN_IF_ERROR(check(kUsedBase, "keep others from", "uses it", "shared "));
    }
  }
  return absl::OkStatus();
}

absl::Status ImageLocks::Lock(ByteMask mask) {
  if (mask == 0) return absl::OkStatus();
  const absl::Status locked = io_.LockBytes(file_, BytesOfMask(mask));
  if (locked.code() != absl::StatusCode::kFailedPrecondition) return locked;
  return Refused(locked, "", /*is_to_look=*/false,
                 StrCat("lock image '", name_, "': ", HolderIn(locked), " keeps all others out"));
}

void ImageLocks::UnlockSince(ByteMask held_before) {
  io_.UnlockBytes(file_, BytesOfMask(static_cast<ByteMask>(held_before & ~held())));
}

absl::Status ImageLocks::Prepare(const Permissions& next) {
  if (is_prepared_) Abort();
  const ByteMask mask = MaskOf(next);
  const ByteMask had = held();
  MILLRACE_RETURN_IF_ERROR(Lock(static_cast<ByteMask>(mask & ~had)));
  prepared_ = mask;
  is_prepared_ = true;
  // Locks first, then the check: the other way round, two users who come at the same time would
  // both see a free image.
  absl::Status status = Probe(next, had);
  if (!status.ok()) Abort();
  return status;
}

absl::Status ImageLocks::Rehearse(const Permissions& next) {
  return Probe(next, static_cast<ByteMask>(committed_ | reserved_));
}

void ImageLocks::Commit() {
  if (!is_prepared_) return;
  const ByteMask before = held();
  committed_ = prepared_;
  is_prepared_ = false;
  UnlockSince(before);
}

void ImageLocks::Abort() {
  if (!is_prepared_) return;
  const ByteMask before = held();
  is_prepared_ = false;
  UnlockSince(before);
}

absl::Status ImageLocks::Reserve(PermissionSet more) {
  DropReserve();
  const ByteMask mask = MaskOf({more, kAllPermissions});
  const ByteMask had = held();
  MILLRACE_RETURN_IF_ERROR(Lock(static_cast<ByteMask>(mask & ~had)));
  reserved_ = mask;
  absl::Status status = Probe({more, kAllPermissions}, had);
  if (!status.ok()) DropReserve();
  return status;
}

void ImageLocks::DropReserve() {
  const ByteMask before = held();
  reserved_ = 0;
  UnlockSince(before);
}

absl::Status ImageLocks::MoveTo(IoFile other) {
  MILLRACE_RETURN_IF_ERROR(io_.LockBytes(other, BytesOfMask(held())));
  io_.UnlockBytes(file_, BytesOfMask(held()));
  file_ = other;
  return absl::OkStatus();
}

void ImageLocks::Release() {
  const ByteMask before = held();
  is_prepared_ = false;
  committed_ = 0;
  reserved_ = 0;
  UnlockSince(before);
}

}  // namespace millrace
