// JSON as QEMU writes it: `{"return": {"a": 1, "b": []}}`, the members in the order of its
// dictionaries (json_order.h).
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_FORMAT_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "examples/hypervisor/qmp/json.h"

namespace millrace {

enum class JsonLayout : uint8_t {
  kLine,
  kPretty,  // a member or element per line, indented by four spaces
};

// Two members may share a bucket; then the newer one comes first, so whoever makes an object puts
// its members in as QEMU's schema names them. ASCII whatever the strings hold: other characters are
// escaped, and bytes that are part of no character become U+FFFD. Recurses as deep as the value
// does. `depth`: the level that the value has in what it will be part of.
std::string FormatJson(const json::value& value, JsonLayout layout, size_t depth = 0);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_FORMAT_H_
