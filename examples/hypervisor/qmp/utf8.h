// UTF-8, one character at a time.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_UTF8_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

// The bytes of the character that `text` begins with, 1 to 4; 0 if it is none: overlong, a
// surrogate, beyond U+10FFFF, a noncharacter (as QEMU has it), cut off. `text` is not empty.
size_t Utf8CharacterBytes(std::string_view text);

// The bytes that `text` begins with and that look like one character, well-formed or not: what to
// replace by one U+FFFD where Utf8CharacterBytes() is 0. At least 1. `text` is not empty.
size_t Utf8SequenceBytes(std::string_view text);

void AppendUtf8(uint32_t code_point, std::string* text);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_UTF8_H_
