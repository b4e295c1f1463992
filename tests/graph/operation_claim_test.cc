#include "millrace/graph/operation_claim.h"

#include <gmock/gmock.h>

#include "millrace/engine/base/status_macros.h"
#include "tests/support/graph_fixture.h"

namespace millrace::operation_claim_test {
namespace {

class OperationClaimTest : public GraphFixture {
 protected:
  absl::Status Check(NodeId node, Operation operation) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    return OperationClaim::Check(view, node, operation);
  }

  const HolderRef older_ = MakeHolder("older", "commit job");
  const HolderRef newer_ = MakeHolder("newer", "stream job");
};

TEST_F(OperationClaimTest, TheNewestHolderIsReportedAndAllAreNamed) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    OperationClaim first(*graph_, chain.nodes[1], OperationSet::All(), older_);
    OperationClaim second(*graph_, chain.nodes[1], OperationSet().With(Operation::kStream), newer_);
    const absl::Status refused = Check(chain.nodes[1], Operation::kStream);
    ExpectConflict(refused, ConflictReason::kNodeBusy, "n1");
    const Conflict conflict = *ConflictOf(refused);
    EXPECT_EQ(conflict.detail, "stream");
    EXPECT_EQ(conflict.holders, (std::vector<ConflictHolder>{newer_->AsConflictHolder(),
                                                             older_->AsConflictHolder()}));
    EXPECT_EQ(ConflictOf(Check(chain.nodes[1], Operation::kResize))->holders.front().id, "older");
    second.Release();
    EXPECT_EQ(ConflictOf(Check(chain.nodes[1], Operation::kStream))->holders.front().id, "older");
    first.Release();
    EXPECT_TRUE(Check(chain.nodes[1], Operation::kStream).ok());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(OperationClaimTest, ARootIsNamedByItsDevice) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    const OperationClaim claim(*graph_, chain.top(), OperationSet::All(), newer_);
    ExpectConflict(Check(chain.top(), Operation::kCommitSource), ConflictReason::kNodeBusy,
                   "drive0");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(OperationClaimTest, OnlyWhatIsClaimedIsRefusedAndOnlyThere) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    const OperationClaim claim(*graph_, chain.nodes[1],
                               OperationSet::All().Without(Operation::kCommitTarget), newer_);
    for (size_t i = 0; i < kOperationCount; ++i) {
      const auto operation = static_cast<Operation>(i);
      const absl::Status refused = Check(chain.nodes[1], operation);
      EXPECT_EQ(refused.ok(), operation == Operation::kCommitTarget);
      // For people: what was asked for and of which node, whatever programs call it.
      if (!refused.ok()) {
        EXPECT_THAT(std::string(refused.message()),
                    testing::MatchesRegex("cannot [a-z ]+[a-z] node 'n1': it is in use by .*"));
        EXPECT_THAT(std::string(refused.message()), Not(testing::HasSubstr("source")));
      }
      EXPECT_TRUE(Check(chain.nodes[0], operation).ok());
      EXPECT_FALSE(OperationName(operation).empty());
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(OperationClaimTest, AClaimMovesAndGoesWithItsNode) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    OperationClaim claim(*graph_, chain.nodes[1], OperationSet::All(), newer_);
    OperationClaim moved = std::move(claim);
    claim.Release();
    EXPECT_FALSE(Check(chain.nodes[1], Operation::kStream).ok());
    moved = OperationClaim(*graph_, chain.nodes[0], OperationSet::All(), newer_);
    EXPECT_TRUE(Check(chain.nodes[1], Operation::kStream).ok());
    chain.guest.CoDetach();
    moved.Release();  // the node has gone: nothing to do
    return absl::OkStatus();
  });
}

using OperationClaimDeathTest = OperationClaimTest;

TEST_F(OperationClaimDeathTest, ANodeThatIsGoneCannotBeClaimed) {
  EXPECT_DEATH(OperationClaim(*graph_, NodeId(), OperationSet::All(), newer_),
               "claimed operations on a node that is gone");
}

}  // namespace
}  // namespace millrace::operation_claim_test
