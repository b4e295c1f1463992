// A recording as a page that replays it step by step in a browser: on the left what went wrong, the
// moments that matter, and a lane of steps per party; on the right the jobs, the graph, and what
// the step changed.
//
//   std::string html = ReplayPage(finding.recording, {.title = "R02", .replay_line = ...});
//
// One file: no network, no other files. What it knows beyond steps it takes from notes:
//
//   kind     object                      text
//   graph    the graph in one line       what graph/describe.h's DescribeJson() says of it
//   jobs     the jobs in one line        {"jobs": [{"id", "type", "state", "held", "error"}]}
//   act      who acts from outside       what they do: "finalizes job 'c'"
//   data     a disk: "drive0"            "write of sectors 3-4 begins (version 7)",
//                                        "... is done ..."
//   io       a simulated file            "write 'n1' at 512, 1024 bytes: begins (#3)",
//                                        "...: done ..."
//   fault    the same                    "write 'n1' at 512, 1024 bytes: EIO, without effect (#3)"
//   bug      "the restored bug acts"     what it does, and where in the code
//   failure  what is broken: "G7"        how; names in quotes and "a <- b" are shown in the
//                                        drawing, and where "sector 3" was written
//
// From what differs between snapshots it derives the moments: the last changes of links, roles,
// leases and drains before the failure, whatever a job that is over still holds, nodes that come
// back to where they were taken from, the bug, what is done from outside, what fails on disks, how
// the sector that the failure names came there, where much time passes at once, and where the run
// left production's order. It opens where the bug acts for the last time before things go wrong (of
// equal acts in a row at the first), else at the first of what should never be, else at the first
// deviation, else at the failure; or where its fragment says: "page.html#step=12". What the failure
// names is outlined from where the page opens for the bug, and red where it fails. Whatever the
// recording holds is escaped. Plain text; any thread.
#ifndef MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_H_
#define MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_H_

#include <string>
#include <vector>

#include "millrace/engine/explore/recording.h"

namespace millrace {

struct ReplayPageWord {
  std::string word;
  std::string meaning;
};

struct ReplayPageOptions {
  std::string title{};    // the scenario's name if empty
  std::string verdict{};  // what went wrong, in a plain sentence; may be empty
  // Which bug this is; further paragraphs: the scene, what should have held. May be empty.
  std::string explanation{};
  std::string replay_line{};  // the command that repeats the run (see ReplayLine()); may be empty
  std::vector<ReplayPageWord> words{};  // that the page's glossary explains besides its own
};

std::string ReplayPage(const Recording& recording, const ReplayPageOptions& options = {});

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_REPLAY_PAGE_H_
