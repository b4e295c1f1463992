// JsonLexer: the tokens of a stream of JSON, byte by byte.
//
// QEMU's dialect: strings may be quoted by ' as well as ". A byte that can begin or continue no
// token makes an error token of everything since the last whole one; the lexer then skips to a
// control character (but not a tab) or a structural one and goes on from there.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_LEXER_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_LEXER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

namespace millrace {

enum class JsonTokenKind : uint8_t {
  kLeftBrace,
  kRightBrace,
  kLeftBracket,
  kRightBracket,
  kColon,
  kComma,
  kInteger,
  kFloat,
  kKeyword,  // small letters
  kString,   // with its quotes and escapes
  kError,    // no token: what was read of one, with the byte that does not fit
};

class JsonLexer {
 public:
  using Sink = absl::FunctionRef<void(JsonTokenKind kind, std::string_view text)>;

  // A token that grows beyond the limit is handed over as it is, for the user to refuse by its
  // length, and what follows is read afresh.
  explicit JsonLexer(size_t token_bytes_max) : token_bytes_max_(token_bytes_max) {}

  void Feed(std::string_view bytes, Sink sink);
  // No more will come: ends the token under way.
  void End(Sink sink);

 private:
  enum class State : uint8_t {
    kStart,
    kRecovery,
    kString,
    kEscape,
    kKeyword,
    kMinus,
    kZero,
    kDigits,
    kPoint,
    kFractionDigits,
    kExponent,
    kExponentSign,
    kExponentDigits,
  };

  // Inside a string: takes what is neither its end nor special.
  void TakeText(std::string_view* bytes);
  // Takes a byte, or only ends what it cannot belong to: false then, and it is asked again.
  bool Step(char byte, Sink sink);
  bool StartToken(char byte, Sink sink);
  bool ContinueString(char byte, Sink sink);
  bool ContinueNumber(char byte, Sink sink);
  // The state after `byte` in a number; nothing of a number's states: it does not fit.
  State NumberStateAfter(char byte) const;
  bool Go(State state, char byte);
  bool Structural(JsonTokenKind kind, char byte, Sink sink);
  bool Finish(JsonTokenKind kind, Sink sink);
  bool Reject(char byte, Sink sink);

  const size_t token_bytes_max_;
  State state_ = State::kStart;
  char quote_ = '"';
  std::string token_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_LEXER_H_
