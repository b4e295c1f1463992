// What blockdev-snapshot, blockdev-snapshot-sync and transaction would do.
//
// Their steps are staged one after another in one edit, each asked what its command asks
// (block/snapshot_commands.h), and rehearsed: an overlay that an action would make is a node of
// that edit, so that later actions find it by its name.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_PLANS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_PLANS_H_

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/snapshot_commands.h"
#include "examples/hypervisor/block/user_bitmaps.h"
#include "examples/hypervisor/qmp/command_plan.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/node_id.h"

namespace millrace {

// Takes back, when it ends, what actions have done to bitmaps.
class SnapshotPlanner {
 public:
  // All must outlive it.
  SnapshotPlanner(BlockLayer& layer, GraphTransaction& change, CommandPlan& plan)
      : layer_(layer), change_(change), plan_(plan) {}
  SnapshotPlanner(const SnapshotPlanner&) = delete;
  SnapshotPlanner& operator=(const SnapshotPlanner&) = delete;
  ~SnapshotPlanner();

  // ---- Actions, in order: `reader` has the arguments; the refusal is the command's --------------
  absl::Status Snapshot(ArgumentReader& reader);      // blockdev-snapshot
  absl::Status SnapshotSync(ArgumentReader& reader);  // blockdev-snapshot-sync
  absl::Status ChangeBitmaps(std::string_view action, ArgumentReader& reader);

  // ---- When all are prepared --------------------------------------------------------------------
  // The overlays take their places.
  absl::Status PutInPlace();
  // What lies below them becomes read-only, but for those in `writable`; one that cannot is put
  // there, and false returned: such a node stays as it is, and all has to be planned anew.
  bool MakeReadOnly(std::set<NodeId>* writable);
  // Nobody but their users holds the overlays any more; the plan has the graph.
  absl::Status LetGo();

 private:
  absl::Status OpenOverlay(const SnapshotRequest& request);
  void Note(const SnapshotRequest& request, PreparedSnapshot* prepared);

  BlockLayer& layer_;
  GraphTransaction& change_;
  CommandPlan& plan_;
  std::vector<PreparedSnapshot> prepared_;
  PlannedLengths lengths_;        // of overlays that are to be made
  std::vector<BitmapUndo> undo_;  // oldest first
  bool is_known_ = true;          // which nodes there would be
};

// The plan of what `prepare` hands to the planner.
PlanResult PlanSnapshots(BlockLayer& layer,
                         const std::function<absl::Status(SnapshotPlanner&)>& prepare)
    MILLRACE_OPENS_VIEW;

// Of blockdev-snapshot and blockdev-snapshot-sync.
void SetSnapshotPlanners(BlockLayer& layer);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_PLANS_H_
