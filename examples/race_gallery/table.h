// Table: what becomes of all the gallery's mutants, or of its scenes without them, a line each; and
// whether the gallery reaches its goals.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_TABLE_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_TABLE_H_

#include <vector>

#include "examples/race_gallery/entries.h"
#include "examples/race_gallery/play.h"

namespace millrace::gallery {

struct TableOptions {
  bool is_fixed = false;      // the engine as it is, which must survive
  bool is_scripted = false;   // one play by the script, instead of a search
  bool judges_speed = false;  // goals of time count; else they are only told
  Budget budget;
};

// Plays one after the other and prints. True if all mutants were found, or all scenes were
// survived, and the goals are met.
bool PrintTable(const std::vector<const Entry*>& entries, const TableOptions& options);

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_TABLE_H_
