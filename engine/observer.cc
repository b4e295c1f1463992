#include "millrace/engine/observer.h"

namespace millrace {

std::string_view CounterName(Counter counter) {
  switch (counter) {
    case Counter::kIoReads:
      return "io.reads";
    case Counter::kIoReadBytes:
      return "io.read.bytes";
    case Counter::kIoWrites:
      return "io.writes";
    case Counter::kIoWriteBytes:
      return "io.write.bytes";
    case Counter::kIoFlushes:
      return "io.flushes";
    case Counter::kIoErrors:
      return "io.errors";
    case Counter::kIoRegistered:
      return "io.registered";
    case Counter::kIoEnters:
      return "io.enters";
    case Counter::kGuestRequests:
      return "guest.requests";
    case Counter::kDrainsBegun:
      return "drain.begun";
    case Counter::kDrainsGranted:
      return "drain.granted";
    case Counter::kLeases:
      return "graph.leases";
    case Counter::kGraphEdits:
      return "graph.edits";
    case Counter::kNodesVisited:
      return "graph.nodes.visited";
    case Counter::kJobsStarted:
      return "job.started";
    case Counter::kJobsEnded:
      return "job.ended";
  }
  return "unknown";
}

}  // namespace millrace
