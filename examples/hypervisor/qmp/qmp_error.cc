#include "examples/hypervisor/qmp/qmp_error.h"

#include <utility>

#include "absl/strings/cord.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr char kReplyPayload[] = "millrace/qmp-error";

json::object DescribeConflict(const Conflict& conflict) {
  json::object data = DescribeRefusal({.reason = ConflictReasonName(conflict.reason),
                                       .object = conflict.object,
                                       .next_step = conflict.next_step,
                                       .holders = conflict.holders});
  if (!conflict.detail.empty()) data["detail"] = conflict.detail;
  return data;
}

// What QEMU adds in a second line for people, by how a message ends.
std::string HintFor(std::string_view desc) {
  if (desc.ends_with("expects an identifier")) {
    return "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.";
  }
  if (desc.ends_with("expects a non-negative number below 2^64")) {
    return "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
           "and exabytes, respectively.";
  }
  return {};
}

}  // namespace

absl::Status QmpError(std::string_view error_class, std::string_view desc, json::object data) {
  // The code is of no interest to a QMP client; the class is.
  absl::Status status = absl::FailedPreconditionError(ToAbsl(desc));
  json::object payload;
  payload["class"] = json::string_view(error_class.data(), error_class.size());
  payload["data"] = std::move(data);
  status.SetPayload(kReplyPayload, absl::Cord(json::serialize(payload)));
  return status;
}

absl::Status GenericError(std::string_view desc, json::object data) {
  return QmpError("GenericError", desc, std::move(data));
}

absl::Status DeviceNotFound(std::string_view desc, json::object data) {
  return QmpError("DeviceNotFound", desc, std::move(data));
}
absl::Status DeviceNotActive(std::string_view desc) { return QmpError("DeviceNotActive", desc); }
absl::Status CommandNotFound(std::string_view desc) { return QmpError("CommandNotFound", desc); }

json::object DescribeRefusal(const RefusalData& refusal) {
  json::object data;
  data["reason"] = json::string_view(refusal.reason);
  data["object"] = json::string_view(refusal.object);
  json::array holders;
  for (const ConflictHolder& holder : refusal.holders) {
    json::object entry;
    entry["id"] = holder.id;
    entry["type"] = holder.type;
    if (holder.since != 0) entry["since-ns"] = holder.since;
    holders.push_back(std::move(entry));
  }
  data["holders"] = std::move(holders);
  if (!refusal.next_step.empty()) data["next-step"] = json::string_view(refusal.next_step);
  return data;
}

absl::Status WithConflictOf(absl::Status told, const absl::Status& cause) {
  cause.ForEachPayload([&told](absl::string_view name, const absl::Cord& payload) {
    if (!told.GetPayload(name).has_value()) told.SetPayload(name, payload);
  });
  return told;
}

std::optional<QmpErrorReply> QmpErrorOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kReplyPayload);
  if (!payload.has_value()) return std::nullopt;
  json::error_code error;
  const json::value parsed = json::parse(std::string(*payload), error);
  if (error || !parsed.is_object()) return std::nullopt;
  const json::object& fields = parsed.get_object();
  QmpErrorReply reply;
  if (const json::value* name = fields.if_contains("class"); name != nullptr && name->is_string()) {
    reply.error_class = View(name->get_string());
  }
  reply.desc = std::string(status.message());
  reply.hint = HintFor(reply.desc);
  if (const json::value* data = fields.if_contains("data"); data != nullptr && data->is_object()) {
    reply.data = data->get_object();
  }
  return reply;
}

QmpErrorReply RenderError(const absl::Status& status, const ErrorRenderer& renderer) {
  QmpErrorReply reply;
  if (std::optional<QmpErrorReply> own = QmpErrorOf(status)) {
    reply = *std::move(own);
  } else if (renderer) {
    reply = renderer(status);
  } else {
    reply.desc = std::string(status.message());
  }
  if (const std::optional<Conflict> conflict = ConflictOf(status)) {
    json::object data = DescribeConflict(*conflict);
    for (const auto& member : reply.data) data[member.key()] = member.value();
    if (FromAbsl(status.message()) != reply.desc) {
      data["explanation"] = std::string(status.message());
    }
    reply.data = std::move(data);
  }
  return reply;
}

json::object ToJson(const QmpErrorReply& reply) {
  json::object error;
  error["class"] = reply.error_class;
  error["desc"] = reply.desc;
  if (!reply.data.empty()) error["data"] = reply.data;
  return error;
}

}  // namespace millrace
