// Opening an image and everything below it, as its headers say.
//
// CoOpenImage opens the file, puts the format's node above it, asks that for its backing file, and
// so on down. Names found in headers pass the open gate (graph/io/open_gate.h), which is strict
// unless told otherwise: relative names mean the overlay's folder, a protocol or "json:" is
// refused, a missing format is refused, and loops and endless chains are found by the identity of
// the files. Backing files are opened read-only, the image itself as asked. Headers are only read.
//
//   OpenImageOptions options;
//   options.path = "disk.qcow2";
//   options.format = "qcow2";
//   MILLRACE_ASSIGN_OR_RETURN(OpenedImage disk, CoOpenImage(graph, registry, options));
//   MILLRACE_ASSIGN_OR_RETURN(Attachment guest, Attachment::Attach(graph, disk.top(), ...));
//
// Every image becomes two nodes: a file and a format above it (raw images too). A gate like QEMU's
// lets protocols in headers pass, as CoOpenTree does (graph/open_tree.h): "blkdebug:..." then puts
// a filter between the two.
#ifndef MILLRACE_GRAPH_OPEN_IMAGE_H_
#define MILLRACE_GRAPH_OPEN_IMAGE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/io/open_gate.h"
#include "millrace/graph/node_id.h"

namespace millrace {

struct OpenImageOptions {
  // The user's word: it does not pass the gate.
  std::string path{};
  // A format driver's name. Empty: guessed from the first bytes, "qcow2" or "raw". A guess of raw
  // is good for reading only: whoever may write a raw disk could write another format's header
  // into it, and the next guess would believe that.
  std::string format{};
  bool is_read_only = false;
  // O_DIRECT instead of the host's page cache.
  bool direct = false;
  // The file driver's "locking": auto, on, off.
  std::string locking = "auto";
  bool opens_backing = true;
  OpenGatePolicy gate{};
  // Names of the format nodes, from the top down; where there is none, or an empty one, the name is
  // generated: "#block12", or from the file's name ("disk.qcow2", then "disk.qcow2-2").
  std::vector<std::string> node_names{};
  bool names_nodes_after_files = false;
  // Who holds the images, in refusals and tombstones; null: one of its own, "monitor". The same
  // holder's later edits of nodes that nobody else uses need no drain.
  HolderRef holder{};
  // Whether each image is held by itself, as nodes that a user added one by one are: it then stays
  // when a job takes it out of the chain. Otherwise only the top is, and the rest goes with it.
  bool holds_every_image = false;
};

struct OpenedImage {
  // The format nodes as opened, from the top down.
  std::vector<NodeId> images;
  // What keeps them: an attachment to the top, or to each of `images` in order. Carries no
  // permissions, does no I/O, and stays at its node.
  std::vector<Attachment> holds;

  NodeId top() const { return images.front(); }
};

// Home thread; not cancellable. Whatever fails, every node and file that was opened is closed again
// when it returns.
//
// Errors: those of the drivers and of the gate, with the path and, for a backing file, the overlay
// that names it. InvalidArgument: the format is no format driver. FailedPrecondition: locked by
// somebody else (kImageLocked), a loop, too deep, no format given. PermissionDenied: forbidden by
// the gate; a guess of raw for writing.
absl::StatusOr<OpenedImage> CoOpenImage(Graph& graph, const DriverRegistry& registry,
                                        const OpenImageOptions& options) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_IMAGE_H_
