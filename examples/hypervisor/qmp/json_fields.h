// The fields of an answer, for those who write it out for people: one that is not there, or is of
// another kind, reads as nothing. What a client has sent is read by qmp/argument_reader.h instead,
// which complains.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_FIELDS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_FIELDS_H_

#include <cstdint>
#include <string_view>

#include "examples/hypervisor/qmp/json.h"

namespace millrace {

// Points into the object.
inline std::string_view TextOf(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains({name.data(), name.size()});
  return value == nullptr || !value->is_string() ? std::string_view() : View(value->get_string());
}

inline bool IsSet(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains({name.data(), name.size()});
  return value != nullptr && value->is_bool() && value->get_bool();
}

inline uint64_t NumberOf(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains({name.data(), name.size()});
  return value == nullptr || !value->is_number() ? 0 : value->to_number<uint64_t>();
}

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_FIELDS_H_
