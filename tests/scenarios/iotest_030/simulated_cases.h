// The cases of QEMU's iotest 030 over memory overlays, as stories for any schedule: told here under
// random seeds, and by whoever wants to explore them by other means.
//
//   JobEventLog events;                        // the observer of the engine
//   for (const SimulatedCase& each : SimulatedCases()) {
//     ChainStoryOptions options = each.options;
//     options.events = &events;
//     engine.Run([&]() MILLRACE_MAY_SUSPEND {
//       return CoTellChainStory(engine, options, seed, each.tell);
//     });
//   }
//
// A story answers with an error where something is not as it should be, and is told again from
// nothing. Over real images the same cases are in examples/iotest_030.
#ifndef MILLRACE_TESTS_SCENARIOS_IOTEST_030_SIMULATED_CASES_H_
#define MILLRACE_TESTS_SCENARIOS_IOTEST_030_SIMULATED_CASES_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "tests/support/chain_story.h"

namespace millrace {

struct SimulatedCase {
  std::string_view name;
  ChainStoryOptions options;
  absl::Status (*tell)(ChainStory& story);  // in a coroutine
};

absl::Span<const SimulatedCase> OneDriveStories();     // sections A and D
absl::Span<const SimulatedCase> ReadOnlyStories();     // A
absl::Span<const SimulatedCase> ParallelStories();     // B
absl::Span<const SimulatedCase> QuorumStories();       // C
absl::Span<const SimulatedCase> ErrorStories();        // E
absl::Span<const SimulatedCase> CancelSpeedStories();  // F

// All of them.
std::vector<SimulatedCase> SimulatedCases();

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_IOTEST_030_SIMULATED_CASES_H_
