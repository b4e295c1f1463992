// A file of the host as a node with nothing above it: the first step of opening an image, for those
// who look at the file as a whole. Home thread; not cancellable.
#ifndef MILLRACE_GRAPH_OPEN_FILE_H_
#define MILLRACE_GRAPH_OPEN_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/holder.h"

namespace millrace {

struct OpenFileOptions {
  std::string path{};
  bool is_read_only = true;
  // O_DIRECT instead of the host's page cache.
  bool direct = false;
  // The file driver's "locking": auto, on, off.
  std::string locking = "auto";
  std::string open_root{};  // see FileOptions::open_root
  // Who holds the file, in refusals and tombstones; null: one of its own, "monitor".
  HolderRef holder{};
};

// The answer keeps the node: an attachment that carries no permissions and stays there. Errors of
// the file driver; the file is closed again then.
absl::StatusOr<Attachment> CoOpenFileNode(Graph& graph, const DriverRegistry& registry,
                                          const OpenFileOptions& options) MILLRACE_MAY_SUSPEND;

// What the first bytes of the file behind `file` (of CoOpenFileNode) suggest: "qcow2" or "raw".
absl::StatusOr<std::string> CoGuessFormat(Graph& graph, const Attachment& file)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_FILE_H_
