#include "millrace/engine/base/printable_name.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/escaping.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr size_t kPrintedMax = 200;

// Whether the text is well-formed enough to print: lead bytes followed by their continuation bytes.
// A character cut off at the end counts as ill-formed.
bool IsUtf8(absl::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const auto lead = static_cast<uint8_t>(text[at++]);
    if (lead < 0x80) continue;
    if (lead < 0xc2 || lead > 0xf4) return false;
    for (int more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3; more > 0; --more) {
      if (at == text.size() || (static_cast<uint8_t>(text[at++]) & 0xc0) != 0x80) return false;
    }
  }
  return true;
}

}  // namespace

std::string PrintableName(std::string_view filename) {
  const absl::string_view start = ToAbsl(filename.substr(0, kPrintedMax));
  std::string printed = IsUtf8(start) ? absl::Utf8SafeCHexEscape(start) : absl::CHexEscape(start);
  if (filename.size() > kPrintedMax) printed += "...";
  return printed;
}

}  // namespace millrace
