// The fixed parts of a replay page: its style sheet, its body, its script. Internal; not installed.
#ifndef MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_PARTS_H_
#define MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_PARTS_H_

namespace millrace {

extern const char kReplayPageStyle[];
extern const char kReplayPageBody[];
// Draws the graph at a step; the other one calls it.
extern const char kReplayPageGraphScript[];
// Reads the JSON of the element "recording" and steps through it.
extern const char kReplayPageScript[];

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_PARTS_H_
