// Any bytes as what a client sends to a QMP monitor: the lexer and the parser must not crash or
// hang, must take the same for the same however it is cut, keep their limits, and write what they
// accept as text that they read back as an equal value. The first byte of the input chooses the
// limits, the second how the rest, which is read, is cut into pieces.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/hypervisor/qmp/json_format.h"
#include "examples/hypervisor/qmp/json_text.h"
#include "millrace/engine/base/check.h"

namespace millrace {
namespace {

constexpr size_t kInputBytesMax = 1 << 12;
constexpr std::array<JsonLimits, 4> kLimits = {
    {{}, {.token_bytes_max = 64}, {.token_count_max = 8}, {.depth_max = 2}}};

using Answers = std::vector<absl::StatusOr<json::value>>;

void FeedInPieces(JsonStream& stream, std::string_view text, size_t piece, Answers* answers) {
  const auto take = [&](absl::StatusOr<json::value> value) {
    answers->push_back(std::move(value));
  };
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) {
    stream.Feed(text.substr(0, piece), take);
  }
  stream.End(take);
}

Answers Read(std::string_view text, size_t piece, const JsonLimits& limits) {
  Answers answers;
  JsonStream stream(limits);
  FeedInPieces(stream, text, piece, &answers);
  // Whatever came before: what comes after the end is read afresh.
  Answers more;
  FeedInPieces(stream, "[7]", piece, &more);
  MILLRACE_CHECK(more.size() == 1 && more[0].ok() && more[0]->is_array(),
                 "what was read before is in the way");
  return answers;
}

bool IsNumber(const json::value& value) {
  return value.is_double() || value.is_int64() || value.is_uint64();
}

bool IsEqual(const json::value& one, const json::value& other);

// Members in the order in which they came.
bool IsEqualObject(const json::object& one, const json::object& other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                    [](const auto& member, const auto& with) {
                      return member.key() == with.key() && IsEqual(member.value(), with.value());
                    });
}

// A double without a fraction is written as an integer: numbers are equal by their worth.
bool IsEqual(const json::value& one, const json::value& other) {
  if (IsNumber(one) && IsNumber(other)) {
    if (!one.is_double() && !other.is_double()) return one == other;
    return one.to_number<double>() == other.to_number<double>();
  }
  if (one.kind() != other.kind()) return false;
  if (one.is_object()) return IsEqualObject(one.get_object(), other.get_object());
  if (!one.is_array()) return one == other;
  const json::array& array = one.get_array();
  const json::array& with = other.get_array();
  return std::equal(array.begin(), array.end(), with.begin(), with.end(), IsEqual);
}

bool IsSame(const absl::StatusOr<json::value>& one, const absl::StatusOr<json::value>& other) {
  return one.ok() && other.ok() ? IsEqual(*one, *other) : one.status() == other.status();
}

// What a value must have cost at least.
struct Cost {
  size_t tokens = 0;
  size_t bytes = 0;
  int depth = 0;

  void Add(const Cost& part) {
    tokens += part.tokens;
    bytes += part.bytes;
    depth = std::max(depth, part.depth);
  }
};

// No text of a string is shorter than what it stands for, and its quotes.
Cost CostOfString(std::string_view text) { return {1, text.size() + 2 + 1, 0}; }

Cost CostOf(const json::value& value) {
  const Cost mark = {1, 2, 0};  // a brace, a bracket, a colon, a comma
  if (value.is_string()) return CostOfString(View(value.get_string()));
  if (!value.is_structured()) return {1, 2, 0};
  Cost cost = mark;
  size_t parts = 0;
  if (value.is_array()) {
    for (const json::value& element : value.get_array()) {
      if (parts++ > 0) cost.Add(mark);
      cost.Add(CostOf(element));
    }
  } else {
    for (const auto& member : value.get_object()) {
      if (parts++ > 0) cost.Add(mark);
      cost.Add(CostOfString(View(member.key())));
      cost.Add(mark);
      cost.Add(CostOf(member.value()));
    }
  }
  cost.Add(mark);
  ++cost.depth;
  return cost;
}

void CheckLimits(const json::value& value, const JsonLimits& limits) {
  const Cost cost = CostOf(value);
  MILLRACE_CHECK(cost.bytes <= limits.token_bytes_max, "a value with too many bytes");
  MILLRACE_CHECK(cost.tokens <= limits.token_count_max, "a value with too many tokens");
  MILLRACE_CHECK(cost.depth <= limits.depth_max, "a value that nests too deep");
}

bool IsPlain(std::string_view text, JsonLayout layout) {
  return std::all_of(text.begin(), text.end(), [layout](char c) {
    return (c >= ' ' && c <= '~') || (c == '\n' && layout == JsonLayout::kPretty);
  });
}

// What the value becomes when it is written and read.
json::value Again(const json::value& value, JsonLayout layout) {
  const std::string text = FormatJson(value, layout);
  MILLRACE_CHECK(IsPlain(text, layout), "text that is not ASCII, or not on one line");
  Answers again = Read(text, SIZE_MAX, {});
  MILLRACE_CHECK(again.size() == 1 && again[0].ok(), "text that cannot be read back");
  return *std::move(again[0]);
}

void CheckValue(const json::value& value, const JsonLimits& limits) {
  CheckLimits(value, limits);
  for (const JsonLayout layout : {JsonLayout::kLine, JsonLayout::kPretty}) {
    MILLRACE_CHECK(IsEqual(value, Again(value, layout)), "what is read back is something else");
  }
}

// Its text goes into a reply, with what it quotes of the input: perhaps no UTF-8.
void CheckMistake(const absl::Status& mistake) {
  const json::value text = json::value(std::string(mistake.message()));
  MILLRACE_CHECK(!text.get_string().empty(), "a mistake without a text");
  MILLRACE_CHECK(Again(text, JsonLayout::kLine).is_string(), "a text that is no string");
}

void Run(std::string_view text, size_t piece, const JsonLimits& limits) {
  const Answers answers = Read(text, piece, limits);
  const Answers whole = Read(text, SIZE_MAX, limits);
  MILLRACE_CHECK(std::equal(answers.begin(), answers.end(), whole.begin(), whole.end(), IsSame),
                 "cut, it is read as something else");
  for (const absl::StatusOr<json::value>& answer : answers) {
    if (answer.ok()) {
      CheckValue(*answer, limits);
    } else {
      CheckMistake(answer.status());
    }
  }
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > millrace::kInputBytesMax) return 0;
  const size_t piece = data[1] % 16 == 0 ? SIZE_MAX : data[1] % 16;
  const std::string_view text(reinterpret_cast<const char*>(data + 2), size - 2);
  millrace::Run(text, piece, millrace::kLimits[data[0] % millrace::kLimits.size()]);
  return 0;
}
