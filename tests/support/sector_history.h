// SectorHistory: what each sector of a guest's disk may hold after a crash.
//
// Every operation that may change a sector is entered with the moments before and after it; every
// flush likewise. After a crash at event E a sector holds the last value that a flush completed
// before E had covered, or any value whose operation had begun by then.
#ifndef MILLRACE_TESTS_SUPPORT_SECTOR_HISTORY_H_
#define MILLRACE_TESTS_SUPPORT_SECTOR_HISTORY_H_

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace millrace {

class SectorHistory {
 public:
  static constexpr uint64_t kSector = 512;
  // A point in the order of things. Operations that cause no event on the disk still have an order,
  // which `tick` tells.
  struct Moment {
    uint64_t event = 0;
    uint64_t tick = 0;
  };

  explicit SectorHistory(absl::Span<const uint8_t> initial) : sectors_(initial.size() / kSector) {
    for (uint64_t i = 0; i < sectors_.size(); ++i) {
      sectors_[i].push_back({Hash(initial.subspan(i * kSector, kSector)), {}, {}});
    }
  }

  // The same where values are known without hashing.
  explicit SectorHistory(const std::vector<uint64_t>& values) : sectors_(values.size()) {
    for (size_t i = 0; i < values.size(); ++i) sectors_[i].push_back({values[i], {}, {}});
  }

  // A new moment, after all before it.
  Moment Now(uint64_t event) { return {event, ++ticks_}; }
  // One operation on one sector that leaves `value` behind.
  void Add(uint64_t sector, uint64_t value, Moment began, Moment ended) {
    sectors_[sector].push_back({value, began, ended});
  }
  void AddFlush(Moment began, Moment ended) { flushes_.push_back({began, ended}); }

  uint64_t sectors() const { return sectors_.size(); }
  // What the sector may hold after a crash before event `crash`; most probable values last.
  std::vector<uint64_t> AllowedValues(uint64_t sector, uint64_t crash) const {
    const std::vector<Version>& versions = sectors_[sector];
    const uint64_t covered = CoveredTick(crash);
    size_t base = 0;
    for (size_t i = 0; i < versions.size(); ++i) {
      if (versions[i].ended.tick <= covered) base = i;
    }
    std::vector<uint64_t> allowed = {versions[base].value};
    for (size_t i = base + 1; i < versions.size(); ++i) {
      if (versions[i].began.event < crash) allowed.push_back(versions[i].value);
    }
    return allowed;
  }
  // Whether the sector may hold `content` after a crash before event `crash`.
  bool Allows(uint64_t sector, uint64_t content, uint64_t crash) const {
    const std::vector<uint64_t> allowed = AllowedValues(sector, crash);
    return std::find(allowed.begin(), allowed.end(), content) != allowed.end();
  }

  static uint64_t Hash(absl::Span<const uint8_t> bytes) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3u;
    return hash;
  }

 private:
  struct Version {
    uint64_t value;
    Moment began;
    Moment ended;
  };
  struct Flush {
    Moment began;
    Moment ended;
  };
  // Operations that ended up to this tick are durable.
  uint64_t CoveredTick(uint64_t crash) const {
    uint64_t covered = 0;
    for (const Flush& flush : flushes_) {
      if (flush.ended.event <= crash) covered = std::max(covered, flush.began.tick);
    }
    return covered;
  }

  uint64_t ticks_ = 0;
  std::vector<std::vector<Version>> sectors_;
  std::vector<Flush> flushes_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_SECTOR_HISTORY_H_
