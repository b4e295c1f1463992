#include "examples/hypervisor/qmp/json_text.h"

#include <optional>
#include <utility>

#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/text.h"

namespace millrace {

void JsonStream::Feed(std::string_view bytes, Sink sink) {
  lexer_.Feed(bytes, [&](JsonTokenKind kind, std::string_view text) { Take(kind, text, sink); });
}

void JsonStream::End(Sink sink) {
  lexer_.End([&](JsonTokenKind kind, std::string_view text) { Take(kind, text, sink); });
  if (!tokens_.empty()) Emit(ParseTokens(tokens_), sink);
}

void JsonStream::Take(JsonTokenKind kind, std::string_view text, Sink sink) {
  switch (kind) {
    case JsonTokenKind::kLeftBrace:
      ++braces_;
      break;
    case JsonTokenKind::kRightBrace:
      --braces_;
      break;
    case JsonTokenKind::kLeftBracket:
      ++brackets_;
      break;
    case JsonTokenKind::kRightBracket:
      --brackets_;
      break;
    case JsonTokenKind::kError:
      // The token so far; from a NUL on QEMU does not show it.
      Emit(GenericError(StrCat("JSON parse error, stray '", text.substr(0, text.find('\0')), "'")),
           sink);
      return;
    default:
      break;
  }
  if (tokens_.bytes() + text.size() + 1 > limits_.token_bytes_max) {
    Emit(GenericError("JSON token size limit exceeded"), sink);
    return;
  }
  if (tokens_.size() + 1 > limits_.token_count_max) {
    Emit(GenericError("JSON token count limit exceeded"), sink);
    return;
  }
  if (braces_ + brackets_ > limits_.depth_max) {
    Emit(GenericError("JSON nesting depth limit exceeded"), sink);
    return;
  }
  tokens_.Append(kind, text);
  const bool is_open = (braces_ > 0 || brackets_ > 0) && braces_ >= 0 && brackets_ >= 0;
  if (!is_open) Emit(ParseTokens(tokens_), sink);
}

void JsonStream::Emit(absl::StatusOr<json::value> value, Sink sink) {
  braces_ = 0;
  brackets_ = 0;
  tokens_.Clear();
  sink(std::move(value));
}

absl::StatusOr<json::value> ParseJson(std::string_view text) {
  std::optional<absl::StatusOr<json::value>> result;
  const auto take = [&](absl::StatusOr<json::value> value) {
    if (!result.has_value()) {
      result = std::move(value);
    } else if (result->ok()) {
      result = GenericError("Expecting at most one JSON value");
    }
  };
  JsonStream stream({.depth_max = kNestedTextDepthMax});
  stream.Feed(text, take);
  stream.End(take);
  if (!result.has_value()) return GenericError("Expecting a JSON value");
  return *std::move(result);
}

}  // namespace millrace
