// UserBitmaps: the dirty bitmaps that clients keep on nodes (block-dirty-bitmap-add and its
// fellows): records of changes with names. They live in memory, and as long as their node.
//
// Names are unique on a node. Refusals are in QEMU's words. Home thread; nothing suspends.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_USER_BITMAPS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_USER_BITMAPS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/json.h"
#include "millrace/graph/change_record.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/node_id.h"

namespace millrace {

struct UserBitmap {
  std::string name;
  NodeId node;
  std::unique_ptr<ChangeRecord> record;
  bool is_planned = false;  // its node is not made yet
  uint64_t sequence = 0;    // the older, the lower
};

class UserBitmaps {
 public:
  // "Bitmap already exists: x". A record that listens to no node is one of a plan.
  absl::Status Add(NodeId node, const std::string& name, std::unique_ptr<ChangeRecord> record);
  // "Dirty bitmap 'x' not found".
  absl::StatusOr<UserBitmap*> Find(NodeId node, std::string_view name) const;
  // Takes it out; null if there is none.
  std::unique_ptr<UserBitmap> Take(NodeId node, std::string_view name);
  // Puts back what was taken out, where it was.
  void PutBack(std::unique_ptr<UserBitmap> bitmap);

  // QAPI's BlockDirtyInfo of all that are on a node, the newest first.
  json::array Describe(NodeId node) const;

 private:
  // Forgets those whose node is gone.
  void Prune();

  std::vector<std::unique_ptr<UserBitmap>> bitmaps_;  // oldest first
  uint64_t next_sequence_ = 0;
};

// How to take back what one action of a transaction has done.
using BitmapUndo = std::function<void()>;

class ArgumentReader;
class BlockLayer;

// How long the nodes are that a plan makes.
using PlannedLengths = std::map<NodeId, uint64_t>;

// Carries out a block-dirty-bitmap- command; `action` is its name. What it says of how to take it
// back may be dropped. In a plan, which takes it back, `at` shows nodes that are not made yet.
absl::StatusOr<BitmapUndo> ChangeBitmaps(BlockLayer& layer, const GraphReader& at,
                                         std::string_view action, ArgumentReader& reader,
                                         const PlannedLengths& planned = {});

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_USER_BITMAPS_H_
