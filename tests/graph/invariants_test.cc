// The checkers of G1 to G5 and G7 themselves: each way to break an invariant must be found, or
// tests that look after every step would prove nothing.
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/drain_core.h"
#include "millrace/graph/freeze_core.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_view.h"
#include "tests/support/graph_fixture.h"

namespace millrace::invariants_test {
namespace {

// A job that may be told to go on although it was asked to rest.
class Disobedient final : public Quiescable {
 public:
  void BeginQuiesce() override {}
  void EndQuiesce() override {}
  bool is_quiet() const override { return is_quiet_; }
  std::string DescribeQuiescable() const override { return "disobedient job"; }
  void EnterQuietWait() override {}
  void CoLeaveQuietWait() override MILLRACE_MAY_SUSPEND {}
  void OnSectionGranted() override {}
  void OnSectionEnded() override {}

  void GoOn() { is_quiet_ = false; }
  void Rest() { is_quiet_ = true; }

 private:
  bool is_quiet_ = true;
};

class InvariantsTest : public GraphFixture {
 protected:
  void ExpectBroken(std::string_view what, int line = __builtin_LINE()) {
    const absl::Status status = graph_->CheckInvariants();
    EXPECT_NE(status.message().find(std::string(what)), std::string::npos)
        << "line " << line << ": " << status;
  }
  void ExpectHeld(int line = __builtin_LINE()) {
    const absl::Status status = graph_->CheckInvariants();
    EXPECT_TRUE(status.ok()) << "line " << line << ": " << status;
  }
  Node& At(NodeId id) { return *GraphInternals::Of(*graph_).Resolve(id); }

  const HolderRef me_ = MakeHolder("me", "test");
  const HolderRef other_ = MakeHolder("other", "test");
};

TEST_F(InvariantsTest, ARequestOfAnOutsiderInsideASectionIsFound) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection owned,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    ExpectHeld();
    {
      const AttachmentUse use(*AttachmentAccess::Core(chain.guest));
      ExpectBroken("block device 'drive0' has a request in flight");
    }
    owned.End();
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection nobodys,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {}));
    {
      const InFlightRequest request(At(chain.nodes[1]));
      ExpectBroken("'n1': a request is in flight through a drained node");
    }
    nobodys.End();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(InvariantsTest, AJobThatGoesOnInsideAForeignSectionIsFound) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    Disobedient job;
    const HolderRef holder = MakeHolder("bad", "test job", 0, &job);
    MILLRACE_ASSIGN_OR_RETURN(Attachment work,
                              Attachment::Attach(*graph_, chain.nodes[1], Keep(holder)));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    job.GoOn();
    ExpectBroken("test job 'bad' goes on");
    job.Rest();
    ExpectHeld();
    drained.End();
    // Its own section does not concern it.
    MILLRACE_ASSIGN_OR_RETURN(drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {holder}));
    job.GoOn();
    ExpectHeld();
    job.Rest();
    drained.End();
    work.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(InvariantsTest, ACoverWithAGapAndTwoOwnersAtOnceAreFound) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    Node& top = At(chain.top());
    std::vector<SectionCore*> none;
    std::swap(top.sections, none);
    ExpectBroken("does not cover a parent");
    std::swap(top.sections, none);
    AttachmentCore& guest = *AttachmentAccess::Core(chain.guest);
    ++guest.quiesce_count;
    ExpectBroken("does not count the sections");
    --guest.quiesce_count;
    SectionCore second(*graph_);
    second.owners = {other_};
    second.covered = {&top};
    second.attachments = {&guest};
    second.is_granted = true;
    top.sections.push_back(&second);
    guest.sections.push_back(&second);
    ++guest.quiesce_count;
    ExpectBroken("drained for two owners at once");
    top.sections.pop_back();
    guest.sections.pop_back();
    --guest.quiesce_count;
    ExpectHeld();
    drained.End();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// ---- G1 to G5 ------------------------------------------------------------------------------------

void MoveEdge(Edge& edge, Node& child) {
  edge.child->parents.Remove(edge);
  edge.child = &child;
  child.parents.PushBack(edge);
}

TEST_F(InvariantsTest, ACycleAndAChildThatDoesNotBelongAreFound) {  // G1
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    Node& middle = At(chain.nodes[1]);
    Edge& down = *middle.FindChild(Role::kBacking);
    MoveEdge(down, At(chain.nodes[2]));
    ExpectBroken("G1: node 'n1': it is its own descendant");
    MoveEdge(down, At(chain.nodes[0]));
    down.role = Role::kFiltered;
    ExpectBroken("G1: node 'n1': a format has at most one backing and no filtered child");
    down.role = Role::kBacking;
    ExpectHeld();
    chain.guest.CoDetach();
    chain.monitor.clear();
    return absl::OkStatus();
  });
}

TEST_F(InvariantsTest, AnEdgeThatOneEndDoesNotKnowIsFound) {  // G2
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    Node& middle = At(chain.nodes[1]);
    Edge& down = *middle.FindChild(Role::kBacking);
    down.parent = &At(chain.nodes[2]);
    ExpectBroken("G2: node 'n0': a parent does not own the edge that leads here");
    Node* const edited[] = {&middle};
    const absl::Status status = GraphInternals::Of(*graph_).CheckEdited(edited);
    EXPECT_EQ(status.message(), "G2: node 'n1': a child edge has another parent");
    down.parent = &middle;
    down.child->parents.Remove(down);
    ExpectBroken("G2: node 'n1': its child does not list the edge");
    down.child->parents.PushBack(down);
    ExpectHeld();
    Edge unowned;
    unowned.parent = &middle;
    unowned.child = down.child;
    down.child->parents.PushBack(unowned);
    ExpectBroken("G2: node 'n0': a parent does not own the edge that leads here");
    down.child->parents.Remove(unowned);
    ExpectHeld();
    chain.guest.CoDetach();
    chain.monitor.clear();
    return absl::OkStatus();
  });
}

TEST_F(InvariantsTest, ANodeThatNobodyPointsAtIsFound) {  // G3
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    Edge& root = AttachmentAccess::Core(chain.guest)->edge;
    Node& top = At(chain.top());
    top.parents.Remove(root);
    ExpectBroken("G3: node 'n2': it lives although no edge points at it");
    top.parents.PushBack(root);
    ExpectHeld();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(InvariantsTest, ALeaseThatIsNotAsItWasTakenIsFound) {  // G4
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    Edge& down = *At(chain.nodes[1]).FindChild(Role::kBacking);
    FrozenChainCore stray;
    down.lease = &stray;
    ExpectBroken("G4: node 'n1': a link carries a lease that does not list it");
    down.lease = nullptr;
    {
      FrozenChain lease;
      {
        GraphView view(*graph_);
        lease = *FrozenChain::Freeze(view, chain.top(), chain.nodes[0], me_);
      }
      ExpectHeld();
      std::vector<Edge*>& edges = down.lease->edges;
      std::swap(edges.front(), edges.back());
      ExpectBroken("a leased chain has a gap");
      std::swap(edges.front(), edges.back());
      ExpectHeld();
      FrozenChainCore* const core = std::exchange(edges.front()->lease, &stray);
      ExpectBroken("G4: node 'n1': a lease lists a link that does not carry it");
      edges.front()->lease = core;
      const NodeId last = std::exchange(core->last, chain.nodes[1]);
      ExpectBroken("G4: node 'n1': a leased chain ends at 'n0'");
      core->last = last;
      ExpectHeld();
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(InvariantsTest, PermissionsThatDoNotFollowOrExcludeEachOtherAreFound) {  // G5
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    Edge& down = *At(chain.nodes[1]).FindChild(Role::kBacking);
    const Permissions right = down.permissions;
    down.permissions.used = kAllPermissions;
    ExpectBroken("G5: node 'n1': the permissions of its 'backing' link are not what follows");
    down.permissions = right;
    Edge& root = AttachmentAccess::Core(chain.guest)->edge;
    AttachmentOptions options = Keep(other_);
    options.permissions = {kConsistentRead, kAllPermissions};
    MILLRACE_ASSIGN_OR_RETURN(Attachment reader, Attachment::Attach(*graph_, chain.top(), options));
    const Permissions asked = root.permissions;
    root.permissions.shared = kNoPermissions;
    ExpectBroken("G5: node 'n2': two users' permissions exclude each other");
    root.permissions = asked;
    ExpectHeld();
    reader.CoDetach();
    chain.guest.CoDetach();
    chain.monitor.clear();
    return absl::OkStatus();
  });
}

// What an edit leaves broken is found where it is applied.
TEST_F(InvariantsTest, ABrokenEditIsCaughtWhereItIsApplied) {
  EXPECT_DEATH(
      {
        Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
          At(chain.nodes[1]).FindChild(Role::kBacking)->role = Role::kFiltered;
          MILLRACE_ASSIGN_OR_RETURN(Attachment one_more,
                                    Attachment::Attach(*graph_, chain.nodes[1], Keep(me_)));
          return absl::OkStatus();
        });
      },
      "an edit has left a broken graph: INTERNAL: G1: node 'n1'");
}

}  // namespace
}  // namespace millrace::invariants_test
