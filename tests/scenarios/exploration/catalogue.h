// Every scenario that the explorer runs over the jobs: small worlds in which parties meet. Proofs
// up to a bound and long campaigns both take them from here.
#ifndef MILLRACE_TESTS_SCENARIOS_EXPLORATION_CATALOGUE_H_
#define MILLRACE_TESTS_SCENARIOS_EXPLORATION_CATALOGUE_H_

#include <string>
#include <string_view>
#include <vector>

#include "millrace/engine/explore/scenario.h"

namespace millrace {

// The parallel cases of QEMU's iotest 030 (overlapping_1 to 5, stream_parallel, stream_commit).
std::vector<Scenario> ParallelCases();
// Two jobs on neighbouring, separate and overlapping ranges, in both orders of ending.
std::vector<Scenario> PairsOfJobs();
// One job against guest I/O, drain, pause, cancel, snapshot, filter insertion, an I/O error.
std::vector<Scenario> JobsAgainstOthers();
// Three or four parties of a few steps each, small enough for every order: complete under DPOR.
std::vector<Scenario> MicroScenarios();

// All but the micro scenarios.
std::vector<Scenario> StoryScenarios();
// All.
std::vector<Scenario> AllScenarios();

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_CATALOGUE_H_
