#include "examples/race_gallery/active_mutant.h"

#include <map>
#include <utility>

#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/coroutine/coroutine.h"

namespace millrace {
namespace {

thread_local Mutant active = Mutant::kNone;
thread_local std::map<uint64_t, std::any> notes;
thread_local gallery::ActiveMutant::Listener listener;
thread_local uint64_t dice = 1;  // not set back between runs

}  // namespace

bool MutantActive(Mutant mutant, const char* function, const char* file) {
  if (mutant != active) return false;
  if (listener) {
    const std::string_view path = file;
    listener(function, path.substr(path.rfind('/') + 1));  // npos + 1 is 0
  }
  return true;
}
std::any& MutantNoteOf(uint64_t key) { return notes[key]; }
void MutantYield() MILLRACE_NO_ANALYSIS { CoYield(); }
uint64_t MutantDice() {
  dice = dice * 6364136223846793005 + 1442695040888963407;
  return dice >> 32;
}

namespace gallery {

ActiveMutant::ActiveMutant(Mutant mutant) { active = mutant; }

ActiveMutant::~ActiveMutant() {
  active = Mutant::kNone;
  notes.clear();
  listener = nullptr;
}

void ActiveMutant::SetListener(Listener its_listener) { listener = std::move(its_listener); }

}  // namespace gallery
}  // namespace millrace
