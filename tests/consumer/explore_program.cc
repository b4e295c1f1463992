// A program outside the tree that explores: what `pkg-config millrace-explore` is enough for.
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/sync/sleep.h"

int main() {
  using namespace millrace;  // NOLINT
  const Scenario sleeper = {
      "sleeper", [](ScenarioRun& run) {
        return run.Drive([]() MILLRACE_MAY_SUSPEND { return CoSleepFor(kMillisecond); });
      }};
  DelayBounded strategy(1);
  return Explore(sleeper, strategy).finding ? 1 : 0;
}
