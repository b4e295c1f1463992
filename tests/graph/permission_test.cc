#include "millrace/graph/permission.h"

#include <memory>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "tests/support/graph_fixture.h"

namespace millrace::permission_test {
namespace {

PermissionContext Context(Role role, PermissionSet used, PermissionSet shared,
                          bool is_read_only = false) {
  PermissionContext context;
  context.role = role;
  context.parents = {used, shared};
  context.node_is_read_only = is_read_only;
  return context;
}

TEST(Permission, AFilterPassesOnWhatItsUsersAskFor) {
  for (uint8_t used = 0; used < 16; ++used) {
    for (uint8_t shared = 0; shared < 16; ++shared) {
      const Permissions parents{PermissionSet(used), PermissionSet(shared)};
      EXPECT_EQ(DeriveForFilter(Context(Role::kFiltered, parents.used, parents.shared)), parents);
    }
  }
}

TEST(Permission, ABackingIsOnlyReadAndChangesOnlyIfTheUsersAcceptIt) {
  for (uint8_t used = 0; used < 16; ++used) {
    for (uint8_t shared = 0; shared < 16; ++shared) {
      const Permissions derived =
          DeriveForBacking(Context(Role::kBacking, PermissionSet(used), PermissionSet(shared)));
      EXPECT_EQ(derived.used, PermissionSet(used) & kConsistentRead);
      const bool may_change = PermissionSet(shared).Contains(kWrite);
      EXPECT_EQ(derived.shared, may_change ? kAllPermissions : kConsistentRead | kWriteUnchanged);
    }
  }
}

TEST(Permission, AWritableFormatWritesItsFileWhoeverAsksAndSharesThatWithNobody) {
  const Permissions writable = DeriveForPrimary(Context(Role::kPrimary, {}, kAllPermissions));
  EXPECT_EQ(writable.used, kConsistentRead | kWrite | kResize);
  EXPECT_EQ(writable.shared, kConsistentRead | kWriteUnchanged);
  const Permissions read_only =
      DeriveForPrimary(Context(Role::kPrimary, kConsistentRead, kAllPermissions, true));
  EXPECT_EQ(read_only.used, kConsistentRead);
  EXPECT_EQ(read_only.shared, kConsistentRead | kWriteUnchanged);
}

TEST(Permission, DataThatIsWrittenMayGrow) {
  EXPECT_EQ(DeriveForData(Context(Role::kData, kWrite, kAllPermissions)).used, kWrite | kResize);
  EXPECT_EQ(DeriveForData(Context(Role::kData, kWriteUnchanged, kAllPermissions)).used,
            kWriteUnchanged | kWrite | kResize);
  EXPECT_EQ(DeriveForData(Context(Role::kData, {}, kAllPermissions)).shared,
            kAllPermissions - kResize);
}

TEST(Permission, SetsAreNamedInBitOrder) {
  EXPECT_EQ(kAllPermissions.ToString(), "consistent read, write, write unchanged, resize");
  EXPECT_EQ((kResize | kWrite).ToString(), "write, resize");
  EXPECT_EQ(kNoPermissions.ToString(), "");
}

class PermissionTest : public GraphFixture {
 protected:
  absl::StatusOr<Attachment> Use(const char* id, NodeId node, Permissions permissions)
      MILLRACE_OPENS_VIEW {
    AttachmentOptions options;
    options.holder = MakeHolder(id, "user");
    options.purpose = id;
    options.permissions = permissions;
    options.stays_at_node = true;
    return Attachment::Attach(*graph_, node, options);
  }
};

// Every pair of single bits, used by one and unshared by the other, in both orders of arrival.
TEST_F(PermissionTest, AConflictNamesTheNodeTheBitsAndBothHolders) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 1}, true));
    chain.guest.CoDetach();
    const NodeId node = chain.nodes[0];
    for (PermissionSet bit : {kConsistentRead, kWrite, kWriteUnchanged, kResize}) {
      for (bool user_first : {true, false}) {
        const Permissions uses{bit, kAllPermissions};
        const Permissions refuses{kNoPermissions, kAllPermissions - bit};
        MILLRACE_ASSIGN_OR_RETURN(Attachment first, Use(user_first ? "uses" : "refuses", node,
                                                        user_first ? uses : refuses));
        const absl::Status refused =
            Use(user_first ? "refuses" : "uses", node, user_first ? refuses : uses).status();
        ExpectConflict(refused, ConflictReason::kPermission, "n0");
        const Conflict conflict = *ConflictOf(refused);
        EXPECT_EQ(conflict.detail, bit.ToString());
        EXPECT_EQ(conflict.holders,
                  (std::vector<ConflictHolder>{{"uses", "user", 0, "uses"},
                                               {"refuses", "user", 0, "refuses"}}));
        first.CoDetach();
      }
    }
    return absl::OkStatus();
  });
}

TEST_F(PermissionTest, OneUserMayRefuseToOthersWhatItDoesItself) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 1}, true));
    ExpectConflict(Use("second", chain.top(), {kWrite, kAllPermissions}).status(),
                   ConflictReason::kPermission, "n0");
    chain.guest.CoDetach();
    MILLRACE_ASSIGN_OR_RETURN(Attachment alone,
                              Use("alone", chain.top(), {kAllPermissions, kNoPermissions}));
    alone.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(PermissionTest, ALowerLayerCannotBeWrittenWhileTheGuestReliesOnIt) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    const absl::Status refused = Use("writer", chain.nodes[1], {kWrite, kAllPermissions}).status();
    ExpectConflict(refused, ConflictReason::kPermission, "n1");
    EXPECT_EQ(ConflictOf(refused)->holders[1].id, "n2");
    EXPECT_EQ(ConflictOf(refused)->holders[1].type, "node");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(PermissionTest, AReadOnlyNodeIsNotWritten) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                              CoMakeMemoryChain(*graph_, {.is_read_only = true}, true));
    const absl::Status refused =
        Use("w", chain.nodes[0], {kWriteUnchanged, kAllPermissions}).status();
    EXPECT_TRUE(absl::IsPermissionDenied(refused));
    ExpectConflict(refused, ConflictReason::kReadOnly, "n0");
    EXPECT_EQ(ConflictOf(refused)->holders.front().id, "w");
    // Who is in the way is told first: the overlay does not let others write.
    ExpectConflict(Use("w", chain.nodes[0], {kWrite, kAllPermissions}).status(),
                   ConflictReason::kPermission, "n0");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(PermissionTest, ARefusalLeavesAllPermissionsAsTheyWereAndLooseningNeverFails) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    MILLRACE_ASSIGN_OR_RETURN(Attachment reader,
                              Use("reader", chain.nodes[0], {kConsistentRead, kAllPermissions}));
    {
      GraphTransaction change(*graph_);
      change.SetPermissions(reader, {kWrite, kNoPermissions});
      ExpectConflict(change.Commit().status(), ConflictReason::kPermission, "n0");
    }
    {
      GraphView view(*graph_);
      EXPECT_EQ(view.Resolve(chain.nodes[0])->cumulative_permissions().used, kConsistentRead);
    }
    {
      GraphTransaction change(*graph_);
      change.SetPermissions(chain.guest, {kNoPermissions, kAllPermissions});
      change.SetPermissions(reader, {kWrite, kAllPermissions});
      EXPECT_TRUE(change.Commit().ok());
    }
    reader.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// Asks nothing of its child while it is there, as the filter of a commit does.
class HoldsBack final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "holds-back"; }
  Permissions DerivePermissions(const PermissionContext&) const override { return {}; }
  Permissions DeriveReserved(const PermissionContext& context) const override {
    return DeriveForFilter(context);
  }
};

// Who would be in the way of the filter's users once it is gone is refused when he comes; who says
// that he will be gone by then is not.
TEST_F(PermissionTest, WhatAFilterHoldsBackIsReservedBelowIt) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 1}, true));
    const NodeId node = chain.nodes[0];
    {
      MILLRACE_ASSIGN_OR_RETURN(const DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {node}, {}));
      GraphTransaction change(*graph_);
      change.Show(drained);
      change.InsertFilter(change.AddNode(std::make_unique<HoldsBack>(), {.name = "f"}), node);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    ExpectConflict(Use("writer", node, {kWrite, kAllPermissions}).status(),
                   ConflictReason::kPermission, "n0");
    ExpectConflict(Use("sole", node, {kNoPermissions, kAllPermissions - kConsistentRead}).status(),
                   ConflictReason::kPermission, "n0");
    MILLRACE_ASSIGN_OR_RETURN(Attachment reader,
                              Use("reader", node, {kConsistentRead, kAllPermissions}));
    AttachmentOptions options;
    options.permissions = {kWrite, kAllPermissions};
    options.reserved = Permissions();
    MILLRACE_ASSIGN_OR_RETURN(Attachment job, Attachment::Attach(*graph_, node, options));
    EXPECT_TRUE(graph_->CheckInvariants().ok());
    job.CoDetach();
    reader.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::permission_test
