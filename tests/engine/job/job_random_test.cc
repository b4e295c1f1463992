// Many jobs, random verbs, random drains, random schedules: nothing is lost, left behind or done
// twice, and nothing moves under a granted drain (invariants J1, J3, J5; I8, I12, I13, I15).
#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/job/job_tables.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/support/job_harness.h"
#include "tests/support/simulation.h"

namespace millrace::job_random_test {
namespace {

constexpr int kJobs = 6;

struct Subject {
  JobNumber number;
  std::string id;
};

ScriptedJob::Script RandomScript(RandomStream& random) {
  ScriptedJob::Script script{.pieces = random.Below(4),
                             .piece_bytes = 1000,
                             .yields = static_cast<int>(random.Below(3)),
                             .has_ready_phase = random.OneIn(3),
                             .on_error = static_cast<OnError>(random.Below(5))};
  if (random.OneIn(4)) script.run = ErrnoStatus(EIO, "run");
  if (random.OneIn(6)) script.prepare = ErrnoStatus(EPERM, "prepare");
  if (random.OneIn(6)) script.follow_up = ErrnoStatus(EIO, "follow up");
  if (random.OneIn(2)) {
    auto failures = std::make_shared<uint64_t>(random.Below(3));
    script.io = [failures](uint64_t) {
      if (*failures == 0) return absl::OkStatus();
      return ErrnoStatus(--*failures == 0 ? ENOSPC : EIO, "io");
    };
  }
  return script;
}

std::vector<Subject> CoMakeJobs(BareJobWorld& world, RandomStream& random) MILLRACE_MAY_SUSPEND {
  std::vector<Subject> subjects;
  std::shared_ptr<JobTransaction> shared = world.jobs().NewTransaction();
  for (int i = 0; i < kJobs; ++i) {
    Subject subject;
    subject.id = StrCat("job", i);
    JobSpec spec{.speed = random.OneIn(3) ? 5000 : 0,
                 .finalizes_automatically = !random.OneIn(3),
                 .dismisses_automatically = !random.OneIn(3)};
    if (i < 3) spec.transaction = shared;
    subject.number = world.CoCreate(subject.id, RandomScript(random), spec);
    subjects.push_back(std::move(subject));
  }
  return subjects;
}

void ApplyRandomVerb(BareJobWorld& world, const Subject& subject, RandomStream& random) {
  JobManager& jobs = world.jobs();
  // Refusals are fine; what they must be is another test's business.
  switch (random.Below(8)) {
    case 0:
      (void)jobs.Pause(subject.number);
      break;
    case 1:
    case 2:
      (void)jobs.Resume(subject.number);
      break;
    case 3:
      (void)jobs.SetSpeed(subject.number, static_cast<int64_t>(random.Below(3)) * 10000);
      break;
    case 4:
      (void)jobs.Complete(subject.number);
      break;
    case 5:
      if (random.OneIn(4)) (void)jobs.Cancel(subject.number, random.OneIn(2));
      break;
    case 6:
      (void)jobs.Finalize(subject.number);
      break;
    default:
      (void)jobs.Dismiss(subject.number);
  }
}

// Drains a job, and looks whether anything of it moves while the drain is granted.
void CoDrain(BareJobWorld& world, const Subject& subject, RandomStream& random)
    MILLRACE_MAY_SUSPEND {
  const auto exists = [&] { return world.jobs().Query(subject.number).ok(); };
  if (!exists()) return;
  JobTrace& trace = world.trace(subject.number);
  trace.quiescable->BeginQuiesce();
  while (exists() && !trace.quiescable->is_quiet()) (void)CoSleepFor(kMillisecond);
  if (!exists()) return;
  EXPECT_FALSE(trace.has_io_in_flight);
  const auto hooks = [&] {
    return trace.Count("run") + trace.Count("prepare") + trace.Count("stage") +
           trace.Count("follow-up") + trace.Count("abort") + trace.Count("clean");
  };
  const uint64_t pieces = trace.pieces_done;
  const uint64_t steps = hooks();
  for (uint64_t i = random.Below(5); i > 0; --i) {
    (void)CoSleepFor(static_cast<Nanoseconds>(random.Below(100)) * kMillisecond);
    if (!exists()) return;  // concluded, and dismissed meanwhile
    EXPECT_TRUE(trace.quiescable->is_quiet());
    EXPECT_EQ(trace.pieces_done, pieces);
    EXPECT_EQ(hooks(), steps);
  }
  trace.quiescable->EndQuiesce();
}

// Every event sequence is a path of the table, and ends once.
void CheckEvents(const JobEventLog& log) {
  std::map<std::string, JobState> states;
  std::map<std::string, int> ends;
  for (const JobEvent& event : log.events()) {
    auto [entry, is_new] = states.try_emplace(event.id, JobState::kUndefined);
    if (event.kind == JobEventKind::kStatusChange) {
      EXPECT_TRUE(IsJobTransition(entry->second, event.state)) << ToString(event);
      entry->second = event.state;
    } else {
      EXPECT_EQ(entry->second, event.state) << ToString(event);
    }
    if (event.kind == JobEventKind::kCompleted || event.kind == JobEventKind::kCancelled) {
      ++ends[event.id];
    }
  }
  for (const auto& [id, state] : states) EXPECT_EQ(state, JobState::kNull) << id;
  for (const auto& [id, count] : ends) EXPECT_EQ(count, 1) << id;
}

void CheckEnds(BareJobWorld& world, const std::vector<Subject>& subjects) {
  uint64_t committed_together = 0;
  for (size_t i = 0; i < subjects.size(); ++i) {
    const JobTrace& trace = world.trace(subjects[i].number);
    EXPECT_TRUE(trace.is_destroyed);
    EXPECT_EQ(trace.Count("stage") + trace.Count("abort"), 1u);  // J3
    EXPECT_EQ(trace.Count("follow-up"), trace.Count("stage"));
    EXPECT_EQ(trace.Count("clean"), 1u);
    EXPECT_EQ(trace.calls.back(), "clean");
    if (i < 3) committed_together += trace.Count("stage");
  }
  EXPECT_TRUE(committed_together == 0 || committed_together == 3) << committed_together;  // I15
}

void RandomJobs(Engine& engine, uint64_t seed) {
  RandomStream random(seed, "jobs");
  std::vector<Subject> subjects;
  BareJobWorld world(engine);
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    subjects = CoMakeJobs(world, random);
    TaskScope scope("test");
    scope.Spawn("starter", [&]() MILLRACE_MAY_SUSPEND {
      for (const Subject& subject : subjects) {
        // Some are never started.
        if (!random.OneIn(8)) (void)world.jobs().CoStart(subject.number);
        if (random.OneIn(2)) CoYield();
      }
    });
    scope.Spawn("user", [&]() MILLRACE_MAY_SUSPEND {
      for (int i = 0; i < 40; ++i) {
        ApplyRandomVerb(world, subjects[random.Below(kJobs)], random);
        (void)CoSleepFor(static_cast<Nanoseconds>(random.Below(50)) * kMillisecond);
      }
    });
    for (int drainer = 0; drainer < 2; ++drainer) {
      scope.Spawn("drainer", [&]() MILLRACE_MAY_SUSPEND {
        for (int i = 0; i < 5; ++i) CoDrain(world, subjects[random.Below(kJobs)], random);
      });
    }
    EXPECT_TRUE(scope.CoJoin().ok());
    world.jobs().CoShutdown();
  });
  CheckEvents(world.events());
  CheckEnds(world, subjects);
}

TEST(RandomJobs, EndOnceTogetherAndNeverMoveUnderADrain) { Explore(RandomJobs); }

}  // namespace
}  // namespace millrace::job_random_test
