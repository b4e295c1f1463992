// Minutes: what was asked in one case, what was refused with which text, how the chain ended, and
// the verdict; and the table made of them.
#ifndef MILLRACE_EXAMPLES_IOTEST_030_MINUTES_H_
#define MILLRACE_EXAMPLES_IOTEST_030_MINUTES_H_

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "examples/iotest_030/cases.h"

namespace millrace {

class Minutes {
 public:
  // `answer` is empty for what was accepted, else the text of the refusal.
  void Asked(std::string what, std::string answer) {
    lines_.push_back({std::move(what), std::move(answer)});
  }
  // The chain below the drive, from the top down.
  void SetChain(std::string chain) { chain_ = std::move(chain); }
  // The first failure is kept.
  void Fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }
  bool has_failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }
  void SetTime(double seconds) { seconds_ = seconds; }

  static void PrintHeadline(FILE* out);
  void Print(FILE* out, const Case& which) const;

 private:
  struct Line {
    std::string asked;
    std::string answer;
  };
  std::vector<Line> lines_;
  std::string chain_;
  std::string failure_;
  double seconds_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_IOTEST_030_MINUTES_H_
