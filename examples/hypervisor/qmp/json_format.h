// JSON as QEMU writes it: `{"return": {"a": 1, "b": []}}`.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_FORMAT_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_FORMAT_H_

#include <string>

#include "examples/hypervisor/qmp/json.h"

namespace millrace {

enum class JsonLayout : uint8_t {
  kLine,
  kPretty,  // a member or element per line, indented by four spaces
};

// ASCII whatever the strings hold: other characters are escaped, and bytes that are part of no
// character become U+FFFD. Recurses as deep as the value does.
std::string FormatJson(const json::value& value, JsonLayout layout);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_FORMAT_H_
