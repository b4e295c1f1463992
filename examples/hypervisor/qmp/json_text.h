// JSON as QEMU reads it: a stream of values, with single quotes allowed, and its error texts.
//
//   JsonStream stream;
//   stream.Feed(bytes, [&](absl::StatusOr<json::value> value) { ... });
//
// Values need nothing between them and may come in pieces of any size. After an error the stream
// goes on behind the wrong part, as QEMU does, so a client that makes a mistake loses one request
// and not the connection.
//
// Strings must be UTF-8, "\ud800" alone is refused, "\u0000" allowed, equal names in an object
// refused. Numbers that no int64_t or uint64_t holds become doubles. Any thread; on a stack that
// holds as many levels of recursion as a value may nest.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_TEXT_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_TEXT_H_

#include <cstddef>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/json.h"
#include "examples/hypervisor/qmp/json_lexer.h"
#include "examples/hypervisor/qmp/json_parser.h"

namespace millrace {

// Of one value. What exceeds them is dropped with an error.
struct JsonLimits {
  size_t token_bytes_max = 64 << 20;  // the texts of all tokens, and one byte for each
  size_t token_count_max = 2 << 20;
  int depth_max = 1024;
};

class JsonStream {
 public:
  explicit JsonStream(const JsonLimits& limits = {})
      : limits_(limits), lexer_(limits.token_bytes_max) {}

  // Called for each value and each mistake, in order.
  using Sink = absl::FunctionRef<void(absl::StatusOr<json::value>)>;

  void Feed(std::string_view bytes, Sink sink);
  // No more will come: an unfinished value is a mistake ("premature EOI").
  void End(Sink sink);

 private:
  void Take(JsonTokenKind kind, std::string_view text, Sink sink);
  // Empties the value so far and hands over what became of it.
  void Emit(absl::StatusOr<json::value> value, Sink sink);

  const JsonLimits limits_;
  JsonLexer lexer_;
  JsonTokens tokens_;
  int braces_ = 0;
  int brackets_ = 0;
};

// Of values in texts that commands carry: they are read, and walked through, on the small stack of
// a coroutine.
inline constexpr int kNestedTextDepthMax = 64;

// Exactly one value, which nests kNestedTextDepthMax levels at most.
absl::StatusOr<json::value> ParseJson(std::string_view text);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_TEXT_H_
