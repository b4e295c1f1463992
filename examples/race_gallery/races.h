// The races of QEMU's block jobs, 2011-2026: every one, with what Millrace has to say about it.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_RACES_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_RACES_H_

#include <string_view>

#include "absl/types/span.h"

namespace millrace::gallery {

enum class RaceClass : char {
  kMutant = 'a',    // restored by one or more mutants of the gallery
  kExcluded = 'b',  // cannot be written down: `note` names the program that does not compile
  kWaits = 'c',     // concerns a feature that Millrace has not yet: `note` says which
};

struct Race {
  std::string_view id;
  std::string_view name;
  std::string_view years;
  // I1-I20, as it broke them in QEMU. Here the oracle that sees it first names what it sees, which
  // may be another one: stage.h says what is looked at, and how.
  std::string_view invariants;
  RaceClass race_class = RaceClass::kMutant;
  std::string_view note;
};

// In order of their ids.
absl::Span<const Race> Races();

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_RACES_H_
