#include "examples/hypervisor/block/snapshot_drive.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/image_tools.h"

namespace millrace {
namespace {

struct Base {
  std::string name;
  uint64_t bytes = 0;
};

absl::StatusOr<Base> BaseOf(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(id));
  return Base{node.name(), node.bytes()};
}

absl::StatusOr<std::string> MakeTemporaryFile() {
  const char* folder = std::getenv("TMPDIR");
  std::string path = StrCat(folder != nullptr ? folder : "/var/tmp", "/vl.XXXXXX");
  const int descriptor = mkstemp(path.data());
  if (descriptor < 0) {
    return GenericError(StrCat("Could not get temporary filename: ", ErrnoText(errno)));
  }
  close(descriptor);
  return path;
}

absl::StatusOr<Drive*> CoAddOver(BlockLayer& layer, const std::string& id, const std::string& path,
                                 const Base& base) MILLRACE_MAY_SUSPEND {
  CreateImageOptions image;
  image.path = path;
  image.overwrites = true;
  image.qcow2.bytes = base.bytes;
  MILLRACE_RETURN_IF_ERROR(CoCreateImage(layer.graph(), layer.registry(), image));
  NodeTree tree;
  tree.driver = "qcow2";
  tree.filename = path;
  tree.is_plain_path = true;
  tree.passes_discards = true;
  tree.ignores_flushes = true;  // it does not outlive the program
  tree.children.push_back({"backing", base.name, nullptr});
  return layer.CoAddDrive(id, std::move(tree));
}

}  // namespace

absl::StatusOr<Drive*> CoAddSnapshotDrive(BlockLayer& layer, const std::string& id, NodeTree tree) {
  tree.is_read_only = true;
  MILLRACE_ASSIGN_OR_RETURN(Attachment hold, layer.CoOpen(std::move(tree)));
  absl::StatusOr<Drive*> drive = nullptr;
  absl::StatusOr<Base> base = BaseOf(layer, hold.node());
  absl::StatusOr<std::string> path = MakeTemporaryFile();
  if (base.ok() && path.ok()) {
    drive = CoAddOver(layer, id, *path, *base);
    // Open files need no names.
    unlink(path->c_str());
  } else {
    drive = base.ok() ? path.status() : base.status();
  }
  hold.CoDetach();
  return drive;
}

}  // namespace millrace
