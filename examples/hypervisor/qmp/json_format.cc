#include "examples/hypervisor/qmp/json_format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>

#include "absl/container/inlined_vector.h"
#include "examples/hypervisor/qmp/utf8.h"
#include "millrace/engine/base/json_order.h"

namespace millrace {
namespace {

// The code point of a character that Utf8CharacterBytes() has measured.
uint32_t CodePoint(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first;
  uint32_t code_point = first & (0x7fu >> character.size());
  for (const char c : character.substr(1)) {
    code_point = code_point << 6 | (static_cast<unsigned char>(c) & 0x3f);
  }
  return code_point;
}

constexpr bool IsPlain(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

// For each member its bucket and, the newest first, its place.
constexpr uint64_t kNewest = 0xffffffff;
using Places = absl::InlinedVector<uint64_t, 16>;

Places PlacesInOrder(const json::object& object) {
  Places places;
  for (const auto& member : object) {
    places.push_back(uint64_t{QemuBucketOf(View(member.key()))} << 32 | (kNewest - places.size()));
  }
  std::sort(places.begin(), places.end());
  return places;
}

class Formatter {
 public:
  Formatter(JsonLayout layout, size_t depth)
      : is_pretty_(layout == JsonLayout::kPretty), depth_(depth) {}

  void Value(const json::value& value) {
    switch (value.kind()) {
      case json::kind::null:
        text_ += "null";
        return;
      case json::kind::bool_:
        text_ += value.get_bool() ? "true" : "false";
        return;
      case json::kind::int64:
        text_ += std::to_string(value.get_int64());
        return;
      case json::kind::uint64:
        text_ += std::to_string(value.get_uint64());
        return;
      case json::kind::double_:
        return Double(value.get_double());
      case json::kind::string:
        return String(View(value.get_string()));
      case json::kind::array:
        return Array(value.get_array());
      case json::kind::object:
        return Object(value.get_object());
    }
  }

  std::string TakeText() { return std::move(text_); }

 private:
  void Array(const json::array& array) {
    text_ += '[';
    ++depth_;
    bool is_first = true;
    for (const json::value& element : array) {
      Separate(&is_first);
      Value(element);
    }
    --depth_;
    NewLine();
    text_ += ']';
  }

  void Object(const json::object& object) {
    text_ += '{';
    ++depth_;
    bool is_first = true;
    for (const uint64_t place : PlacesInOrder(object)) {
      const auto& member = object.begin()[static_cast<std::ptrdiff_t>(kNewest - (place & kNewest))];
      Separate(&is_first);
      String(View(member.key()));
      text_ += ": ";
      Value(member.value());
    }
    --depth_;
    NewLine();
    text_ += '}';
  }

  void Separate(bool* is_first) {
    if (!*is_first) text_ += is_pretty_ ? "," : ", ";
    *is_first = false;
    NewLine();
  }

  void NewLine() {
    if (!is_pretty_) return;
    text_ += '\n';
    text_.append(depth_ * 4, ' ');
  }

  // JSON has no word for what is too large; a number that every reader takes for infinite will do.
  void Double(double number) {
    if (std::isnan(number)) {
      text_ += "null";
    } else if (std::isinf(number)) {
      text_ += number < 0 ? "-1e999" : "1e999";
    } else {
      std::array<char, 40> digits;
      std::snprintf(digits.data(), digits.size(), "%.17g", number);
      text_ += digits.data();
    }
  }

  void String(std::string_view text) {
    text_ += '"';
    while (!text.empty()) {
      // Most text is plain; it is copied as it is.
      const auto special = std::find_if_not(text.begin(), text.end(), IsPlain);
      const auto plain = static_cast<size_t>(special - text.begin());
      text_ += text.substr(0, plain);
      text.remove_prefix(plain);
      if (text.empty()) break;
      const size_t bytes = Utf8CharacterBytes(text);
      Character(bytes == 0 ? 0xfffd : CodePoint(text.substr(0, bytes)));
      text.remove_prefix(bytes == 0 ? Utf8SequenceBytes(text) : bytes);
    }
    text_ += '"';
  }

  void Character(uint32_t code_point) {
    constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t";
    constexpr std::string_view kLetters = "\"\\bfnrt";
    const size_t index =
        code_point < 0x80 ? kEscaped.find(static_cast<char>(code_point)) : std::string_view::npos;
    if (index != std::string_view::npos) {
      text_ += '\\';
      text_ += kLetters[index];
    } else if (code_point < 0x10000) {
      Unit(code_point);
    } else {
      Unit(0xd800 + ((code_point - 0x10000) >> 10));
      Unit(0xdc00 + ((code_point - 0x10000) & 0x3ff));
    }
  }

  void Unit(uint32_t unit) {
    std::array<char, 11> escape;  // as long as an uint32_t could be
    std::snprintf(escape.data(), escape.size(), "\\u%04X", unit);
    text_ += escape.data();
  }

  const bool is_pretty_;
  size_t depth_;
  std::string text_;
};

}  // namespace

std::string FormatJson(const json::value& value, JsonLayout layout, size_t depth) {
  Formatter formatter(layout, depth);
  formatter.Value(value);
  return formatter.TakeText();
}

}  // namespace millrace
