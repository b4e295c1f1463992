// How findings say that an invariant is broken, as opposed to an error that somebody was told of:
// by its letter and number (graph/INVARIANTS.md; O1 to O12 are what only tests look at).
#ifndef MILLRACE_TESTS_SUPPORT_ORACLE_NAMES_H_
#define MILLRACE_TESTS_SUPPORT_ORACLE_NAMES_H_

#include <cctype>
#include <string_view>

#include "absl/status/status.h"
#include "millrace/engine/base/text.h"

namespace millrace {

// "I2: sector 3 holds ...", "J3 clean".
inline bool NamesAnOracle(std::string_view text) {
  return text.size() >= 2 && std::string_view("GIJO").find(text[0]) != std::string_view::npos &&
         std::isdigit(static_cast<unsigned char>(text[1])) != 0;
}

inline bool NamesAnOracle(const absl::Status& status) {
  return NamesAnOracle(FromAbsl(status.message()));
}

// A signature may have the code of an error in front: "DATA_LOSS I2".
inline bool SignatureNamesAnOracle(std::string_view signature) {
  return NamesAnOracle(signature) || NamesAnOracle(signature.substr(signature.find(' ') + 1));
}

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_ORACLE_NAMES_H_
