#include "examples/hypervisor/block/snapshot_plans.h"

#include <utility>

#include "examples/hypervisor/block/plan_tools.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/open_tree.h"

namespace millrace {
SnapshotPlanner::~SnapshotPlanner() {
  for (auto each = undo_.rbegin(); each != undo_.rend(); ++each) (*each)();
}

absl::Status SnapshotPlanner::Snapshot(ArgumentReader& reader) {
  MILLRACE_ASSIGN_OR_RETURN(PreparedSnapshot snapshot,
                            PrepareSnapshot(layer_, change_, reader, prepared_));
  plan_.before = ChainBelow(change_, snapshot.node);
  prepared_.push_back(std::move(snapshot));
  return absl::OkStatus();
}

absl::Status SnapshotPlanner::SnapshotSync(ArgumentReader& reader) {
  MILLRACE_ASSIGN_OR_RETURN(const SnapshotRequest request,
                            ReadSnapshotSync(layer_, change_, reader, prepared_));
  MILLRACE_RETURN_IF_ERROR(CheckNameOfOverlay(request));
  return OpenOverlay(request);
}

// As CoPrepareSnapshotSync() does it.
absl::Status SnapshotPlanner::OpenOverlay(const SnapshotRequest& request) {
  uint64_t bytes = 0;
  if (request.creates) {
    MILLRACE_ASSIGN_OR_RETURN(CreateImageOptions image, OverlayImage(change_, request));
    const auto planned = lengths_.find(request.node);
    if (planned != lengths_.end()) image.qcow2.bytes = planned->second;
    bytes = image.qcow2.bytes;
    // Of an image that is there only opening tells the length. Any does for what else is checked.
    if (bytes == 0) image.qcow2.bytes = 512;
    MILLRACE_RETURN_IF_ERROR(CheckCreateImage(layer_.registry(), image));
    change_.PassGeneratedName();  // the node of the file, while the image is made
  }
  MILLRACE_ASSIGN_OR_RETURN(StagedTree staged, layer_.RehearseOpen(change_, OverlayTree(request)));
  PreparedSnapshot prepared;
  prepared.node = request.node;
  prepared.overlay = staged.top;
  prepared.hold = std::move(staged.hold);
  if (request.creates) {
    staged.unknown = {StrCat("whether '", request.filename, "' can be made, opened and locked")};
  }
  for (std::string& fact : staged.unknown) plan_.unknown.push_back(std::move(fact));
  if (!prepared.overlay.is_valid()) {
    is_known_ = false;
    return request.name_error;
  }
  MILLRACE_RETURN_IF_ERROR(CheckNewOverlay(layer_, change_, request, prepared.overlay));
  lengths_[prepared.overlay] = bytes;
  Note(request, &prepared);
  prepared_.push_back(std::move(prepared));
  return absl::OkStatus();
}

void SnapshotPlanner::Note(const SnapshotRequest& request, PreparedSnapshot* prepared) {
  prepared->overlay_name = NodeNameAt(change_, prepared->overlay);
  if (request.creates) plan_.steps.push_back(StrCat("create '", request.filename, "'"));
  plan_.steps.push_back(StrCat("open '", request.filename, "' as '", prepared->overlay_name, "'"));
  plan_.steps.push_back(
      StrCat("put '", prepared->overlay_name, "' above '", NodeNameAt(change_, request.node), "'"));
  plan_.before = ChainBelow(change_, request.node);
}

absl::Status SnapshotPlanner::ChangeBitmaps(std::string_view action, ArgumentReader& reader) {
  MILLRACE_ASSIGN_OR_RETURN(BitmapUndo undo,
                            millrace::ChangeBitmaps(layer_, change_, action, reader, lengths_));
  undo_.push_back(std::move(undo));
  plan_.steps.push_back(StrCat("carry out ", action));
  return absl::OkStatus();
}

absl::Status SnapshotPlanner::PutInPlace() {
  if (!is_known_) return absl::OkStatus();
  for (const PreparedSnapshot& snapshot : prepared_) {
    StageSnapshot(change_, snapshot.overlay, snapshot.node);
  }
  return change_.Rehearse();
}

bool SnapshotPlanner::MakeReadOnly(std::set<NodeId>* writable) {
  if (!is_known_) return true;
  for (const PreparedSnapshot& snapshot : prepared_) {
    const absl::StatusOr<NodeView> node = change_.Resolve(snapshot.node);
    if (!node.ok() || node->is_read_only() || !BecomesReadOnly(*node)) continue;
    if (writable->contains(snapshot.node)) continue;
    StageReadOnly(change_, snapshot.node, true);
    if (change_.Rehearse().ok()) continue;
    writable->insert(snapshot.node);
    return false;
  }
  return true;
}

absl::Status SnapshotPlanner::LetGo() {
  if (!is_known_) return absl::OkStatus();
  if (prepared_.size() == 1) plan_.after = ChainBelow(change_, prepared_.front().overlay);
  if (prepared_.size() != 1) plan_.before.clear();  // there is no chain that would tell of all
  for (PreparedSnapshot& snapshot : prepared_) change_.Detach(snapshot.hold);
  MILLRACE_RETURN_IF_ERROR(change_.Rehearse());
  LookAt(change_, &plan_);
  return absl::OkStatus();
}

PlanResult PlanSnapshots(BlockLayer& layer,
                         const std::function<absl::Status(SnapshotPlanner&)>& prepare) {
  std::set<NodeId> writable;
  for (;;) {
    CommandPlan plan;
    GraphTransaction change(layer.graph());
    change.ToRehearse();
    SnapshotPlanner planner(layer, change, plan);
    MILLRACE_RETURN_IF_ERROR(prepare(planner));
    MILLRACE_RETURN_IF_ERROR(planner.PutInPlace());
    if (!planner.MakeReadOnly(&writable)) continue;
    MILLRACE_RETURN_IF_ERROR(planner.LetGo());
    return plan;
  }
}

void SetSnapshotPlanners(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.SetPlanner("blockdev-snapshot", [&layer](const json::object& given) MILLRACE_OPENS_VIEW {
    return PlanSnapshots(layer, [&](SnapshotPlanner& plan) {
      ArgumentReader reader(given);
      return plan.Snapshot(reader);
    });
  });
  commands.SetPlanner("blockdev-snapshot-sync",
                      [&layer](const json::object& given) MILLRACE_OPENS_VIEW {
                        return PlanSnapshots(layer, [&](SnapshotPlanner& plan) {
                          ArgumentReader reader(given);
                          return plan.SnapshotSync(reader);
                        });
                      });
}

}  // namespace millrace
