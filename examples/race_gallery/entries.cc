#include "examples/race_gallery/entries.h"

#include <algorithm>

namespace millrace::gallery {

const std::vector<Entry>& Entries() {
  static const auto* const entries = [] {
    auto* all = new std::vector<Entry>;
    AddChainEntries(*all);
    AddDrainEntries(*all);
    AddEditEntries(*all);
    AddJobEntries(*all);
    AddMicroEntries(*all);
    AddMirrorEntries(*all);
    AddQcow2Entries(*all);
    std::stable_sort(all->begin(), all->end(),
                     [](const Entry& a, const Entry& b) { return a.id < b.id; });
    return all;
  }();
  return *entries;
}

const Entry* FindEntry(std::string_view id) {
  for (const Entry& entry : Entries()) {
    if (entry.id == id) return &entry;
  }
  return nullptr;
}

}  // namespace millrace::gallery
