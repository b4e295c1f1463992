// A recording as text: one row per step, one lane per coroutine, what was noted beside it.
//
//     #       vtime  stream0         commit0         notes
//    12    0.300 ms  stream.prepare
//    13    0.300 ms                  drain.begin *   * production would have run stream0 at ...
//    14    0.300 ms                  commit.edit     graph: A <- B <- D
//    15    0.300 ms  stream.edit                     !! I1: C closed at #14, read at #15
//
// '*' marks what production would have done otherwise. Plain text for terminals and issues; any
// thread.
#ifndef MILLRACE_ENGINE_EXPLORE_TIMELINE_H_
#define MILLRACE_ENGINE_EXPLORE_TIMELINE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "millrace/engine/explore/recording.h"

namespace millrace {

struct TimelineOptions {
  // Longer entries of a lane are cut, with ".." at their end. At least 8.
  size_t lane_width_max = 28;
  // Only the last so many steps, up to where it failed; what is left out is counted in a line.
  size_t steps_max = SIZE_MAX;
};

// Snapshots of a graph (notes of kind "graph" with JSON) appear by their object, the graph in one
// line, where it changed.
std::string TimelineText(const Recording& recording, const TimelineOptions& options = {});

// The same for Perfetto and chrome://tracing: JSON in the trace event format. A thread per lane, a
// slice per step, an instant per deviation and note. Virtual time stands still over most steps, so
// a step takes one microsecond there and the virtual time is an argument of its slice.
std::string TimelineTraceJson(const Recording& recording);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_TIMELINE_H_
