// The grammar of JSON over tokens, with QEMU's texts for what is wrong.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_PARSER_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/json.h"
#include "examples/hypervisor/qmp/json_lexer.h"

namespace millrace {

// The tokens of one value, their texts in one piece: two million of them must not cost much.
class JsonTokens {
 public:
  void Append(JsonTokenKind kind, std::string_view text) {
    tokens_.push_back({kind, static_cast<uint32_t>(text_.size())});
    text_ += text;
  }
  // Gives memory back if a large value was held.
  void Clear();
  bool empty() const { return tokens_.empty(); }
  size_t size() const { return tokens_.size(); }
  // What counts against the limit: each token's text, and one.
  size_t bytes() const { return text_.size() + tokens_.size(); }
  JsonTokenKind kind(size_t index) const { return tokens_[index].kind; }
  std::string_view text(size_t index) const {
    const size_t end = index + 1 < tokens_.size() ? tokens_[index + 1].begin : text_.size();
    return std::string_view(text_).substr(tokens_[index].begin, end - tokens_[index].begin);
  }

 private:
  struct Token {
    JsonTokenKind kind;
    uint32_t begin;
  };
  std::vector<Token> tokens_;
  std::string text_;
};

// One value from all of `tokens` (there is at least one): "JSON parse error, ...".
absl::StatusOr<json::value> ParseTokens(const JsonTokens& tokens);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_PARSER_H_
