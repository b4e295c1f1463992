// JSON values as Boost.JSON has them, under a short name.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_H_

#include <string_view>

#include "boost/json.hpp"

namespace millrace {

namespace json = boost::json;

inline std::string_view View(const json::string& text) { return {text.data(), text.size()}; }
// Keys come as a string_view of Boost's own.
inline std::string_view View(json::string_view text) { return {text.data(), text.size()}; }
inline json::string_view JsonKey(std::string_view name) { return {name.data(), name.size()}; }
inline json::string JsonText(std::string_view text) {
  return json::string(text.data(), text.size());
}

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_JSON_H_
