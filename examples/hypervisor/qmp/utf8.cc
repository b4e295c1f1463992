#include "examples/hypervisor/qmp/utf8.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr bool IsNoncharacter(uint32_t code_point) {
  return (code_point >= 0xfdd0 && code_point <= 0xfdef) || (code_point & 0xfffe) == 0xfffe;
}

}  // namespace

size_t Utf8CharacterBytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  size_t bytes = 0;
  uint32_t code_point = 0;
  uint32_t smallest = 0;
  if ((first & 0xe0) == 0xc0) {
    bytes = 2, code_point = first & 0x1f, smallest = 0x80;
  } else if ((first & 0xf0) == 0xe0) {
    bytes = 3, code_point = first & 0x0f, smallest = 0x800;
  } else if ((first & 0xf8) == 0xf0) {
    bytes = 4, code_point = first & 0x07, smallest = 0x10000;
  }
  if (bytes == 0 || text.size() < bytes) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) return 0;
    code_point = code_point << 6 | (next & 0x3f);
  }
  const bool is_surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
  if (code_point < smallest || code_point > 0x10ffff || is_surrogate) return 0;
  return IsNoncharacter(code_point) ? 0 : bytes;
}

size_t Utf8SequenceBytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0xc0 || first >= 0xfe) return 1;
  // Every leading one bit is a byte, also where there are more than UTF-8 has.
  size_t bytes_max = 0;
  for (unsigned mask = 0x80; (first & mask) != 0; mask >>= 1) ++bytes_max;
  size_t bytes = 1;
  while (bytes < std::min(bytes_max, text.size()) &&
         (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80) {
    ++bytes;
  }
  return bytes;
}

void AppendUtf8(uint32_t code_point, std::string* text) {
  const auto tail = [&](int shift) {
    *text += static_cast<char>(0x80 | ((code_point >> shift) & 0x3f));
  };
  if (code_point < 0x80) {
    *text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    *text += static_cast<char>(0xc0 | (code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    *text += static_cast<char>(0xe0 | (code_point >> 12));
    tail(6);
    tail(0);
  } else {
    *text += static_cast<char>(0xf0 | (code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace millrace
