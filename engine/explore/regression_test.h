// What to keep of a finding: one line that repeats it, and a test that holds the fix. Plain text;
// any thread.
#ifndef MILLRACE_ENGINE_EXPLORE_REGRESSION_TEST_H_
#define MILLRACE_ENGINE_EXPLORE_REGRESSION_TEST_H_

#include <string>
#include <string_view>

#include "millrace/engine/explore/explorer.h"

namespace millrace {

// "replay: PROGRAM --scenario='two writers' --schedule=s12:a@io.read  # I2 lost update"
std::string ReplayLine(std::string_view program, std::string_view scenario, const Finding& finding);

// A GoogleTest test, ready to paste, that replays the schedule and expects that nothing goes wrong.
// `scenario_expression` is the C++ expression that makes the scenario: "TwoWriters()".
std::string RegressionTest(std::string_view suite, std::string_view scenario_expression,
                           const Finding& finding);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_REGRESSION_TEST_H_
