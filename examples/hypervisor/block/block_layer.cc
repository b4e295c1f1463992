#include "examples/hypervisor/block/block_layer.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "examples/common/conflict_text.h"
#include "examples/hypervisor/block/corruption_events.h"
#include "examples/hypervisor/block/job_events.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "examples/hypervisor/block/quorum_events.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/block/throttle_objects.h"
#include "examples/hypervisor/block/tree_options.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/filters/fault_injection.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

// The file name that a tree stands on, for texts.
std::string FileNameOf(const NodeTree& tree) {
  if (!tree.filename.empty()) return tree.filename;
  const auto option = tree.options.find("filename");
  if (option != tree.options.end()) return option->second;
  for (const ChildTree& child : tree.children) {
    if (child.name != "backing" && child.tree != nullptr) return FileNameOf(*child.tree);
  }
  return {};
}

std::string CannotOpen(const std::string& filename, int error_number) {
  struct stat info {};
  if (error_number == EINVAL && stat(filename.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return StrCat("'file' driver requires '", filename, "' to be a regular file");
  }
  return StrCat("Could not open '", filename, "': ", ErrnoText(error_number));
}

// The nodes that a tree names as backing files, at any level.
void CollectBackingNames(const NodeTree& tree, std::vector<std::string>* names) {
  for (const ChildTree& child : tree.children) {
    if (child.name == "backing" && !child.reference.empty()) names->push_back(child.reference);
    if (child.tree != nullptr) CollectBackingNames(*child.tree, names);
  }
}

// What a tree was, for the texts of its failures.
struct OpenedTree {
  explicit OpenedTree(const NodeTree& tree) : filename(FileNameOf(tree)) {
    CollectBackingNames(tree, &backing_names);
  }
  bool NamesAsBacking(std::string_view node) const {
    return std::find(backing_names.begin(), backing_names.end(), node) != backing_names.end();
  }

  const std::string filename;
  std::vector<std::string> backing_names;
};

// What stands in the first, or in the second, pair of quotes.
std::string Quoted(absl::string_view text, size_t which) {
  const std::vector<std::string> parts = absl::StrSplit(text, '\'');
  return parts.size() > 2 * which ? parts[2 * which - 1] : std::string();
}

// Mistakes in options that only their driver knows, and options that exclude each other.
std::string OptionMistakeText(absl::string_view message) {
  if (absl::StrContains(message, "force-share=on can only be used")) {
    return "force-share=on can only be used with read-only images";
  }
  if (absl::StrContains(message, "detected zeroes can be unmapped only where")) {
    return "setting detect-zeroes to unmap is not allowed without setting discard operation to "
           "unmap";
  }
  if (absl::StrContains(message, "Driver 'file' needs option 'filename'") ||
      absl::StrContains(message, "driver 'file' needs option 'filename'")) {
    return "The 'file' block driver requires a file name";
  }
  if (absl::StrContains(message, "after 'blkdebug:' comes a configuration file's name")) {
    return "blkdebug requires both config file and image path";
  }
  if (absl::StrContains(message, "after 'blkverify:' come the raw image's name")) {
    return "blkverify requires raw copy and original image path";
  }
  if (absl::StrContains(message, "needs option 'throttle-group'")) {
    return "Please specify a throttle group";
  }
  const size_t unknown = message.find("driver '");
  if (unknown != absl::string_view::npos && absl::StrContains(message, "' has no option '")) {
    const absl::string_view rest = message.substr(unknown);
    return UnknownOptionText(Quoted(rest, 1), Quoted(rest, 2));
  }
  return {};
}

// Failures to open a file, as QEMU says them; all others as they are.
absl::Status InQemuWords(const absl::Status& status, const OpenedTree& tree) {
  if (QmpErrorOf(status)) return status;
  if (const std::string text = OptionMistakeText(status.message()); !text.empty()) {
    const bool is_below = absl::StartsWith(status.message(), "backing file of '");
    return GenericError(is_below ? StrCat("Could not open backing file: ", text) : text);
  }
  if (absl::StartsWith(status.message(), "read the configuration: ") && CarriesErrno(status)) {
    return GenericError(
        StrCat("Could not read blkdebug config file: ", ErrnoText(ErrnoOf(status))));
  }
  const std::optional<Conflict> conflict = ConflictOf(status);
  std::string text = conflict ? ConflictText(*conflict) : std::string();
  if (conflict && conflict->reason == ConflictReason::kHostFile) {
    text = CannotOpen(conflict->object, ErrnoOf(status));
  } else if (!conflict && CarriesErrno(status)) {
    text = CannotOpen(tree.filename, ErrnoOf(status));
  }
  if (text.empty()) return status;
  if (conflict && conflict->reason == ConflictReason::kUnknownNode &&
      tree.NamesAsBacking(conflict->object)) {
    return WithConflictOf(GenericError(StrCat("Could not open backing file: ", text)), status);
  }
  const bool is_below = absl::StartsWith(status.message(), "backing file of '");
  if (is_below) return GenericError(StrCat("Could not open backing file: ", text));
  return conflict && conflict->reason != ConflictReason::kHostFile ? status : GenericError(text);
}

// As in QEMU: the images are to be looked at as they were when they began to differ.
void EndForMismatch(HypervisorHost& host, const VerifyMismatch& found) {
  host.events.Flush();
  fprintf(stderr, "blkverify: %s offset=%" PRIu64 " bytes=%" PRIu64 " %s\n",
          found.is_write ? "write" : "read", found.range.offset, found.range.bytes,
          found.words.c_str());
  fflush(stdout);
  _Exit(1);
}

}  // namespace

BlockLayer::BlockLayer(HypervisorHost& host)
    : host_(host),
      graph_(host.engine),
      committer_(graph_),
      jobs_(host.engine, committer_),
      guest_requests_(host.engine.scheduler(), "qemu-io"),
      guest_request_done_("qemu-io's requests") {
  BuiltinDriverServices services;
  services.find_throttle_group = [this](std::string_view name) {
    return FindThrottleGroup(host_.objects, name);
  };
  services.on_break = [this](std::string_view what, std::string_view tag) {
    PrintLikeQemuIo(*this, StrCat("blkdebug: ", what, " request '", tag, "'\n"));
  };
  services.on_quorum_report = [this](const QuorumReport& report)
                                  MILLRACE_OPENS_VIEW { EmitQuorumReport(*this, report); };
  services.on_verify_mismatch = [&host](const VerifyMismatch& found) {
    EndForMismatch(host, found);
  };
  services.on_corruption = [this](const Qcow2Corruption& found)
                               MILLRACE_OPENS_VIEW { EmitCorruption(*this, found); };
  const absl::Status registered = RegisterBuiltinDrivers(registry_, std::move(services));
  MILLRACE_CHECK(registered.ok(), "the drivers are registered once");
  open_options_.holder = MakeHolder("monitor", "monitor");
  open_options_.parse_json_name = &ParseJsonFileName;
  open_options_.open_descriptor = [&host](const std::string& name,
                                          bool is_writable) -> absl::StatusOr<std::optional<int>> {
    const std::optional<int64_t> set = FdSets::SetNumber(name);
    if (!set) return std::optional<int>();
    MILLRACE_ASSIGN_OR_RETURN(const int descriptor, host.fd_sets.Open(*set, is_writable));
    return std::optional<int>(descriptor);
  };
  open_options_.on_raw_guessed_for_writing = [](const std::string& name) {
    fprintf(stderr,
            "WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
            "         Automatically detecting the format is dangerous for raw images, write "
            "operations on block 0 will be restricted.\n"
            "         Specify the 'raw' format explicitly to remove the restrictions.\n",
            name.c_str());
  };
  open_options_.gate.like_qemu = host.settings.open_gate_like_qemu;
  open_options_.gate.open_root = host.settings.open_root;
  host_.observer.SetTarget(this);
  host_.renderer = &RenderRefusal;
  RegisterThrottleGroups(*this);
  RegisterNodeCommands(*this);
  RegisterChildCommands(*this);
  RegisterReopenCommands(*this);
  RegisterSnapshotCommands(*this);
  RegisterTransaction(*this);
  RegisterCreateJob(*this);
  RegisterRefusedCommands(*this);
  RegisterHumanCommands(*this);
  RegisterMediumCommands(*this);
  RegisterDeviceCommands(*this);
  RegisterDriveOptions(*this);
  RegisterQueryCommands(*this);
  RegisterBlockStatistics(*this);
  RegisterDriveThrottle(*this);
  RegisterJobVerbs(*this);
  RegisterStreamAndCommit(*this);
  RegisterMirror(*this);
  RegisterFilterCommands(*this);
  RegisterQemuIo(*this);
  RegisterObjectProperties(*this);
  RegisterBitmapCommands(*this);
  RegisterRunStateCommands(*this);
}

BlockLayer::~BlockLayer() { host_.observer.SetTarget(nullptr); }

void BlockLayer::OnLog(LogLevel level, std::string_view line) {
  if (level != LogLevel::kError) return;
  fprintf(stderr, "%s: %.*s\n", host_.settings.program.c_str(), static_cast<int>(line.size()),
          line.data());
}

void BlockLayer::OnJobEvent(const JobEvent& event) {
  const std::optional<Conflict> conflict = ConflictOf(event.status);
  if (event.kind == JobEventKind::kCompleted && conflict &&
      conflict->reason == ConflictReason::kViewWouldChange) {
    OnLog(
        LogLevel::kError,
        StrCat("Can no longer replace '", conflict->object, "' by '", job_notes_.TargetOf(event.id),
               "', because it can no longer be guaranteed that doing so would not lead to an "
               "abrupt change of visible data"));
  }
  job_notes_.OnEvent(event);
  EmitJobEvent(host_.events, event);
}

// ---- The end -----------------------------------------------------------------------------------

// A request that stands still at a break point would keep its node, and us, for ever.
void BlockLayer::ReleaseBreakPoints() {
  GraphView view(graph_);
  for (NodeId id : view.Nodes()) {
    if (auto points = BreakPointsBelow(graph_, id)) points->Close();
  }
}

std::vector<NodeId> BlockLayer::AllNodes() {
  GraphView view(graph_);
  return view.Nodes();
}

void BlockLayer::CoBringToRest() {
  std::vector<NodeId> nodes = AllNodes();
  if (nodes.empty()) return;
  // Makes filters let go of what they hold back. Refused only for nodes that have gone meanwhile,
  // and they are quiet.
  absl::StatusOr<DrainedSection> drained =
      DrainedSection::CoBegin(graph_, std::move(nodes), {monitor()});
  if (drained.ok()) drained->End();
}

void BlockLayer::CoShutdown() {
  ReleaseBreakPoints();
  CoBringToRest();  // clients see jobs pause and go on before they are cancelled
  jobs_.CoShutdown();
  CoCloseEverything();
  graph_.CoClose();
}

void BlockLayer::Hurry() {
  ReleaseBreakPoints();
  LiftThrottleGroupLimits(host_.objects);
  for (std::unique_ptr<Drive>& drive : drives_) {
    if (drive->throttle != nullptr) drive->throttle->LiftLimits();
  }
  if (sleep_ != nullptr) sleep_->Cancel();
  // Again in the next turn, if it does not take that now.
  if (awaited_job_) jobs_.Cancel(*awaited_job_, /*force=*/true).IgnoreError();
}

absl::Status BlockLayer::CoWaitUntilOver(JobNumber job) {
  awaited_job_ = job;
  absl::Status status = jobs_.CoWaitUntilOver(job);
  awaited_job_.reset();
  return status;
}

void BlockLayer::CoSleep(Nanoseconds time) {
  TaskScope scope("sleep");
  scope.Spawn("sleep", [time]() MILLRACE_MAY_SUSPEND { CoSleepFor(time).IgnoreError(); });
  sleep_ = &scope;
  scope.CoJoin().IgnoreError();
  sleep_ = nullptr;
}

// A drain makes throttle groups let go of what they hold back. What queued at it, and is held back
// then, needs another.
void BlockLayer::CoHurryGuests() {
  for (std::unique_ptr<Drive>& drive : drives_) {
    if (drive->throttle != nullptr) drive->throttle->LetAllPass();
  }
  while (guest_requests_.live() > 0) {
    for (std::unique_ptr<Drive>& drive : drives_) {
      if (!drive->backend.is_attached()) continue;
      absl::StatusOr<DrainedSection> drained =
          DrainedSection::CoBegin(graph_, {drive->backend.node()}, {});
      if (drained.ok()) drained->End();
    }
    if (!CoSleepFor(kMillisecond).ok()) break;
  }
  guest_requests_.CoJoin();
}

void BlockLayer::CoCloseEverything() {
  CoHurryGuests();
  for (std::unique_ptr<Drive>& drive : drives_) drive->backend.CoDetach();
  drives_.clear();
  for (auto& owned : owned_) owned.second.CoDetach();
  owned_.clear();
}

bool BlockLayer::SpawnGuestRequest(Drive* drive, std::string_view name, std::function<void()> run) {
  const bool is_started =
      guest_requests_.Spawn(name, [this, drive, run = std::move(run)]() MILLRACE_MAY_SUSPEND {
        run();
        --guest_requests_open_;
        if (drive != nullptr) --drive->requests_open;
        guest_request_done_.Notify();
      });
  if (!is_started) return false;
  // From now on, not only from when it runs.
  ++guest_requests_open_;
  if (drive != nullptr) ++drive->requests_open;
  return true;
}

void BlockLayer::CoWaitForGuestRequests() {
  guest_request_done_.CoWaitUntil([this] { return guest_requests_open_ == 0; });
}

// ---- Nodes -------------------------------------------------------------------------------------

namespace {

// Every name in a tree that its nodes will have.
void CollectNames(const NodeTree& tree, std::set<std::string>* names) {
  if (!tree.node_name.empty()) names->insert(tree.node_name);
  for (const ChildTree& child : tree.children) {
    if (child.tree != nullptr) CollectNames(*child.tree, names);
  }
}

// What can only be said once the names of a tree are known: a node has its name before its backing
// node is looked for, and a copy-on-read filter's bottom is somebody.
absl::Status CheckReferences(const GraphReader& reader, const NodeTree& tree,
                             const std::set<std::string>& own_names) {
  for (const ChildTree& child : tree.children) {
    // What a "file" stands for is looked for before the node has its name.
    if (child.name != "file" && !child.reference.empty() && child.reference == tree.node_name &&
        !reader.Find(tree.node_name).ok()) {
      return GenericError(StrCat("Making '", tree.node_name, "' a ", child.name, " child of '",
                                 tree.node_name, "' would create a cycle"));
    }
    if (child.tree == nullptr) continue;
    MILLRACE_RETURN_IF_ERROR(CheckReferences(reader, *child.tree, own_names));
  }
  if (tree.driver == "raw" && !reader.Find(tree.node_name).ok()) {
    MILLRACE_RETURN_IF_ERROR(CheckRawSize(tree));
  }
  const auto bottom = tree.options.find("bottom");
  if (tree.driver != "copy-on-read" || bottom == tree.options.end()) return absl::OkStatus();
  if (own_names.contains(bottom->second) || reader.Find(bottom->second).ok()) {
    return absl::OkStatus();
  }
  return GenericError(StrCat("Bottom node '", bottom->second, "' not found"));
}

absl::Status CheckTree(const GraphReader& reader, const NodeTree& tree) {
  std::set<std::string> names;
  CollectNames(tree, &names);
  return CheckReferences(reader, tree, names);
}

absl::Status CheckTreeNow(Graph& graph, const NodeTree& tree) MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  return CheckTree(view, tree);
}

}  // namespace

namespace {

// Why a tree was not opened.
absl::Status AsOpenRefusal(const BlockLayer& layer, const absl::Status& status,
                           const OpenedTree& tree) {
  const std::optional<Conflict> conflict = ConflictOf(status);
  if (conflict && conflict->reason == ConflictReason::kUnknownNode &&
      layer.FindDrive(conflict->object) != nullptr) {
    return WithConflictOf(GenericError(StrCat("Device '", conflict->object, "' has no medium")),
                          status);
  }
  return InQemuWords(status, tree);
}

}  // namespace

absl::StatusOr<Attachment> BlockLayer::CoOpen(NodeTree tree) {
  MILLRACE_RETURN_IF_ERROR(CheckTreeNow(graph_, tree));
  const OpenedTree told(tree);
  absl::StatusOr<Attachment> hold = CoOpenTree(graph_, registry_, std::move(tree), open_options_);
  if (hold.ok()) return hold;
  return AsOpenRefusal(*this, hold.status(), told);
}

PlanResult BlockLayer::PlanAddNode(NodeTree tree) {
  CommandPlan plan = PlanOfStep(StrCat("open node '", tree.node_name, "' (", tree.driver, ")"));
  GraphTransaction change(graph_);
  MILLRACE_ASSIGN_OR_RETURN(StagedTree staged, RehearseOpen(change, std::move(tree)));
  plan.unknown = std::move(staged.unknown);
  if (staged.top.is_valid()) LookAt(change, &plan);
  return plan;
}

absl::StatusOr<StagedTree> BlockLayer::RehearseOpen(GraphTransaction& change, NodeTree tree) {
  MILLRACE_RETURN_IF_ERROR(CheckTree(change, tree));
  const OpenedTree told(tree);
  absl::StatusOr<StagedTree> staged =
      RehearseTree(change, registry_, std::move(tree), open_options_);
  if (!staged.ok()) return AsOpenRefusal(*this, staged.status(), told);
  return staged;
}

PlanResult BlockLayer::PlanOpenUnder(const std::function<NodeTree()>& make, CommandPlan plan,
                                     const StageOnTop& stage) {
  {
    GraphTransaction change(graph_);
    MILLRACE_ASSIGN_OR_RETURN(StagedTree staged, RehearseOpen(change, make()));
    for (std::string& fact : staged.unknown) plan.unknown.push_back(std::move(fact));
    if (!staged.top.is_valid()) return plan;
  }
  GraphTransaction change(graph_);
  MILLRACE_ASSIGN_OR_RETURN(StagedTree staged, StageTree(change, registry_, make(), open_options_));
  stage(change, staged.top);
  change.Detach(staged.hold);
  return PlanOfEdit(change, std::move(plan));
}

absl::Status BlockLayer::CoAddNode(NodeTree tree) {
  const std::string name = tree.node_name;
  MILLRACE_ASSIGN_OR_RETURN(Attachment hold, CoOpen(std::move(tree)));
  owned_.emplace(name, std::move(hold));
  return absl::OkStatus();
}

void BlockLayer::CoLetGoOfNode(std::string_view name) {
  const auto found = owned_.find(name);
  if (found == owned_.end()) return;
  Attachment hold = std::move(found->second);
  owned_.erase(found);
  hold.CoDetach();
}

PlanResult BlockLayer::PlanLetGoOfNode(std::string_view name) {
  CommandPlan plan = PlanOfStep(StrCat("close node '", name, "' and what only it holds"));
  GraphTransaction change(graph_);
  if (const auto found = owned_.find(name); found != owned_.end()) change.Detach(found->second);
  return PlanOfEdit(change, std::move(plan));
}

absl::StatusOr<NodeId> BlockLayer::FindNode(std::string_view device, std::string_view node_name) {
  GraphView view(graph_);
  return FindNode(view, device, node_name);
}

absl::StatusOr<NodeId> BlockLayer::FindNode(const GraphReader& at, std::string_view device,
                                            std::string_view node_name) const {
  if (!device.empty()) {
    if (const Drive* drive = FindDrive(device)) {
      if (drive->backend.is_attached()) return drive->backend.node();
      return Refuse(ConflictReason::kNotAttached, device,
                    StrCat("Device '", device, "' has no medium"), "insert a medium first");
    }
  }
  if (!node_name.empty()) {
    if (absl::StatusOr<NodeView> node = at.Find(node_name); node.ok()) return node->id();
  }
  return RefuseUnknownNode(
      node_name.empty() ? device : node_name,
      StrCat("Cannot find device='", device, "' nor node-name='", node_name, "'"));
}

absl::StatusOr<NodeId> BlockLayer::FindDeviceOrNode(std::string_view name) {
  return FindNode(name, name);
}

bool BlockLayer::IsReadOnly(NodeId node) {
  GraphView view(graph_);
  absl::StatusOr<NodeView> found = view.Resolve(node);
  return !found.ok() || found->is_read_only();
}

bool BlockLayer::HasBackend(NodeId node) const {
  for (const std::unique_ptr<Drive>& drive : drives_) {
    if (drive->backend.node() == node) return true;
  }
  for (const Attachment* backend : other_backends_) {
    if (backend->node() == node) return true;
  }
  return false;
}

}  // namespace millrace
