// ProgressDisplay: what several jobs are doing, as bars that redraw themselves on a terminal and as
// plain lines elsewhere (a log): one per job when its phase changes, and every two seconds.
#ifndef MILLRACE_EXAMPLES_COMMON_PROGRESS_DISPLAY_H_
#define MILLRACE_EXAMPLES_COMMON_PROGRESS_DISPLAY_H_

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/engine/scheduler/clock.h"

namespace millrace {

struct ProgressEntry {
  std::string name;   // identifies it from one call to the next
  std::string phase;  // "running", "finalizing", "done"
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
};

class ProgressDisplay {
 public:
  // `out` must outlive the display; nothing is written to it if `is_quiet`.
  ProgressDisplay(FILE* out, bool is_quiet);

  // Shows the entries, in this order. Call it some ten times a second; it leaves out what would
  // change nothing. `now` is engine time.
  void Show(Nanoseconds now, const std::vector<ProgressEntry>& entries);
  // A line of its own above the bars.
  void Say(std::string_view line);
  // Leaves the last state on the screen and starts anew below it.
  void Finish();

  // One line about an entry: phase, percent, bytes, rate and what is left of the time.
  static std::string Describe(const ProgressEntry& entry, uint64_t bytes_per_second);

 private:
  struct Rate {
    Nanoseconds since = 0;
    Nanoseconds last_time = 0;
    uint64_t last_bytes = 0;
    double bytes_per_second = 0;
    std::string phase;
    Nanoseconds last_line = 0;
  };
  Rate& Update(Nanoseconds now, const ProgressEntry& entry);
  void Draw(const ProgressEntry& entry, const Rate& rate);
  void EraseBars();

  FILE* const out_;
  const bool is_quiet_;
  const bool is_terminal_;
  size_t name_cells_ = 12;  // as wide as the widest so far
  std::map<std::string, Rate> rates_;
  std::vector<ProgressEntry> shown_;  // the bars on the screen now
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_COMMON_PROGRESS_DISPLAY_H_
