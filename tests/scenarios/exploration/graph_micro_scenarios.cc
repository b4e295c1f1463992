// The graph's own protocols: drains, leases, edits and requests that meet on one small chain.
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/freeze.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "tests/scenarios/exploration/micro_parts.h"
#include "tests/scenarios/exploration/story_scenario.h"
#include "tests/support/job_fixture.h"

namespace millrace {
namespace {

// "n1 <- n0" with a guest, and whoever acts on it.
struct Pond {
  Pond(ScenarioRun& of, Graph& on) : run(of), graph(on) {}
  HolderRef Party(const char* name) { return MakeHolder(name, "test"); }

  ScenarioRun& run;
  Graph& graph;
  MemoryChain chain;
  // What became of each party's attempt, for ScenarioRun::Outcome().
  std::map<std::string, absl::StatusCode> attempts;
  int leases_held = 0;  // of the link from n1 to n0
  bool is_cut = false;
};

using PondAct = std::function<absl::Status(Pond&)>;

Scenario Acts(std::string name, std::vector<PondAct> acts) {
  return {StrCat("micro: ", name), [acts = std::move(acts)](ScenarioRun& run) {
            return WithExpectations(run, [&]() {
              Graph graph(run.engine());
              return run.Drive([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                Pond pond(run, graph);
                MemoryChainOptions options;
                options.layers = 2;
                options.bytes = 2 * 512;
                MILLRACE_ASSIGN_OR_RETURN(pond.chain, CoMakeMemoryChain(graph, options, true));
                TaskScope scope("acts");
                std::vector<absl::Status> ends(acts.size());
                for (size_t i = 0; i < acts.size(); ++i) {
                  scope.Spawn(StrCat("act", i), [&, i]() MILLRACE_MAY_SUSPEND {
                    ends[i] = acts[i](pond);
                    return ends[i];
                  });
                }
                absl::Status status = scope.CoJoin();
                status.Update(graph.CheckInvariants());
                for (const absl::Status& end : ends) run.Outcome(end.ToString());
                for (const auto& [who, code] : pond.attempts) {
                  run.Outcome(StrCat(who, absl::StatusCodeToString(code)));
                }
                run.Outcome(pond.chain.Shape(graph));
                pond.chain.guest.CoDetach();
                pond.chain.monitor.clear();
                graph.CoClose();
                return status;
              });
            });
          }};
}

// ---- Acts ---------------------------------------------------------------------------------------

absl::Status CoWriteOnce(Pond& pond) MILLRACE_MAY_SUSPEND {
  const char data[512] = {'w'};
  return pond.chain.guest.CoWrite(0, IoVector::OfConst(data, sizeof(data)));
}

bool IsQuiesced(Pond& pond, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(pond.graph);
  const absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() && node->is_quiesced();
}

absl::Status CoDrainLayer(Pond& pond, size_t layer, const char* who) MILLRACE_MAY_SUSPEND {
  const NodeId node = pond.chain.nodes[layer];
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                            DrainedSection::CoBegin(pond.graph, {node}, {pond.Party(who)}));
  Demand(pond.run, IsQuiesced(pond, node), "G7 drain", "a drained node is not quiesced");
  CoYield("micro.drained");
  Demand(pond.run, IsQuiesced(pond, node), "G7 drain", "a drained node is not quiesced");
  return absl::OkStatus();
}

absl::StatusOr<FrozenChain> Freeze(Pond& pond, const char* who) MILLRACE_OPENS_VIEW {
  GraphView view(pond.graph);
  return FrozenChain::Freeze(view, pond.chain.nodes[1], pond.chain.nodes[0], pond.Party(who));
}

absl::Status CoFreeze(Pond& pond, const char* who) MILLRACE_MAY_SUSPEND {
  const absl::StatusOr<FrozenChain> lease = Freeze(pond, who);
  pond.attempts[who] = lease.status().code();
  // Whoever is refused finds that somebody else has the link for themselves, or has cut it.
  EXPECT_EQ(lease.ok(), pond.leases_held == 0 && !pond.is_cut) << lease.status();
  if (!lease.ok()) return absl::OkStatus();
  Demand(pond.run, pond.leases_held == 0 && !pond.is_cut, "G4 lease", "of what is not there");
  ++pond.leases_held;
  CoYield("micro.leased");
  Demand(pond.run, !pond.is_cut, "G4 lease", "a leased link was cut");
  --pond.leases_held;
  return absl::OkStatus();
}

// Cuts the backing of n1 inside a section; a lease refuses it.
absl::Status Cut(Pond& pond, const DrainedSection& drained, const char* who) MILLRACE_OPENS_VIEW {
  GraphTransaction change(pond.graph);
  change.Show(drained).OnBehalfOf(pond.Party(who));
  change.SetBacking(pond.chain.nodes[1], std::nullopt, std::nullopt);
  return change.Commit().status();
}

absl::Status CoCut(Pond& pond, const char* who) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(
      DrainedSection drained,
      DrainedSection::CoBegin(pond.graph, {pond.chain.nodes[1]}, {pond.Party(who)}));
  const absl::Status cut = Cut(pond, drained, who);
  pond.attempts[who] = cut.code();
  EXPECT_EQ(cut.ok(), pond.leases_held == 0) << cut;
  Demand(pond.run, !cut.ok() || pond.leases_held == 0, "G4 cut", "a leased link was cut");
  EXPECT_TRUE(cut.ok() || absl::IsFailedPrecondition(cut)) << cut;
  pond.is_cut = pond.is_cut || cut.ok();
  return absl::OkStatus();
}

absl::Status CoReadOnce(Pond& pond) MILLRACE_MAY_SUSPEND {
  char data[512];
  return pond.chain.guest.CoRead(0, IoVector(data, sizeof(data)));
}

absl::Status CoAttachAndDetach(Pond& pond, const char* who) MILLRACE_MAY_SUSPEND {
  AttachmentOptions options;
  options.holder = pond.Party(who);
  options.permissions = {kConsistentRead, kAllPermissions};
  MILLRACE_ASSIGN_OR_RETURN(Attachment attachment,
                            Attachment::Attach(pond.graph, pond.chain.nodes[1], options));
  CoYield("micro.attached");
  attachment.CoDetach();
  return absl::OkStatus();
}

PondAct Drains(size_t layer, const char* who) {
  return [=](Pond& pond) MILLRACE_MAY_SUSPEND { return CoDrainLayer(pond, layer, who); };
}
PondAct Freezes(const char* who) {
  return [=](Pond& pond) MILLRACE_MAY_SUSPEND { return CoFreeze(pond, who); };
}
PondAct Cuts(const char* who) {
  return [=](Pond& pond) MILLRACE_MAY_SUSPEND { return CoCut(pond, who); };
}
PondAct AttachesAndDetaches(const char* who) {
  return [=](Pond& pond) MILLRACE_MAY_SUSPEND { return CoAttachAndDetach(pond, who); };
}

}  // namespace

std::vector<Scenario> GraphMicroScenarios() {
  const PondAct writes = &CoWriteOnce;
  const PondAct reads = &CoReadOnce;
  return {
      Acts("a drain and a write", {Drains(1, "a"), writes}),
      Acts("a drain below and a write", {Drains(0, "a"), writes}),
      Acts("a drain, a write and a read", {Drains(1, "a"), writes, reads}),
      Acts("two drains of one node", {Drains(1, "a"), Drains(1, "b")}),
      Acts("two drains of one node and a write", {Drains(1, "a"), Drains(1, "b"), writes}),
      Acts("drains of both nodes", {Drains(1, "a"), Drains(0, "b")}),
      Acts("drains of both nodes and a read", {Drains(1, "a"), Drains(0, "b"), reads}),
      Acts("a lease and a cut", {Freezes("a"), Cuts("b")}),
      Acts("two leases and a cut", {Freezes("a"), Freezes("b"), Cuts("c")}),
      Acts("two cuts", {Cuts("a"), Cuts("b")}),
      Acts("a cut and a read", {Cuts("a"), reads}),
      Acts("a cut and a drain", {Cuts("a"), Drains(1, "b")}),
      Acts("a user that comes and goes, and a drain", {AttachesAndDetaches("a"), Drains(0, "b")}),
      Acts("two users that come and go", {AttachesAndDetaches("a"), AttachesAndDetaches("b")}),
      Acts("two drains of one node, a write and a read",
           {Drains(1, "a"), Drains(1, "b"), writes, reads}),
      Acts("two leases, a cut and a read", {Freezes("a"), Freezes("b"), Cuts("c"), reads}),
      Acts("a user that comes and goes, two drains and a read",
           {AttachesAndDetaches("a"), Drains(0, "b"), Drains(1, "c"), reads}),
  };
}

}  // namespace millrace
