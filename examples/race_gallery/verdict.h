// What a failure comes to, for somebody who knows neither the code nor its invariants.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_VERDICT_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_VERDICT_H_

#include <string>
#include <string_view>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/explore/scenario.h"

namespace millrace::gallery {

// In a plain sentence: "A guest reads something else than it wrote last: ...".
std::string VerdictOf(const Failure& failure);

// The mutant in a few words, for a page's title.
std::string_view PlainTitleOf(const Entry& entry);
// What the engine with this bug does, in words for people who have not seen the code: what the
// entry restores, or more of it where that is too short to be understood alone.
std::string_view PlainWordsOf(const Entry& entry);
// The same for whoever has only the mutant; empty if the gallery has no entry of it.
std::string_view PlainWordsOf(Mutant mutant);

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_VERDICT_H_
