// FairTail: when the runs of an unfair strategy go on at random. An unfair strategy may let one
// party starve for ever, say for one that polls. After as many choices as a fair run takes that
// says enough, and from there on chance decides: what does not end then would not end under a fair
// scheduler either.
//
// A fair run's length is learnt from the random parts alone. (Whole runs must not count: each would
// be longer than the one before by its random part, and in the end none would come to its end.)
#ifndef MILLRACE_ENGINE_EXPLORE_FAIR_TAIL_H_
#define MILLRACE_ENGINE_EXPLORE_FAIR_TAIL_H_

#include <algorithm>
#include <cstdint>

namespace millrace {

class FairTail {
 public:
  void BeginRun() { choices_ = 0; }
  // To be called at each choice of a step: whether it is in the random part.
  bool TakesNext() { return ++choices_ > fair_length_; }
  void EndRun() {
    if (choices_ > fair_length_) fair_length_ = std::max(fair_length_, choices_ - fair_length_);
  }
  // The choices of a step that a fair run takes: the most seen so far, or more.
  uint64_t fair_length() const { return fair_length_; }

 private:
  uint64_t choices_ = 0;
  uint64_t fair_length_ = 100;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_FAIR_TAIL_H_
