// The example that engine/explore/README.md shows.
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/sync/mutex.h"

namespace millrace::readme_example_test {
namespace {

// README: begin
// Two transfers over one account; each looks, waits, and writes back.
absl::Status CoTransfer(int& account, Mutex* lock, int amount) MILLRACE_MAY_SUSPEND {
  if (lock != nullptr) lock->CoLock();
  const int before = account;
  CoYield("transfer.write");
  account = before + amount;
  if (lock != nullptr) lock->Unlock();
  return absl::OkStatus();
}

Scenario TwoTransfers(bool is_locked) {
  return {"two transfers", [is_locked](ScenarioRun& run) {
            int account = 0;
            Mutex lock("account");
            return run.Drive([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
              TaskScope scope("transfers");
              for (const int amount : {1, 10}) {
                scope.Spawn("transfer", [&, amount]() MILLRACE_MAY_SUSPEND {
                  return CoTransfer(account, is_locked ? &lock : nullptr, amount);
                });
              }
              absl::Status status = scope.CoJoin();
              if (account != 11) return absl::DataLossError("account: a transfer is lost");
              return status;
            });
          }};
}

std::string ExploreTransfers(bool is_locked) {
  DelayBounded strategy(2);
  const ExploreReport report = Explore(TwoTransfers(is_locked), strategy);
  if (!report.finding) return report.proof;  // "delay bound 2 complete: 13 schedules of ..."
  return report.finding->failure.text + "; replay: " + report.finding->schedule.ToText();
}
// README: end

TEST(ReadmeExample, FindsTheLostTransferAndProvesTheLock) {
  EXPECT_EQ(ExploreTransfers(true).substr(0, 23), "delay bound 2 complete:");
  EXPECT_NE(ExploreTransfers(false).find("a transfer is lost"), std::string::npos);
}

}  // namespace
}  // namespace millrace::readme_example_test
