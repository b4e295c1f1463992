// ActiveMutant: chooses the bug that this thread's engines have, for as long as it lives.
//
//   const ActiveMutant bug(Mutant::kR02);
//   ... create an engine, play a scene ...
//
// One at a time. Only the files that the gallery compiled with MILLRACE_MUTATED ask.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_ACTIVE_MUTANT_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_ACTIVE_MUTANT_H_

#include <functional>
#include <string_view>

#include "millrace/engine/base/mutant.h"

namespace millrace::gallery {

class ActiveMutant {
 public:
  // Hears of each time that the bug acts: of the function, and of its file without folders.
  using Listener = std::function<void(std::string_view function, std::string_view file)>;

  explicit ActiveMutant(Mutant mutant);
  ~ActiveMutant();
  void SetListener(Listener listener);
  ActiveMutant(const ActiveMutant&) = delete;
  ActiveMutant& operator=(const ActiveMutant&) = delete;
};

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_ACTIVE_MUTANT_H_
