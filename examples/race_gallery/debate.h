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

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_DEBATE_H_
