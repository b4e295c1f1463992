// StrCat and StrAppend that take std::string_view. (Debian's Abseil is built with a string_view of
// its own, which absl::StrCat wants.) Everything else absl::StrCat accepts passes through.
//
//   StrCat("node '", name, "' has ", count, " parents")
//
// Numbers in decimals, absl::Hex() for others; nothing of the locale. Pure; any thread.
#ifndef MILLRACE_ENGINE_BASE_TEXT_H_
#define MILLRACE_ENGINE_BASE_TEXT_H_

#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace millrace {

// The same characters as the other library's type; they are not copied.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view FromAbsl(absl::string_view text) { return {text.data(), text.size()}; }

namespace internal {

template <typename Part>
decltype(auto) AsAbslPart(const Part& part) {
  if constexpr (std::is_same_v<Part, std::string_view>) {
    return ToAbsl(part);
  } else {
    return (part);
  }
}

}  // namespace internal

template <typename... Parts>
std::string StrCat(const Parts&... parts) {
  return absl::StrCat(internal::AsAbslPart(parts)...);
}

// To the end of `text`, of which no part may point into it.
template <typename... Parts>
void StrAppend(std::string* text, const Parts&... parts) {
  absl::StrAppend(text, internal::AsAbslPart(parts)...);
}

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_TEXT_H_
