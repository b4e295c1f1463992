// The cases of iotest 030 in production's order and under random schedules.
#include <string>

#include <gtest/gtest.h>

#include "tests/scenarios/iotest_030/simulated_cases.h"

namespace millrace::simulated_cases_test {
namespace {

class Iotest030 : public ::testing::TestWithParam<SimulatedCase> {};

TEST_P(Iotest030, HoldsUnderAnySchedule) { TellChainStory(GetParam().options, GetParam().tell); }

INSTANTIATE_TEST_SUITE_P(Cases, Iotest030, ::testing::ValuesIn(SimulatedCases()),
                         [](const ::testing::TestParamInfo<SimulatedCase>& each) {
                           return std::string(each.param.name);
                         });

}  // namespace
}  // namespace millrace::simulated_cases_test
