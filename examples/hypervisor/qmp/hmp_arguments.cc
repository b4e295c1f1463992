#include "examples/hypervisor/qmp/hmp_arguments.h"

#include <cmath>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

class LineReader {
 public:
  LineReader(const HmpSyntax& syntax, std::string_view line) : syntax_(syntax), rest_(line) {}

  absl::StatusOr<json::object> Read() {
    for (const HmpParameter& parameter : syntax_.parameters) {
      SkipSpaces();
      if (parameter.kind == HmpKind::kFlag) {
        MILLRACE_RETURN_IF_ERROR(ReadFlag(parameter));
      } else if (!rest_.empty() || !parameter.is_optional) {
        MILLRACE_RETURN_IF_ERROR(ReadValue(parameter));
      }
    }
    SkipSpaces();
    if (!rest_.empty()) return NamedMistake("extraneous characters at the end of line");
    return std::move(read_);
  }

 private:
  static bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

  void SkipSpaces() {
    while (!rest_.empty() && IsSpace(rest_.front())) rest_.remove_prefix(1);
  }

  absl::Status Mistake(std::string_view text) const {
    const std::string_view topic = syntax_.topic.empty() ? syntax_.name : syntax_.topic;
    return absl::InvalidArgumentError(
        StrCat(text, "\r\nTry \"help ", topic, "\" for more information\r\n"));
  }
  absl::Status NamedMistake(std::string_view text) const {
    return Mistake(StrCat(syntax_.name, ": ", text));
  }

  void Keep(std::string_view name, json::value value) {
    read_[json::string_view(name.data(), name.size())] = std::move(value);
  }

  bool HasFlag(char flag) const {
    for (const HmpParameter& parameter : syntax_.parameters) {
      if (parameter.kind == HmpKind::kFlag && parameter.flag == flag) return true;
    }
    return false;
  }

  // A flag that belongs to another parameter is left for it.
  absl::Status ReadFlag(const HmpParameter& parameter) {
    if (rest_.empty() || rest_.front() != '-') return absl::OkStatus();
    const char flag = rest_.size() > 1 ? rest_[1] : '\0';
    if (flag != parameter.flag) {
      if (HasFlag(flag)) return absl::OkStatus();
      return NamedMistake(StrCat("unsupported option -", std::string_view(&flag, flag != '\0')));
    }
    rest_.remove_prefix(2);
    Keep(parameter.name, true);
    return absl::OkStatus();
  }

  absl::Status ReadValue(const HmpParameter& parameter) {
    switch (parameter.kind) {
      case HmpKind::kSize:
        return ReadSize(parameter.name);
      case HmpKind::kNumber:
        return ReadNumber(parameter.name);
      case HmpKind::kRest:
        if (rest_.empty()) return NamedMistake("string expected");
        Keep(parameter.name, json::string(rest_.data(), rest_.size()));
        rest_ = {};
        return absl::OkStatus();
      default:
        return ReadWord(parameter);
    }
  }

  absl::Status ReadWord(const HmpParameter& parameter) {
    std::string word;
    if (!rest_.empty() && rest_.front() == '"') {
      MILLRACE_ASSIGN_OR_RETURN(word, TakeQuoted());
    } else {
      word = TakeWord();
      if (word.empty()) {
        return NamedMistake(parameter.kind == HmpKind::kDevice     ? "block device name expected"
                            : parameter.kind == HmpKind::kFileName ? "filename expected"
                                                                   : "string expected");
      }
    }
    Keep(parameter.name, json::string(word));
    return absl::OkStatus();
  }

  std::string TakeWord() {
    size_t end = 0;
    while (end < rest_.size() && !IsSpace(rest_[end])) ++end;
    std::string word(rest_.substr(0, end));
    rest_.remove_prefix(end);
    return word;
  }

  absl::StatusOr<std::string> TakeQuoted() {
    std::string word;
    for (size_t at = 1; at < rest_.size(); ++at) {
      char c = rest_[at];
      if (c == '"') {
        rest_.remove_prefix(at + 1);
        return word;
      }
      if (c == '\\' && at + 1 < rest_.size()) {
        c = rest_[++at];
        if (c == 'n') c = '\n';
        if (c == 'r') c = '\r';
      }
      word += c;
    }
    return Mistake("unterminated string");
  }

  absl::Status ReadSize(std::string_view name) {
    const std::optional<uint64_t> bytes = ParseMebibytes(TakeWord());
    if (!bytes) return Mistake("invalid size");
    Keep(name, static_cast<int64_t>(*bytes));
    return absl::OkStatus();
  }

  static std::optional<uint64_t> ParseMebibytes(const std::string& text) {
    constexpr std::string_view kSuffixes = "bkmgtpe";
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    if (end == text.c_str() || !std::isfinite(number) || number < 0) return std::nullopt;
    size_t power = kSuffixes.find('m');
    if (*end != '\0') {
      power =
          kSuffixes.find(static_cast<char>(absl::ascii_tolower(static_cast<unsigned char>(*end))));
      if (power == std::string_view::npos || end[1] != '\0') return std::nullopt;
    }
    const double bytes = std::ldexp(number, 10 * static_cast<int>(power));
    if (bytes >= std::ldexp(1.0, 63)) return std::nullopt;
    return static_cast<uint64_t>(bytes);
  }

  absl::Status ReadNumber(std::string_view name) {
    const std::string word = TakeWord();
    if (word.empty()) return Mistake("unexpected end of expression");
    char* end = nullptr;
    const int64_t number = std::strtoll(word.c_str(), &end, 0);
    if (end == word.c_str() || *end != '\0') return Mistake("invalid char in expression");
    Keep(name, number);
    return absl::OkStatus();
  }

  const HmpSyntax& syntax_;
  std::string_view rest_;
  json::object read_;
};

}  // namespace

absl::StatusOr<json::object> ReadHmpArguments(const HmpSyntax& syntax, std::string_view line) {
  return LineReader(syntax, line).Read();
}

}  // namespace millrace
