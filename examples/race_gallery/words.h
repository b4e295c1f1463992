// What the pages and the command line say to somebody who has never seen the code.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_WORDS_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_WORDS_H_

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/explore/replay_page.h"
#include "millrace/engine/explore/scenario.h"

namespace millrace::gallery {

// What is said of something that has a name.
using Words = std::pair<std::string_view, std::string_view>;
// Empty if nothing is said of it.
template <size_t kCount>
std::string_view Find(const Words (&table)[kCount], std::string_view key) {
  const auto found = std::find_if(std::begin(table), std::end(table),
                                  [&](const Words& each) { return each.first == key; });
  return found == std::end(table) ? std::string_view() : found->second;
}

// Who takes part in a scene and what they are about; empty if nobody has written it down.
std::string_view StoryOf(std::string_view scene);
// The code of what is broken ("I2", "G7"), as the failure names it; empty if it names none.
std::string_view CodeOf(const Failure& failure);
// What should have held, by the code that a failure names ("I2", "G7"); empty if it names none.
std::string_view InvariantOf(const Failure& failure);
// The codes that a page may name, and what each stands for.
std::vector<ReplayPageWord> RulesInWords();
// What the mutant does: "R24b: a new speed does not wake a job that sleeps by the old".
std::string TitleOf(const Entry& entry);
// The bug, the race it is an example of, the story and the invariant, a paragraph each.
std::string Explain(const Entry& entry, const Failure& failure);

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_WORDS_H_
