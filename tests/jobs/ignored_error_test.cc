// Errors that the user wants ignored and that do not go away: the job tries again, but not as fast
// as it can.
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/jobs/mirror_support.h"
#include "tests/support/simulation.h"

namespace millrace::ignored_error_test {
namespace {

// Mends the disk when it has heard of more errors than any job may meet: a job that spins would
// never let time pass.
class MendsInTheEnd final : public EngineObserver {
 public:
  static constexpr uint64_t kEnough = 1000;

  void OnJobEvent(const JobEvent& event) override {
    if (event.kind == JobEventKind::kError && ++errors == kEnough) io->ClearFailures();
  }

  SimulatedIo* io = nullptr;
  uint64_t errors = 0;
};

// A commit whose operations on one image fail for one second.
void CommitWithBadImage(const std::string& bad, uint64_t* errors) {
  MendsInTheEnd observer;
  const std::unique_ptr<Engine> engine = SimulatedEngine({.observer = &observer});
  observer.io = engine->simulated_io();
  RunMirror(
      *engine, {.layers = 3, .has_guest = false},
      [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        CommitOptions options = ActiveCommit(world, 0);
        options.top = world.chain.nodes[1];
        options.job.on_error = OnError::kIgnore;
        observer.io->Fail({.path = bad, .is_persistent = true});
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), options).status());
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
        *errors = observer.errors;
        observer.io->ClearFailures();
        return world.CoWaitUntilOver("c");
      });
}

TEST(IgnoredError, IsTriedAgainAfterAWhile) {
  for (const char* bad : {"n0", "n1"}) {
    uint64_t errors = 0;
    CommitWithBadImage(bad, &errors);
    EXPECT_GE(errors, 5u) << bad;
    EXPECT_LE(errors, 20u) << bad;
  }
}

}  // namespace
}  // namespace millrace::ignored_error_test
