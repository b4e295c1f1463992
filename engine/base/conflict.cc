#include "millrace/engine/base/conflict.h"

#include <cstddef>
#include <cstring>
#include <iterator>

#include "absl/strings/cord.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr char kConflictPayload[] = "millrace/conflict";

// In the order of the enumeration, which the compiler checks below.
struct NamedReason {
  ConflictReason reason;
  std::string_view name;
};

constexpr NamedReason kReasons[] = {
    {ConflictReason::kUnknownJob, "unknown-job"},
    {ConflictReason::kDuplicateJobId, "duplicate-job-id"},
    {ConflictReason::kMalformedJobId, "malformed-job-id"},
    {ConflictReason::kMissingJobId, "missing-job-id"},
    {ConflictReason::kInternalJobId, "internal-job-id"},
    {ConflictReason::kVerbNotAccepted, "verb-not-accepted"},
    {ConflictReason::kAlreadyPaused, "already-paused"},
    {ConflictReason::kNotPaused, "not-paused"},
    {ConflictReason::kCannotComplete, "cannot-complete"},
    {ConflictReason::kNegativeSpeed, "negative-speed"},
    {ConflictReason::kPausedNeedsForce, "paused-needs-force"},
    {ConflictReason::kChangeUnsupported, "change-unsupported"},
    {ConflictReason::kTransactionClosed, "transaction-closed"},
    {ConflictReason::kCancelledBefore, "cancelled-before"},
    {ConflictReason::kShuttingDown, "shutting-down"},
    {ConflictReason::kNodeBusy, "node-busy"},
    {ConflictReason::kFrozenLink, "frozen-link"},
    {ConflictReason::kUnleasableFilter, "unleasable-filter"},
    {ConflictReason::kPermission, "permission"},
    {ConflictReason::kReadOnly, "read-only"},
    {ConflictReason::kNotDrained, "not-drained"},
    {ConflictReason::kCycle, "cycle"},
    {ConflictReason::kStaleNode, "stale-node"},
    {ConflictReason::kUnknownNode, "unknown-node"},
    {ConflictReason::kDuplicateNodeName, "duplicate-node-name"},
    {ConflictReason::kMalformedNodeName, "malformed-node-name"},
    {ConflictReason::kNodeNameTooLong, "node-name-too-long"},
    {ConflictReason::kNodeNameIsDevice, "node-name-is-device"},
    {ConflictReason::kNodeInUse, "node-in-use"},
    {ConflictReason::kNotInChain, "not-in-chain"},
    {ConflictReason::kNotBacking, "not-backing"},
    {ConflictReason::kSameNode, "same-node"},
    {ConflictReason::kNoBacking, "no-backing"},
    {ConflictReason::kHasBacking, "has-backing"},
    {ConflictReason::kIsFilter, "is-filter"},
    {ConflictReason::kNotFilter, "not-filter"},
    {ConflictReason::kNotRoot, "not-root"},
    {ConflictReason::kSizeMismatch, "size-mismatch"},
    {ConflictReason::kUnsupportedByDriver, "unsupported-by-driver"},
    {ConflictReason::kChildNotReplaceable, "child-not-replaceable"},
    {ConflictReason::kViewWouldChange, "view-would-change"},
    {ConflictReason::kMutuallyExclusive, "mutually-exclusive"},
    {ConflictReason::kInvalidOption, "invalid-option"},
    {ConflictReason::kSectionTimedOut, "section-timed-out"},
    {ConflictReason::kImageLocked, "image-locked"},
    {ConflictReason::kForbiddenName, "forbidden-name"},
    {ConflictReason::kUnknownFormat, "unknown-format"},
    {ConflictReason::kOtherFormat, "other-format"},
    {ConflictReason::kHostFile, "host-file"},
    {ConflictReason::kUnsupportedFeature, "unsupported-feature"},
};

constexpr size_t kReasonCount = static_cast<size_t>(ConflictReason::kUnsupportedFeature) + 1;

constexpr bool IsInOrder() {
  for (size_t i = 0; i < std::size(kReasons); ++i) {
    if (static_cast<size_t>(kReasons[i].reason) != i) return false;
  }
  return std::size(kReasons) == kReasonCount;
}
static_assert(IsInOrder(), "every reason has a name, and they come in order");

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
  const auto index = static_cast<size_t>(reason);
  return index < std::size(kReasons) ? kReasons[index].name : "unknown";
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
