#include "millrace/graph/open/chain_rules.h"

#include "millrace/engine/base/text.h"
#include "millrace/graph/open/tree_names.h"

namespace millrace {

Inherited Inherited::ForChild(Role role) const {
  Inherited theirs = *this;
  theirs.is_top = false;
  // What stands where a file is wanted is a protocol; what a filter shows is what it is itself.
  if (role == Role::kPrimary) {
    theirs.is_file = true;
    theirs.passes_discards = true;
  } else if (role == Role::kData) {
    theirs.is_file = false;
  }
  return theirs;
}

Inherited Inherited::ForBacking(const ChainRules& rules) const {
  Inherited theirs;
  theirs.is_read_only = true;
  theirs.direct = direct;
  theirs.ignores_flushes = ignores_flushes;
  theirs.passes_discards = rules.backing_passes_discards;
  theirs.shares_by_force = shares_by_force;
  theirs.is_from_header = is_from_header;
  theirs.depth = depth + 1;
  return theirs;
}

absl::StatusOr<Inherited> Inherited::With(const NodeTree& tree) const {
  Inherited own = *this;
  own.is_read_only = tree.is_read_only.value_or(is_read_only);
  own.falls_back_to_read_only = tree.falls_back_to_read_only.value_or(falls_back_to_read_only);
  own.direct = tree.direct.value_or(direct);
  own.ignores_flushes = tree.ignores_flushes.value_or(ignores_flushes);
  own.passes_discards = tree.passes_discards.value_or(passes_discards);
  own.shares_by_force = tree.shares_by_force.value_or(shares_by_force);
  if (own.shares_by_force && !own.is_read_only) {
    return absl::InvalidArgumentError(StrCat(
        DescribeTree(tree), ": force-share=on can only be used with read-only images; open it so"));
  }
  if (tree.detect_zeroes == DetectZeroes::kUnmap && !own.passes_discards) {
    return absl::InvalidArgumentError(StrCat(
        DescribeTree(tree),
        ": detected zeroes can be unmapped only where discards are passed; let discards pass"));
  }
  return own;
}

NodeOptions NodeOptionsOf(const NodeTree& tree, const Inherited& own) {
  NodeOptions node;
  node.name = tree.node_name;
  node.is_read_only = own.is_read_only;
  node.io.ignores_discards = !own.passes_discards;
  node.io.ignores_flushes = own.ignores_flushes;
  node.io.shares_by_force = own.shares_by_force;
  node.io.is_direct = own.direct;
  node.io.detect_zeroes = tree.detect_zeroes;
  node.told = tree.told;
  // The user's own word about a node below stands when the node above changes.
  node.follows_parent_access = !own.is_top && !tree.is_read_only;
  return node;
}

HolderRef HolderOrMonitor(const HolderRef& holder) {
  return holder != nullptr ? holder : MakeHolder("monitor", "monitor");
}

AttachmentOptions ToHoldImage(const HolderRef& holder) {
  AttachmentOptions options;
  options.holder = holder;
  options.purpose = "image";
  options.stays_at_node = true;
  return options;
}

}  // namespace millrace
