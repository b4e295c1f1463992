#include "millrace/engine/base/conflict.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
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
    {ConflictReason::kUnalignedSize, "unaligned-size"},
    {ConflictReason::kUnsupportedByDriver, "unsupported-by-driver"},
    {ConflictReason::kViewWouldChange, "view-would-change"},
    {ConflictReason::kMutuallyExclusive, "mutually-exclusive"},
    {ConflictReason::kInvalidOption, "invalid-option"},
    {ConflictReason::kDuplicateDeviceName, "duplicate-device-name"},
    {ConflictReason::kNodeNotOpen, "node-not-open"},
    {ConflictReason::kNothingAbove, "nothing-above"},
    {ConflictReason::kNotAttached, "not-attached"},
    {ConflictReason::kNotPermitted, "not-permitted"},
    {ConflictReason::kOutOfRange, "out-of-range"},
    {ConflictReason::kImageLocked, "image-locked"},
    {ConflictReason::kForbiddenName, "forbidden-name"},
    {ConflictReason::kUnknownFormat, "unknown-format"},
    {ConflictReason::kMissingFormat, "missing-format"},
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

// The payload is a line of text, so that a status is readable where it is printed:
//
//   {frozen-link | object: mid backing | holder: stream0, stream job, 42, backing | next: wait}
//
// Fields that are empty are left out. Characters that mean something here, and those that cannot be
// printed, are written as '%' and two hexadecimal digits.
constexpr std::string_view kFieldGap = " | ";
constexpr std::string_view kPartGap = ", ";
constexpr std::string_view kMeaningful = "%|{}";
constexpr std::string_view kMeaningfulInPart = "%|{},";
constexpr std::string_view kHexDigits = "0123456789abcdef";

void AppendEscaped(std::string_view text, std::string_view meaningful, std::string* out) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f && meaningful.find(c) == meaningful.npos) {
      out->push_back(c);
    } else {
      out->push_back('%');
      out->push_back(kHexDigits[byte >> 4]);
      out->push_back(kHexDigits[byte & 15]);
    }
  }
}

void AppendField(std::string_view key, std::string_view text, std::string* out) {
  if (text.empty()) return;
  StrAppend(out, kFieldGap, key, ": ");
  AppendEscaped(text, kMeaningful, out);
}

void AppendHolder(const ConflictHolder& holder, std::string* out) {
  StrAppend(out, kFieldGap, "holder: ");
  AppendEscaped(holder.id, kMeaningfulInPart, out);
  out->append(kPartGap);
  AppendEscaped(holder.type, kMeaningfulInPart, out);
  StrAppend(out, kPartGap, holder.since, kPartGap);
  AppendEscaped(holder.as, kMeaningfulInPart, out);
}

// Nothing if it is not what AppendEscaped() writes.
std::optional<std::string> Unescaped(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain.push_back(text[i]);
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const size_t high = kHexDigits.find(text[i + 1]);
    const size_t low = kHexDigits.find(text[i + 2]);
    if (high == kHexDigits.npos || low == kHexDigits.npos) return std::nullopt;
    plain.push_back(static_cast<char>(high << 4 | low));
    i += 2;
  }
  return plain;
}

// What stands before `gap`, which it takes off as well; all of `rest` if there is none.
std::string_view TakeUntil(std::string_view gap, std::string_view* rest) {
  const std::string_view taken = rest->substr(0, rest->find(gap));
  rest->remove_prefix(std::min(rest->size(), taken.size() + gap.size()));
  return taken;
}

bool ReadText(std::string_view text, std::string* value) {
  std::optional<std::string> plain = Unescaped(text);
  if (!plain) return false;
  *value = *std::move(plain);
  return true;
}

bool ReadHolder(std::string_view text, ConflictHolder* holder) {
  if (!ReadText(TakeUntil(kPartGap, &text), &holder->id)) return false;
  if (!ReadText(TakeUntil(kPartGap, &text), &holder->type)) return false;
  if (!absl::SimpleAtoi(ToAbsl(TakeUntil(kPartGap, &text)), &holder->since)) return false;
  return ReadText(text, &holder->as);
}

bool ReadField(std::string_view field, Conflict* conflict) {
  const std::string_view key = TakeUntil(": ", &field);
  if (key == "object") return ReadText(field, &conflict->object);
  if (key == "next") return ReadText(field, &conflict->next_step);
  if (key == "detail") return ReadText(field, &conflict->detail);
  return key == "holder" && ReadHolder(field, &conflict->holders.emplace_back());
}

}  // namespace

std::string_view ConflictReasonName(ConflictReason reason) {
  const auto index = static_cast<size_t>(reason);
  return index < std::size(kReasons) ? kReasons[index].name : "unknown";
}

namespace {

std::optional<ConflictReason> ReasonNamed(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kReasons), std::end(kReasons),
                                         [name](const NamedReason& r) { return r.name == name; });
  if (found != std::end(kReasons)) return found->reason;
  return std::nullopt;
}

}  // namespace

absl::Status ConflictStatus(absl::StatusCode code, const Conflict& conflict,
                            std::string_view text) {
  MILLRACE_CHECK(code != absl::StatusCode::kOk, "a conflict is not a success");
  std::string payload = StrCat("{", ConflictReasonName(conflict.reason));
  AppendField("object", conflict.object, &payload);
  for (const ConflictHolder& holder : conflict.holders) AppendHolder(holder, &payload);
  AppendField("next", conflict.next_step, &payload);
  AppendField("detail", conflict.detail, &payload);
  payload.push_back('}');
  absl::Status status(code, ToAbsl(text));
  status.SetPayload(kConflictPayload, absl::Cord(payload));
  return status;
}

absl::Status RefusalStatus(absl::StatusCode code, const Conflict& conflict, std::string_view text) {
  return ConflictStatus(code, conflict, StrCat(text, "; ", conflict.next_step));
}

std::optional<Conflict> ConflictOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kConflictPayload);
  if (!payload) return std::nullopt;
  const std::string text(*payload);
  // It may have been written by somebody else under our key.
  if (text.size() < 2 || text.front() != '{' || text.back() != '}') return std::nullopt;
  std::string_view rest = std::string_view(text).substr(1, text.size() - 2);
  const std::optional<ConflictReason> reason = ReasonNamed(TakeUntil(kFieldGap, &rest));
  if (!reason) return std::nullopt;
  Conflict conflict;
  conflict.reason = *reason;
  while (!rest.empty()) {
    if (!ReadField(TakeUntil(kFieldGap, &rest), &conflict)) return std::nullopt;
  }
  return conflict;
}

}  // namespace millrace
