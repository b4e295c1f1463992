#include "examples/cli/remote.h"

#include <cstdio>
#include <optional>

#include "examples/cli/exit_code.h"
#include "examples/hypervisor/qmp/json_format.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/text.h"

namespace millrace {

int ReportRemoteError(const absl::Status& status, bool as_json) {
  if (status.ok()) return kExitSuccess;
  const std::string text(FromAbsl(status.message()));
  fprintf(stderr, "millrace: %s\n", text.c_str());
  json::object shown = {{"text", text}};
  if (const std::optional<QmpErrorReply> reply = QmpErrorOf(status)) {
    const std::string next(TextAt(reply->data, "next-step"));
    if (!next.empty()) fprintf(stderr, "millrace: what to do: %s\n", next.c_str());
    shown = ToJson(*reply);
  }
  if (as_json) puts(FormatJson(json::object{{"error", shown}}, JsonLayout::kLine).c_str());
  return kExitFailure;
}

const json::value& At(const json::value& object, std::string_view key) {
  static const json::value nothing;
  if (!object.is_object()) return nothing;
  const json::value* value =
      object.get_object().if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr ? nothing : *value;
}

std::string_view TextAt(const json::value& object, std::string_view key) {
  const json::value& value = At(object, key);
  return value.is_string() ? View(value.get_string()) : std::string_view();
}

int64_t NumberAt(const json::value& object, std::string_view key) {
  const json::value& value = At(object, key);
  if (value.is_uint64()) return static_cast<int64_t>(value.get_uint64());
  return value.is_int64() ? value.get_int64() : 0;
}

bool FlagAt(const json::value& object, std::string_view key) {
  const json::value& value = At(object, key);
  return value.is_bool() && value.get_bool();
}

const json::array& ListAt(const json::value& object, std::string_view key) {
  static const json::array nothing;
  const json::value& value = At(object, key);
  return value.is_array() ? value.get_array() : nothing;
}

std::string HolderInWords(const json::value& holder) {
  const std::string_view id = TextAt(holder, "id");
  if (id.empty()) return StrCat("an unnamed ", TextAt(holder, "type"));
  return StrCat(TextAt(holder, "type"), " '", id, "'");
}

}  // namespace millrace
