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

std::string Describe(const std::vector<ConflictHolder>& holders) {
  if (holders.empty()) return "somebody else who has it open";
  const ConflictHolder& first = holders.front();
  if (first.type == "this process") {
    return StrCat(DescribeLockHolder(first), ", but no node of this graph,");
  }
  if (first.type != "node") return DescribeLockHolder(first);
  std::string text = StrCat("node '", first.id, "' of this graph");
  if (first.as == "closing") return text + ", which is being closed,";
  for (size_t i = 1; i < holders.size(); ++i) {
    const ConflictHolder& user = holders[i];
    if (user.type == "node" && user.as.empty()) break;  // another one that has the file
    StrAppend(&text, i == 1 ? " (used by " : " and ", user.type, " '", user.id, "'",
              user.as.empty() ? "" : StrCat(" as ", user.as));
  }
  return holders.size() > 1 ? text + ")" : text;
}

// What to do depends on who it is: nobody's image is opened behind his back, but for a look.
std::string NextStep(const std::vector<ConflictHolder>& holders) {
  if (holders.empty() || holders.front().type != "node") return "close the image there first";
  const ConflictHolder& first = holders.front();
  if (first.as == "closing") return "wait until it is closed (Graph::CoWaitForReaper)";
  return StrCat("let all who use it go first, or attach to node '", first.id,
                "' with permissions that they share");
}

}  // namespace

std::vector<ConflictHolder> ImageLocks::HoldersIn(const absl::Status& refusal,
                                                  const Permissions& need) const {
  const std::optional<Conflict> conflict = ConflictOf(refusal);
  if (!conflict) return {};
  const bool is_here =
      !conflict->holders.empty() && conflict->holders.front().type == "this process";
  std::vector<ConflictHolder> others;
  if (is_here && others_ != nullptr) others = others_(need);
  return others.empty() ? conflict->holders : others;
}

absl::Status ImageLocks::Refused(const absl::Status& by_host, std::vector<ConflictHolder> holders,
                                 std::string detail, bool is_to_look, std::string_view text) const {
  Conflict conflict;
  conflict.reason = ConflictReason::kImageLocked;
  conflict.object = name_;
  conflict.detail = std::move(detail);
  conflict.next_step = NextStep(holders);
  conflict.holders = std::move(holders);
  if (is_to_look) {
    conflict.next_step +=
        ", or, if a look at what may be half of a change will do, open it read-only with "
        "locking off (force-share)";
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
    const auto check = [&](uint64_t base, const Permissions& need, std::string_view want,
                           std::string_view obstacle, std::string_view kind) -> absl::Status {
      const uint64_t byte = base + static_cast<uint64_t>(bit);
      const absl::Status status = io_.ProbeLocks(file_, absl::MakeConstSpan(&byte, 1));
      if (status.code() != absl::StatusCode::kFailedPrecondition) return status;
      std::vector<ConflictHolder> holders = HoldersIn(status, need);
      const std::string text =
          StrCat("lock image '", name_, "' to ", want, " '", permission.ToString(),
                 "': ", Describe(holders), " ", obstacle);
      return Refused(status, std::move(holders), StrCat(kind, "\"", permission.ToString(), "\""),
                     !is_to_write, text);
    };
    // The order matters to nobody but the text: what we want comes before what we forbid.
    if (new_uses.Contains(permission)) {
      MILLRACE_RETURN_IF_ERROR(
          check(kUnsharedBase, {permission, kAllPermissions}, "use", "does not share it", ""));
    }
    if (newly_refused.Contains(permission)) {
      MILLRACE_RETURN_IF_ERROR(check(kUsedBase, {{}, kAllPermissions - permission},
                                     "keep others from", "uses it", "shared "));
    }
  }
  return absl::OkStatus();
}

absl::Status ImageLocks::Lock(ByteMask mask) {
  if (mask == 0) return absl::OkStatus();
  return RefusedLock(io_.LockBytes(file_, BytesOfMask(mask)));
}

absl::Status ImageLocks::RefusedLock(absl::Status by_host) const {
  if (by_host.code() != absl::StatusCode::kFailedPrecondition) return by_host;
  // A program that locks for itself alone, as none of ours does.
  std::vector<ConflictHolder> holders = HoldersIn(by_host, {});
  const std::string text =
      StrCat("lock image '", name_, "': ", Describe(holders), " keeps all others out");
  return Refused(by_host, std::move(holders), "", /*is_to_look=*/false, text);
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
  const auto had = static_cast<ByteMask>(committed_ | reserved_);
  const auto more = static_cast<ByteMask>(MaskOf(next) & ~had);
  MILLRACE_RETURN_IF_ERROR(RefusedLock(io_.CheckLockBytes(file_, BytesOfMask(more))));
  return Probe(next, had);
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
