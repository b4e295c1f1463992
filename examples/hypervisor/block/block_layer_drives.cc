// The block layer's drives, their media, and the devices that have them.
#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/graph_users.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

Permissions PermissionsOf(const GuestDevice& device, bool is_read_only) {
  Permissions permissions;
  // Nobody writes to a CD, even if its medium could be written.
  const bool only_reads = is_read_only || device.has_tray;
  permissions.used = only_reads ? kConsistentRead : kConsistentRead | kWrite;
  permissions.shared = kConsistentRead | kWriteUnchanged;
  if (device.shares_writes) permissions.shared = permissions.shared | kWrite;
  if (device.can_resize) permissions.shared = permissions.shared | kResize;
  return permissions;
}

}  // namespace

Drive* BlockLayer::FindDrive(std::string_view id) const {
  if (id.empty()) return nullptr;
  for (const std::unique_ptr<Drive>& drive : drives_) {
    if (drive->id == id) return drive.get();
  }
  return nullptr;
}

Drive* BlockLayer::FindDriveOfDevice(std::string_view id_or_path) const {
  if (id_or_path.empty()) return nullptr;
  for (const std::unique_ptr<Drive>& drive : drives_) {
    const GuestDevice* device = drive->device.get();
    if (device != nullptr && (device->id == id_or_path || device->path == id_or_path)) {
      return drive.get();
    }
  }
  return nullptr;
}

absl::StatusOr<Drive*> BlockLayer::FindBackendOfDevice(const std::string& id) const {
  Drive* drive = FindDriveOfDevice(id);
  if (drive == nullptr && !HasDevice(id)) {
    return NoSuchDevice(id);
  }
  // A wrapper's drive belongs to a part of it, which has a path of its own.
  const bool is_wrapper = drive != nullptr && drive->device->path != id &&
                          drive->device->path.ends_with("/virtio-backend");
  if (drive != nullptr && !is_wrapper) return drive;
  return GenericError(
      "Device does not have a block device backend",
      DescribeRefusal(
          {.reason = "no-drive", .object = id, .next_step = "name the device that has the drive"}));
}

absl::Status NoSuchDevice(std::string_view id) {
  return DeviceNotFound(StrCat("Device '", id, "' not found"),
                        DescribeRefusal({.reason = "unknown-device",
                                         .object = id,
                                         .next_step = "add it first, or name one that is there"}));
}

AttachmentOptions BlockLayer::DriveOptions(const std::string& id,
                                           const std::string& device_id) const {
  AttachmentOptions options;
  options.holder =
      MakeHolder(id.empty() ? device_id : id, "block device", host_.engine.clock().Now());
  options.purpose = "root";
  options.device_name = id;
  options.permissions.used = kConsistentRead;
  return options;
}

absl::StatusOr<Drive*> BlockLayer::AddDriveOver(std::string id, NodeId node,
                                                const std::string& device_id) {
  auto drive = std::make_unique<Drive>();
  GraphTransaction change(graph_);
  drive->backend = change.Attach(node, DriveOptions(id, device_id));
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  absl::StatusOr<NodeView> view = change.Resolve(node);
  drive->is_read_only = view.ok() && view->is_read_only();
  drive->id = std::move(id);
  drives_.push_back(std::move(drive));
  return drives_.back().get();
}

AttachmentOptions BlockLayer::MediumOptions(const Drive& drive, bool is_read_only) const {
  AttachmentOptions options;
  const GuestDevice* device = drive.device.get();
  options.holder =
      MakeHolder(drive.id.empty() && device != nullptr ? device->shown_name() : drive.id,
                 "block device", host_.engine.clock().Now());
  options.purpose = "root";
  options.device_name = drive.id;
  options.permissions.used = kConsistentRead;
  if (device != nullptr) options.permissions = PermissionsOf(*device, is_read_only);
  return options;
}

absl::Status BlockLayer::RehearseInsertMedium(const Drive& drive, NodeId node, CommandPlan* plan) {
  GraphTransaction change(graph_);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView view, change.Resolve(node));
  const Attachment backend = change.Attach(node, MediumOptions(drive, view.is_read_only()));
  MILLRACE_RETURN_IF_ERROR(change.Rehearse());
  LookAt(change, plan);
  return absl::OkStatus();
}

absl::Status BlockLayer::InsertMedium(Drive& drive, NodeId node) {
  GraphTransaction change(graph_);
  absl::StatusOr<NodeView> view = change.Resolve(node);
  const bool is_read_only = view.ok() && view->is_read_only();
  Attachment backend = change.Attach(node, MediumOptions(drive, is_read_only));
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  drive.backend = std::move(backend);
  drive.is_read_only = is_read_only;
  return absl::OkStatus();
}

absl::Status BlockLayer::CheckDriveId(std::string_view id) const {
  if (FindDrive(id) == nullptr) return absl::OkStatus();
  return Refuse({.reason = ConflictReason::kDuplicateDeviceName,
                 .object = std::string(id),
                 .holders = {{.id = std::string(id), .type = "block device"}},
                 .next_step = "choose another id"},
                StrCat("Duplicate ID '", id, "' for drive"));
}

absl::StatusOr<Drive*> BlockLayer::AddEmptyDrive(std::string id, bool is_read_only) {
  MILLRACE_RETURN_IF_ERROR(CheckDriveId(id));
  auto drive = std::make_unique<Drive>();
  drive->id = std::move(id);
  drive->is_read_only = is_read_only;
  drives_.push_back(std::move(drive));
  return drives_.back().get();
}

absl::StatusOr<Drive*> BlockLayer::CoAddDrive(std::string id, NodeTree tree) {
  MILLRACE_RETURN_IF_ERROR(CheckDriveId(id));
  MILLRACE_ASSIGN_OR_RETURN(Attachment hold, CoOpen(std::move(tree)));
  absl::StatusOr<Drive*> drive = AddDriveOver(std::move(id), hold.node());
  hold.CoDetach();
  return drive;
}

void BlockLayer::CoTakeOutMedium(Drive& drive) {
  const std::shared_ptr<DriveThrottle> throttle = drive.throttle;
  if (throttle != nullptr) throttle->LetAllPass();
  guest_request_done_.CoWaitUntil([&drive] { return drive.requests_open == 0; });
  if (throttle != nullptr) throttle->HoldBackAgain();
  if (!drive.backend.is_attached()) return;
  drive.backend.CoDetach();
  for (const MediumListener& listener : medium_listeners_) listener(drive);
}

void BlockLayer::StageTakeOut(GraphTransaction& change, Drive& drive) const {
  if (!drive.backend.is_attached()) return;
  change.Detach(drive.backend);
  for (const MediumStager& stage : medium_stagers_) stage(change, drive);
}

void BlockLayer::CoRemoveDrive(Drive& drive) {
  CoTakeOutMedium(drive);
  std::erase_if(drives_, [&](const std::unique_ptr<Drive>& each) { return each.get() == &drive; });
}

absl::Status BlockLayer::PlugIn(Drive& drive, GuestDevice device) {
  if (drive.backend.is_attached()) {
    GraphTransaction change(graph_);
    change.SetPermissions(drive.backend, PermissionsOf(device, drive.is_read_only));
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  device.number = devices_++;
  drive.device = std::make_unique<GuestDevice>(std::move(device));
  return absl::OkStatus();
}

absl::Status BlockLayer::RehearsePlugIn(const Drive* drive, NodeId node, const GuestDevice& device,
                                        CommandPlan* plan) {
  Attachment fresh;
  if (drive == nullptr) {  // it is made first, and asks for little
    GraphTransaction change(graph_);
    fresh = change.Attach(node, DriveOptions("", device.shown_name()));
    MILLRACE_RETURN_IF_ERROR(change.Rehearse());
  }
  GraphTransaction change(graph_);
  if (drive != nullptr) {
    if (!drive->backend.is_attached()) return absl::OkStatus();
    change.SetPermissions(drive->backend, PermissionsOf(device, drive->is_read_only));
  } else {
    MILLRACE_ASSIGN_OR_RETURN(const NodeView view, change.Resolve(node));
    AttachmentOptions options = DriveOptions("", device.shown_name());
    options.permissions = PermissionsOf(device, view.is_read_only());
    fresh = change.Attach(node, std::move(options));
  }
  MILLRACE_RETURN_IF_ERROR(change.Rehearse());
  LookAt(change, plan);
  return absl::OkStatus();
}

// They end in their own time, and those that are ready keep their copy. The user's pause is over.
void BlockLayer::CancelJobsOn(NodeId node) {
  std::vector<std::string> ids;
  {
    GraphView view(graph_);
    ids = JobsOn(view, node);
  }
  for (const std::string& id : ids) {
    const absl::StatusOr<JobInfo> job = jobs_.Query(id);
    if (job.ok() && job->state == JobState::kConcluded) {
      jobs_.Dismiss(id).IgnoreError();  // as in QEMU, a cancel is that here
      continue;
    }
    if (job.ok() && job->is_paused_by_user) jobs_.Resume(id).IgnoreError();
    jobs_.Cancel(id, /*force=*/false).IgnoreError();
  }
}

void BlockLayer::CoUnplug(Drive& drive) {
  drive.device.reset();
  if (drive.goes_with_device && drive.backend.is_attached()) CancelJobsOn(drive.backend.node());
  if (drive.id.empty() || drive.goes_with_device) return CoRemoveDrive(drive);
  if (!drive.backend.is_attached()) return;
  GraphTransaction change(graph_);
  change.SetPermissions(drive.backend, {kConsistentRead, kAllPermissions});
  const absl::Status status = change.Commit().status();
  MILLRACE_CHECK(status.ok(), "letting go of permissions cannot be refused");
}

void BlockLayer::StageUnplug(GraphTransaction& change, Drive& drive) const {
  if (!drive.backend.is_attached()) return;
  if (drive.id.empty() || drive.goes_with_device) return StageTakeOut(change, drive);
  change.SetPermissions(drive.backend, {kConsistentRead, kAllPermissions});
}

std::string BlockLayer::NextAnonymousPath(std::string_view suffix) const {
  return StrCat("/machine/peripheral-anon/device[", anonymous_devices_, "]", suffix);
}

std::string BlockLayer::TakeAnonymousPath(std::string_view suffix) {
  std::string path = NextAnonymousPath(suffix);
  ++anonymous_devices_;
  return path;
}

}  // namespace millrace
