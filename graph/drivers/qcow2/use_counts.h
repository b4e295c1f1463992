// UseCounts: how often each host cluster is referred to. Memory grows with the clusters that are,
// in small pieces, so that a sparse file of petabytes costs what is in it. Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_USE_COUNTS_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_USE_COUNTS_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "absl/container/btree_map.h"

namespace millrace::qcow2 {

class UseCounts {
 public:
  void Add(uint64_t cluster, uint32_t times = 1) {
    uint32_t& count = pieces_[cluster / kPiece][cluster % kPiece];
    count += std::min(times, std::numeric_limits<uint32_t>::max() - count);
  }
  uint64_t Get(uint64_t cluster) const {
    const auto piece = pieces_.find(cluster / kPiece);
    return piece == pieces_.end() ? 0 : piece->second[cluster % kPiece];
  }
  // The first cluster from `cluster` on that is referred to; `none` if there is no such.
  uint64_t Next(uint64_t cluster, uint64_t none) const {
    for (auto piece = pieces_.lower_bound(cluster / kPiece); piece != pieces_.end(); ++piece) {
      for (uint64_t i = 0; i < kPiece; ++i) {
        const uint64_t each = piece->first * kPiece + i;
        if (each >= cluster && piece->second[i] != 0) return each;
      }
    }
    return none;
  }
  // One behind the last cluster that is referred to.
  uint64_t end() const {
    if (pieces_.empty()) return 0;
    const auto& [number, piece] = *pieces_.rbegin();
    uint64_t last = kPiece;
    while (last > 0 && piece[last - 1] == 0) --last;
    return number * kPiece + last;
  }

 private:
  static constexpr uint64_t kPiece = 64;
  absl::btree_map<uint64_t, std::array<uint32_t, kPiece>> pieces_;
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_USE_COUNTS_H_
