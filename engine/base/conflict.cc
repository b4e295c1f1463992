#include "millrace/engine/base/conflict.h"

#include <cstring>

#include "absl/strings/cord.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr char kConflictPayload[] = "millrace/conflict";

// The payload: the reason, then each field behind its length. It never leaves the process, so
// numbers are in the machine's own byte order.
class Writer {
 public:
  void Number(uint64_t number) {
    bytes_.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  void Text(std::string_view text) {
    Number(text.size());
    bytes_.append(text);
  }
  std::string TakeBytes() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// A payload under our key may still have been written by somebody else: a short one reads as empty
// fields and ends with is_complete() false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  uint64_t Number() {
    uint64_t number = 0;
    const std::string_view bytes = Take(sizeof(number));
    if (bytes.size() == sizeof(number)) std::memcpy(&number, bytes.data(), sizeof(number));
    return number;
  }
  std::string Text() { return std::string(Take(Number())); }
  bool failed() const { return failed_; }
  bool is_complete() const { return !failed_ && rest_.empty(); }

 private:
  std::string_view Take(uint64_t count) {
    if (count > rest_.size()) {
      failed_ = true;
      return {};
    }
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace

std::string_view ConflictReasonName(ConflictReason reason) {
  switch (reason) {
    case ConflictReason::kUnknownJob:
      return "unknown-job";
    case ConflictReason::kDuplicateJobId:
      return "duplicate-job-id";
    case ConflictReason::kMalformedJobId:
      return "malformed-job-id";
    case ConflictReason::kMissingJobId:
      return "missing-job-id";
    case ConflictReason::kInternalJobId:
      return "internal-job-id";
    case ConflictReason::kVerbNotAccepted:
      return "verb-not-accepted";
    case ConflictReason::kAlreadyPaused:
      return "already-paused";
    case ConflictReason::kNotPaused:
      return "not-paused";
    case ConflictReason::kCannotComplete:
      return "cannot-complete";
    case ConflictReason::kNegativeSpeed:
      return "negative-speed";
    case ConflictReason::kPausedNeedsForce:
      return "paused-needs-force";
    case ConflictReason::kChangeUnsupported:
      return "change-unsupported";
    case ConflictReason::kTransactionClosed:
      return "transaction-closed";
    case ConflictReason::kCancelledBefore:
      return "cancelled-before";
    case ConflictReason::kShuttingDown:
      return "shutting-down";
    case ConflictReason::kNodeBusy:
      return "node-busy";
    case ConflictReason::kFrozenLink:
      return "frozen-link";
    case ConflictReason::kUnleasableFilter:
      return "unleasable-filter";
    case ConflictReason::kPermission:
      return "permission";
    case ConflictReason::kReadOnly:
      return "read-only";
    case ConflictReason::kNotDrained:
      return "not-drained";
    case ConflictReason::kCycle:
      return "cycle";
    case ConflictReason::kStaleNode:
      return "stale-node";
    case ConflictReason::kUnknownNode:
      return "unknown-node";
    case ConflictReason::kDuplicateNodeName:
      return "duplicate-node-name";
    case ConflictReason::kMalformedNodeName:
      return "malformed-node-name";
    case ConflictReason::kNodeNameTooLong:
      return "node-name-too-long";
    case ConflictReason::kNodeNameIsDevice:
      return "node-name-is-device";
    case ConflictReason::kNodeInUse:
      return "node-in-use";
    case ConflictReason::kNotInChain:
      return "not-in-chain";
    case ConflictReason::kNotBacking:
      return "not-backing";
    case ConflictReason::kSameNode:
      return "same-node";
    case ConflictReason::kNoBacking:
      return "no-backing";
    case ConflictReason::kHasBacking:
      return "has-backing";
    case ConflictReason::kIsFilter:
      return "is-filter";
    case ConflictReason::kNotFilter:
      return "not-filter";
    case ConflictReason::kNotRoot:
      return "not-root";
    case ConflictReason::kSizeMismatch:
      return "size-mismatch";
    case ConflictReason::kUnsupportedByDriver:
      return "unsupported-by-driver";
    case ConflictReason::kChildNotReplaceable:
      return "child-not-replaceable";
    case ConflictReason::kViewWouldChange:
      return "view-would-change";
    case ConflictReason::kMutuallyExclusive:
      return "mutually-exclusive";
    case ConflictReason::kInvalidOption:
      return "invalid-option";
    case ConflictReason::kSectionTimedOut:
      return "section-timed-out";
    case ConflictReason::kImageLocked:
      return "image-locked";
    case ConflictReason::kForbiddenName:
      return "forbidden-name";
    case ConflictReason::kUnknownFormat:
      return "unknown-format";
    case ConflictReason::kOtherFormat:
      return "other-format";
    case ConflictReason::kHostFile:
      return "host-file";
    case ConflictReason::kUnsupportedFeature:
      return "unsupported-feature";
  }
  return "unknown";
}

absl::Status ConflictStatus(absl::StatusCode code, const Conflict& conflict,
                            std::string_view text) {
  MILLRACE_CHECK(code != absl::StatusCode::kOk, "a conflict is not a success");
  Writer writer;
  writer.Number(static_cast<uint64_t>(conflict.reason));
  writer.Text(conflict.object);
  writer.Text(conflict.next_step);
  writer.Text(conflict.detail);
  writer.Number(conflict.holders.size());
  for (const ConflictHolder& holder : conflict.holders) {
    writer.Text(holder.id);
    writer.Text(holder.type);
    writer.Number(static_cast<uint64_t>(holder.since));
    writer.Text(holder.as);
  }
  absl::Status status(code, ToAbsl(text));
  status.SetPayload(kConflictPayload, absl::Cord(writer.TakeBytes()));
  return status;
}

std::optional<Conflict> ConflictOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kConflictPayload);
  if (!payload) return std::nullopt;
  const std::string bytes(*payload);
  Reader reader(bytes);
  Conflict conflict;
  conflict.reason = static_cast<ConflictReason>(reader.Number());
  conflict.object = reader.Text();
  conflict.next_step = reader.Text();
  conflict.detail = reader.Text();
  const uint64_t holders = reader.Number();
  for (uint64_t i = 0; i < holders && !reader.failed(); ++i) {
    ConflictHolder holder;
    holder.id = reader.Text();
    holder.type = reader.Text();
    holder.since = static_cast<Nanoseconds>(reader.Number());
    holder.as = reader.Text();
    conflict.holders.push_back(std::move(holder));
  }
  if (!reader.is_complete()) return std::nullopt;
  return conflict;
}

}  // namespace millrace
