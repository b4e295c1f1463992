// The cases of iotest 030 in production's order and under random schedules.
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/coroutine/sanitizer.h"
#include "tests/scenarios/iotest_030/simulated_cases.h"
#include "tests/support/job_harness.h"

namespace millrace::simulated_cases_test {
namespace {

class Iotest030 : public ::testing::TestWithParam<SimulatedCase> {};

TEST_P(Iotest030, HoldsUnderAnySchedule) {
  JobEventLog events;
  ChainStoryOptions options = GetParam().options;
  options.events = &events;
  // Where errors are told by offsets of 512 KiB; they take as long as several of the others.
  if (options.bytes > (1 << 20)) options.cost *= MILLRACE_ASAN ? 5 : 4;
  TellChainStory(options, GetParam().tell);
}

INSTANTIATE_TEST_SUITE_P(Cases, Iotest030, ::testing::ValuesIn(SimulatedCases()),
                         [](const ::testing::TestParamInfo<SimulatedCase>& each) {
                           return std::string(each.param.name);
                         });

}  // namespace
}  // namespace millrace::simulated_cases_test
