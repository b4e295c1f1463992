#include "examples/hypervisor/qmp/json_lexer.h"

#include <algorithm>
#include <string>

namespace millrace {
namespace {

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }
constexpr bool IsSmallLetter(char c) { return c >= 'a' && c <= 'z'; }
constexpr bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
constexpr bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20; }
// Never part of UTF-8, and so never of a string.
constexpr bool IsNeverText(char c) { return static_cast<unsigned char>(c) >= 0xfe; }
constexpr bool IsStructural(char c) {
  return c == '{' || c == '}' || c == '[' || c == ']' || c == ':' || c == ',';
}

}  // namespace

void JsonLexer::Feed(std::string_view bytes, Sink sink) {
  while (!bytes.empty()) {
    if (state_ == State::kString) TakeText(&bytes);
    if (bytes.empty()) return;
    while (!Step(bytes[0], sink)) {
    }
    bytes.remove_prefix(1);
  }
}

// The bulk of what is long comes in strings, and the bulk of a string is text.
void JsonLexer::TakeText(std::string_view* bytes) {
  const size_t room = token_bytes_max_ + 1 - std::min(token_.size(), token_bytes_max_ + 1);
  const auto end = std::find_if(
      bytes->begin(), bytes->begin() + std::min(room, bytes->size()),
      [this](char c) { return c == quote_ || c == '\\' || IsControl(c) || IsNeverText(c); });
  const auto count = static_cast<size_t>(end - bytes->begin());
  token_ += bytes->substr(0, count);
  bytes->remove_prefix(count);
}

void JsonLexer::End(Sink sink) {
  switch (state_) {
    case State::kStart:
    case State::kRecovery:
      break;
    case State::kKeyword:
      Finish(JsonTokenKind::kKeyword, sink);
      break;
    case State::kZero:
    case State::kDigits:
      Finish(JsonTokenKind::kInteger, sink);
      break;
    case State::kFractionDigits:
    case State::kExponentDigits:
      Finish(JsonTokenKind::kFloat, sink);
      break;
    default:
      Finish(JsonTokenKind::kError, sink);
  }
  state_ = State::kStart;
}

bool JsonLexer::Step(char byte, Sink sink) {
  if (token_.size() > token_bytes_max_) {
    Finish(JsonTokenKind::kString, sink);
    return false;
  }
  switch (state_) {
    case State::kStart:
      return StartToken(byte, sink);
    case State::kRecovery:
      if (byte == '\t') return true;
      if (!IsControl(byte) && !IsNeverText(byte) && !IsStructural(byte)) return true;
      state_ = State::kStart;
      return false;
    case State::kString:
    case State::kEscape:
      return ContinueString(byte, sink);
    case State::kKeyword:
      if (IsSmallLetter(byte)) return Go(State::kKeyword, byte);
      return Finish(JsonTokenKind::kKeyword, sink);
    default:
      return ContinueNumber(byte, sink);
  }
}

bool JsonLexer::StartToken(char byte, Sink sink) {
  if (IsSpace(byte)) return true;
  if (IsSmallLetter(byte)) return Go(State::kKeyword, byte);
  switch (byte) {
    case '"':
    case '\'':
      quote_ = byte;
      return Go(State::kString, byte);
    case '-':
      return Go(State::kMinus, byte);
    case '0':
      return Go(State::kZero, byte);
    case '{':
      return Structural(JsonTokenKind::kLeftBrace, byte, sink);
    case '}':
      return Structural(JsonTokenKind::kRightBrace, byte, sink);
    case '[':
      return Structural(JsonTokenKind::kLeftBracket, byte, sink);
    case ']':
      return Structural(JsonTokenKind::kRightBracket, byte, sink);
    case ':':
      return Structural(JsonTokenKind::kColon, byte, sink);
    case ',':
      return Structural(JsonTokenKind::kComma, byte, sink);
    default:
      return IsDigit(byte) ? Go(State::kDigits, byte) : Reject(byte, sink);
  }
}

bool JsonLexer::ContinueString(char byte, Sink sink) {
  if (IsControl(byte) || IsNeverText(byte)) return Reject(byte, sink);
  if (state_ == State::kEscape) return Go(State::kString, byte);
  if (byte == '\\') return Go(State::kEscape, byte);
  if (byte != quote_) return Go(State::kString, byte);
  token_ += byte;
  Finish(JsonTokenKind::kString, sink);
  return true;
}

JsonLexer::State JsonLexer::NumberStateAfter(char byte) const {
  const bool is_e = byte == 'e' || byte == 'E';
  switch (state_) {
    case State::kMinus:
      if (byte == '0') return State::kZero;
      return IsDigit(byte) ? State::kDigits : State::kStart;
    case State::kZero:
      // "0e1" is a number to JSON, but not to QEMU.
      return byte == '.' ? State::kPoint : State::kStart;
    case State::kDigits:
      if (IsDigit(byte)) return State::kDigits;
      if (byte == '.') return State::kPoint;
      return is_e ? State::kExponent : State::kStart;
    case State::kPoint:
      return IsDigit(byte) ? State::kFractionDigits : State::kStart;
    case State::kFractionDigits:
      if (IsDigit(byte)) return State::kFractionDigits;
      return is_e ? State::kExponent : State::kStart;
    case State::kExponent:
      if (byte == '+' || byte == '-') return State::kExponentSign;
      return IsDigit(byte) ? State::kExponentDigits : State::kStart;
    case State::kExponentSign:
    case State::kExponentDigits:
      return IsDigit(byte) ? State::kExponentDigits : State::kStart;
    default:
      return State::kStart;
  }
}

bool JsonLexer::ContinueNumber(char byte, Sink sink) {
  const State next = NumberStateAfter(byte);
  if (next != State::kStart) return Go(next, byte);
  switch (state_) {
    case State::kZero:
      if (IsDigit(byte)) return Reject(byte, sink);
      return Finish(JsonTokenKind::kInteger, sink);
    case State::kDigits:
      return Finish(JsonTokenKind::kInteger, sink);
    case State::kFractionDigits:
    case State::kExponentDigits:
      return Finish(JsonTokenKind::kFloat, sink);
    default:
      return Reject(byte, sink);
  }
}

bool JsonLexer::Go(State state, char byte) {
  token_ += byte;
  state_ = state;
  return true;
}

bool JsonLexer::Structural(JsonTokenKind kind, char byte, Sink sink) {
  token_ += byte;
  Finish(kind, sink);
  return true;
}

// The byte at hand belongs to what comes next: hence false.
bool JsonLexer::Finish(JsonTokenKind kind, Sink sink) {
  sink(kind, token_);
  token_.clear();
  state_ = State::kStart;
  return false;
}

bool JsonLexer::Reject(char byte, Sink sink) {
  token_ += byte;
  Finish(JsonTokenKind::kError, sink);
  state_ = State::kRecovery;
  return true;
}

}  // namespace millrace
