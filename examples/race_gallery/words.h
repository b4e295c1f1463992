// What the pages and the command line say to somebody who has never seen the code.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_WORDS_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_WORDS_H_

#include <string>
#include <string_view>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/explore/scenario.h"

namespace millrace::gallery {

// Who takes part in a scene and what they are about; empty if nobody has written it down.
std::string_view StoryOf(std::string_view scene);
// What should have held, by the code that a failure names ("I2", "G7"); empty if it names none.
std::string_view InvariantOf(const Failure& failure);
// The race's name, then the mutant's: "R02: base swapped inside the drain".
std::string TitleOf(const Entry& entry);
// The bug, the story and the invariant, a paragraph each.
std::string Explain(const Entry& entry, const Failure& failure);

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_WORDS_H_
