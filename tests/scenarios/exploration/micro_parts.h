// The parts of MicroScenarios(), by what they are about.
#ifndef MILLRACE_TESTS_SCENARIOS_EXPLORATION_MICRO_PARTS_H_
#define MILLRACE_TESTS_SCENARIOS_EXPLORATION_MICRO_PARTS_H_

#include <string_view>
#include <type_traits>
#include <vector>

#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/scope/task_scope.h"
#include "tests/scenarios/exploration/catalogue.h"

namespace millrace {

std::vector<Scenario> EngineMicroScenarios();
std::vector<Scenario> JobMicroScenarios();
std::vector<Scenario> GraphMicroScenarios();
std::vector<Scenario> ThrottleMicroScenarios();

// Starts a party that others wait for. Where there is no stack for it whoever starts it does its
// part, and the scope ends with the error.
template <typename Body>
void CoSpawnOrDo(TaskScope& scope, std::string_view name, Body body) MILLRACE_MAY_SUSPEND {
  if (scope.Spawn(name, body)) return;
  if constexpr (std::is_void_v<decltype(body())>) {
    body();
  } else {
    body().IgnoreError();
  }
}

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_MICRO_PARTS_H_
