// RecordingLanes: who took the steps of a recording, as lanes side by side, and its steps and
// deviations in words. What every picture of a recording (timeline, trace, page) begins with.
//
// A coroutine has a lane; one of the same name that begins when it has ended goes on in the same
// lane (the requests of a guest, one after the other), one that lives beside it gets a lane of its
// own: "copy", "copy #2". All I/O completions share the lane "i/o", all timers "timers". Lanes are
// in order of their first step. Plain data; any thread. Internal; not installed.
#ifndef MILLRACE_ENGINE_EXPLORE_RECORDING_LANES_H_
#define MILLRACE_ENGINE_EXPLORE_RECORDING_LANES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/engine/explore/recording.h"

namespace millrace {

struct RecordingLanes {
  std::vector<std::string> names;
  std::vector<size_t> of_step;  // index into names, for each step

  static RecordingLanes Of(const Recording& recording);
};

// What a step is, in its lane: "adder.write" of a coroutine, "write img-3: ok" of what shares one.
std::string DescribeStep(const RecordedOption& party);

// "production would have run b at adder.write; here a at adder.write ran", and for what is no step:
// "outcome: production has 'ok' of write img-3; here it is 'torn'".
std::string DescribeDeviation(const RecordedChoice& choice);

// "0.300 ms"
std::string DescribeVirtualTime(int64_t time_ns);

// Whether a note is a snapshot rather than something that happened: kind "graph" or "jobs", its
// text a JSON object, its object the same in one line or nothing.
bool IsSnapshot(const RecordedNote& note);

// What kind of party a step is of: "coroutine", "timer", or "io", an operation that comes back.
std::string_view PartyKindName(const RecordedOption& party);

// Index of the step in which it failed: where the failure was noted, or the last one; 0 if none.
size_t FailedStepOf(const Recording& recording);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_RECORDING_LANES_H_
