// NodeTree: what somebody wants to be opened: a node, its driver's options as flat text, and what
// is to stand below it, which are references to nodes that exist, or trees in turn. Plain data; any
// thread. CoOpenTree (open_tree.h) makes nodes of it.
//
// QEMU's blockdev-add arguments and the dotted options of its -drive are both of this shape, once
// somebody has parsed them.
#ifndef MILLRACE_GRAPH_NODE_TREE_H_
#define MILLRACE_GRAPH_NODE_TREE_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/node_io_options.h"

namespace millrace {

struct NodeTree;

struct ChildTree {
  // The edge's name: "file" (a format's, and a filter's but for blkdebug's and blkverify's, which
  // is "image"), "backing", "children.0".
  std::string name{};
  // The name of a node that exists, or of a device; then `tree` is null.
  std::string reference{};
  // Null without a reference: there is to be no such child, whatever the header says.
  std::unique_ptr<NodeTree> tree{};

  bool is_nothing() const { return reference.empty() && tree == nullptr; }
};

// Levels of a tree; more are refused. Trees are walked by recursion, on small stacks.
inline constexpr size_t kNodeTreeDepthMax = 20;

struct NodeTree {
  // A driver's name. Empty: that of `filename`'s protocol, or the format is guessed.
  std::string driver{};
  // A file name as people write it, with a protocol in front perhaps (see ParseFileName): for the
  // node itself if it is a protocol, for a format's file below, and for the image below a filter,
  // whose format is guessed (but see OpenTreeOptions::on_raw_guessed_for_writing). Empty: none.
  std::string filename{};
  // The name is a plain path, whatever it looks like.
  bool is_plain_path = false;
  // Empty: a generated one.
  std::string node_name{};
  // The driver's own options, as the registry's factories read them.
  DriverOptions options{};
  std::vector<ChildTree> children{};
  // The options as they were written, where somebody wrote them.
  std::vector<ToldOption> told{};

  // Absent: as the node above says (backing images: read-only), or as the default is.
  std::optional<bool> is_read_only{};
  // Read-only where the host does not let us write. Off by default.
  std::optional<bool> falls_back_to_read_only{};
  std::optional<bool> direct{};
  std::optional<bool> ignores_flushes{};
  // See NodeIoOptions; off by default.
  std::optional<bool> shares_by_force{};
  // Absent: discards are ignored, except by a file below a format, which decides itself.
  std::optional<bool> passes_discards{};
  DetectZeroes detect_zeroes = DetectZeroes::kOff;

  ChildTree* FindChild(std::string_view name);
};

// Adds what `base` says and `tree` does not say itself: options, names, children, recursively.
// `tree` is what the user typed, `base` what an image's header says.
void AddMissing(NodeTree& tree, NodeTree base);

// What a file name means: "blkdebug:CONFIG:NAME", "blkverify:RAW:TEST", "null-co://", "file:PATH",
// or a plain path. The tree is a protocol's, or a filter's over one. InvalidArgument for a protocol
// there is none of.
absl::StatusOr<NodeTree> ParseFileName(std::string_view name);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_NODE_TREE_H_
