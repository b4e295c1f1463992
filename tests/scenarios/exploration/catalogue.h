// Every scenario that the explorer runs over the jobs: small worlds in which parties meet. Proofs
// up to a bound and long campaigns both take them from here.
#ifndef MILLRACE_TESTS_SCENARIOS_EXPLORATION_CATALOGUE_H_
#define MILLRACE_TESTS_SCENARIOS_EXPLORATION_CATALOGUE_H_

#include <string>
#include <string_view>
#include <vector>

#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/scenario.h"
#include "millrace/engine/explore/strategy.h"

namespace millrace {

// The parallel cases of QEMU's iotest 030 (overlapping_1 to 5, stream_parallel, stream_commit).
std::vector<Scenario> ParallelCases();
// Two jobs on neighbouring, separate and overlapping ranges, in both orders of ending.
std::vector<Scenario> PairsOfJobs();
// The same of all that has an end of its own: active commits, mirrors, filters that are put in.
std::vector<Scenario> PairsOfRequests();
// One job against guest I/O, drain, pause, cancel, resize, snapshot, filter insertion, an I/O
// error.
std::vector<Scenario> JobsAgainstOthers();
// Users who break transactions, shut down, change speeds, reopen and move filters at any moment.
std::vector<Scenario> UsersBesideJobs();
// A qcow2 image whose guest reads, writes, discards, flushes and resizes, all at one time.
std::vector<Scenario> Qcow2Guests();
// A guest and a job on qcow2 images, and a power failure at any moment.
std::vector<Scenario> CrashScenarios();
// Some of the above with odd branches, slow requests and stalls.
std::vector<Scenario> OddScenarios();
// One job just when several of its pieces are in flight, and what meets it then.
std::vector<Scenario> CopyWindows();
// Every guest's and every error's story and every eighth of the rest, with faults at any moment and
// in any order: "..., with faults". See faults.h.
std::vector<Scenario> FaultyScenarios();
// Three or four parties of a few steps each, small enough for every order: complete under DPOR.
std::vector<Scenario> MicroScenarios();

// How often random strategies shall deviate where a scenario explores more than orders.
inline constexpr FaultRates kCatalogueRates = {.outcome_one_in = 30,
                                               .crash_one_in = 40,
                                               .fault_one_in = 30,
                                               .buggify_one_in = 4,
                                               .latency_one_in = 6};

// All but the micro scenarios and those with faults.
std::vector<Scenario> StoryScenarios();
// All.
std::vector<Scenario> AllScenarios();
// How those who run all of them run each: with sanitizers in their own process, to which a fork
// costs more than 20 schedules. What is found ends it, and what was found stands on stderr.
Isolation IsolationOfTests();
// Stories and micro scenarios, each with faults, for loops over them: "..., with faults".
std::vector<Scenario> LoopedScenarios();

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_CATALOGUE_H_
