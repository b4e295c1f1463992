// The fixed parts of a replay page: its style sheet, its body, its scripts. Internal; not
// installed.
#ifndef MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_PARTS_H_
#define MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_PARTS_H_

namespace millrace {

extern const char kReplayPageStyle[];
extern const char kReplayPageBody[];
// The scripts, in this order; each uses those before it.
// What differs between two snapshots, what should never be, what a failure names.
extern const char kReplayPageChangesScript[];
// The JSON of the element "recording", read: for each step what happened, and in words.
extern const char kReplayPageRecordingScript[];
// Which steps matter, and why, in a sentence each.
extern const char kReplayPageMomentsScript[];
// Where each node of a graph stands, and how links go around them.
extern const char kReplayPageLayoutScript[];
// Draws the graph at a step.
extern const char kReplayPageGraphScript[];
// Shows it, and steps through it.
extern const char kReplayPageScript[];

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_PARTS_H_
