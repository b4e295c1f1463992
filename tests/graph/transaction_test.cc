#include "millrace/graph/graph_transaction.h"

#include <gmock/gmock.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/raw.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"

namespace millrace::transaction_test {
namespace {

class TransactionTest : public GraphFixture {
 protected:
  const HolderRef me_ = MakeHolder("me", "test");
};

std::string NameOf(const GraphReader& reader, NodeId id) {
  absl::StatusOr<NodeView> node = reader.Resolve(id);
  return node.ok() ? node->name() : "gone";
}

TEST_F(TransactionTest, StagingChangesNothingAndReadsThroughItShowThePlan) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    const uint64_t before = graph_->revision();
    {
      GraphTransaction change(*graph_);
      const NodeId added = AddOverlay(change, "added");
      change.SetBacking(added, chain.top(), std::nullopt);
      Attachment device = change.Attach(added, {.holder = me_, .device_name = "drive1"});
      EXPECT_FALSE(device.is_attached());
      EXPECT_EQ(ChainFrom(*change.Resolve(added)).size(), 4u);
      EXPECT_EQ(change.FindDeviceOrNode("drive1")->name(), "added");
      EXPECT_EQ(change.Find("added")->id(), added);
      EXPECT_EQ(change.Nodes().back(), added);
      EXPECT_EQ(change.DescribePlan(),
                "add memory-overlay node 'added'\n"
                "link 'added' -backing-> 'n2'\n"
                "attach test 'me' to 'added'");
      EXPECT_TRUE(change.Validate().ok());
    }
    EXPECT_EQ(graph_->revision(), before);
    EXPECT_EQ(graph_->node_count(), 3u);
    EXPECT_FALSE(Find("added").is_valid());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, TheRevisionGrowsByOnePerAppliedTransactionOnly) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    const uint64_t before = graph_->revision();
    {
      GraphTransaction refused(*graph_);
      refused.RemoveChild(chain.nodes[1], Role::kBacking);
      EXPECT_FALSE(refused.Commit().ok());
    }
    EXPECT_EQ(graph_->revision(), before);
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep, Attachment::Attach(*graph_, chain.top(), Keep(me_)));
    EXPECT_EQ(graph_->revision(), before + 1);
    EXPECT_TRUE(keep.Detach().ok());
    EXPECT_EQ(graph_->revision(), before + 2);
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, ReadsAfterTheCommitShowTheGraphAsItIs) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    Attachment keep;
    {
      GraphTransaction change(*graph_);
      keep = change.Attach(chain.nodes[1], Keep(me_));
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
      EXPECT_EQ(NameOf(change, chain.nodes[1]), "n1");
      EXPECT_TRUE(change.Resolve(chain.nodes[1])->has_attachment());
      EXPECT_EQ(change.Nodes().size(), 3u);
    }
    EXPECT_TRUE(keep.Detach().ok());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, ADroppedPlanGivesBackNamesIdsAndReservations) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    NodeId planned;
    Attachment inert;
    {
      GraphTransaction change(*graph_);
      planned = AddOverlay(change, "again");
      inert = change.Attach(planned, {.holder = me_, .device_name = "drive9"});
    }
    EXPECT_FALSE(inert.is_attached());
    EXPECT_TRUE(inert.Detach().ok());  // inert: nothing happens
    Attachment device;
    {
      GraphTransaction change(*graph_);
      const NodeId node = AddOverlay(change, "again");
      EXPECT_EQ(node.slot, planned.slot);
      EXPECT_NE(node, planned);
      device = change.Attach(node, {.holder = me_, .device_name = "drive9"});
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
      EXPECT_FALSE(change.Resolve(planned).ok());
    }
    device.CoDetach();
    return absl::OkStatus();
  });
}

// The plan keeps no trace of an attachment that its user has dropped before the commit.
TEST_F(TransactionTest, APlannedAttachmentMayGoBeforeTheCommit) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    {
      GraphTransaction change(*graph_);
      {
        AttachmentOptions greedy = Keep(me_);
        greedy.permissions = {kWrite, kNoPermissions};
        Attachment dropped = change.Attach(chain.top(), greedy);
      }
      // Were the edge still planned, its permissions would exclude the guest's.
      EXPECT_TRUE(change.Commit().ok());
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, ANodeNobodyWouldHoldIsRefused) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    GraphTransaction change(*graph_);
    AddOverlay(change, "alone");
    EXPECT_TRUE(absl::IsInvalidArgument(change.Commit().status()));
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, ANodeUnderOneThatGoesInTheSameEditIsRefused) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Attachment device;
    NodeId old;
    {
      GraphTransaction change(*graph_);
      old = AddOverlay(change, "old");
      device = change.Attach(old, {.holder = me_});
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    {
      GraphTransaction change(*graph_);
      change.OnBehalfOf(me_);
      const NodeId below = AddOverlay(change, "below");
      change.SetBacking(old, below, std::nullopt);
      change.Detach(device);
      EXPECT_TRUE(absl::IsInvalidArgument(change.Commit().status()));
    }
    EXPECT_EQ(graph_->node_count(), 1u);
    device.CoDetach();
    return absl::OkStatus();
  });
}

// Whether its last user leaves before or after those of the node that is to stand on it: it goes,
// because that node does.
TEST_F(TransactionTest, ANodeThatOnlyANodeWouldHoldThatGoesInTheSameEditGoesToo) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (bool had_another_below : {false, true}) {
      Attachment of_top;
      Attachment of_base;
      NodeId top;
      NodeId base;
      {
        GraphTransaction change(*graph_);
        top = AddOverlay(change, "top");
        base = AddOverlay(change, "base");
        if (had_another_below) change.SetBacking(top, AddOverlay(change, "other"), std::nullopt);
        of_top = change.Attach(top, Keep(me_));
        of_base = change.Attach(base, Keep(me_));
        MILLRACE_RETURN_IF_ERROR(change.Commit().status());
      }
      {
        GraphTransaction change(*graph_);
        change.OnBehalfOf(me_);
        change.Detach(of_base);
        change.Detach(of_top);
        change.SetBacking(top, base, std::nullopt);
        MILLRACE_ASSIGN_OR_RETURN(AppliedEdit edit, change.Commit());
        EXPECT_THAT(edit.dropped, testing::IsSupersetOf({top, base}));
      }
      EXPECT_EQ(graph_->node_count(), 0u);
      graph_->CoWaitForReaper();
    }
    return absl::OkStatus();
  });
}

struct NameCase {
  std::string name;
  ConflictReason reason;
};

TEST_F(TransactionTest, NamesAreChecked) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    const std::vector<NameCase> cases = {
        {"#block1", ConflictReason::kMalformedNodeName},
        {"1a", ConflictReason::kMalformedNodeName},
        {"a b", ConflictReason::kMalformedNodeName},
        {std::string(32, 'a'), ConflictReason::kNodeNameTooLong},
        {"n1", ConflictReason::kDuplicateNodeName},
        {"drive0", ConflictReason::kNodeNameIsDevice},
    };
    for (const NameCase& each : cases) {
      GraphTransaction change(*graph_);
      Attachment keep = change.Attach(AddOverlay(change, each.name), Keep(me_));
      ExpectConflict(change.Validate(), each.reason, each.name);
    }
    {
      GraphTransaction change(*graph_);
      Attachment keep = change.Attach(AddOverlay(change, std::string(31, 'a')), Keep(me_));
      EXPECT_TRUE(change.Validate().ok());
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, TwoDevicesOfOneNameAreRefusedInOnePlanToo) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    for (const char* name : {"drive0", "n1"}) {
      GraphTransaction change(*graph_);
      Attachment second = change.Attach(chain.top(), {.holder = me_, .device_name = name});
      ExpectConflict(change.Validate(), ConflictReason::kDuplicateDeviceName, name);
    }
    {
      GraphTransaction change(*graph_);
      Attachment one = change.Attach(chain.top(), {.holder = me_, .device_name = "drive7"});
      Attachment two = change.Attach(chain.top(), {.holder = me_, .device_name = "drive7"});
      ExpectConflict(change.Validate(), ConflictReason::kDuplicateDeviceName, "drive7");
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, ACycleIsRefusedInEveryForm) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    for (size_t lower = 0; lower < 3; ++lower) {
      for (size_t upper = lower; upper < 3; ++upper) {
        GraphTransaction change(*graph_);
        change.Show(drained);
        change.SetBacking(chain.nodes[lower], chain.nodes[upper], std::nullopt);
        ExpectConflict(change.Validate(), ConflictReason::kCycle, "n" + std::to_string(upper));
      }
    }
    drained.End();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, TwoPlannedNodesThatHoldEachOtherAreACycle) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    GraphTransaction change(*graph_);
    const NodeId a = AddOverlay(change, "a");
    const NodeId b = AddOverlay(change, "b");
    change.SetBacking(a, b, std::nullopt);
    change.SetBacking(b, a, std::nullopt);
    EXPECT_EQ(ConflictOf(change.Commit().status())->reason, ConflictReason::kCycle);
    return absl::OkStatus();
  });
}

// ---- G1: what each kind of node may have below it ----------------------------------------------

struct ShapeCase {
  const char* what;
  std::vector<Role> roles;
  absl::StatusCode code;
};

TEST_F(TransactionTest, AFilterHasExactlyOneFilteredChild) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    const std::vector<ShapeCase> cases = {
        {"none", {}, absl::StatusCode::kInvalidArgument},
        {"a backing", {Role::kBacking}, absl::StatusCode::kInvalidArgument},
        {"two", {Role::kFiltered, Role::kFiltered}, absl::StatusCode::kFailedPrecondition},
        {"both", {Role::kFiltered, Role::kBacking}, absl::StatusCode::kFailedPrecondition},
        {"one", {Role::kFiltered}, absl::StatusCode::kOk},
        {"one and data", {Role::kFiltered, Role::kData}, absl::StatusCode::kOk},
    };
    for (const ShapeCase& each : cases) {
      GraphTransaction change(*graph_);
      const NodeId filter = change.AddNode(std::make_unique<PassFilter>(), {});
      Attachment keep = change.Attach(filter, Keep(me_));
      for (Role role : each.roles) change.AddChild(filter, role, chain.nodes[0]);
      EXPECT_EQ(change.Validate().code(), each.code) << each.what;
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, AFormatHasOneBackingAndAProtocolNothing) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    {
      GraphTransaction change(*graph_);
      const NodeId node = AddOverlay(change, "two");
      change.AddChild(node, Role::kBacking, chain.nodes[0]);
      change.AddChild(node, Role::kBacking, chain.nodes[1]);
      Attachment keep = change.Attach(node, Keep(me_));
      ExpectConflict(change.Validate(), ConflictReason::kHasBacking, "two");
    }
    {
      GraphTransaction change(*graph_);
      const NodeId node = AddOverlay(change, "shows");
      change.AddChild(node, Role::kFiltered, chain.nodes[0]);
      Attachment keep = change.Attach(node, Keep(me_));
      EXPECT_TRUE(absl::IsInvalidArgument(change.Validate()));
    }
    {
      GraphTransaction change(*graph_);
      const NodeId node = change.AddNode(MakeMemoryDriver({.bytes = 512}), {});
      change.AddChild(node, Role::kBacking, chain.nodes[0]);
      Attachment keep = change.Attach(node, Keep(me_));
      EXPECT_TRUE(absl::IsInvalidArgument(change.Validate()));
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, AFormatHasOneFileAndKeepsItWhileItIsOpenAndNoBackingItCannotName) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    NodeId raw;
    Attachment keep;
    {
      GraphTransaction change(*graph_);
      const NodeId file = change.AddNode(MakeMemoryDriver({.bytes = 512}), {.name = "file"});
      raw = change.AddNode(MakeRawDriver({}), {.name = "raw"});
      change.AddChild(raw, Role::kPrimary, file);
      keep = change.Attach(raw, Keep(me_));
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    {
      GraphTransaction second(*graph_);
      second.OnBehalfOf(me_).AddChild(raw, Role::kPrimary, chain.nodes[0]);
      EXPECT_TRUE(absl::IsInvalidArgument(second.Validate()));
    }
    {
      GraphTransaction backed(*graph_);
      backed.OnBehalfOf(me_).SetBacking(raw, chain.nodes[0], std::nullopt);
      EXPECT_TRUE(absl::IsInvalidArgument(backed.Validate()));
    }
    {
      GraphTransaction not_open_yet(*graph_);
      not_open_yet.OnBehalfOf(me_).RemoveChild(raw, Role::kPrimary);
      EXPECT_TRUE(not_open_yet.Validate().ok());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, Find("file")));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, raw));
    {
      GraphTransaction change(*graph_);
      change.OnBehalfOf(me_).RemoveChild(raw, Role::kPrimary);
      EXPECT_TRUE(absl::IsInvalidArgument(change.Validate()));
    }
    keep.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, AFilterHeldByAStayingUserStandsBesideTheChainUntilThatLetsGo) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.nodes[1], me_));
    MILLRACE_ASSIGN_OR_RETURN(Attachment reader, Attachment::Attach(*graph_, filter, Keep(me_)));
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- [pass] <- n1 <- n0");
    MILLRACE_RETURN_IF_ERROR(CoRemovePass(filter, me_));
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- n0");
    EXPECT_EQ(reader.bytes(), chain.guest.bytes());
    reader.CoDetach();
    EXPECT_FALSE(Find("pass").is_valid());
    EXPECT_EQ(graph_->node_count(), 3u);
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, AFilterThatItsUserLeavesInTheSameEditGoesWithIt) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (bool detach_first : {false, true}) {
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
      MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.nodes[1], me_));
      MILLRACE_ASSIGN_OR_RETURN(Attachment reader, Attachment::Attach(*graph_, filter, Keep(me_)));
      {
        MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                  DrainedSection::CoBegin(*graph_, {filter}, {me_}));
        GraphTransaction change(*graph_);
        change.Show(drained);
        if (detach_first) change.Detach(reader);
        change.RemoveFilter(filter);
        if (!detach_first) change.Detach(reader);
        MILLRACE_ASSIGN_OR_RETURN(AppliedEdit edit, change.Commit());
        EXPECT_EQ(edit.dropped, std::vector<NodeId>{filter});
      }
      EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- n0");
      chain.guest.CoDetach();
      graph_->CoWaitForReaper();
    }
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, ReplacingLeavesStayingUsersAndTheReplacementsOwnChildAlone) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
      GraphTransaction change(*graph_);
      change.Show(drained);
      // n2 stands on n1: everything that points at n1 but n2 itself would move to n2.
      change.ReplaceNode(chain.nodes[1], chain.nodes[2]);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- n0");
    EXPECT_EQ(chain.monitor[1].node(), chain.nodes[1]);
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[1]}, {me_}));
      GraphTransaction change(*graph_);
      change.Show(drained);
      change.ReplaceNode(chain.nodes[1], chain.nodes[0]);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n0");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// ---- G6 ----------------------------------------------------------------------------------------

TEST_F(TransactionTest, AnEdgeChangesOnlyInsideAGrantedSectionThatIsShown) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection too_high,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[2]}, {me_}));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection right,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[1]}, {me_}));
    {
      GraphTransaction change(*graph_);
      change.SetBacking(chain.nodes[1], std::nullopt, std::nullopt);
      ExpectConflict(change.Validate(), ConflictReason::kNotDrained, "n1");
    }
    {
      GraphTransaction change(*graph_);
      change.Show(too_high).SetBacking(chain.nodes[1], std::nullopt, std::nullopt);
      ExpectConflict(change.Validate(), ConflictReason::kNotDrained, "n1");
    }
    {
      GraphTransaction change(*graph_);
      change.Show(right).SetBacking(chain.nodes[1], std::nullopt, std::nullopt);
      EXPECT_TRUE(change.Validate().ok());
    }
    right.End();
    {
      GraphTransaction change(*graph_);
      change.Show(right).SetBacking(chain.nodes[1], std::nullopt, std::nullopt);
      ExpectConflict(change.Validate(), ConflictReason::kNotDrained, "n1");
    }
    too_high.End();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, ANodeThatOnlyTheRequesterHoldsNeedsNoDrain) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    Attachment mine;
    NodeId fresh;
    {
      GraphTransaction change(*graph_);
      fresh = AddOverlay(change, "fresh");
      mine = change.Attach(fresh, Keep(me_));
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    {
      GraphTransaction somebody(*graph_);
      somebody.SetBacking(fresh, chain.nodes[0], std::nullopt);
      ExpectConflict(somebody.Validate(), ConflictReason::kNotDrained, "fresh");
    }
    {
      GraphTransaction change(*graph_);
      change.OnBehalfOf(me_).SetBacking(fresh, chain.nodes[0], std::nullopt);
      EXPECT_TRUE(change.Commit().ok());
    }
    mine.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, AStaleNodeIsRefusedWithWhoRemovedItWhenAndInWhichEdit) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    const NodeId gone = chain.top();
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(5 * kSecond));
    chain.guest.CoDetach();
    const uint64_t edit = graph_->revision();
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain later, CoMakeMemoryChain(*graph_, {}, false));
    EXPECT_GT(graph_->revision(), edit);
    GraphTransaction change(*graph_);
    change.SetBacking(gone, std::nullopt, std::nullopt);
    const absl::Status refused = change.Validate();
    ExpectConflict(refused, ConflictReason::kStaleNode, "n2");
    EXPECT_EQ(ConflictOf(refused)->holders.front().id, "drive0");
    EXPECT_EQ(ConflictOf(refused)->holders.front().type, "block device");
    EXPECT_EQ(ConflictOf(refused)->holders.front().since, 5 * kSecond);
    EXPECT_THAT(FromAbsl(refused.message()),
                testing::HasSubstr(StrCat("removed by block device 'drive0' in edit ", edit)));
    return absl::OkStatus();
  });
}

TEST_F(TransactionTest, AnUnopenedNodeIsDroppedWithoutBeingClosed) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    class NeverOpened final : public FilterDriver {
     public:
      std::string_view driver_name() const override { return "never"; }
      void CoClose() override MILLRACE_MAY_SUSPEND { ADD_FAILURE() << "closed but never opened"; }
    };
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    Attachment keep;
    {
      GraphTransaction change(*graph_);
      const NodeId filter = change.AddNode(std::make_unique<NeverOpened>(), {});
      change.AddChild(filter, Role::kFiltered, chain.nodes[0]);
      keep = change.Attach(filter, Keep(me_));
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    keep.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

using TransactionDeathTest = TransactionTest;

TEST_F(TransactionDeathTest, NothingIsStagedAfterTheCommit) {
  EXPECT_DEATH(Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                 GraphTransaction change(*graph_);
                 MILLRACE_RETURN_IF_ERROR(change.Commit().status());
                 AddOverlay(change, "late");
                 return absl::OkStatus();
               }),
               "staged after the transaction");
}

// What the compiler proves with clang, and nobody else does.
TEST_F(TransactionDeathTest, NothingIsLookedAtOrEditedUnderAnOpenView) {
  const auto look_twice = [&]() MILLRACE_NO_ANALYSIS {
    GraphView first(*graph_);
    GraphView second(*graph_);
  };
  EXPECT_DEATH(look_twice(), "G9: a view or transaction was opened while another one is open");
  const auto edit_below = [&]() MILLRACE_NO_ANALYSIS {
    GraphView view(*graph_);
    GraphTransaction change(*graph_);
  };
  EXPECT_DEATH(edit_below(), "G9: a view or transaction was opened while another one is open");
}

TEST_F(TransactionDeathTest, NothingSuspendsWhileATransactionIsOpen) {
  EXPECT_DEATH(Run([&]() MILLRACE_NO_ANALYSIS -> absl::Status {
                 GraphTransaction change(*graph_);
                 CoYield();
                 return absl::OkStatus();
               }),
               "G9");
}

}  // namespace
}  // namespace millrace::transaction_test
