#include "examples/hypervisor/options/keyval.h"

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include "examples/hypervisor/qmp/json_text.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr size_t kKeyFragmentBytesMax = 127;
// As deep as JSON may nest.
constexpr size_t kKeyDepthMax = kNestedTextDepthMax;

struct Pair {
  std::string key;
  std::string value;
};

bool IsNumber(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isdigit(static_cast<unsigned char>(c));
  });
}

bool IsKeyFragment(std::string_view text) {
  if (IsNumber(text)) return true;
  if (text.empty() || !std::isalpha(static_cast<unsigned char>(text[0]))) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  });
}

// Takes a value up to a single comma; ",," is a comma.
std::string TakeValue(std::string_view* text) {
  std::string value;
  while (!text->empty()) {
    const char c = text->front();
    text->remove_prefix(1);
    if (c == ',') {
      if (text->empty() || text->front() != ',') break;
      text->remove_prefix(1);
    }
    value += c;
  }
  return value;
}

// Splits a member's name at its dots. A fragment that starts with digits must be a number.
absl::StatusOr<std::vector<std::string>> SplitKey(std::string_view key) {
  std::vector<std::string> fragments;
  for (std::string_view rest = key;;) {
    const size_t dot = rest.find('.');
    const std::string_view fragment = rest.substr(0, dot);
    if (!IsKeyFragment(fragment) || (fragments.empty() && IsNumber(fragment)) ||
        fragments.size() == kKeyDepthMax) {
      return GenericError(StrCat("Invalid parameter '", key, "'"));
    }
    if (fragment.size() > kKeyFragmentBytesMax) {
      return GenericError(
          StrCat(fragment.size() == key.size() ? "Parameter '" : "Parameter fragment '", fragment,
                 "' is too long"));
    }
    fragments.emplace_back(fragment);
    if (dot == rest.npos) return fragments;
    rest.remove_prefix(dot + 1);
  }
}

std::string JoinKey(const std::vector<std::string>& fragments, size_t count) {
  std::string key;
  for (size_t i = 0; i < count; ++i) StrAppend(&key, i == 0 ? "" : ".", fragments[i]);
  return key;
}

absl::Status Inconsistent(std::string_view key) {
  return GenericError(StrCat("Parameters '", key, ".*' used inconsistently"));
}

// Puts a value where its dotted name says. Of equal names the last one counts.
absl::Status InsertKey(std::string_view key, json::value value, json::object* root) {
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<std::string> fragments, SplitKey(key));
  json::object* object = root;
  for (size_t i = 0; i + 1 < fragments.size(); ++i) {
    json::value& next = (*object)[JsonKey(fragments[i])];
    if (next.is_null()) next = json::object();
    if (!next.is_object()) return Inconsistent(JoinKey(fragments, i + 1));
    object = &next.get_object();
  }
  json::value& slot = (*object)[JsonKey(fragments.back())];
  if (slot.is_object()) return Inconsistent(JoinKey(fragments, fragments.size()));
  slot = std::move(value);
  return absl::OkStatus();
}

absl::StatusOr<json::value> MakeLists(json::object object, std::string_view path);

// All members are numbers: 0, 1, ... without a gap.
absl::StatusOr<json::value> MakeList(json::object object, std::string_view path) {
  json::array list;
  list.reserve(object.size());
  for (size_t index = 0; index < object.size(); ++index) {
    json::value* const element = object.if_contains(std::to_string(index));
    if (element == nullptr) {
      return GenericError(StrCat("Parameter '", path, ".", index, "' missing"));
    }
    list.push_back(std::move(*element));
  }
  return json::value(std::move(list));
}

// Turns objects whose members are numbers into lists, bottom up.
absl::StatusOr<json::value> MakeLists(json::object object, std::string_view path) {
  size_t numbers = 0;
  for (auto& member : object) {
    const std::string_view name = View(member.key());
    if (IsNumber(name)) ++numbers;
    if (!member.value().is_object()) continue;
    MILLRACE_ASSIGN_OR_RETURN(
        member.value(), MakeLists(std::move(member.value().get_object()),
                                  path.empty() ? std::string(name) : StrCat(path, ".", name)));
  }
  if (numbers == 0) return json::value(std::move(object));
  if (numbers < object.size()) return Inconsistent(path);
  return MakeList(std::move(object), path);
}

absl::StatusOr<OptionValue> Nest(std::vector<Pair> pairs) {
  json::object root;
  for (Pair& pair : pairs) {
    MILLRACE_RETURN_IF_ERROR(InsertKey(pair.key, json::value(pair.value), &root));
  }
  MILLRACE_ASSIGN_OR_RETURN(json::value nested, MakeLists(std::move(root), ""));
  return OptionValue{std::move(nested.get_object()), ScalarStyle::kText};
}

absl::StatusOr<std::vector<Pair>> SplitKeyval(std::string_view text, std::string_view implied_key) {
  std::vector<Pair> pairs;
  while (!text.empty()) {
    const size_t end = text.find_first_of("=,");
    const bool has_value = end != text.npos && text[end] == '=';
    if (!has_value && pairs.empty() && !implied_key.empty()) {
      // An implied value has no escapes: it ends at the first comma.
      pairs.push_back({std::string(implied_key), std::string(text.substr(0, end))});
      text.remove_prefix(end == text.npos ? text.size() : end + 1);
      continue;
    }
    const std::string key(text.substr(0, end));
    if (!has_value) {
      if (key == "help" || key == "?") {
        return GenericError("Help is not available for this option");
      }
      MILLRACE_RETURN_IF_ERROR(SplitKey(key).status());
      return GenericError(StrCat("Expected '=' after parameter '", key, "'"));
    }
    text.remove_prefix(end + 1);
    pairs.push_back({key, TakeValue(&text)});
  }
  return pairs;
}

std::vector<Pair> SplitLegacy(std::string_view text, std::string_view implied_key) {
  std::vector<Pair> pairs;
  while (!text.empty()) {
    const size_t end = text.find_first_of("=,");
    if (end != text.npos && text[end] == '=') {
      std::string key(text.substr(0, end));
      text.remove_prefix(end + 1);
      pairs.push_back({std::move(key), TakeValue(&text)});
    } else if (pairs.empty() && !implied_key.empty()) {
      pairs.push_back({std::string(implied_key), TakeValue(&text)});
    } else {
      const std::string_view flag = text.substr(0, end);
      text.remove_prefix(end == text.npos ? text.size() : end + 1);
      const bool is_off = flag.starts_with("no") && flag != "node-name";
      pairs.push_back({std::string(is_off ? flag.substr(2) : flag), is_off ? "off" : "on"});
    }
  }
  return pairs;
}

bool IsJson(std::string_view text) { return text.starts_with("{"); }

absl::StatusOr<OptionValue> ParseJsonOptions(std::string_view text) {
  MILLRACE_ASSIGN_OR_RETURN(json::value value, ParseJson(text));
  if (!value.is_object()) return GenericError("expected a JSON object");
  return OptionValue{std::move(value.get_object()), ScalarStyle::kTyped};
}

}  // namespace

absl::StatusOr<OptionValue> ParseKeyval(std::string_view text, std::string_view implied_key) {
  if (IsJson(text)) return ParseJsonOptions(text);
  MILLRACE_ASSIGN_OR_RETURN(std::vector<Pair> pairs, SplitKeyval(text, implied_key));
  return Nest(std::move(pairs));
}

absl::StatusOr<OptionValue> ParseLegacyOptions(std::string_view text,
                                               std::string_view implied_key) {
  if (IsJson(text)) return ParseJsonOptions(text);
  return Nest(SplitLegacy(text, implied_key));
}

absl::StatusOr<DriveOptionValue> ParseDriveOptions(std::string_view text) {
  DriveOptionValue drive;
  const std::pair<const char*, std::optional<std::string>*> set_apart[] = {
      {"file", &drive.filename}, {"cache", &drive.cache_mode}};
  if (IsJson(text)) {
    MILLRACE_ASSIGN_OR_RETURN(drive.options, ParseJsonOptions(text));
    for (const auto& [name, value] : set_apart) {
      const json::value* given = drive.options.object.if_contains(name);
      if (given == nullptr || !given->is_string()) continue;
      *value = std::string(View(given->get_string()));
      drive.options.object.erase(name);
    }
    return drive;
  }
  std::vector<Pair> pairs = SplitLegacy(text, "");
  for (const auto& [name, value] : set_apart) {
    for (const Pair& pair : pairs) {
      if (pair.key == name) *value = pair.value;
    }
    std::erase_if(pairs, [key = name](const Pair& pair) { return pair.key == key; });
  }
  MILLRACE_ASSIGN_OR_RETURN(drive.options, Nest(std::move(pairs)));
  return drive;
}

absl::StatusOr<json::object> NestDottedMembers(const json::object& object) {
  json::object nested;
  for (const auto& member : object) {
    json::value value = member.value();
    if (value.is_object()) {
      MILLRACE_ASSIGN_OR_RETURN(json::object inner, NestDottedMembers(value.get_object()));
      // Members of the object and dotted names of the same prefix belong together.
      for (auto& entry : inner) {
        MILLRACE_RETURN_IF_ERROR(InsertKey(StrCat(View(member.key()), ".", View(entry.key())),
                                           std::move(entry.value()), &nested));
      }
      if (!inner.empty()) continue;
      value = json::object();
    }
    MILLRACE_RETURN_IF_ERROR(InsertKey(View(member.key()), std::move(value), &nested));
  }
  MILLRACE_ASSIGN_OR_RETURN(json::value lists, MakeLists(std::move(nested), ""));
  return std::move(lists.get_object());
}

}  // namespace millrace
