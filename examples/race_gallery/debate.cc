#include "examples/race_gallery/debate.h"

#include "examples/race_gallery/entries.h"

namespace millrace::gallery {

const std::vector<Policy>& Policies() {
  static const auto* const policies = new std::vector<Policy>{
      {"above_base, frozen", "the node above base is kept, and the links to it are frozen",
       Mutant::kR01a},
      {"above_base, not frozen", "the node above base is kept, and nothing is frozen",
       Mutant::kR01b},
      {"base_overlay only", "only the overlay above base is kept; its child's name is written",
       Mutant::kR01c},
      {"Millrace",
       "the leased chain ends above other jobs' filters; base is derived at the edit, its name "
       "through filters",
       Mutant::kNone},
  };
  return *policies;
}

const Scene& DebateScene() { return FindEntry("R01a")->scene; }

}  // namespace millrace::gallery
