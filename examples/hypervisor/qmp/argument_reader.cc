#include "examples/hypervisor/qmp/argument_reader.h"

#include <array>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/text.h"

namespace millrace {

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words) {
    if (text == word) return true;
  }
  return false;
}

namespace {

// Decimal, octal or hexadecimal, as C reads it; nothing if there is more or it does not fit.
std::optional<int64_t> ParseInteger(const std::string& text) {
  if (text.empty()) return std::nullopt;
  char* end = nullptr;
  errno = 0;
  const long long number = std::strtoll(text.c_str(), &end, 0);
  if (errno != 0 || *end != '\0') return std::nullopt;
  return number;
}

// Bytes by one suffix of "B", "k", "M", "G", "T", "P", "E"; 0 if it is none.
uint64_t SuffixBytes(std::string_view suffix) {
  if (suffix.empty()) return 1;
  if (suffix.size() > 1) return 0;
  const int letter = std::toupper(static_cast<unsigned char>(suffix[0]));
  constexpr std::string_view kLetters = "BKMGTPE";
  const size_t power = kLetters.find(static_cast<char>(letter));
  return power == std::string_view::npos ? 0 : uint64_t{1} << (10 * power);
}

// "64k", "1.5G", "0x100"; nothing if malformed, negative or 2^64 and more.
std::optional<uint64_t> ParseSize(const std::string& text) {
  if (text.empty() || !std::isdigit(static_cast<unsigned char>(text[0]))) return std::nullopt;
  char* end = nullptr;
  errno = 0;
  const bool is_hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  const unsigned long long whole = std::strtoull(text.c_str(), &end, is_hexadecimal ? 16 : 10);
  if (errno != 0) return std::nullopt;
  if (is_hexadecimal) return *end == '\0' ? std::optional<uint64_t>(whole) : std::nullopt;
  double fraction = 0;
  if (*end == '.') {
    const char* const point = end;
    if (!std::isdigit(static_cast<unsigned char>(point[1]))) return std::nullopt;
    const char* digit = point + 1;
    for (double weight = 0.1; std::isdigit(static_cast<unsigned char>(*digit)); weight /= 10) {
      fraction += weight * (*digit++ - '0');
    }
    end = const_cast<char*>(digit);
  }
  const uint64_t unit = SuffixBytes(end);
  if (unit == 0 || (fraction != 0 && unit == 1)) return std::nullopt;
  if (whole > std::numeric_limits<uint64_t>::max() / unit) return std::nullopt;
  const uint64_t part = static_cast<uint64_t>(std::llround(fraction * static_cast<double>(unit)));
  const uint64_t bytes = whole * unit;
  if (bytes > std::numeric_limits<uint64_t>::max() - part) return std::nullopt;
  return bytes + part;
}

}  // namespace

ArgumentReader::ArgumentReader(const json::object& options, ScalarStyle style,
                               std::string_view path)
    : options_(options),
      style_(style),
      path_(path),
      shared_(std::make_shared<absl::Status>(absl::OkStatus())) {}

const json::value* ArgumentReader::Take(std::string_view name) {
  if (!ok()) return nullptr;
  read_.emplace(name);
  return options_.if_contains(Key(name));
}

std::string ArgumentReader::FullName(std::string_view name) const {
  return path_.empty() ? std::string(name) : StrCat(path_, ".", name);
}

void ArgumentReader::Fail(absl::Status status) {
  if (shared_->ok()) *shared_ = std::move(status);
}

void ArgumentReader::FailMissing(std::string_view name) {
  Fail(GenericError(StrCat("Parameter '", FullName(name), "' is missing")));
}

void ArgumentReader::FailType(std::string_view name, std::string_view expected) {
  if (style_ == ScalarStyle::kText && expected == "string") {  // "filename.0=x" makes a list
    return Fail(GenericError(StrCat("Parameters '", FullName(name), ".*' are unexpected")));
  }
  Fail(GenericError(
      StrCat("Invalid parameter type for '", FullName(name), "', expected: ", expected)));
}

void ArgumentReader::FailExpects(std::string_view name, std::string_view expected) {
  Fail(GenericError(StrCat("Parameter '", FullName(name), "' expects ", expected)));
}

std::string ArgumentReader::String(std::string_view name) {
  std::optional<std::string> text = OptionalString(name);
  if (!text.has_value()) FailMissing(name);
  return std::move(text).value_or("");
}

int64_t ArgumentReader::Integer(std::string_view name) {
  const std::optional<int64_t> number = OptionalInteger(name);
  if (!number.has_value()) FailMissing(name);
  return number.value_or(0);
}

bool ArgumentReader::Bool(std::string_view name) {
  const std::optional<bool> flag = OptionalBool(name);
  if (!flag.has_value()) FailMissing(name);
  return flag.value_or(false);
}

size_t ArgumentReader::Enum(std::string_view name, absl::Span<const std::string_view> values) {
  const std::optional<size_t> index = OptionalEnum(name, values);
  if (!index.has_value()) FailMissing(name);
  return index.value_or(0);
}

std::optional<std::string> ArgumentReader::OptionalString(std::string_view name) {
  const json::value* const value = Take(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::string(View(value->get_string()));
  FailType(name, "string");
  return std::nullopt;
}

std::optional<int64_t> ArgumentReader::OptionalInteger(std::string_view name) {
  const json::value* const value = Take(name);
  if (value == nullptr) return std::nullopt;
  if (style_ == ScalarStyle::kText && value->is_string()) {
    const auto number = ParseInteger(std::string(View(value->get_string())));
    if (!number.has_value()) FailExpects(name, "integer");
    return number;
  }
  if (style_ == ScalarStyle::kTyped && value->is_int64()) return value->get_int64();
  FailType(name, style_ == ScalarStyle::kText ? "string" : "integer");
  return std::nullopt;
}

std::optional<uint64_t> ArgumentReader::OptionalSize(std::string_view name) {
  const json::value* const value = Take(name);
  if (value == nullptr) return std::nullopt;
  if (style_ == ScalarStyle::kText && value->is_string()) {
    const auto bytes = ParseSize(std::string(View(value->get_string())));
    if (!bytes.has_value()) FailExpects(name, "a non-negative number below 2^64");
    return bytes;
  }
  if (style_ == ScalarStyle::kText) {
    FailType(name, "string");
    return std::nullopt;
  }
  if (value->is_uint64()) return value->get_uint64();
  // As in QEMU, which took them once, a number below 0 counts from 2^64 down.
  if (value->is_int64()) return static_cast<uint64_t>(value->get_int64());
  FailExpects(name, "uint64");
  return std::nullopt;
}

std::optional<uint32_t> ArgumentReader::OptionalUint32(std::string_view name) {
  const json::value* const value = Take(name);
  if (value != nullptr && style_ == ScalarStyle::kTyped && !value->is_int64() &&
      !value->is_uint64()) {
    FailExpects(name, "uint64");
    return std::nullopt;
  }
  if (value != nullptr && value->is_uint64()) {
    FailExpects(name, "uint32_t");
    return std::nullopt;
  }
  const std::optional<int64_t> number = OptionalInteger(name);
  if (!number.has_value()) return std::nullopt;
  if (*number < 0 || *number > std::numeric_limits<uint32_t>::max()) {
    FailExpects(name, "uint32_t");
    return std::nullopt;
  }
  return static_cast<uint32_t>(*number);
}

std::optional<bool> ArgumentReader::OptionalBool(std::string_view name) {
  const json::value* const value = Take(name);
  if (value == nullptr) return std::nullopt;
  if (style_ == ScalarStyle::kText && value->is_string()) {
    const std::string_view text = View(value->get_string());
    if (IsOneOf(text, {"on", "yes", "true", "y"})) return true;
    if (IsOneOf(text, {"off", "no", "false", "n"})) return false;
    FailExpects(name, "'on' or 'off'");
    return std::nullopt;
  }
  if (style_ == ScalarStyle::kTyped && value->is_bool()) return value->get_bool();
  FailType(name, style_ == ScalarStyle::kText ? "string" : "boolean");
  return std::nullopt;
}

std::optional<size_t> ArgumentReader::OptionalEnum(std::string_view name,
                                                   absl::Span<const std::string_view> values) {
  const std::optional<std::string> text = OptionalString(name);
  if (!text.has_value()) return std::nullopt;
  for (size_t index = 0; index < values.size(); ++index) {
    if (values[index] == *text) return index;
  }
  Fail(GenericError(StrCat("Parameter '", name, "' does not accept value '", *text, "'")));
  return std::nullopt;
}

std::optional<ArgumentReader> ArgumentReader::OptionalObject(std::string_view name) {
  const json::value* const value = Take(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_object()) return Nested(name, value->get_object());
  FailType(name, "object");
  return std::nullopt;
}

const json::array* ArgumentReader::OptionalArray(std::string_view name) {
  const json::value* const value = Take(name);
  if (value == nullptr) return nullptr;
  if (value->is_array()) return &value->get_array();
  FailType(name, "array");
  return nullptr;
}

const json::value* ArgumentReader::OptionalAny(std::string_view name) { return Take(name); }

ArgumentReader ArgumentReader::Nested(std::string_view name, const json::object& options) const {
  ArgumentReader nested(options, style_, FullName(name));
  nested.shared_ = shared_;
  return nested;
}

absl::Status ArgumentReader::Finish() {
  if (!ok() || accepts_rest_) return *shared_;
  for (const auto& member : options_) {
    if (read_.contains(View(member.key()))) continue;
    Fail(GenericError(StrCat("Parameter '", FullName(View(member.key())), "' is unexpected")));
    break;
  }
  return *shared_;
}

}  // namespace millrace
