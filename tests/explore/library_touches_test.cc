// What the library reports of its steps (Scheduler::Touch) is all that Exhaustive knows of them
// under kTouches. Here parties meet in one of the things that report: a report that is missing is
// an outcome lost, as every step reports something else as well and so passes for one of which all
// is known.
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/exhaustive.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/footprint.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/semaphore.h"

namespace millrace {
namespace {

using Dependence = Exhaustive::Dependence;
using Body = std::function<absl::Status(ScenarioRun&, std::string& outcome)>;

uint64_t OutcomesOf(const Scenario& scenario, Dependence dependence) {
  Exhaustive strategy(dependence);
  const ExploreReport report = Explore(
      scenario, strategy, {.budget = {.schedules = 100'000}, .isolation = Isolation::kNone});
  EXPECT_TRUE(report.is_complete) << scenario.name << ": " << report.proof;
  EXPECT_FALSE(report.finding) << report.finding->failure.text;
  return strategy.outcomes().size();
}

void ExpectThatTouchesShowAll(std::string name, Body body,
                              ChoiceKinds explored = ChoiceKinds::Schedule()) {
  const Scenario scenario{std::move(name),
                          [body = std::move(body)](ScenarioRun& run) {
                            std::string outcome;
                            const absl::Status status = body(run, outcome);
                            run.Outcome(outcome);
                            return status;
                          },
                          explored};
  const uint64_t all = OutcomesOf(scenario, Dependence::kEverything);
  EXPECT_GE(all, 2u) << scenario.name << ": the parties do not meet";
  EXPECT_EQ(OutcomesOf(scenario, Dependence::kTouches), all) << scenario.name;
}

TEST(LibraryTouches, OfASemaphoreWhoseWaiterIsCancelled) {
  ExpectThatTouchesShowAll("semaphore", [](ScenarioRun& run, std::string& outcome) {
    Semaphore semaphore("s", 1);
    return run.Drive([&]() MILLRACE_MAY_SUSPEND {
      TaskScope cancelled("cancelled");
      TaskScope scope("parties");
      // Waits for more than there is, with somebody behind it who could go on.
      cancelled.Spawn("first", [&]() MILLRACE_MAY_SUSPEND {
        (void)semaphore.CoAcquireCancellable(2);
        TouchShared("order");
        outcome += "first ";
      });
      CoYield("first waits");
      scope.Spawn("second", [&]() MILLRACE_MAY_SUSPEND {
        semaphore.CoAcquire(1);
        TouchShared("order");
        outcome += "second ";
      });
      CoYield("second waits");
      cancelled.Cancel();
      scope.Spawn("looker", [&]() MILLRACE_MAY_SUSPEND { (void)semaphore.TryAcquire(5); });
      absl::Status status = cancelled.CoJoin();
      status.Update(scope.CoJoin());
      return status;
    });
  });
}

int64_t CoWriteTo(IoBackend& io, IoFile file, const char* label, size_t bytes)
    MILLRACE_MAY_SUSPEND {
  std::string data(bytes, 'x');
  const iovec piece = {data.data(), data.size()};
  IoRequest request;
  request.opcode = IoOpcode::kWrite;
  request.file = file;
  request.bytes = data.size();
  request.iov = absl::MakeConstSpan(&piece, 1);
  request.label = label;
  return CoSubmit(io, request);
}

// Two writers, each to a file of its own that is there; what became of them.
absl::Status WriteTwoFiles(ScenarioRun& run, size_t bytes, bool may_crash, std::string& outcome) {
  std::array<int64_t, 2> results = {};
  const absl::Status status = run.Drive([&]() MILLRACE_MAY_SUSPEND {
    IoBackend& io = run.engine().io();
    const char* const paths[] = {"a", "b"};
    std::array<IoFile, 2> files;
    for (size_t i = 0; i < 2; ++i) files[i] = *io.CoOpen(paths[i], {.writable = true});
    run.engine().simulated_io()->SetCrashPoints(may_crash);
    TaskScope scope("writers");
    for (size_t i = 0; i < 2; ++i) {
      scope.Spawn(paths[i], [&, i]() MILLRACE_MAY_SUSPEND {
        results[i] = CoWriteTo(io, files[i], paths[i], bytes);
      });
    }
    absl::Status joined = scope.CoJoin();
    for (const IoFile file : files) io.CoClose(file);
    return joined;
  });
  for (const int64_t result : results) outcome += result < 0 ? "fails " : "goes well ";
  return status;
}

void PutTwoFiles(SimulatedDisk& disk) {
  for (const char* path : {"a", "b"}) disk.Put(path, "");
}

TEST(LibraryTouches, OfTheSpaceOnADisk) {
  ExpectThatTouchesShowAll("space", [](ScenarioRun& run, std::string& outcome) {
    SimulatedDisk& disk = run.engine().simulated_io()->disk();
    disk.options().capacity_bytes = 4096;
    PutTwoFiles(disk);
    return WriteTwoFiles(run, 4096, false, outcome);
  });
}

TEST(LibraryTouches, OfWhatACrashLeaves) {
  ExpectThatTouchesShowAll(
      "crash",
      [](ScenarioRun& run, std::string& outcome) {
        SimulatedIo& io = *run.engine().simulated_io();
        PutTwoFiles(io.disk());
        const absl::Status status = WriteTwoFiles(run, 1, true, outcome);
        if (const auto left = io.TakeCrashedDisk()) {
          outcome += StrCat(left->Contents("a"), "|", left->Contents("b"));
        }
        return status;
      },
      ChoiceKinds::Schedule().With(ChoiceKind::kCrash));
}

}  // namespace
}  // namespace millrace
