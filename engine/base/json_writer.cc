#include "millrace/engine/base/json_writer.h"

#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// Length of the well-formed UTF-8 character that `text` starts with; 0 if there is none.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t bytes = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (bytes == 0 || bytes > text.size()) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool is_overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
  const bool is_surrogate = lead == 0xed && byte(1) >= 0xa0;
  const bool is_too_large = lead == 0xf4 && byte(1) >= 0x90;
  return is_overlong || is_surrogate || is_too_large ? 0 : bytes;
}

void AppendEscapedCharacter(std::string* out, char c) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      *out += "\\\"";
      return;
    case '\\':
      *out += "\\\\";
      return;
    case '\n':
      *out += "\\n";
      return;
    case '\t':
      *out += "\\t";
      return;
    case '\r':
      *out += "\\r";
      return;
    default:
      break;
  }
  const auto byte = static_cast<uint8_t>(c);
  if (byte >= 0x20 && byte != 0x7f) {
    *out += c;
  } else {
    *out += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
  }
}

}  // namespace

std::string JsonString(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    if (bytes == 1) {
      AppendEscapedCharacter(&out, text[0]);
    } else {
      out += bytes == 0 ? kReplacement : text.substr(0, bytes);
    }
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  return out + '"';
}

void JsonWriter::BeforeValue() {
  if (levels_.empty()) return;
  Level& level = levels_.back();
  if (level.end == '}') {
    MILLRACE_CHECK(has_key_, "JSON value in an object without a key");
    has_key_ = false;
    return;
  }
  if (!level.is_empty) text_ += ", ";
  level.is_empty = false;
}

JsonWriter& JsonWriter::Begin(char kind) {
  BeforeValue();
  text_ += kind;
  levels_.push_back({kind == '{' ? '}' : ']'});
  return *this;
}

JsonWriter& JsonWriter::End(char kind) {
  MILLRACE_CHECK(!levels_.empty() && levels_.back().end == kind && !has_key_,
                 "JSON end without its begin");
  levels_.pop_back();
  text_ += kind;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  MILLRACE_CHECK(!levels_.empty() && levels_.back().end == '}' && !has_key_,
                 "JSON key outside of an object");
  if (!levels_.back().is_empty) text_ += ", ";
  levels_.back().is_empty = false;
  text_ += JsonString(key);
  text_ += ": ";
  has_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::String(std::string_view text) {
  BeforeValue();
  text_ += JsonString(text);
  return *this;
}

JsonWriter& JsonWriter::Number(uint64_t number) {
  BeforeValue();
  StrAppend(&text_, number);
  return *this;
}

JsonWriter& JsonWriter::Number(int64_t number) {
  BeforeValue();
  StrAppend(&text_, number);
  return *this;
}

JsonWriter& JsonWriter::Bool(bool value) {
  BeforeValue();
  text_ += value ? "true" : "false";
  return *this;
}

JsonWriter& JsonWriter::Null() {
  BeforeValue();
  text_ += "null";
  return *this;
}

std::string JsonWriter::Take() {
  MILLRACE_CHECK(levels_.empty(), "JSON taken before its end");
  return std::exchange(text_, std::string());
}

}  // namespace millrace
