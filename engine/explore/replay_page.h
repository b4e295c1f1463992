// A recording as a page that replays it step by step in a browser: lanes of steps on the left, the
// graph on the right, what went wrong and where the run left production's order below.
//
//   std::string html = ReplayPage(finding.recording, {.title = "R02", .replay_line = ...});
//
// One file: no network, no other files. The graph is drawn if the recording has snapshots of it:
// notes of kind "graph" whose text is what graph/describe.h's DescribeJson() says and whose object
// is the graph in one line. The page opens at the first deviation, without one at the failure, or
// where its fragment says: "page.html#step=12". Whatever the recording holds is escaped. Plain
// text; any thread.
#ifndef MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_H_
#define MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_H_

#include <string>

#include "millrace/engine/explore/recording.h"

namespace millrace {

struct ReplayPageOptions {
  std::string title{};        // the scenario's name if empty
  std::string explanation{};  // what should have held, or which bug this is; may be empty
  std::string replay_line{};  // the command that repeats the run (see ReplayLine()); may be empty
};

std::string ReplayPage(const Recording& recording, const ReplayPageOptions& options = {});

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_H_
