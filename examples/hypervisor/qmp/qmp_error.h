// Errors as QMP spells them, inside an absl::Status.
//
// A handler that knows the class and text a QMP client expects returns one of these. Every other
// failed status, a refusal of the library with its Conflict above all, is put into words by an
// ErrorRenderer just before it is sent: QEMU's strings live in one table behind that hook.
//
//   return DeviceNotFound("Cannot find device='x' nor node-name='x'");
//
// Plain data; any thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_QMP_ERROR_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_QMP_ERROR_H_

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/json.h"
#include "millrace/engine/base/conflict.h"

namespace millrace {

// What a client sees of an error: {"class": .., "desc": .., "data": {..}}.
struct QmpErrorReply {
  std::string error_class = "GenericError";
  std::string desc;
  // A second line for people at a terminal; not sent to clients.
  std::string hint;
  // Machine-readable; left out if empty.
  json::object data;
};

// Statuses that carry the class and the text. `desc` is QEMU's text, so it may begin with a
// capital.
absl::Status QmpError(std::string_view error_class, std::string_view desc, json::object data = {});
absl::Status GenericError(std::string_view desc, json::object data = {});
absl::Status DeviceNotFound(std::string_view desc, json::object data = {});
absl::Status DeviceNotActive(std::string_view desc);
absl::Status CommandNotFound(std::string_view desc);

// `data` of a refusal about what the library does not know (devices, exports, user objects), with
// the members that a Conflict's has.
struct RefusalData {
  std::string_view reason;  // "in-use", "unknown-device"
  std::string_view object;
  std::string_view next_step;
  std::vector<ConflictHolder> holders{};
};
json::object DescribeRefusal(const RefusalData& refusal);

// `told` with the conflict that `cause` carries, if any, so that it becomes `data`.
absl::Status WithConflictOf(absl::Status told, const absl::Status& cause);

// The reply that a status carries; nothing if it was not made by the functions above.
std::optional<QmpErrorReply> QmpErrorOf(const absl::Status& status);

// Puts a status without a QMP reply of its own into QEMU's words; `data` is filled in by
// RenderError.
using ErrorRenderer = std::function<QmpErrorReply(const absl::Status& status)>;

// The reply for a failed status: the one it carries, or what `renderer` says (null: a GenericError
// with the status's own text). A Conflict becomes `data`, with the library's own text beside it.
QmpErrorReply RenderError(const absl::Status& status, const ErrorRenderer& renderer);

// {"class": .., "desc": .., "data": ..}, the value of "error" in a reply.
json::object ToJson(const QmpErrorReply& reply);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_QMP_ERROR_H_
