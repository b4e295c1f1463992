// The gallery's mutants: what each restores, the scene that shows it, and the schedule that reaches
// it directly.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_ENTRIES_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_ENTRIES_H_

#include <optional>
#include <string_view>
#include <vector>

#include "examples/race_gallery/play.h"
#include "millrace/engine/base/mutant.h"

namespace millrace::gallery {

struct Entry {
  Mutant mutant = Mutant::kNone;
  std::string_view id;        // "R01a", as in the enumeration
  std::string_view restores;  // the bug, in a line
  Scene scene;
  std::optional<Script> script;  // an empty one: production's order shows it
  std::string_view race() const { return id.substr(0, 3); }
  // Else it is a bug of Millrace's own.
  bool is_of_qemu() const { return !id.starts_with('M'); }
};

// In order of their ids.
const std::vector<Entry>& Entries();
// Null if there is none.
const Entry* FindEntry(std::string_view id);

// Each file of scenes adds its own.
void AddChainEntries(std::vector<Entry>& entries);
void AddDrainEntries(std::vector<Entry>& entries);
void AddEditEntries(std::vector<Entry>& entries);
void AddJobEntries(std::vector<Entry>& entries);
void AddMicroEntries(std::vector<Entry>& entries);
void AddMirrorEntries(std::vector<Entry>& entries);
void AddQcow2Entries(std::vector<Entry>& entries);

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_ENTRIES_H_
