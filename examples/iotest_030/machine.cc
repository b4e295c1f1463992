#include "examples/iotest_030/machine.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "examples/common/conflict_text.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/describe.h"
#include "millrace/graph/filters/fault_injection.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_tree.h"

namespace millrace {
namespace {

constexpr std::string_view kHeld = "held";

// A refusal as QEMU's users read it.
std::string RefusalText(const absl::Status& status) {
  if (const std::optional<Conflict> conflict = ConflictOf(status)) {
    if (std::string text = ConflictText(*conflict); !text.empty()) return text;
  }
  return std::string(FromAbsl(status.message()));
}

}  // namespace

void Machine::Check(std::string_view what, const absl::Status& status) {
  if (!status.ok()) parts_.minutes.Fail(StrCat(what, ": ", FromAbsl(status.message())));
}

void Machine::Expect(bool holds, std::string_view what) {
  if (!holds) parts_.minutes.Fail(std::string(what));
}

// ---- Images -------------------------------------------------------------------------------------

void Machine::CoCreate(const NewImage& image) {
  if (is_off_track()) return;
  Check(StrCat("creating ", image.name), files_.CoCreate(image));
}

void Machine::CoFill(const std::string& image, uint8_t pattern, uint64_t offset, uint64_t bytes) {
  if (is_off_track()) return;
  Check(StrCat("filling ", image), files_.CoWrite(image, pattern, offset, bytes));
}

void Machine::WriteText(const std::string& name, std::string_view text) {
  Check(StrCat("writing ", name), files_.WriteText(name, text));
}

// ---- The drive ----------------------------------------------------------------------------------

absl::StatusOr<Attachment> Machine::CoOpen(NodeTree tree) {
  OpenTreeOptions options;
  options.gate.like_qemu = true;  // headers may name blkdebug
  return CoOpenTree(parts_.graph, parts_.registry, std::move(tree), options);
}

absl::Status Machine::CoPlugIn(NodeTree tree) {
  MILLRACE_ASSIGN_OR_RETURN(Attachment hold, CoOpen(std::move(tree)));
  AttachmentOptions device;
  device.holder = MakeHolder("drive0", "block device");
  device.purpose = "root";
  device.device_name = "drive0";
  device.permissions.used = kConsistentRead | kWrite;
  device.permissions.shared = kConsistentRead | kWriteUnchanged | kResize;
  absl::StatusOr<Attachment> drive =
      Attachment::Attach(parts_.graph, hold.node(), std::move(device));
  hold.CoDetach();
  if (!drive.ok()) return drive.status();
  drive_ = *std::move(drive);
  break_points_ = BreakPointsBelow(parts_.graph, drive_.node());
  return absl::OkStatus();
}

void Machine::CoOpenDrive(NodeTree tree) {
  if (is_off_track()) return;
  Check("opening drive0", CoPlugIn(std::move(tree)));
  ExpectNoJob();
}

void Machine::CoAddNode(NodeTree tree) {
  if (is_off_track()) return;
  const std::string name = tree.node_name;
  absl::StatusOr<Attachment> hold = CoOpen(std::move(tree));
  Check(StrCat("opening ", name), hold.status());
  if (hold.ok()) nodes_[name] = *std::move(hold);
}

void Machine::CoRemoveNode(const std::string& name) {
  if (is_off_track()) return;
  absl::StatusOr<std::vector<NodeId>> dropped = nodes_[name].Detach();
  Check(StrCat("removing ", name), dropped.status());
  if (dropped.ok()) parts_.graph.CoWaitForClosed(*dropped);
}

void Machine::CoGuestWrites(uint8_t pattern, uint64_t offset, uint64_t bytes) {
  if (is_off_track()) return;
  const std::vector<uint8_t> data(bytes, pattern);
  absl::Status status = drive_.CoWrite(offset, IoVector::OfConst(data.data(), data.size()));
  status.Update(drive_.CoFlush());
  Check("the guest's write", status);
}

void Machine::Hold() {
  if (is_off_track()) return;
  if (break_points_ == nullptr) return Expect(false, "the drive's file has no break points");
  for (const std::string_view event : {"read_aio", "write_aio"}) {
    Check("holding drive0", break_points_->Add(event, std::string(kHeld)));
  }
}

void Machine::CoWaitUntilHeld() {
  if (!is_off_track()) break_points_->CoWaitSuspended(kHeld);
}

void Machine::Release() {
  if (break_points_ != nullptr) break_points_->RemoveAll();
}

// ---- Jobs ---------------------------------------------------------------------------------------

absl::Status Machine::CoTry(const Stream& stream) {
  MILLRACE_ASSIGN_OR_RETURN(StreamOptions options, Resolve(parts_.graph, stream));
  return CoStartStream(parts_.graph, parts_.jobs, std::move(options)).status();
}

absl::Status Machine::CoTry(const Commit& commit) {
  MILLRACE_ASSIGN_OR_RETURN(CommitOptions options, Resolve(parts_.graph, commit));
  return CoStartCommit(parts_.graph, parts_.jobs, std::move(options)).status();
}

void Machine::Accepted(const std::string& asked, const absl::Status& status) {
  parts_.minutes.Asked(asked, status.ok() ? "" : RefusalText(status));
  Expect(status.ok(), StrCat("'", asked, "' was refused: ", FromAbsl(status.message())));
}

void Machine::Refused(const std::string& asked, const absl::Status& status, std::string_view text) {
  const std::string told = status.ok() ? "nothing: it was accepted" : RefusalText(status);
  parts_.minutes.Asked(asked, told);
  Expect(told == text, StrCat("'", asked, "' should have been refused with: ", text));
}

void Machine::CoStart(const Stream& stream) {
  if (!is_off_track()) Accepted(InWords(stream), CoTry(stream));
}

void Machine::CoStart(const Commit& commit) {
  if (!is_off_track()) Accepted(InWords(commit), CoTry(commit));
}

void Machine::CoRefuses(const Stream& stream, std::string_view text) {
  if (!is_off_track()) Refused(InWords(stream), CoTry(stream), text);
}

void Machine::CoRefuses(const Commit& commit, std::string_view text) {
  if (!is_off_track()) Refused(InWords(commit), CoTry(commit), text);
}

void Machine::SetSpeed(const std::string& id, int64_t bytes_per_second) {
  if (is_off_track()) return;
  Accepted(StrCat("set speed of ", id, " to ", bytes_per_second),
           parts_.jobs.SetSpeed(id, bytes_per_second));
}

void Machine::SetSpeedIsRefused(const std::string& id, int64_t bytes_per_second,
                                std::string_view text) {
  if (is_off_track()) return;
  Refused(StrCat("set speed of ", id, " to ", bytes_per_second),
          parts_.jobs.SetSpeed(id, bytes_per_second), text);
}

void Machine::LetGo(std::vector<std::string> ids) {
  for (size_t left = ids.size(); left > 0; --left) {
    std::swap(ids[Random(left)], ids[left - 1]);
    if (!is_off_track()) Check("letting it go", parts_.jobs.SetSpeed(ids[left - 1], 0));
  }
}

void Machine::Pause(const std::string& id) {
  if (!is_off_track()) Accepted(StrCat("pause ", id), parts_.jobs.Pause(id));
}

void Machine::Resume(const std::string& id) {
  if (!is_off_track()) Accepted(StrCat("resume ", id), parts_.jobs.Resume(id));
}

void Machine::Cancel(const std::string& id) {
  if (!is_off_track()) Accepted(StrCat("cancel ", id), parts_.jobs.Cancel(id, false));
}

void Machine::CoCompleteWhenReady(const std::string& id) {
  if (is_off_track()) return;
  const JobEvent ready = parts_.log.CoTakeKind(id, JobEventKind::kReady);
  Expect(ready.type == "commit" && ready.status.ok(),
         StrCat(id, " is ready, but not as it should"));
  Accepted(StrCat("complete ", id), parts_.jobs.Complete(id));
}

void Machine::CoWaitFor(const std::string& id, JobState state) {
  if (!is_off_track()) parts_.log.CoTakeState(id, state);
}

JobInfo Machine::Query(const std::string& id) {
  absl::StatusOr<JobInfo> info = parts_.jobs.Query(id);
  Check("query", info.status());
  return info.ok() ? *std::move(info) : JobInfo();
}

// ---- What must hold -----------------------------------------------------------------------------

void Machine::CoEndWell(std::initializer_list<std::string> ids) {
  for (const std::string& id : ids) {
    if (is_off_track()) return;
    const JobEvent end = parts_.log.CoTakeEnd(id);
    Expect(end.kind == JobEventKind::kCompleted && end.status.ok() && end.current == end.total,
           StrCat("the job should have ended well: ", ToString(end)));
  }
  ExpectNoJob();
}

void Machine::CoEndsWithError(const std::string& id, std::string_view error, uint64_t offset) {
  if (is_off_track()) return;
  const JobEvent end = parts_.log.CoTakeEnd(id);
  parts_.minutes.Asked(StrCat("ends at ", end.current, " of ", end.total), end.error);
  Expect(end.kind == JobEventKind::kCompleted && end.error == error && end.current == offset,
         StrCat("the job should have failed at ", offset, ": ", ToString(end)));
  ExpectNoJob();
}

void Machine::CoEndsCancelled(const std::string& id) {
  if (is_off_track()) return;
  const JobEvent end = parts_.log.CoTakeEnd(id);
  Expect(end.kind == JobEventKind::kCancelled && end.type == "stream",
         StrCat("the job should have been cancelled: ", ToString(end)));
  ExpectNoJob();
}

void Machine::CoTellsError(const std::string& id, ErrorAction action) {
  if (is_off_track()) return;
  const JobEvent event = parts_.log.CoTakeKind(id, JobEventKind::kError);
  Expect(event.action == action && event.operation == IoOperation::kRead,
         StrCat("the error should have led to '", ErrorActionName(action), "': ", ToString(event)));
}

void Machine::ExpectNoJob() {
  if (is_off_track()) return;
  Expect(parts_.jobs.live_jobs() == 0, "there is still a job");
}

void Machine::ExpectOnlyStatusEventsSoFar() {
  for (const JobEvent& event : parts_.log.events()) {
    Expect(event.kind == JobEventKind::kStatusChange, StrCat("too early: ", ToString(event)));
  }
}

std::string Machine::Chain() {
  GraphView view(parts_.graph);
  const absl::StatusOr<NodeView> top = view.Resolve(drive_.node());
  return top.ok() ? DescribeChain(*top) : std::string("gone");
}

void Machine::ExpectChain(std::string_view chain) {
  if (is_off_track()) return;
  const std::string found = Chain();
  Expect(found == chain, StrCat("the chain should be ", chain, "; it is ", found));
}

// ---- Afterwards ---------------------------------------------------------------------------------

void Machine::CoPowerOff() {
  Release();
  for (const JobInfo& job : parts_.jobs.QueryAll()) {
    parts_.jobs.Cancel(job.number, true).IgnoreError();  // only after a failure is there one
    parts_.jobs.CoWaitUntilOver(job.number).IgnoreError();
  }
  if (drive_.is_attached()) {
    parts_.minutes.SetChain(Chain());
    drive_.CoDetach();
  }
  for (auto& node : nodes_) node.second.CoDetach();
  nodes_.clear();
  break_points_.reset();
}

void Machine::CoExpectSameMap(const std::string& a, const std::string& b) {
  if (is_off_track()) return;
  Check("maps", files_.CoCheckSameMap(a, b));
}

void Machine::CoExpectEmptyMap(const std::string& image) {
  if (is_off_track()) return;
  const absl::StatusOr<std::string> map = files_.CoMap(image);
  Check("map", map.status());
  if (map.ok()) Expect(map->empty(), StrCat("'", image, "' should hold nothing, but holds ", *map));
}

void Machine::CoExpectShows(const std::string& image, uint8_t pattern, uint64_t offset,
                            uint64_t bytes) {
  if (!is_off_track()) Check("data", files_.CoCheckShows(image, pattern, offset, bytes));
}

void Machine::CoFinish() {
  CoPowerOff();
  ExpectNoJob();
  Check("the graph", parts_.graph.CheckInvariants());
  parts_.graph.CoWaitForReaper();
  Expect(parts_.graph.node_count() == 0, "nodes are left in the graph");
  if (!is_off_track()) Check("images", files_.CoCheckAll());
}

}  // namespace millrace
