// BlockLayer: what the hypervisor knows about its disks: nodes that the monitor owns, drives (block
// back ends with a name) and guest devices, over one graph and its jobs.
//
//   drive    an attachment to the top of a tree of nodes, named "drive0": what QMP's `device`
//            means, what queries list, what HMP's qemu-io works on;
//   device   a guest's disk controller. It does no I/O of its own; it takes permissions on a drive.
//            A device made over a node gets a drive without a name.
//
// Commands are registered by the Register... functions of the files beside this one. Home thread;
// commands come one at a time.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BLOCK_LAYER_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BLOCK_LAYER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/block/block_statistics.h"
#include "examples/hypervisor/block/bus_table.h"
#include "examples/hypervisor/block/drive_throttle.h"
#include "examples/hypervisor/block/job_committer.h"
#include "examples/hypervisor/block/job_notes.h"
#include "examples/hypervisor/block/user_bitmaps.h"
#include "examples/hypervisor/process/hypervisor_host.h"
#include "examples/hypervisor/process/separate_tasks.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/node_tree.h"
#include "millrace/graph/open_tree.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

struct GuestDevice {
  std::string id;      // "" if it has none
  std::string path;    // its place in QEMU's object tree
  std::string driver;  // "virtio-blk-pci"
  std::string iothread;
  std::string home_iothread;  // its controller's, where its nodes are from the start
  std::string controller;     // the id of the one on whose bus it is; "": it cannot be taken away
  int number = 0;             // in order of plugging in
  bool shares_writes = false;
  bool can_resize = false;
  bool is_removable = false;
  bool has_tray = false;

  // What queries and events call it: a part inside a wrapper has the drive, but not the id.
  const std::string& shown_name() const {
    return id.empty() || path.ends_with("/virtio-backend") ? path : id;
  }
};

// Where --drive has put a drive in the guest: no two have one place.
struct DrivePlace {
  std::string interface;
  int bus = 0;
  int unit = 0;
  bool operator==(const DrivePlace&) const = default;
};

struct Drive {
  std::string id;      // "" for the drive of a device over a node
  Attachment backend;  // not attached: no medium
  std::unique_ptr<GuestDevice> device;
  std::shared_ptr<DriveThrottle> throttle;  // null: no limits; requests that it holds back share it
  DriveStatistics statistics;
  size_t requests_open = 0;     // that qemu-io has begun on it and that go on by themselves
  bool is_read_only = true;     // of the medium; of the next one, if there is none
  bool copies_on_read = false;  // what is read from below is kept in the top
  bool writes_through = false;  // each write is durable when it returns
  bool is_tray_open = false;
  // Made by --drive if=none: goes with the device that takes it.
  bool goes_with_device = false;
  std::optional<DrivePlace> place;  // null: not made by --drive
};

class BlockLayer final : public HypervisorPart, public EngineObserver {
 public:
  // Registers everything with the host.
  explicit BlockLayer(HypervisorHost& host);
  ~BlockLayer() override;

  // Ends what a command waits for, too: its sleep, its job.
  void Hurry() override MILLRACE_OPENS_VIEW;
  void CoShutdown() override MILLRACE_MAY_SUSPEND;

  void OnLog(LogLevel level, std::string_view line) override;
  void OnJobEvent(const JobEvent& event) override;

  HypervisorHost& host() { return host_; }
  Graph& graph() { return graph_; }
  JobManager& jobs() { return jobs_; }
  JobNotes& job_notes() { return job_notes_; }
  const DriverRegistry& registry() const { return registry_; }
  const OpenTreeOptions& open_options() const { return open_options_; }
  const HolderRef& monitor() const { return open_options_.holder; }
  // Starts a request that goes on by itself. The drive, if it is one's, stays until it is done.
  // False if there is no memory for it.
  bool SpawnGuestRequest(Drive* drive, std::string_view name, std::function<void()> run);
  // Drains every node, once: requests end, jobs pause and go on.
  void CoBringToRest() MILLRACE_MAY_SUSPEND;
  // Lets go of all requests that stand at a break point; none stops there any more.
  void ReleaseBreakPoints() MILLRACE_OPENS_VIEW;
  // For a command: shorter if the program is to end.
  void CoSleep(Nanoseconds time) MILLRACE_MAY_SUSPEND;
  // For a command: how the job has ended, which is cancelled if the program is to end.
  absl::Status CoWaitUntilOver(JobNumber job) MILLRACE_MAY_SUSPEND;
  // Returns when none of them is under way.
  void CoWaitForGuestRequests() MILLRACE_MAY_SUSPEND;

  // ---- Nodes the monitor owns --------------------------------------------------------------------
  absl::Status CoAddNode(NodeTree tree) MILLRACE_MAY_SUSPEND;
  // What that would do, and what of it only opening would tell.
  PlanResult PlanAddNode(NodeTree tree) MILLRACE_OPENS_VIEW;
  // Stages and rehearses what CoOpen() would put into the graph; refusals are its own. Nothing can
  // be staged in `change` afterwards. See StageTree().
  absl::StatusOr<StagedTree> RehearseOpen(GraphTransaction& change, NodeTree tree);
  // What opening a tree, and putting onto its top what `stage` stages there, would do. `make` makes
  // the tree, the same each time. What `stage` attaches must outlive the call. Without a graph
  // where the tree does not tell which nodes there would be.
  using StageOnTop = std::function<void(GraphTransaction& change, NodeId top)>;
  PlanResult PlanOpenUnder(const std::function<NodeTree()>& make, CommandPlan plan,
                           const StageOnTop& stage) MILLRACE_OPENS_VIEW;
  bool OwnsNode(std::string_view name) const { return owned_.find(name) != owned_.end(); }
  void CoLetGoOfNode(std::string_view name) MILLRACE_MAY_SUSPEND;
  PlanResult PlanLetGoOfNode(std::string_view name) MILLRACE_OPENS_VIEW;
  // Opens a tree; failures to open a file in QEMU's words.
  absl::StatusOr<Attachment> CoOpen(NodeTree tree) MILLRACE_MAY_SUSPEND;

  // ---- Drives and devices ------------------------------------------------------------------------
  const std::vector<std::unique_ptr<Drive>>& drives() const { return drives_; }
  Drive* FindDrive(std::string_view id) const;
  // "Duplicate ID 'x' for drive".
  absl::Status CheckDriveId(std::string_view id) const;
  BusTable& buses() { return buses_; }
  UserBitmaps& bitmaps() { return bitmaps_; }
  bool HasDevice(std::string_view id) const {
    return FindDriveOfDevice(id) != nullptr || buses_.HasController(id);
  }
  // By a device's id or path.
  Drive* FindDriveOfDevice(std::string_view id_or_path) const;
  // The drive that commands mean by a device's "id": DeviceNotFound, or "Device does not have a
  // block device backend" for a controller or a wrapper around the part that has it.
  absl::StatusOr<Drive*> FindBackendOfDevice(const std::string& id) const;
  // Opens the tree and puts a drive on top.
  absl::StatusOr<Drive*> CoAddDrive(std::string id, NodeTree tree) MILLRACE_MAY_SUSPEND;
  // A drive without a medium; `is_read_only`: the one that it gets will be.
  absl::StatusOr<Drive*> AddEmptyDrive(std::string id, bool is_read_only = true);
  // The same over a node that is there.
  // Refusals name a drive without an id by its device's.
  absl::StatusOr<Drive*> AddDriveOver(std::string id, NodeId node,
                                      const std::string& device_id = "") MILLRACE_OPENS_VIEW;
  // The back end of such a drive. `device_id`: as above.
  AttachmentOptions DriveOptions(const std::string& id, const std::string& device_id = "") const;
  // Both wait until the requests on the drive are done; its limits hold none of them back.
  void CoRemoveDrive(Drive& drive) MILLRACE_MAY_SUSPEND;
  void CoTakeOutMedium(Drive& drive) MILLRACE_MAY_SUSPEND;
  // The device takes its permissions on the drive.
  absl::Status PlugIn(Drive& drive, GuestDevice device) MILLRACE_OPENS_VIEW;
  // What PlugIn() on a drive, or on a drive that is made over `node` for it, would refuse; `plan`
  // gets the graph otherwise.
  absl::Status RehearsePlugIn(const Drive* drive, NodeId node, const GuestDevice& device,
                              CommandPlan* plan) MILLRACE_OPENS_VIEW;
  // Stages what CoUnplug() does.
  void StageUnplug(GraphTransaction& change, Drive& drive) const;
  // With a drive of --drive go the jobs that are at work on it, and it goes itself.
  void CoUnplug(Drive& drive) MILLRACE_MAY_SUSPEND;
  // Puts a node into a drive without a medium.
  absl::Status InsertMedium(Drive& drive, NodeId node) MILLRACE_OPENS_VIEW;
  // What that would refuse; `plan` gets the graph otherwise.
  absl::Status RehearseInsertMedium(const Drive& drive, NodeId node, CommandPlan* plan)
      MILLRACE_OPENS_VIEW;
  // What a drive has of its medium; it is the device's, if there is one.
  AttachmentOptions MediumOptions(const Drive& drive, bool is_read_only) const;
  // Who hears that a drive has lost its medium; may suspend. `stage` is for plans: what that does
  // to the graph.
  using MediumListener = std::function<void(const Drive& drive)>;
  using MediumStager = std::function<void(GraphTransaction& change, const Drive& drive)>;
  void OnMediumGone(MediumListener listener, MediumStager stage) {
    medium_listeners_.push_back(std::move(listener));
    medium_stagers_.push_back(std::move(stage));
  }
  // Stages what CoTakeOutMedium() does.
  void StageTakeOut(GraphTransaction& change, Drive& drive) const;
  // Another part's attachment (an export), which makes its node one in use; it outlives the note.
  void AddBackendUser(const Attachment& backend) { other_backends_.push_back(&backend); }
  void RemoveBackendUser(const Attachment& backend) { std::erase(other_backends_, &backend); }
  // Whether a drive or another part's attachment is on the node.
  bool HasBackend(NodeId node) const;
  // The place of a device without an id that is added now; it takes that number.
  std::string TakeAnonymousPath(std::string_view suffix);
  // The same, and the number stays free: for a plan.
  std::string NextAnonymousPath(std::string_view suffix) const;

  // ---- Looking up --------------------------------------------------------------------------------
  // "Cannot find device='x' nor node-name='y'"; either may be empty.
  absl::StatusOr<NodeId> FindNode(std::string_view device, std::string_view node_name)
      MILLRACE_OPENS_VIEW;
  // The same where a plan has got to; it knows the names of nodes that it makes.
  absl::StatusOr<NodeId> FindNode(const GraphReader& at, std::string_view device,
                                  std::string_view node_name) const;
  // A device or a node of this name.
  absl::StatusOr<NodeId> FindDeviceOrNode(std::string_view name) MILLRACE_OPENS_VIEW;
  // Also of a node that is gone.
  bool IsReadOnly(NodeId node) MILLRACE_OPENS_VIEW;

 private:
  std::vector<NodeId> AllNodes() MILLRACE_OPENS_VIEW;
  void CancelJobsOn(NodeId node) MILLRACE_OPENS_VIEW;
  void CoHurryGuests() MILLRACE_MAY_SUSPEND;
  void CoCloseEverything() MILLRACE_MAY_SUSPEND;

  HypervisorHost& host_;
  DriverRegistry registry_;
  Graph graph_;
  DaemonJobCommitter committer_;
  JobManager jobs_;
  JobNotes job_notes_;
  OpenTreeOptions open_options_;
  SeparateTasks guest_requests_;  // of qemu-io's aio_ commands
  Condition guest_request_done_;
  size_t guest_requests_open_ = 0;
  TaskScope* sleep_ = nullptr;            // of a command
  std::optional<JobNumber> awaited_job_;  // by a command
  std::map<std::string, Attachment, std::less<>> owned_;
  std::vector<std::unique_ptr<Drive>> drives_;  // in order of creation
  std::vector<MediumListener> medium_listeners_;
  std::vector<MediumStager> medium_stagers_;
  std::vector<const Attachment*> other_backends_;
  BusTable buses_;
  UserBitmaps bitmaps_;
  int anonymous_devices_ = 0;
  int devices_ = 0;  // ever plugged in
};

// "Device 'x' not found".
absl::Status NoSuchDevice(std::string_view id);

// Each file of commands, called by the constructor.
void RegisterThrottleGroups(BlockLayer& layer);
void RegisterNodeCommands(BlockLayer& layer);
void RegisterChildCommands(BlockLayer& layer);
void RegisterReopenCommands(BlockLayer& layer);
void RegisterSnapshotCommands(BlockLayer& layer);
void RegisterTransaction(BlockLayer& layer);
void RegisterCreateJob(BlockLayer& layer);
void RegisterRefusedCommands(BlockLayer& layer);
void RegisterHumanCommands(BlockLayer& layer);
void RegisterHumanInfo(BlockLayer& layer);
void RegisterHumanRequests(BlockLayer& layer);
void RegisterHumanCommit(BlockLayer& layer);
void RegisterObjectProperties(BlockLayer& layer);
void RegisterBitmapCommands(BlockLayer& layer);
void RegisterMediumCommands(BlockLayer& layer);
void RegisterDeviceCommands(BlockLayer& layer);
void RegisterDriveOptions(BlockLayer& layer);
void RegisterQueryCommands(BlockLayer& layer);
void RegisterJobVerbs(BlockLayer& layer);
void RegisterStreamAndCommit(BlockLayer& layer);
void RegisterMirror(BlockLayer& layer);
void RegisterFilterCommands(BlockLayer& layer);
void RegisterQemuIo(BlockLayer& layer);
void RegisterRunStateCommands(BlockLayer& layer);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BLOCK_LAYER_H_
