// Drained sections that come in the way of jobs, guests and edits.
#include <array>
#include <string_view>
#include <utility>

#include "examples/race_gallery/entries.h"
#include "examples/scenario_kit/run_notes.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"

namespace millrace::gallery {
namespace {

// Somebody drains a node again and again, for a while and with a pause that both vary.
void SpawnDrainer(Stage& stage, NodeId node, int rounds, std::string_view name = "drainer") {
  stage.Spawn(name, [&stage, node, rounds]() MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < rounds; ++i) {
      {
        const absl::StatusOr<DrainedSection> drained =
            DrainedSection::CoBegin(stage.graph(), {node}, {});
        if (!drained.ok()) return;  // the node is gone
        CoYieldTimes(1 + i % 4);
      }
      CoYieldTimes(i % 3 * 4);
    }
  });
}

absl::Status CoOneStream(Stage& stage) MILLRACE_MAY_SUSPEND {
  CoYieldTimes(4);  // so that the guest is at work
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Stream("s", 3, 1)));
  stage.CoEndsWell("s");
  stage.RequireShape({"n3 <- n1 <- n0"});
  return absl::OkStatus();
}

// A stream from its start to its end, a guest, and two that drain what it works on.
absl::Status CoDrainsBesideStream(Stage& stage) MILLRACE_MAY_SUSPEND {
  SpawnDrainer(stage, stage.node(3), 8, "drainer-A");
  SpawnDrainer(stage, stage.node(3), 8, "drainer-B");
  CoYieldTimes(4);
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Stream("s", 3, 1)));
  stage.CoEndsWell("s");
  stage.RequireShape({"n3 <- n1 <- n0"});
  return absl::OkStatus();
}

// The same beside two neighbours, whose headers are written while somebody drains the overlays:
// rounds enough to see them end, and an end, or drains that never cease might starve them.
absl::Status CoDrainsBesideNeighbours(Stage& stage) MILLRACE_MAY_SUSPEND {
  SpawnDrainer(stage, stage.node(4), 32, "drainer-of-n4");
  SpawnDrainer(stage, stage.node(3), 32, "drainer-of-n3");
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Commit("c", 2, 0)));
  stage.views().OnCommitted(2, 0);
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.StreamToBottom("s", 4, 3)));
  stage.CoEndsWell("s");
  stage.CoEndsWell("c");
  stage.RequireShape({"n5 <- n4 <- n0"});
  return absl::OkStatus();
}

// Two streams stand on n0, which is drained again and again. What happens is decided by the
// schedule and by nothing else.
absl::Status CoDrainBelowTwoStreams(Stage& stage) MILLRACE_MAY_SUSPEND {
  SpawnDrainer(stage, stage.node(0), 8);
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.StreamToBottom("s", 5, 4)));
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.StreamToBottom("q", 2, 1)));
  stage.CoEndsWell("s");
  stage.CoEndsWell("q");
  stage.RequireShape({"n5 <- n3 <- n2 <- n0"});
  return absl::OkStatus();
}

// ---- Edits in a section that goes on ------------------------------------------------------------

AttachmentOptions KeeperOf(const HolderRef& user) {
  AttachmentOptions options;
  options.holder = user;
  options.purpose = "filter";
  options.queues_requests = false;
  options.stays_at_node = true;
  return options;
}

absl::Status MoveOnto(Stage& stage, NodeId filter, NodeId below, const HolderRef& user,
                      const DrainedSection* drained) MILLRACE_OPENS_VIEW {
  GraphTransaction change(stage.graph());
  change.OnBehalfOf(user);
  if (drained != nullptr) change.Show(*drained);
  change.ReplaceNode(below, filter);
  return change.Commit().status();
}

absl::Status MoveOff(Stage& stage, NodeId filter, const HolderRef& user,
                     const DrainedSection& drained) MILLRACE_OPENS_VIEW {
  GraphTransaction change(stage.graph());
  change.OnBehalfOf(user).Show(drained);
  change.RemoveFilter(filter);
  return change.Commit().status();
}

// A user puts a filter below the guest and takes it out again, and goes on holding the section.
absl::Status CoEditInsideLongDrain(Stage& stage) MILLRACE_MAY_SUSPEND {
  const HolderRef user = MakeHolder("user", "monitor");
  const NodeId top = stage.chain().top();
  MILLRACE_ASSIGN_OR_RETURN(Attachment keeper, CoAddFilterBeside(stage.graph(), MakePassFilter(),
                                                                 "f", top, KeeperOf(user)));
  for (int i = 0; i < 2; ++i) {
    MILLRACE_ASSIGN_OR_RETURN(const DrainedSection drained,
                              DrainedSection::CoBegin(stage.graph(), {top}, {user}));
    MILLRACE_RETURN_IF_ERROR(i == 0 ? MoveOnto(stage, keeper.node(), top, user, &drained)
                                    : MoveOff(stage, keeper.node(), user, drained));
    CoYieldTimes(4);
  }
  keeper.CoDetach();
  return absl::OkStatus();
}

// A filter is put beside the traffic of a node that is drained.
absl::Status CoFilterBesideDrainedNode(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                            DrainedSection::CoBegin(stage.graph(), {stage.chain().top()}, {}));
  MILLRACE_ASSIGN_OR_RETURN(
      Attachment keeper,
      CoAddFilterBeside(stage.graph(), MakePassFilter(), "f", stage.chain().top(),
                        KeeperOf(MakeHolder("user", "monitor"))));
  CoYield();
  drained.End();
  keeper.CoDetach();
  return absl::OkStatus();
}

// The guest is moved to a filter that somebody else has drained.
absl::Status CoMoveOntoDrainedFilter(Stage& stage) MILLRACE_MAY_SUSPEND {
  const HolderRef user = MakeHolder("user", "monitor");
  const NodeId top = stage.chain().top();
  MILLRACE_ASSIGN_OR_RETURN(Attachment keeper, CoAddFilterBeside(stage.graph(), MakePassFilter(),
                                                                 "f", top, KeeperOf(user)));
  {
    MILLRACE_ASSIGN_OR_RETURN(const DrainedSection drained,
                              DrainedSection::CoBegin(stage.graph(), {keeper.node()}, {}));
    CoYieldTimes(4);
    // Refused while a request of the guest's is on its way.
    for (int tries = 0; tries < 100; ++tries) {
      if (MoveOnto(stage, keeper.node(), top, user, nullptr).ok()) break;
      CoYield();
    }
    CoYieldTimes(4);
  }
  stage.StopGuest();
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                            DrainedSection::CoBegin(stage.graph(), {top}, {user}));
  MILLRACE_RETURN_IF_ERROR(MoveOff(stage, keeper.node(), user, drained));
  drained.End();
  keeper.CoDetach();
  return absl::OkStatus();
}

// ---- A guest's port and its discards ------------------------------------------------------------

struct PortGuest {
  explicit PortGuest(Stage& its_stage) : stage(its_stage) {}
  static void OnDone(GuestRequest& request) {
    auto& guest = *static_cast<PortGuest*>(request.context);
    ++guest.completed;
    NoteAct(guest.stage.engine().scheduler(), "guest",
            StrCat("is told of request ", &request - guest.requests.data() + 1, "'s end"));
    guest.stage.RequireOk(request.status, "I2", "a request of the guest's port");
    guest.stage.Require(
        !guest.is_drained, "I8",
        "the guest of 'drive0' is told of a request's end inside a drained section");
  }

  Stage& stage;
  bool is_drained = false;
  size_t completed = 0;
  std::array<uint8_t, TaggedDisk::kSector> bytes = {};
  iovec piece = {bytes.data(), bytes.size()};
  std::array<GuestRequest, 4> requests;
};

absl::Status CoDrainUnderPort(Stage& stage) MILLRACE_MAY_SUSPEND {
  PortGuest guest(stage);
  const GuestPort port = stage.chain().guest.guest_port();
  for (size_t i = 0; i < guest.requests.size(); ++i) {
    GuestRequest& request = guest.requests[i];
    request.operation = GuestOperation::kRead;
    request.offset = i * TaggedDisk::kSector;
    request.iov = {&guest.piece, 1};
    request.completion = &PortGuest::OnDone;
    request.context = &guest;
    if (!port.Submit(request)) return absl::InternalError("the port is closed");
  }
  NoteAct(stage.engine().scheduler(), "guest", "asks for four reads through its port");
  for (int i = 0; i < 4; ++i) {
    CoYieldTimes(i);
    MILLRACE_ASSIGN_OR_RETURN(const DrainedSection drained,
                              DrainedSection::CoBegin(stage.graph(), {stage.chain().top()}, {}));
    guest.is_drained = true;
    CoYieldTimes(3);
    guest.is_drained = false;
  }
  while (guest.completed < guest.requests.size()) CoYield();
  return absl::OkStatus();
}

absl::Status CoDiscardsAndDrains(Stage& stage) MILLRACE_MAY_SUSPEND {
  SpawnDrainer(stage, stage.chain().top(), 6);
  for (uint64_t sector = 0; sector < 8; ++sector) {
    MILLRACE_RETURN_IF_ERROR(stage.disk().CoZero(stage.chain().guest, sector, 2, true));
    MILLRACE_RETURN_IF_ERROR(stage.disk().CoVerify(stage.chain().guest, sector, 2));
  }
  stage.views().OnWritten(stage.options().layers - 1);
  return absl::OkStatus();
}

// ---- A drain of what a mirror leaves ------------------------------------------------------------

absl::Status CoDrainSourceDuringPivot(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const MirrorOptions options, stage.CoMirrorTo("t"));
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(options));
  stage.Require(stage.CoWaitForState("m", JobState::kReady), "I11", "mirror 'm' never gets ready");
  stage.engine().simulated_io()->SetLatency(kMillisecond / 8);
  stage.Spawn("writer", [&stage]() MILLRACE_MAY_SUSPEND {
    return stage.disk().CoWrite(stage.chain().guest, 0, 2);
  });
  CoYield();
  MILLRACE_RETURN_IF_ERROR(stage.user().Complete("m"));
  // Whoever drains the source waits for the mirror, which waits for the guest.
  while (stage.StateOf("m") == JobState::kReady) CoYield();
  SpawnDrainer(stage, stage.chain().top(), 6);
  stage.CoEndsWell("m");
  return absl::OkStatus();
}

void AddLaterDrainEntries(std::vector<Entry>& entries) {
  const Scene beside_stream{"drains-beside-stream", {.layers = 4}, &CoDrainsBesideStream};
  const Scene beside_neighbours{
      "drains-beside-neighbours", {.layers = 6, .is_owned = true}, &CoDrainsBesideNeighbours};
  const Scene inside{"edit-inside-long-drain", {.layers = 2}, &CoEditInsideLongDrain};
  const Scene pivot{"drain-source-during-pivot",
                    {.layers = 2, .is_owned = true, .guest_rounds = 0},
                    &CoDrainSourceDuringPivot};
  entries.push_back({Mutant::kR36, "R36",
                     "a user that moved away from a drained node is never let go", pivot,
                     Script()});
  entries.push_back({Mutant::kR43,
                     "R43",
                     "a filter is inserted while requests are on their way",
                     {"one-stream", {.layers = 4}, &CoOneStream},
                     Script()});
  entries.push_back({Mutant::kR46, "R46",
                     "a header write is in flight while it waits for a drain of its own",
                     beside_neighbours, Script()});
  entries.push_back(
      {Mutant::kR51,
       "R51",
       "what comes above a drained node during the drain is not drained",
       {"filter-beside-drained-node", {.layers = 1, .guest_rounds = 2}, &CoFilterBesideDrainedNode},
       Script()});
  entries.push_back({Mutant::kR52, "R52",
                     "a drain that waits does not notice that the graph changes", beside_stream,
                     Script()});
  entries.push_back({Mutant::kR53, "R53",
                     "nested drains: every begin reaches a job, but only the last end",
                     beside_stream, Script()});
  entries.push_back({Mutant::kR59, "R59",
                     "a user's permissions stay behind when it is moved to another node", inside,
                     Script()});
  entries.push_back({Mutant::kR89,
                     "R89",
                     "a drain lets its users go in an order that no recording knows of",
                     {.name = "drain-below-two-streams",
                      .options = {.layers = 6, .guest_rounds = 0},
                      .play = &CoDrainBelowTwoStreams,
                      .is_played_twice = true},
                     Script()});
  entries.push_back(
      {Mutant::kR90,
       "R90",
       "a discard takes no request token",
       {"discards-and-drains", {.layers = 2, .guest_rounds = 0}, &CoDiscardsAndDrains},
       Script()});
  entries.push_back({Mutant::kM03, "M03",
                     "a header is written into a node that somebody else has drained",
                     beside_neighbours, Script{.last = {"n5@*", "drainer*@*"}}});
  entries.push_back({Mutant::kM10, "M10",
                     "a drain that began before a job was created does not count on it",
                     beside_stream, Script{.last = {"scene@drain.begin"}}});
}

}  // namespace

void AddDrainEntries(std::vector<Entry>& entries) {
  const Scene beside_stream{"drains-beside-stream", {.layers = 4}, &CoDrainsBesideStream};
  const Scene beside_neighbours{
      "drains-beside-neighbours", {.layers = 6, .is_owned = true}, &CoDrainsBesideNeighbours};
  const Scene inside{"edit-inside-long-drain", {.layers = 2}, &CoEditInsideLongDrain};
  const Scene pivot{"drain-source-during-pivot",
                    {.layers = 2, .is_owned = true, .guest_rounds = 0},
                    &CoDrainSourceDuringPivot};
  entries.push_back({Mutant::kR16, "R16", "a drain asks jobs to pause and does not wait for them",
                     beside_stream, Script{.last = {"s@job.sleep"}}});
  entries.push_back({Mutant::kR17, "R17",
                     "the end of a drain visits users that have moved away, and ends theirs once "
                     "more",
                     pivot, Script()});
  entries.push_back({Mutant::kR18, "R18",
                     "a user of a drained node is released for a moment while its node is replaced",
                     inside, Script()});
  entries.push_back({Mutant::kR19,
                     "R19",
                     "a user with requests on their way is moved onto a drained node",
                     {"move-onto-drained-filter", {.layers = 2}, &CoMoveOntoDrainedFilter},
                     Script()});
  entries.push_back({Mutant::kR20a, "R20a",
                     "a request that waits for the end of a drain counts as in flight",
                     beside_stream, Script()});
  entries.push_back({Mutant::kR20b, "R20b",
                     "a request that was woken at the end of a drain counts only when it runs",
                     beside_stream, Script{.last = {"guest@attachment.queue"}}});
  entries.push_back({Mutant::kR21,
                     "R21",
                     "a request counts as over before its guest has been told of the end",
                     {"drain-under-port", {.layers = 1, .guest_rounds = 0}, &CoDrainUnderPort},
                     Script()});
  entries.push_back({Mutant::kR22, "R22",
                     "a job that writes a header is awake while it waits for drains",
                     beside_neighbours, Script{.last = {"n5@*", "drainer*@*"}}});
  AddLaterDrainEntries(entries);
}

}  // namespace millrace::gallery
