// Streams and commits that meet on one chain (R01-R09).
#include <optional>
#include <utility>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"

namespace millrace::gallery {
namespace {

std::optional<ConflictReason> ReasonOf(const absl::Status& status) {
  const std::optional<Conflict> conflict = ConflictOf(status);
  if (!conflict) return std::nullopt;
  return conflict->reason;
}

// A commit of n2 into n0, under its filter "cf".
absl::Status CoStartCommitBelow(Stage& stage) MILLRACE_MAY_SUSPEND {
  CommitOptions commit = stage.Commit("c", 2, 0);
  commit.job.filter_name = "cf";
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(std::move(commit)));
  stage.views().OnCommitted(2, 0);
  return absl::OkStatus();
}

// The seed: the node directly above the stream's base is the commit's filter. The user asks for
// that base; where this is refused because of the filter, for the same range by its bottom.
absl::Status CoStreamAboveCommit(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartCommitBelow(stage));
  const absl::Status first = stage.CoStart(stage.Stream("s", 4, 2));
  if (!first.ok()) {
    const std::optional<ConflictReason> reason = ReasonOf(first);
    stage.Require(
        reason == ConflictReason::kUnleasableFilter || reason == ConflictReason::kNodeBusy ||
            reason == ConflictReason::kStaleNode,
        "I6", StrCat("the stream is refused for no good reason: ", std::string(first.message())));
    MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.StreamToBottom("s", 4, 3)));
  }
  stage.CoEndsWell("s");
  stage.RequireHeaders();
  stage.CoEndsWell("c");
  stage.RequireShape({"n5 <- n4 <- n0"});
  return absl::OkStatus();
}

// Two neighbours wait to be finalized; the guest has a request on its way when the user says the
// word to one of them and then to the other.
absl::Status CoFinalizeNeighbours(Stage& stage, std::string first, std::string second)
    MILLRACE_MAY_SUSPEND {
  CommitOptions commit = stage.Commit("c", 2, 0);
  commit.job.filter_name = "cf";
  commit.job.spec.finalizes_automatically = false;
  StreamOptions stream = stage.StreamToBottom("s", 4, 3);
  stream.job.spec.finalizes_automatically = false;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(std::move(commit)));
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(std::move(stream)));
  stage.views().OnCommitted(2, 0);
  for (const char* id : {"c", "s"}) {
    stage.Require(stage.CoWaitForState(id, JobState::kPending), "I11",
                  StrCat("job '", id, "' is never pending"));
  }
  stage.engine().simulated_io()->SetLatency(kMillisecond);
  stage.Spawn("writer", [&stage]() MILLRACE_MAY_SUSPEND {
    return stage.disk().CoWrite(stage.chain().guest, 14, 2);
  });
  CoYield();
  MILLRACE_RETURN_IF_ERROR(stage.user().Finalize(first));
  CoYield();
  MILLRACE_RETURN_IF_ERROR(stage.user().Finalize(second));
  stage.CoEndsWell("c");
  stage.CoEndsWell("s");
  stage.RequireShape({"n5 <- n4 <- n0"});
  return absl::OkStatus();
}

absl::Status CoCommitFinalizedFirst(Stage& stage) MILLRACE_MAY_SUSPEND {
  return CoFinalizeNeighbours(stage, "c", "s");
}

absl::Status CoStreamFinalizedFirst(Stage& stage) MILLRACE_MAY_SUSPEND {
  return CoFinalizeNeighbours(stage, "s", "c");
}

// overlapping_5: the stream's base is the filter; the commit is given up in the end.
absl::Status CoStreamOnFilterThenCancel(Stage& stage) MILLRACE_MAY_SUSPEND {
  CommitOptions commit = stage.Commit("c", 2, 0);
  commit.job.filter_name = "cf";
  commit.job.spec.finalizes_automatically = false;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(std::move(commit)));
  StreamOptions stream = stage.Stream("s", 4, std::nullopt);
  stream.base = stage.Find("cf");
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(std::move(stream)));
  stage.CoEndsWell("s");
  MILLRACE_RETURN_IF_ERROR(stage.user().Cancel("c", true));
  stage.CoOver("c").IgnoreError();
  for (size_t layer : {0u, 1u}) stage.views().OnWritten(layer);
  stage.RequireShape({"n5 <- n4 <- n2 <- n1 <- n0"});
  return absl::OkStatus();
}

// Two users start jobs on overlapping ranges at the same time: one of them is refused, and told by
// whom.
absl::Status CoOverlappingStarts(Stage& stage) MILLRACE_MAY_SUSPEND {
  absl::Status commit_status;
  TaskScope users("users");
  users.Spawn("user of c", [&]() MILLRACE_MAY_SUSPEND {
    commit_status = stage.CoStart(stage.Commit("c", 2, 0));
  });
  const absl::Status stream_status = stage.CoStart(stage.Stream("s", 3, 1));
  MILLRACE_RETURN_IF_ERROR(users.CoJoin());
  for (const absl::Status& status : {commit_status, stream_status}) {
    // The other one may be over, and have taken what this one names out of the chain.
    const std::optional<ConflictReason> reason = ReasonOf(status);
    stage.Require(
        status.ok() || reason == ConflictReason::kNodeBusy || reason == ConflictReason::kStaleNode,
        "I6",
        StrCat("a start on a claimed range ended otherwise: ", std::string(status.message())));
  }
  if (commit_status.ok()) {
    stage.views().OnCommitted(2, 0);
    stage.CoEndsWell("c");
  }
  if (stream_status.ok()) stage.CoEndsWell("s");
  stage.RequireShape({"n4 <- n3 <- n0", "n4 <- n3 <- n1 <- n0"});
  return absl::OkStatus();
}

// A filter of the user's lies in the range that a stream leases.
absl::Status CoStreamThroughFilter(Stage& stage) MILLRACE_MAY_SUSPEND {
  InsertFilterOptions insert;
  insert.spec.id = "insert";
  insert.below = stage.node(2);
  insert.filter_name = "f";
  MILLRACE_RETURN_IF_ERROR(
      CoStartInsertFilter(stage.graph(), stage.jobs(), MakePassFilter(), insert).status());
  stage.CoEndsWell("insert");
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Stream("s", 4, 0)));
  stage.CoEndsWell("s");
  stage.RequireShape({"n4 <- n0"});
  return absl::OkStatus();
}

// ---- R08: two go-read-only-or-writable on one node ---------------------------------------------

// A filter whose reopening takes a while, and that holds the graph to its word: prepare, then
// exactly one of commit or abort, before the next prepare.
class SlowReopenFilter final : public FilterDriver {
 public:
  explicit SlowReopenFilter(Stage& stage) : stage_(stage) {}
  std::string_view driver_name() const override { return "slow-reopen"; }
  absl::Status CoPrepareReopen(bool) override MILLRACE_MAY_SUSPEND {
    stage_.Require(!is_prepared_, "I1",
                   "a second reopen of 'slow' flushes the cache that the first replaces");
    is_prepared_ = true;
    stage_.CoSleep(kMillisecond);
    return absl::OkStatus();
  }
  void CommitReopen(bool) override { is_prepared_ = false; }
  void CoAbortReopen(bool) override MILLRACE_MAY_SUSPEND { is_prepared_ = false; }

 private:
  Stage& stage_;
  bool is_prepared_ = false;
};

absl::Status CoReopenTwice(Stage& stage) MILLRACE_MAY_SUSPEND {
  const HolderRef user = MakeHolder("user", "reopen");
  NodeOptions options;
  options.name = "slow";
  options.is_read_only = true;
  NodeId slow;
  {
    GraphTransaction change(stage.graph());
    slow = change.AddNode(std::make_unique<SlowReopenFilter>(stage), options);
    change.AddChild(slow, Role::kFiltered, stage.node(0));
    AttachmentOptions keep;
    keep.holder = stage.chain().monitor_holder;
    keep.stays_at_node = true;
    stage.keepers().push_back(change.Attach(slow, keep));
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(stage.graph(), slow));
  for (int i = 0; i < 2; ++i) {
    stage.Spawn("reopener", [&stage, slow, i]() MILLRACE_MAY_SUSPEND {
      const HolderRef holder = MakeHolder(StrCat("user", i), "reopen");
      stage.RequireOk(CoSetReadOnly(stage.graph(), slow, false, holder), "I1", "going writable");
      stage.RequireOk(CoSetReadOnly(stage.graph(), slow, true, holder), "I1", "going read-only");
    });
  }
  return absl::OkStatus();
}

}  // namespace

void AddChainEntries(std::vector<Entry>& entries) {
  const Scene seed{"stream-above-commit", {.layers = 6}, &CoStreamAboveCommit};
  const Scene commit_first{
      "commit-finalized-first", {.layers = 6, .is_owned = true}, &CoCommitFinalizedFirst};
  const Scene stream_first{
      "stream-finalized-first", {.layers = 6, .is_owned = true}, &CoStreamFinalizedFirst};
  entries.push_back({Mutant::kR01a, "R01a",
                     "the link to another job's filter is frozen: its owner cannot remove it", seed,
                     Script{.last = {"s@*"}}});
  entries.push_back({Mutant::kR01b, "R01b",
                     "a pointer to the node above base is kept, and nothing keeps that node", seed,
                     Script{.last = {"s@*"}}});
  entries.push_back({Mutant::kR01c, "R01c",
                     "only the overlay is kept, and the name of whatever is below goes into its "
                     "header",
                     seed, Script{.last = {"c@*"}}});
  entries.push_back(
      {Mutant::kR02, "R02",
       "a stream looks up its base before its last drain and holds on to it while others run",
       commit_first, Script()});
  entries.push_back({Mutant::kR03, "R03",
                     "who stands on a commit's top is looked up before the drain of its edit",
                     stream_first, Script()});
  entries.push_back({Mutant::kR04a, "R04a", "the header is written before the graph is edited",
                     commit_first, Script()});
  entries.push_back({Mutant::kR04b, "R04b", "the name of base is remembered from the start",
                     commit_first, Script()});
  entries.push_back({Mutant::kR04c,
                     "R04c",
                     "a filter's own name goes into a header",
                     {"stream-on-filter", {.layers = 6}, &CoStreamOnFilterThenCancel},
                     Script()});
  entries.push_back({Mutant::kR05,
                     "R05",
                     "a stream leases its chain after it has reopened its top",
                     {"overlapping-starts", {.layers = 5}, &CoOverlappingStarts},
                     Script()});
  entries.push_back({Mutant::kR06b,
                     "R06b",
                     "freezing leaves out the links of filters",
                     {"stream-through-filter", {.layers = 5}, &CoStreamThroughFilter},
                     Script()});
  entries.push_back({Mutant::kR07, "R07",
                     "drained means that nothing is in flight, not that the graph is yours",
                     commit_first, Script{.last = {"n5@memory"}}});
  entries.push_back({Mutant::kR08,
                     "R08",
                     "two reopens of one node at a time",
                     {"reopen-twice", {.layers = 1, .guest_rounds = 0}, &CoReopenTwice},
                     Script()});
}

}  // namespace millrace::gallery
