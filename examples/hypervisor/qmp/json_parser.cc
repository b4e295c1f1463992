#include "examples/hypervisor/qmp/json_parser.h"

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <utility>

#include "examples/hypervisor/qmp/qmp_error.h"
#include "examples/hypervisor/qmp/utf8.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

absl::Status Wrong(std::string_view what) {
  return GenericError(StrCat("JSON parse error, ", what));
}

// The four digits of a \u escape.
std::optional<uint32_t> ParseHex4(std::string_view digits) {
  if (digits.size() < 4) return std::nullopt;
  uint32_t number = 0;
  for (const char c : digits.substr(0, 4)) {
    number <<= 4;
    if (c >= '0' && c <= '9') {
      number |= static_cast<uint32_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      number |= static_cast<uint32_t>(c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      number |= static_cast<uint32_t>(c - 'A' + 10);
    } else {
      return std::nullopt;
    }
  }
  return number;
}

// Decodes a string token: its inside, without the quotes.
class StringDecoder {
 public:
  explicit StringDecoder(std::string_view token) : token_(token) {}

  absl::StatusOr<std::string> Decode() {
    while (next_ < end()) {
      const std::string_view rest = token_.substr(next_, end() - next_);
      if (rest[0] == '\\') {
        MILLRACE_RETURN_IF_ERROR(DecodeEscape());
      } else if (rest.starts_with(kLongNul)) {
        text_ += '\0';
        next_ += kLongNul.size();
      } else {
        const size_t bytes = Utf8CharacterBytes(rest);
        if (bytes == 0) return Wrong("invalid UTF-8 sequence in string");
        text_ += rest.substr(0, bytes);
        next_ += bytes;
      }
    }
    return std::move(text_);
  }

 private:
  // NUL in two bytes, as in "modified UTF-8": QEMU takes it.
  static constexpr std::string_view kLongNul = "\xc0\x80";
  static constexpr size_t kUnicodeEscapeBytes = 6;  // \uXXXX

  size_t end() const { return token_.size() - 1; }

  absl::Status DecodeEscape() {
    constexpr std::string_view kEscapes = "\"'\\/bfnrt";
    constexpr std::string_view kMeanings = "\"'\\/\b\f\n\r\t";
    const char letter = token_[next_ + 1];  // the lexer ends no string behind a backslash
    if (letter == 'u') return DecodeUnicode();
    const size_t index = kEscapes.find(letter);
    if (index == std::string_view::npos) return Wrong("invalid escape sequence in string");
    text_ += kMeanings[index];
    next_ += 2;
    return absl::OkStatus();
  }

  absl::Status DecodeUnicode() {
    const std::string_view escape = token_.substr(next_, kUnicodeEscapeBytes);
    std::optional<uint32_t> code_point = ParseHex4(escape.substr(2));
    next_ += kUnicodeEscapeBytes;
    const bool is_leading =
        code_point.has_value() && *code_point >= 0xd800 && *code_point <= 0xdbff;
    if (is_leading && next_ < end() && token_.substr(next_).starts_with("\\u")) {
      const std::optional<uint32_t> second = ParseHex4(token_.substr(next_ + 2));
      if (second.has_value() && *second >= 0xdc00 && *second <= 0xdfff) {
        code_point = 0x10000 + ((*code_point - 0xd800) << 10) + (*second - 0xdc00);
        next_ += kUnicodeEscapeBytes;
      }
    }
    std::string character;
    if (code_point.has_value()) AppendUtf8(*code_point, &character);
    if (character.empty() || Utf8CharacterBytes(character) == 0) {
      return Wrong(StrCat(escape, " is not a valid Unicode character"));
    }
    text_ += character;
    return absl::OkStatus();
  }

  const std::string_view token_;
  size_t next_ = 1;
  std::string text_;
};

// An integer as the smallest type that holds it, else a double.
json::value ParseNumber(const std::string& text, bool is_integer) {
  if (is_integer) {
    errno = 0;
    const long long number = std::strtoll(text.c_str(), nullptr, 10);
    if (errno == 0) return static_cast<int64_t>(number);
    if (text[0] != '-') {
      errno = 0;
      const unsigned long long large = std::strtoull(text.c_str(), nullptr, 10);
      if (errno == 0) return static_cast<uint64_t>(large);
    }
  }
  return std::strtod(text.c_str(), nullptr);
}

class Parser {
 public:
  explicit Parser(const JsonTokens& tokens) : tokens_(tokens) {}

  absl::StatusOr<json::value> ParseValue() {
    if (is_at_end()) return Wrong("premature EOI");
    const size_t token = next_++;
    const std::string_view text = tokens_.text(token);
    switch (tokens_.kind(token)) {
      case JsonTokenKind::kLeftBrace:
        return ParseObject();
      case JsonTokenKind::kLeftBracket:
        return ParseArray();
      case JsonTokenKind::kInteger:
        return ParseNumber(std::string(text), true);
      case JsonTokenKind::kFloat:
        return ParseNumber(std::string(text), false);
      case JsonTokenKind::kString:
        return ParseString(text);
      case JsonTokenKind::kKeyword:
        if (text == "true") return json::value(true);
        if (text == "false") return json::value(false);
        if (text == "null") return json::value(nullptr);
        return Wrong(StrCat("invalid keyword '", text, "'"));
      default:
        return Wrong("expecting value");
    }
  }

 private:
  bool is_at_end() const { return next_ == tokens_.size(); }
  bool Accept(JsonTokenKind kind) {
    if (is_at_end() || tokens_.kind(next_) != kind) return false;
    ++next_;
    return true;
  }

  static absl::StatusOr<json::value> ParseString(std::string_view token) {
    MILLRACE_ASSIGN_OR_RETURN(const std::string text, StringDecoder(token).Decode());
    return json::value(text);
  }

  absl::Status ParseMember(json::object* object) {
    MILLRACE_ASSIGN_OR_RETURN(const json::value key, ParseValue());
    if (!key.is_string()) return Wrong("key is not a string in object");
    if (is_at_end()) return Wrong("premature EOI");
    if (!Accept(JsonTokenKind::kColon)) return Wrong("missing : in object pair");
    MILLRACE_ASSIGN_OR_RETURN(json::value value, ParseValue());
    const bool is_new = object->emplace(key.get_string(), std::move(value)).second;
    return is_new ? absl::OkStatus() : Wrong("duplicate key");
  }

  absl::StatusOr<json::value> ParseObject() {
    json::object object;
    if (Accept(JsonTokenKind::kRightBrace)) return json::value(std::move(object));
    MILLRACE_RETURN_IF_ERROR(ParseMember(&object));
    while (!Accept(JsonTokenKind::kRightBrace)) {
      if (is_at_end()) return Wrong("premature EOI");
      if (!Accept(JsonTokenKind::kComma)) return Wrong("expected separator in dict");
      MILLRACE_RETURN_IF_ERROR(ParseMember(&object));
    }
    return json::value(std::move(object));
  }

  absl::StatusOr<json::value> ParseArray() {
    json::array array;
    if (Accept(JsonTokenKind::kRightBracket)) return json::value(std::move(array));
    for (;;) {
      MILLRACE_ASSIGN_OR_RETURN(json::value element, ParseValue());
      array.push_back(std::move(element));
      if (Accept(JsonTokenKind::kRightBracket)) return json::value(std::move(array));
      if (is_at_end()) return Wrong("premature EOI");
      if (!Accept(JsonTokenKind::kComma)) return Wrong("expected separator in list");
    }
  }

  const JsonTokens& tokens_;
  size_t next_ = 0;
};

}  // namespace

void JsonTokens::Clear() {
  constexpr size_t kKeptBytesMax = 64 << 10;
  tokens_.clear();
  text_.clear();
  if (text_.capacity() > kKeptBytesMax) text_.shrink_to_fit();
  if (tokens_.capacity() * sizeof(Token) > kKeptBytesMax) tokens_.shrink_to_fit();
}

absl::StatusOr<json::value> ParseTokens(const JsonTokens& tokens) {
  return Parser(tokens).ParseValue();
}

}  // namespace millrace
