// The open gate: which file a name found in an image may open.
//
// A name in a header is input, often from somebody else. Everything that opens an image because
// another image says so goes through here; a name that the user gave does not. The rules:
//
//   strict (the default)  the name is a plain path: never a protocol ("nbd:...") and never "json:".
//                         A relative one is resolved in the directory of the image that has it. The
//                         format must be stated beside it; nothing is probed.
//   like QEMU             protocols ("file:", "blkdebug:...") and "json:" are let through, unless
//                         open_root confines what may be opened, and a missing format may be
//                         probed.
//
// Both: absolute paths and ".." are allowed unless open_root confines them, chains end at a depth,
// and a file that is reached twice is a loop. A plain file whose name has a colon is written
// "./a:b".
//
// Nothing here does I/O or suspends. Confinement is checked here by the path's words; that no
// symbolic link leads out is checked by the file driver after opening (FileOptions::open_root).
//
// Errors: InvalidArgument for a name or format that no policy would take; PermissionDenied for what
// the policy forbids; FailedPrecondition for loops, chains that are too deep and missing formats.
#ifndef MILLRACE_GRAPH_IO_OPEN_GATE_H_
#define MILLRACE_GRAPH_IO_OPEN_GATE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/printable_name.h"
#include "millrace/graph/driver.h"

namespace millrace {

struct OpenGatePolicy {
  bool like_qemu = false;
  // Empty: anywhere. Else an absolute path without symbolic links, "." and ".."; only files below
  // it may be opened.
  std::string open_root{};
  size_t chain_depth_max = 256;  // images in a chain, the uppermost included
};

// What may be opened for a name in a header.
struct GatedImage {
  std::string path;
  // `path` is no path but a name with a protocol in front. Never with the strict policy.
  bool names_protocol = false;
  std::string format;  // empty: may be probed (never with the strict policy)
};

// `holder` is the path of the image whose header has the reference ("" if it has none, as memory).
absl::StatusOr<GatedImage> ResolveBackingReference(const OpenGatePolicy& policy,
                                                   std::string_view holder,
                                                   const BackingReference& reference);

// Whether the name means a protocol or "json:" to QEMU: a colon before the first slash.
bool NamesProtocol(std::string_view filename);

// Whether an absolute path lies below `root` by its words: "." and ".." taken away, links ignored.
bool LiesBelow(std::string_view path, std::string_view root);

// Watches over one chain while it is opened, from the top down.
class ChainGuard {
 public:
  explicit ChainGuard(const OpenGatePolicy& policy) : depth_max_(policy.chain_depth_max) {}

  // Before opening the next image below. FailedPrecondition: too deep.
  absl::Status BeforeOpen(std::string_view name) const;
  // After opening it. `identity` is that of the host file below it, if there is one.
  // FailedPrecondition if the chain has that file already; the text names the loop.
  absl::Status AfterOpen(std::string_view name, std::optional<FileIdentity> identity);

 private:
  struct Link {
    std::string name;
    std::optional<FileIdentity> identity;
  };
  const size_t depth_max_;
  std::vector<Link> links_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_OPEN_GATE_H_
