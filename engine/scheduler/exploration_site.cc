#include "millrace/engine/scheduler/exploration_site.h"

// Made by the linker around the section, where there is one.
extern "C" {
extern const millrace::ExplorationSite* const __start_millrace_sites[]
    __attribute__((weak, visibility("hidden")));
extern const millrace::ExplorationSite* const __stop_millrace_sites[]
    __attribute__((weak, visibility("hidden")));
}

namespace millrace {

std::string_view ExplorationSiteKindName(ExplorationSite::Kind kind) {
  switch (kind) {
    case ExplorationSite::Kind::kBuggify:
      return "buggify";
    case ExplorationSite::Kind::kSometimes:
      return "sometimes";
    case ExplorationSite::Kind::kAlways:
      return "always";
  }
  return "unknown";
}

absl::Span<const ExplorationSite* const> ExplorationSites() {
  const ExplorationSite* const* const begin = __start_millrace_sites;
  if (begin == nullptr) return {};
  return {begin, static_cast<size_t>(__stop_millrace_sites - begin)};
}

namespace internal {

void PassSite(Decider& decider, ExplorationSiteEntry& entry) {
  decider.OnSite(*entry, static_cast<size_t>(&entry - ExplorationSites().data()));
}

bool TakesOddBranch(Decider& decider, ExplorationSiteEntry& entry) {
  if (!decider.TakesOddBranch(*entry)) return false;
  PassSite(decider, entry);
  return true;
}

}  // namespace internal
}  // namespace millrace
