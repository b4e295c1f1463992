// How GoogleTest names tests after scenarios.
#ifndef MILLRACE_TESTS_SCENARIOS_EXPLORATION_SCENARIO_NAMES_H_
#define MILLRACE_TESTS_SCENARIOS_EXPLORATION_SCENARIO_NAMES_H_

#include <cctype>
#include <ostream>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/explore/scenario.h"

namespace millrace {

inline std::string ScenarioTestName(const testing::TestParamInfo<Scenario>& info) {
  std::string name;
  for (char c : info.param.name) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      name.push_back(c);
    } else if (!name.empty() && name.back() != '_') {
      name.push_back('_');
    }
  }
  return name;
}

// What a failing test prints of its parameter.
inline void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_SCENARIO_NAMES_H_
