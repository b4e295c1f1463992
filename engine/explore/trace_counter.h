// TraceCounter: how many different traces were seen, and how many of them once. Keeps a table of
// hashes up to a limit; past it, new ones are not told apart any more and counted as seen.
// Internal; not installed.
#ifndef MILLRACE_ENGINE_EXPLORE_TRACE_COUNTER_H_
#define MILLRACE_ENGINE_EXPLORE_TRACE_COUNTER_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_map.h"

namespace millrace {

class TraceCounter {
 public:
  static constexpr size_t kTracesMax = 8'000'000;

  void Add(uint64_t trace_hash) {
    if (seen_often_.size() == kTracesMax && !seen_often_.contains(trace_hash)) return;
    const auto [found, is_new] = seen_often_.try_emplace(trace_hash, false);
    if (is_new) {
      ++seen_once_;
    } else if (!found->second) {
      found->second = true;
      --seen_once_;
    }
  }
  uint64_t distinct() const { return seen_often_.size(); }
  uint64_t seen_once() const { return seen_once_; }

 private:
  absl::flat_hash_map<uint64_t, bool> seen_often_;
  uint64_t seen_once_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_TRACE_COUNTER_H_
