#include "millrace/graph/freeze.h"

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/operation_claim.h"
#include "tests/support/graph_fixture.h"

namespace millrace::freeze_test {
namespace {

class FreezeTest : public GraphFixture {
 protected:
  absl::StatusOr<FrozenChain> Freeze(NodeId top, NodeId last, const HolderRef& holder)
      MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    return FrozenChain::Freeze(view, top, last, holder);
  }
  std::optional<NodeId> Below(const FrozenChain& chain) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    return chain.Below(view);
  }
  // Points the backing of `overlay` at `base`, or at nothing, drained, showing `lease` if not null.
  absl::Status CoSetBacking(NodeId overlay, std::optional<NodeId> base, const FrozenChain* lease)
      MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {overlay}, {me_}));
    return SetBacking(overlay, base, lease, drained);
  }
  absl::Status SetBacking(NodeId overlay, std::optional<NodeId> base, const FrozenChain* lease,
                          const DrainedSection& drained) MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    change.Show(drained);
    if (lease != nullptr) change.Show(*lease);
    change.SetBacking(overlay, base, std::nullopt);
    return change.Commit().status();
  }

  const HolderRef me_ = MakeHolder("me", "test");
  const HolderRef job_ = MakeHolder("job0", "stream job");
};

TEST_F(FreezeTest, NobodyElseChangesALeasedLinkAndTheRefusalNamesTheHolder) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 4}, true));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain lease, Freeze(chain.nodes[3], chain.nodes[1], job_));
    for (size_t i = 3; i >= 2; --i) {
      const absl::Status refused = CoSetBacking(chain.nodes[i], std::nullopt, nullptr);
      ExpectConflict(refused, ConflictReason::kFrozenLink, "n" + std::to_string(i - 1));
      EXPECT_EQ(ConflictOf(refused)->holders.front().id, "job0");
      EXPECT_EQ(ConflictOf(refused)->detail, "backing n" + std::to_string(i));
    }
    // The link below the last node is not part of the lease (245 block_stream_3).
    EXPECT_TRUE(CoSetBacking(chain.nodes[1], std::nullopt, nullptr).ok());
    EXPECT_EQ(Below(lease), std::nullopt);
    lease.Release();
    EXPECT_TRUE(CoSetBacking(chain.nodes[3], chain.nodes[1], nullptr).ok());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(FreezeTest, TheOwnerEditsItsLinksByShowingTheLease) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 4}, true));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain lease, Freeze(chain.nodes[3], chain.nodes[1], job_));
    MILLRACE_RETURN_IF_ERROR(CoSetBacking(chain.nodes[3], chain.nodes[0], &lease));
    EXPECT_EQ(chain.Shape(*graph_), "n3 <- n0");
    // The link that was edited is nobody's any more; the other one still is.
    EXPECT_TRUE(CoSetBacking(chain.nodes[3], std::nullopt, nullptr).ok());
    ExpectConflict(CoSetBacking(chain.nodes[2], std::nullopt, nullptr), ConflictReason::kFrozenLink,
                   "n1");
    lease.Release();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(FreezeTest, ALeaseIsAllOrNothing) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 4}, false));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain low, Freeze(chain.nodes[2], chain.nodes[0], job_));
    const absl::Status refused = Freeze(chain.nodes[3], chain.nodes[0], me_).status();
    ExpectConflict(refused, ConflictReason::kFrozenLink, "n1");
    // The link above, which the refused lease had passed already, is free.
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain high, Freeze(chain.nodes[3], chain.nodes[2], me_));
    high.Release();
    low.Release();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(FreezeTest, NeighbouringLeasesShareNoLink) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 4}, false));
    // The holder of the lower lease keeps its top, which the edit below takes out of the chain.
    MILLRACE_ASSIGN_OR_RETURN(Attachment work,
                              Attachment::Attach(*graph_, chain.nodes[1], Keep(job_)));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain high, Freeze(chain.nodes[3], chain.nodes[2], me_));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain low, Freeze(chain.nodes[1], chain.nodes[0], job_));
    EXPECT_EQ(Below(high), chain.nodes[1]);
    // Derived at the moment of asking, not when the lease was taken.
    MILLRACE_RETURN_IF_ERROR(CoSetBacking(chain.nodes[2], chain.nodes[0], nullptr));
    EXPECT_EQ(Below(high), chain.nodes[0]);
    high.Release();
    low.Release();
    work.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(FreezeTest, ALeaseOfOneNodeHasNoLinks) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain lease, Freeze(chain.nodes[1], chain.nodes[1], job_));
    EXPECT_EQ(lease.top(), lease.last());
    EXPECT_EQ(Below(lease), chain.nodes[0]);
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain all, Freeze(chain.nodes[2], chain.nodes[0], me_));
    all.Release();
    lease.Release();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(FreezeTest, AFilterThatItsOwnerMustRemoveCannotBeLeasedButCanBeTheTop) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    NodeId filter;
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[1]}, {me_}));
      GraphTransaction change(*graph_);
      change.Show(drained);
      filter = change.AddNode(std::make_unique<PassFilter>(true), {.name = "commit"});
      change.InsertFilter(filter, chain.nodes[1]);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, filter));
    const OperationClaim claim(*graph_, filter, OperationSet::All(), job_);
    const absl::Status refused = Freeze(chain.nodes[2], chain.nodes[0], me_).status();
    ExpectConflict(refused, ConflictReason::kUnleasableFilter, "commit");
    EXPECT_EQ(ConflictOf(refused)->detail, "backing");
    EXPECT_EQ(ConflictOf(refused)->holders.front().id, "job0");
    ExpectConflict(Freeze(chain.nodes[2], filter, me_).status(), ConflictReason::kUnleasableFilter,
                   "commit");
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain from_it, Freeze(filter, chain.nodes[0], job_));
    from_it.Release();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(FreezeTest, ALastNodeThatIsNotBelowIsNotFoundAndAGoneOneIsStale) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    EXPECT_TRUE(absl::IsNotFound(Freeze(chain.nodes[0], chain.nodes[1], me_).status()));
    EXPECT_TRUE(Freeze(chain.nodes[2], chain.nodes[0], me_).ok());  // nothing is left frozen
    const std::vector<NodeId> nodes = chain.nodes;
    chain.guest.CoDetach();
    ExpectConflict(Freeze(nodes[2], nodes[0], me_).status(), ConflictReason::kStaleNode, "n2");
    return absl::OkStatus();
  });
}

TEST_F(FreezeTest, AMovedLeaseIsHeldOnce) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain first, Freeze(chain.nodes[2], chain.nodes[0], me_));
    FrozenChain second = std::move(first);
    EXPECT_FALSE(first.is_held());
    first.Release();
    EXPECT_FALSE(Freeze(chain.nodes[2], chain.nodes[0], job_).ok());
    second = FrozenChain();
    EXPECT_TRUE(Freeze(chain.nodes[2], chain.nodes[0], job_).ok());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// Leased links are not lost by dropping the node above them either.
TEST_F(FreezeTest, TheLastUserOfALeasedChainCannotLeaveUnlessTheLeaseIsItsOwn) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain lease, Freeze(chain.nodes[2], chain.nodes[0], job_));
    {
      GraphTransaction change(*graph_);
      change.OnBehalfOf(chain.guest_holder).Detach(chain.guest);
      ExpectConflict(change.Validate(), ConflictReason::kFrozenLink, "n1");
    }
    MILLRACE_ASSIGN_OR_RETURN(Attachment work,
                              Attachment::Attach(*graph_, chain.top(), Keep(job_)));
    chain.guest.CoDetach();
    work.CoDetach();  // in whichever order a job lets go of its lease and its attachments
    lease.Release();
    return absl::OkStatus();
  });
}

TEST_F(FreezeTest, ALeaseGrowsOverTheFilterOfItsOwnerAndShrinksWhenThatGoes) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain lease, Freeze(chain.nodes[1], chain.nodes[0], job_));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[1]}, {job_}));
    NodeId filter;
    {
      GraphTransaction change(*graph_);
      change.Show(drained).Show(lease).OnBehalfOf(job_);
      filter = change.AddNode(std::make_unique<PassFilter>(), {.name = "mine"});
      change.InsertFilter(filter, chain.nodes[1]);
      change.ExtendLease(lease, filter);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, filter));
    EXPECT_EQ(lease.top(), filter);
    {
      GraphTransaction somebody(*graph_);
      somebody.Show(drained).RemoveFilter(filter);
      ExpectConflict(somebody.Validate(), ConflictReason::kFrozenLink, "n1");
    }
    {
      GraphTransaction change(*graph_);
      change.Show(drained).Show(lease).RemoveFilter(filter);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    EXPECT_EQ(lease.top(), chain.nodes[1]);
    drained.End();
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- n0");
    lease.Release();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(FreezeTest, ALeaseIsExtendedOnlyByAFilterDirectlyAbove) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain lease, Freeze(chain.nodes[1], chain.nodes[0], job_));
    MILLRACE_ASSIGN_OR_RETURN(NodeId elsewhere, CoInsertPass("high", chain.nodes[2], me_));
    for (NodeId wrong : {elsewhere, chain.nodes[2]}) {
      GraphTransaction change(*graph_);
      change.Show(lease).ExtendLease(lease, wrong);
      EXPECT_TRUE(absl::IsInvalidArgument(change.Validate()));
    }
    lease.Release();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::freeze_test
