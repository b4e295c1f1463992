// Makes the driver of a node in a tree: the tree's options, what its file takes over from above,
// and what somebody else has to be asked for (a descriptor, a configuration file). Internal; not
// installed.
#ifndef MILLRACE_GRAPH_OPEN_DRIVER_MAKER_H_
#define MILLRACE_GRAPH_OPEN_DRIVER_MAKER_H_

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/node_tree.h"
#include "millrace/graph/open/chain_rules.h"

namespace millrace {

class DriverMaker {
 public:
  // All must outlive it.
  DriverMaker(Graph& graph, const DriverRegistry& registry, const ChainRules& rules)
      : graph_(graph), registry_(registry), rules_(rules) {}

  // The driver that the tree names. `path` is for texts. Errors of the registry, of reading the
  // configuration, and InvalidArgument where only image formats may stand.
  absl::StatusOr<std::unique_ptr<Driver>> CoMake(const NodeTree& tree, const Inherited& own,
                                                 std::string_view path) MILLRACE_MAY_SUSPEND;

  // The same without opening anything, for a plan: a descriptor is asked for and given back, a
  // configuration is taken for empty.
  absl::StatusOr<std::unique_ptr<Driver>> MakeUnopened(const NodeTree& tree,
                                                       const Inherited& own) const;

  // The driver for what `file` holds; the tree names it from then on. PermissionDenied: it looks
  // like raw and is to be written, and nobody wants to hear of that
  // (OpenTreeOptions::on_raw_guessed_for_writing). NotFound: there is no driver for it.
  absl::StatusOr<std::unique_ptr<Driver>> CoGuess(NodeTree& tree, const Inherited& own,
                                                  const Attachment& file, std::string_view path)
      MILLRACE_MAY_SUSPEND;

 private:
  // The descriptor that `options` name from now on, if there is one: of whoever made no driver with
  // it, to close.
  absl::StatusOr<std::optional<int>> TakeDescriptor(bool is_writable, DriverOptions& options) const;
  // Of an image that looks like raw.
  absl::Status CheckRawGuess(const Inherited& own, const Attachment& file,
                             std::string_view path) const MILLRACE_OPENS_VIEW;
  absl::Status CoReadConfig(const Inherited& own, DriverOptions& options) MILLRACE_MAY_SUSPEND;

  Graph& graph_;
  const DriverRegistry& registry_;
  const ChainRules& rules_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_DRIVER_MAKER_H_
