// Mutants: bugs of the past, each kept at the place of the rule that excludes it.
//
//   absl::Status CommitJob::CoPrepare() {
//     MILLRACE_MUTANT(kR99) return absl::OkStatus();      // the bug, in as few words as it takes
//     return set_up_.writer.CoFlush();                    // the rule
//   }
//
// The library that is shipped holds none of them: MutantBuilt() is false and the statement is
// discarded by the compiler. examples/race_gallery compiles the files that name a mutant a second
// time, with MILLRACE_MUTATED defined, and chooses one mutant at a time, at run time: each must be
// found by the explorer, or the rule it breaks is not tested. The gallery says what each one
// restores. Internal; not installed.
#ifndef MILLRACE_ENGINE_BASE_MUTANT_H_
#define MILLRACE_ENGINE_BASE_MUTANT_H_

#include <any>
#include <cstdint>

namespace millrace {

// R..: of the race gallery; M..: found in Millrace itself, or planted in its tests.
enum class Mutant : uint8_t {
  kNone,
  kR01a,
  kR01b,
  kR01c,
  kR02,
  kR03,
  kR04a,
  kR04b,
  kR04c,
  kR05,
  kR06a,
  kR06b,
  kR07,
  kR08,
  kR09,
  kR10,
  kR11,
  kR12,
  kR13,
  kR14,
  kR15,
  kR16,
  kR17,
  kR18,
  kR19,
  kR20a,
  kR20b,
  kR20c,
  kR21,
  kR22,
  kR23,
  kR24a,
  kR24b,
  kR25,
  kR26a,
  kR26b,
  kR26c,
  kR27,
  kR29a,
  kR29b,
  kR31,
  kR32,
  kR33,
  kR34,
  kR35,
  kR36,
  kR40,
  kR41,
  kR42,
  kR43,
  kR46,
  kR47,
  kR48,
  kR49,
  kR51,
  kR52,
  kR53,
  kR55,
  kR56,
  kR57,
  kR59,
  kR60,
  kR62,
  kR63,
  kR65,
  kR67,
  kR69,
  kR70,
  kR72,
  kR74,
  kR75,
  kR77,
  kR80,
  kR81,
  kR82,
  kR83,
  kR84a,
  kR84b,
  kR89,
  kR90,
  kM01,
  kM02,
  kM03,
  kM05,
  kM06,
  kM08,
  kM10,
  kM11,
  kM13,
  kM14,
  kM15,
  kM16,
  kM17,
  kM18,
  kM19,
  kM20,
  kM21,
  kM22,
  kM23,
  kM24,
};

#if defined(MILLRACE_MUTATED)
inline namespace mutated {
constexpr bool MutantBuilt(Mutant) { return true; }
}  // namespace mutated
#else
constexpr bool MutantBuilt(Mutant) { return false; }
#endif

// Defined by the program that chooses the mutant; the library only names them in discarded code.
// The place is where it is asked for, so that a recording can show where the bug acts.
bool MutantActive(Mutant mutant, const char* function = __builtin_FUNCTION(),
                  const char* file = __builtin_FILE());
std::any& MutantNoteOf(uint64_t key);
// Suspends where the annotations do not allow it: for bugs that do not compile as such.
void MutantYield();
// A number that no schedule decides, another one each time: as of a clock, or an address.
uint64_t MutantDice();

// What the active mutant remembers under a key of its own choice; at first, a T of its own.
template <typename T>
T& MutantNote(uint64_t key) {
  std::any& note = MutantNoteOf(key);
  if (!note.has_value()) note = T();
  return *std::any_cast<T>(&note);
}
template <typename T>
T& MutantNote(const void* key) {
  return MutantNote<T>(reinterpret_cast<uint64_t>(key));
}

}  // namespace millrace

// A statement or block that runs only as the mutant.
#define MILLRACE_MUTANT(name)                                      \
  if constexpr (::millrace::MutantBuilt(::millrace::Mutant::name)) \
    if (::millrace::MutantActive(::millrace::Mutant::name))

#endif  // MILLRACE_ENGINE_BASE_MUTANT_H_
