// Sites that exploration knows by name: odd branches that are legal but rare, situations that some
// run has to reach, and conditions that hold whenever they are looked at.
//
//   const uint64_t bytes = MILLRACE_BUGGIFY("copy.short_piece") ? 512 : piece_bytes_max_;
//   MILLRACE_SOMETIMES(waiters > 1, "two coroutines wait for one table");
//   MILLRACE_ALWAYS(in_flight == 0, "a paused copier has nothing in flight");
//
// BUGGIFY is a choice of the Decider, the odd branch being the deviation: a short answer, a
// spurious wake, an early eviction, a batch of one. What takes it must be as right as what does
// not. It is false wherever no simulation runs. SOMETIMES says that a test campaign is worth
// something only if it came here with the condition true; the condition is not evaluated where no
// simulation runs, and must have no effects. ALWAYS is a MILLRACE_CHECK, held in production too,
// that a campaign has to come by.
//
// In production a site costs the load of one thread-local pointer and a branch that is never taken.
// Every site that is linked into a program is listed in ExplorationSites(), reached or not: so a
// campaign can say which ones it never met (ExploreReport::site_hits), and fail. Names are
// literals, unique in a program. Sites belong into functions of .cc files that are no templates:
// the compilers cannot list what may be compiled many times. Home thread; nothing here suspends.
#ifndef MILLRACE_ENGINE_SCHEDULER_EXPLORATION_SITE_H_
#define MILLRACE_ENGINE_SCHEDULER_EXPLORATION_SITE_H_

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {

struct ExplorationSite {
  enum class Kind : uint8_t { kBuggify, kSometimes, kAlways };
  Kind kind = Kind::kSometimes;
  const char* name = "";
  const char* file = "";  // without folders
  int line = 0;
};

std::string_view ExplorationSiteKindName(ExplorationSite::Kind kind);

// The sites of this program, in the order of linking. Any thread.
absl::Span<const ExplorationSite* const> ExplorationSites();

namespace internal {

// The decider of the simulation that runs on this thread; null in production.
inline Decider* DeciderHere() {
  Scheduler* const scheduler = current_scheduler;
  return __builtin_expect(scheduler == nullptr, 0) ? nullptr : scheduler->decider();
}
// Tells explorers that the running step uses an object that other steps may use, too; equal names
// mean the same object (Scheduler::Touch()). In production it costs what a site costs.
inline void TouchHere(std::string_view type, std::string_view name, StepAccess access) {
  Scheduler* const scheduler = current_scheduler;
  if (__builtin_expect(scheduler != nullptr, 1)) scheduler->Touch(type, name, access);
}

// `entry` is an element of ExplorationSites().
using ExplorationSiteEntry = const ExplorationSite* const;
bool TakesOddBranch(Decider& decider, ExplorationSiteEntry& entry);
void PassSite(Decider& decider, ExplorationSiteEntry& entry);

}  // namespace internal
}  // namespace millrace

// The site's entry in the table: pointers lie side by side in their section, where objects might be
// aligned apart.
#define MILLRACE_EXPLORATION_SITE_(site_kind, site_name)                                   \
  ([]() -> ::millrace::internal::ExplorationSiteEntry& {                                   \
    static constexpr ::millrace::ExplorationSite kMillraceSite = {                         \
        ::millrace::ExplorationSite::Kind::site_kind, site_name, __FILE_NAME__, __LINE__}; \
    __attribute__((section("millrace_sites"),                                              \
                   used)) static const ::millrace::ExplorationSite* const kMillraceEntry = \
        &kMillraceSite;                                                                    \
    return kMillraceEntry;                                                                 \
  }())

#define MILLRACE_BUGGIFY(name)                                                \
  (__builtin_expect(::millrace::internal::DeciderHere() != nullptr, 0) &&     \
   ::millrace::internal::TakesOddBranch(*::millrace::internal::DeciderHere(), \
                                        MILLRACE_EXPLORATION_SITE_(kBuggify, name)))

#define MILLRACE_SOMETIMES(condition, name)                                                   \
  do {                                                                                        \
    if (__builtin_expect(::millrace::internal::DeciderHere() != nullptr, 0) && (condition)) { \
      ::millrace::internal::PassSite(*::millrace::internal::DeciderHere(),                    \
                                     MILLRACE_EXPLORATION_SITE_(kSometimes, name));           \
    }                                                                                         \
  } while (false)

#define MILLRACE_ALWAYS(condition, name)                                         \
  do {                                                                           \
    MILLRACE_CHECK(condition, name);                                             \
    if (__builtin_expect(::millrace::internal::DeciderHere() != nullptr, 0)) {   \
      ::millrace::internal::PassSite(*::millrace::internal::DeciderHere(),       \
                                     MILLRACE_EXPLORATION_SITE_(kAlways, name)); \
    }                                                                            \
  } while (false)

#endif  // MILLRACE_ENGINE_SCHEDULER_EXPLORATION_SITE_H_
