// The seed's debate: what must stream know at its end about what lies below its layers? The same
// stream above a commit under the three policies of 2019 and 2020, and under Millrace's.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_DEBATE_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_DEBATE_H_

#include <string>
#include <string_view>
#include <vector>

#include "examples/race_gallery/play.h"
#include "millrace/engine/base/mutant.h"

namespace millrace::gallery {

struct Policy {
  std::string_view name;   // "above_base, frozen"
  std::string_view claim;  // what it promises
  Mutant mutant = Mutant::kNone;
};

const std::vector<Policy>& Policies();
// The scene that all of them play.
const Scene& DebateScene();

// One way in which a policy fails.
struct WayToFail {
  std::string what;        // the first failure of this kind, digits and all
  uint64_t schedules = 0;  // in how many of them
};

struct Verdict {
  uint64_t schedules = 0;       // that were played, each in a random order of its own
  uint64_t failed = 0;          // of them
  std::vector<WayToFail> ways;  // the most frequent first
  std::string in_production;    // how it fails in production's order; empty if it does not
  std::string commit_first;     // how if the stream is put off until the commit waits for it
  // What no schedule of at most so many delays shows: the strategy's proof, or where it failed.
  std::string proof;
};

// Plays the scene under a policy: production's order, `schedules` random ones, and for a policy
// that survives them every one of up to two delays.
Verdict Judge(const Policy& policy, uint64_t schedules, uint64_t seed);

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_DEBATE_H_
