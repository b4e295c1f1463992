// FootprintScope: a coroutine's promise to report whatever it shares with others.
//
// An explorer that knows what two steps touch need not try them in both orders if they touch
// nothing in common. It knows nothing unless told: a step is taken to touch everything. Code of a
// scenario may promise better, by opening a scope first thing in the body of a coroutine:
//
//   scope.Spawn("left", [&]() MILLRACE_MAY_SUSPEND {
//     FootprintScope footprint({"left lock", "total"});
//     ...
//   });
//
// From the start of the coroutine to the end of the step in which the scope closes, the coroutine
// reads and writes nothing that others use except these objects (locks, events and flags included,
// under names of one's own choice) and what it tells TouchShared(). A promise that is broken makes
// a proof worthless. In production a scope costs one branch. Home thread, inside a coroutine.
#ifndef MILLRACE_ENGINE_EXPLORE_FOOTPRINT_H_
#define MILLRACE_ENGINE_EXPLORE_FOOTPRINT_H_

#include <initializer_list>
#include <string_view>
#include <vector>

#include "millrace/engine/scheduler/decider.h"

namespace millrace {

class [[nodiscard]] FootprintScope {
 public:
  // Every step of the coroutine may write these.
  explicit FootprintScope(std::initializer_list<std::string_view> objects = {});
  ~FootprintScope();
  FootprintScope(const FootprintScope&) = delete;
  FootprintScope& operator=(const FootprintScope&) = delete;

 private:
  StepObserver* const observer_;
};

// The running step uses an object that others may use.
void TouchShared(std::string_view object, StepAccess access = StepAccess::kWrite);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_FOOTPRINT_H_
