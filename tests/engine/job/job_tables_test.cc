// The two tables against a second, independent writing of QEMU's rules, and J1.
#include "millrace/engine/job/job_tables.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/job/job.h"
#include "millrace/engine/job/job_transaction.h"
#include "tests/support/job_harness.h"

namespace millrace::job_tables_test {
namespace {

const std::map<std::string_view, std::set<std::string_view>>& Targets() {
  static const auto* const targets = new std::map<std::string_view, std::set<std::string_view>>{
      {"undefined", {"created"}},
      {"created", {"running", "aborting", "null"}},
      {"running", {"paused", "ready", "waiting", "aborting"}},
      {"paused", {"running"}},
      {"ready", {"standby", "waiting", "aborting"}},
      {"standby", {"ready"}},
      {"waiting", {"pending", "aborting"}},
      {"pending", {"aborting", "concluded"}},
      {"aborting", {"aborting", "concluded"}},
      {"concluded", {"null"}},
      {"null", {}},
  };
  return *targets;
}

JobState StateAt(size_t index) { return static_cast<JobState>(index); }

TEST(JobTables, TransitionsAreTheSemantics) {
  for (size_t from = 0; from < kJobStates; ++from) {
    for (size_t to = 0; to < kJobStates; ++to) {
      const bool expected = Targets().at(kJobStateNames[from]).contains(kJobStateNames[to]);
      EXPECT_EQ(IsJobTransition(StateAt(from), StateAt(to)), expected)
          << kJobStateNames[from] << " -> " << kJobStateNames[to];
    }
  }
}

TEST(JobTables, VerbsAreTheSemantics) {
  const std::map<std::string_view, std::string_view> columns = {
      // undefined, created, running, paused, ready, standby, waiting, pending, aborting, concluded,
      // null
      {"cancel", "nyyyyyyynnn"},    {"pause", "nyyyyynnnnn"},    {"resume", "nyyyyynnnnn"},
      {"set-speed", "nyyyyynnnnn"}, {"complete", "nnnnyynnnnn"}, {"finalize", "nnnnnnnynnn"},
      {"dismiss", "nnnnnnnnnyn"},   {"change", "nyyyyynnnnn"},
  };
  for (size_t verb = 0; verb < kJobVerbs; ++verb) {
    const std::string_view expected = columns.at(kJobVerbNames[verb]);
    for (size_t state = 0; state < kJobStates; ++state) {
      EXPECT_EQ(IsJobVerbAccepted(static_cast<JobVerb>(verb), StateAt(state)),
                expected[state] == 'y')
          << kJobVerbNames[verb] << " in " << kJobStateNames[state];
    }
  }
}

// The shortest way from undefined to a state, by the independent table.
std::vector<JobState> PathTo(JobState wanted) {
  std::map<std::string_view, std::vector<JobState>> paths = {{"undefined", {}}};
  std::vector<std::string_view> queue = {"undefined"};
  for (size_t i = 0; i < queue.size(); ++i) {
    for (std::string_view next : Targets().at(queue[i])) {
      if (paths.contains(next)) continue;
      std::vector<JobState> path = paths[queue[i]];
      const auto* found = std::find(kJobStateNames.begin(), kJobStateNames.end(), next);
      path.push_back(StateAt(static_cast<size_t>(found - kJobStateNames.begin())));
      paths[next] = std::move(path);
      queue.push_back(next);
    }
  }
  return paths.at(JobStateName(wanted));
}

class JobInState {
 public:
  JobInState(BareJobWorld& world, JobState state)
      : job_(world.jobs(), JobNumber(1000),
             {.id = "a", .transaction = world.jobs().NewTransaction()},
             std::make_unique<ScriptedJob>(ScriptedJob::Script{}, std::make_shared<JobTrace>())) {
    for (JobState step : PathTo(state)) job_.Transition(step);
  }
  Job& job() { return job_; }

 private:
  Job job_;
};

TEST(JobTransitions, LegalOnesHappenAndAreSaidOnce) {
  BareJobWorld world;
  for (size_t from = 0; from < kJobStates; ++from) {
    for (size_t to = 0; to < kJobStates; ++to) {
      if (!IsJobTransition(StateAt(from), StateAt(to))) continue;
      JobInState at(world, StateAt(from));
      world.events().Clear();
      at.job().Transition(StateAt(to));
      EXPECT_EQ(at.job().state(), StateAt(to));
      EXPECT_EQ(world.log().size(), from == to ? 0u : 1u)
          << kJobStateNames[from] << " -> " << kJobStateNames[to];
    }
  }
}

TEST(JobTransitionsDeathTest, IllegalOnesFailJ1) {
  BareJobWorld world;
  for (size_t from = 0; from < kJobStates; ++from) {
    for (size_t to = 0; to < kJobStates; ++to) {
      if (IsJobTransition(StateAt(from), StateAt(to))) continue;
      JobInState at(world, StateAt(from));
      EXPECT_DEATH(at.job().Transition(StateAt(to)), "J1: job 'a' cannot go from");
    }
  }
}

}  // namespace
}  // namespace millrace::job_tables_test
