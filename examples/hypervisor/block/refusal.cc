#include "examples/hypervisor/block/refusal.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "examples/common/conflict_text.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/text.h"

namespace millrace {

QmpErrorReply RenderRefusal(const absl::Status& status) {
  QmpErrorReply reply;
  if (const std::optional<Conflict> conflict = ConflictOf(status)) {
    reply.desc = ConflictText(*conflict);
    if (conflict->reason == ConflictReason::kImageLocked) {
      reply.hint = StrCat("Is another process using the image [", conflict->object, "]?");
    }
  }
  if (reply.desc.empty()) {
    reply.desc = std::string(FromAbsl(status.message()));
    if (!reply.desc.empty()) {
      reply.desc[0] = absl::ascii_toupper(static_cast<unsigned char>(reply.desc[0]));
    }
  }
  return reply;
}

absl::Status Refuse(const Conflict& conflict, std::string_view text) {
  return WithConflictOf(GenericError(text),
                        ConflictStatus(absl::StatusCode::kInvalidArgument, conflict, text));
}

absl::Status Refuse(ConflictReason reason, std::string_view object, std::string_view text,
                    std::string_view next_step) {
  Conflict conflict;
  conflict.reason = reason;
  conflict.object = std::string(object);
  conflict.next_step = std::string(next_step);
  return Refuse(conflict, text);
}

namespace {

std::string NextStepFor(const std::vector<ConflictHolder>& holders) {
  if (holders.empty()) return "take away first what uses it";
  const ConflictHolder& first = holders.front();
  const std::string who =
      first.id.empty() ? StrCat("the ", first.type) : StrCat(first.type, " '", first.id, "'");
  if (first.type.ends_with(" job")) return StrCat("wait until ", who, " has ended, or cancel it");
  return StrCat("take ", who, " away first, or let it use another");
}

}  // namespace

absl::Status RefuseForHolders(ConflictReason reason, std::string_view object,
                              std::vector<ConflictHolder> holders, std::string_view text) {
  Conflict conflict;
  conflict.reason = reason;
  conflict.object = std::string(object);
  conflict.next_step = NextStepFor(holders);
  conflict.holders = std::move(holders);
  return Refuse(conflict, text);
}

absl::Status RefuseUnknownNode(std::string_view name, std::string_view text) {
  return Refuse(ConflictReason::kUnknownNode, name, text,
                "list the nodes with query-named-block-nodes, and name one of them");
}

}  // namespace millrace
