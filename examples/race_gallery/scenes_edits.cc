// Users who change what a guest's disk stands on: reopening nodes, inserting filters, leaving.
#include <array>
#include <memory>
#include <utility>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/filters/throttle.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/reopen_nodes.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"

namespace millrace::gallery {
namespace {

absl::Status CoInsert(Stage& stage, std::unique_ptr<FilterDriver> filter, size_t below)
    MILLRACE_MAY_SUSPEND {
  InsertFilterOptions insert;
  insert.spec.id = "insert";
  insert.below = stage.node(below);
  insert.filter_name = "f";
  MILLRACE_RETURN_IF_ERROR(
      CoStartInsertFilter(stage.graph(), stage.jobs(), std::move(filter), insert).status());
  stage.CoEndsWell("insert");
  return absl::OkStatus();
}

absl::Status CoRemove(Stage& stage) MILLRACE_MAY_SUSPEND {
  RemoveFilterOptions remove;
  remove.spec.id = "remove";
  remove.filter = stage.Find("f");
  MILLRACE_RETURN_IF_ERROR(
      CoStartRemoveFilter(stage.graph(), stage.jobs(), std::move(remove)).status());
  stage.CoEndsWell("remove");
  return absl::OkStatus();
}

// ---- Reopening ----------------------------------------------------------------------------------

// The guest's requests wait in a throttle group that lets one pass a second; the disk goes to a
// group without limits, and nobody needs the old one any more.
absl::Status CoChangeGroup(Stage& stage) MILLRACE_MAY_SUSPEND {
  Scheduler& scheduler = stage.engine().scheduler();
  ThrottleLimits limits;
  limits.operations_total.average = 1;
  auto slow = std::make_shared<ThrottleGroup>(scheduler, "slow", limits);
  const auto quick = std::make_shared<ThrottleGroup>(scheduler, "quick", ThrottleLimits());
  MILLRACE_RETURN_IF_ERROR(CoInsert(stage, MakeThrottleDriver(slow), 0));
  for (int i = 0; i < 2; ++i) {
    stage.Spawn("reader", [&stage]() MILLRACE_MAY_SUSPEND -> absl::Status {
      for (int round = 0; round < 4; ++round) {
        MILLRACE_RETURN_IF_ERROR(stage.disk().CoVerify(stage.chain().guest, 0, 2));
      }
      return absl::OkStatus();
    });
  }
  stage.CoSleep(kMillisecond);
  std::vector<NodeChange> changes(1);
  changes[0].node = stage.Find("f");
  changes[0].fresh = MakeThrottleDriver(quick);
  MILLRACE_RETURN_IF_ERROR(
      CoReopenNodes(stage.graph(), std::move(changes), MakeHolder("user", "reopen")));
  slow.reset();
  return CoRemove(stage);
}

// A filter whose going writable is prepared and then done or undone, once each; or that refuses.
class CarefulFilter final : public FilterDriver {
 public:
  CarefulFilter(Stage& stage, bool refuses) : stage_(stage), refuses_(refuses) {}
  std::string_view driver_name() const override { return "careful"; }
  absl::Status CoPrepareReopen(bool) override MILLRACE_MAY_SUSPEND {
    CoYield();
    if (std::exchange(refuses_, false)) return absl::FailedPreconditionError("not now");
    stage_.Require(!is_prepared_, "I15", "what was prepared is neither done nor undone");
    is_prepared_ = true;
    return absl::OkStatus();
  }
  void CommitReopen(bool) override { is_prepared_ = false; }
  void CoAbortReopen(bool) override MILLRACE_MAY_SUSPEND { is_prepared_ = false; }

 private:
  Stage& stage_;
  bool refuses_;
  bool is_prepared_ = false;
};

absl::StatusOr<NodeId> CoAddCareful(Stage& stage, std::string name, bool refuses)
    MILLRACE_MAY_SUSPEND {
  NodeOptions options;
  options.name = std::move(name);
  options.is_read_only = true;
  NodeId id;
  {
    GraphTransaction change(stage.graph());
    id = change.AddNode(std::make_unique<CarefulFilter>(stage, refuses), options);
    change.AddChild(id, Role::kFiltered, stage.node(0));
    AttachmentOptions keep;
    keep.holder = stage.chain().monitor_holder;
    keep.stays_at_node = true;
    stage.keepers().push_back(change.Attach(id, keep));
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(stage.graph(), id));
  return id;
}

// Two nodes are to become writable together; the first time the second one refuses.
absl::Status CoReopenTwoTwice(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const NodeId willing, CoAddCareful(stage, "willing", false));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId refusing, CoAddCareful(stage, "refusing", true));
  const HolderRef user = MakeHolder("user", "reopen");
  for (const bool is_first : {true, false}) {
    std::vector<NodeChange> changes(2);
    changes[0].node = refusing;
    changes[1].node = willing;
    for (NodeChange& change : changes) change.is_read_only = false;
    const absl::Status status = CoReopenNodes(stage.graph(), std::move(changes), user);
    stage.Require(status.ok() != is_first, "I15", StrCat("reopening ended as ", status.ToString()));
  }
  return absl::OkStatus();
}

// ---- Filters ------------------------------------------------------------------------------------

// A commit below a filter of the user's: what the filter stands on is another node afterwards.
absl::Status CoCommitBelowFilter(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoInsert(stage, MakePassFilter(), 2));
  MILLRACE_RETURN_IF_ERROR(stage.disk().CoVerify(stage.chain().guest, 0, 16));
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Commit("c", 2, 0)));
  stage.views().OnCommitted(2, 0);
  stage.CoEndsWell("c");
  stage.RequireOk(stage.disk().CoVerify(stage.chain().guest, 0, 16), "I2", "what the guest reads");
  return CoRemove(stage);
}

// A filter waits to be put in place until the user says the word; meanwhile another one is put
// where it is to go.
absl::Status CoInsertTwo(Stage& stage) MILLRACE_MAY_SUSPEND {
  InsertFilterOptions insert;
  insert.spec.id = "first";
  insert.spec.finalizes_automatically = false;
  insert.below = stage.node(2);
  insert.filter_name = "e";
  MILLRACE_RETURN_IF_ERROR(
      CoStartInsertFilter(stage.graph(), stage.jobs(), MakePassFilter(), insert).status());
  stage.Require(stage.CoWaitForState("first", JobState::kPending), "I11", "never pending");
  MILLRACE_RETURN_IF_ERROR(CoInsert(stage, MakePassFilter(), 2));
  MILLRACE_RETURN_IF_ERROR(stage.user().Finalize("first"));
  stage.CoEndsWell("first");
  stage.RequireShape({"n3 <- [e] <- [f] <- n2 <- n1 <- n0"});
  return absl::OkStatus();
}

// ---- Leaving ------------------------------------------------------------------------------------

// Who uses a disk through requests of its own, and leaves while some of them are under way.
struct Client {
  static void OnDone(GuestRequest& request) { ++static_cast<Client*>(request.context)->done; }

  void Submit(const GuestPort& port) {
    for (size_t i = 0; i < requests.size(); ++i) {
      GuestRequest& request = requests[i];
      request.operation = GuestOperation::kRead;
      request.offset = i * TaggedDisk::kSector;
      request.iov = {&piece, 1};
      request.completion = &OnDone;
      request.context = this;
      if (port.Submit(request)) ++submitted;
    }
  }

  size_t submitted = 0;
  size_t done = 0;
  std::array<uint8_t, TaggedDisk::kSector> bytes = {};
  iovec piece = {bytes.data(), bytes.size()};
  std::array<GuestRequest, 3> requests;
};

absl::StatusOr<Attachment> AttachClient(Stage& stage) MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("client", "export");
  options.permissions = {kConsistentRead, kAllPermissions};
  return Attachment::Attach(stage.graph(), stage.chain().top(), options);
}

// Its requests queue at a drain of somebody else's, in which it leaves: it must be told at once.
absl::Status CoLeaveInDrain(Stage& stage) MILLRACE_MAY_SUSPEND {
  Client client;
  MILLRACE_ASSIGN_OR_RETURN(Attachment attachment, AttachClient(stage));
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                            DrainedSection::CoBegin(stage.graph(), {stage.chain().top()}, {}));
  client.Submit(attachment.guest_port());
  stage.CoSleep(kMillisecond);  // virtual time: everybody has done what can be done
  TaskScope leaver("leaver");
  leaver.Spawn("leaver", [&]() MILLRACE_MAY_SUSPEND { attachment.CoDetach(); });
  stage.CoSleep(kMillisecond);
  stage.Require(client.done == client.submitted, "I8",
                "a client that leaves in a drain is told of its queued requests only after it");
  drained.End();
  return leaver.CoJoin();
}

// A read is on its way to the disk when the client's attachment goes.
absl::Status CoLeaveWithRequests(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(Attachment attachment, AttachClient(stage));
  stage.engine().simulated_io()->SetLatency(kMillisecond);
  TaskScope reader("reader");
  reader.Spawn("reader", [&]() MILLRACE_MAY_SUSPEND {
    // Unless it comes too late.
    const absl::Status status = stage.disk().CoVerify(attachment, 0, 2);
    return absl::IsFailedPrecondition(status) ? absl::OkStatus() : status;
  });
  CoYield();
  attachment.CoDetach();
  stage.RequireOk(reader.CoJoin(), "I2", "a read that had begun before its attachment went");
  return absl::OkStatus();
}

}  // namespace

void AddEditEntries(std::vector<Entry>& entries) {
  const StageOptions alone{.layers = 1, .guest_rounds = 0};
  const Scene group{"change-group", alone, &CoChangeGroup};
  entries.push_back({Mutant::kR23, "R23", "others run while several nodes take their new options",
                     group, Script()});
  entries.push_back({Mutant::kR34, "R34", "a disk that leaves its group stays registered there",
                     group, Script()});
  entries.push_back(
      {Mutant::kM17, "M17", "options are taken while requests are under way", group, Script()});
  entries.push_back({Mutant::kM18,
                     "M18",
                     "a reopen that fails undoes nothing of what it has prepared",
                     {"reopen-two-twice", alone, &CoReopenTwoTwice},
                     Script()});
  entries.push_back(
      {Mutant::kR80,
       "R80",
       "a driver keeps a pointer of its own to its child",
       {"commit-below-filter", {.layers = 5, .guest_rounds = 0}, &CoCommitBelowFilter},
       Script()});
  entries.push_back({Mutant::kM21,
                     "M21",
                     "a filter goes where it was to go when its job began",
                     {"insert-two", {.layers = 4}, &CoInsertTwo},
                     Script()});
  entries.push_back({Mutant::kM22,
                     "M22",
                     "a client leaves without waiting for its requests",
                     {"leave-with-requests", alone, &CoLeaveWithRequests},
                     Script()});
  entries.push_back({Mutant::kM23,
                     "M23",
                     "a client that leaves in a drain waits for its own queued requests",
                     {"leave-in-drain", alone, &CoLeaveInDrain},
                     Script()});
}

}  // namespace millrace::gallery
