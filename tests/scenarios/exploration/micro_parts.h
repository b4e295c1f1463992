// The parts of MicroScenarios(), by what they are about.
#ifndef MILLRACE_TESTS_SCENARIOS_EXPLORATION_MICRO_PARTS_H_
#define MILLRACE_TESTS_SCENARIOS_EXPLORATION_MICRO_PARTS_H_

#include <vector>

#include "tests/scenarios/exploration/catalogue.h"

namespace millrace {

std::vector<Scenario> EngineMicroScenarios();
std::vector<Scenario> JobMicroScenarios();
std::vector<Scenario> GraphMicroScenarios();
std::vector<Scenario> ThrottleMicroScenarios();

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_MICRO_PARTS_H_
