#include "examples/race_gallery/active_mutant.h"

#include <map>

#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/coroutine/coroutine.h"

namespace millrace {
namespace {

thread_local Mutant active = Mutant::kNone;
thread_local std::map<uint64_t, std::any> notes;

}  // namespace

bool MutantActive(Mutant mutant) { return mutant == active; }
std::any& MutantNoteOf(uint64_t key) { return notes[key]; }
void MutantYield() MILLRACE_NO_ANALYSIS { CoYield(); }

namespace gallery {

ActiveMutant::ActiveMutant(Mutant mutant) { active = mutant; }

ActiveMutant::~ActiveMutant() {
  active = Mutant::kNone;
  notes.clear();
}

}  // namespace gallery
}  // namespace millrace
