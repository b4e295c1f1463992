// What holds for a whole chain while it is opened, and what a node takes over from the one above
// it. Internal; not installed.
#ifndef MILLRACE_GRAPH_OPEN_CHAIN_RULES_H_
#define MILLRACE_GRAPH_OPEN_CHAIN_RULES_H_

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/node_tree.h"
#include "millrace/graph/open_tree.h"

namespace millrace {

// The user's options (never without a holder), and what CoOpenImage wants beyond them.
struct ChainRules : OpenTreeOptions {
  // A file driver's "locking"; empty: as its own options say.
  std::string locking;
  // Nothing but image formats stands in the chain, whatever a header says.
  bool only_image_formats = false;
  bool backing_passes_discards = false;
  // Else only the uppermost image is held, and the others by what stands on them.
  bool holds_every_image = false;
  // The name of an image that the tree does not name, as many images below the top as `depth`;
  // empty: a generated one. Absent: all are generated.
  std::function<std::string(const GraphReader& reader, size_t depth, std::string_view path)>
      name_image;
};

// What a node takes over from the one above it.
struct Inherited {
  bool is_read_only = false;
  bool falls_back_to_read_only = false;
  bool direct = false;
  bool ignores_flushes = false;
  bool passes_discards = false;
  bool shares_by_force = false;
  // Reached through a name in a header: below the open root only.
  bool is_from_header = false;
  // Stands where a format or filter wants its file, and is no image itself: a name means a
  // protocol, nothing is guessed.
  bool is_file = false;
  // What the user asked for by itself: nothing above it will change it.
  bool is_top = false;
  size_t depth = 0;  // images above it in the chain

  // What a child in this role takes over.
  Inherited ForChild(Role role) const;
  // What the image below takes over.
  Inherited ForBacking(const ChainRules& rules) const;
  // With what the tree says itself. InvalidArgument: options that exclude each other.
  absl::StatusOr<Inherited> With(const NodeTree& tree) const;
};

NodeOptions NodeOptionsOf(const NodeTree& tree, const Inherited& own);

// The holder, or one for whoever named none: "monitor".
HolderRef HolderOrMonitor(const HolderRef& holder);

// Keeps a node for `holder`: no permissions, no I/O, stays at its node.
AttachmentOptions ToHoldImage(const HolderRef& holder);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_CHAIN_RULES_H_
