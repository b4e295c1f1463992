// Names that somebody else has chosen, in texts that a person reads.
#ifndef MILLRACE_ENGINE_BASE_PRINTABLE_NAME_H_
#define MILLRACE_ENGINE_BASE_PRINTABLE_NAME_H_

#include <string>
#include <string_view>

namespace millrace {

// The name for an error text: control characters and invalid UTF-8 escaped, cut when very long. A
// name in an image's header could otherwise rewrite the terminal that the error is printed on.
std::string PrintableName(std::string_view filename);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_PRINTABLE_NAME_H_
