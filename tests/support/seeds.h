// How many seeds a randomised test runs: MILLRACE_TEST_SEEDS if set, else 1,000, or 20 in a build
// with sanitizers, which is some ten times slower. Long campaigns do not go through here: see
// tests/campaign.
//
//   for (uint64_t seed : Seeds()) RunOnce(seed);
#ifndef MILLRACE_TESTS_SUPPORT_SEEDS_H_
#define MILLRACE_TESTS_SUPPORT_SEEDS_H_

#include <algorithm>
#include <cstdint>

namespace millrace {

uint64_t SeedCount();

// How far apart the cases are that a test takes of a list that it would go through whole, such as
// the numbers of the operations that fail: 1, so each, where 1,000 seeds are run. Where fewer are
// it is 23: no divisor of any list's length, so that of a list of combinations each value comes up.
uint64_t CaseStride();

// 1 to SeedCount(). `cost` divides the count, for a test whose one seed costs that many times the
// usual (a millisecond); at least one seed is always run.
class Seeds {
 public:
  class Iterator {
   public:
    explicit Iterator(uint64_t seed) : seed_(seed) {}
    uint64_t operator*() const { return seed_; }
    Iterator& operator++() {
      ++seed_;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    uint64_t seed_;
  };

  explicit Seeds(uint64_t cost = 1) : count_(std::max<uint64_t>(SeedCount() / cost, 1)) {}
  Iterator begin() const { return Iterator(1); }
  Iterator end() const { return Iterator(count_ + 1); }

 private:
  uint64_t count_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_SEEDS_H_
