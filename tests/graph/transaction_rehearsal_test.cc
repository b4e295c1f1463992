#include "millrace/graph/graph_transaction.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/file.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/raw.h"
#include "tests/support/graph_fixture.h"

namespace millrace::transaction_rehearsal_test {
namespace {

class TransactionRehearsalTest : public GraphFixture {
 protected:
  const HolderRef me_ = MakeHolder("me", "test");
};

TEST_F(TransactionRehearsalTest, ARehearsalNeedsNoDrainAndRefusesAllElse) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    {
      GraphTransaction change(*graph_);
      change.SetBacking(chain.nodes[2], chain.nodes[0], std::nullopt);
      EXPECT_TRUE(change.Rehearse().ok());
    }
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- n0");
    {  // a cycle
      GraphTransaction change(*graph_);
      change.SetBacking(chain.nodes[0], chain.nodes[2], std::nullopt);
      EXPECT_FALSE(change.Rehearse().ok());
    }
    {  // the guest does not share writing
      AttachmentOptions writer = Keep(me_);
      writer.permissions.used = kWrite;
      GraphTransaction change(*graph_);
      const Attachment second = change.Attach(chain.nodes[2], writer);
      AttachmentOptions alone = writer;
      alone.permissions.shared = kConsistentRead;
      const Attachment third = change.Attach(chain.nodes[2], alone);
      EXPECT_EQ(ConflictOf(change.Rehearse())->reason, ConflictReason::kPermission);
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionRehearsalTest, APlanShowsNothingOfWhatOnlyADroppedNodeStandsOn) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    Attachment hold;
    NodeId disk;
    {
      GraphTransaction change(*graph_);
      const NodeId file = change.AddNode(MakeMemoryDriver({}), {.name = "file"});
      disk = change.AddNode(MakeRawDriver(), {.name = "disk"});
      change.AddChild(disk, Role::kPrimary, file);
      hold = change.Attach(disk, Keep(me_));
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    {
      GraphTransaction change(*graph_);
      EXPECT_EQ(change.Nodes().size(), 5u);
      change.Detach(hold);
      EXPECT_TRUE(change.Rehearse().ok());
      EXPECT_EQ(change.Nodes(), chain.nodes);
    }
    hold.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// What comes after it is called, and numbered, as if it had not been: where ids are new, and where
// those of nodes that went are used again. Nor does a plan that is dropped as it has been staged.
TEST_F(TransactionRehearsalTest, ARehearsalUsesUpNoGeneratedNameAndNoId) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (int nodes_before : {0, 3}) {
      for (int i = 0; i < nodes_before; ++i) {
        Attachment hold;
        {
          GraphTransaction change(*graph_);
          hold = change.Attach(AddOverlay(change, StrCat("b", i)), Keep(me_));
          MILLRACE_RETURN_IF_ERROR(change.Commit().status());
        }
        hold.CoDetach();
      }
      std::vector<std::vector<std::string>> planned;
      for (const bool is_rehearsal : {true, false, true}) {
        GraphTransaction change(*graph_);
        if (!is_rehearsal) change.ToRehearse();
        const NodeId top = AddOverlay(change, "");
        const NodeId base = AddOverlay(change, "");
        change.SetBacking(top, base, std::nullopt);
        Attachment hold = change.Attach(top, Keep(me_));
        planned.push_back({change.Resolve(top)->name(), top.ToString(),
                           change.Resolve(base)->name(), base.ToString()});
        EXPECT_TRUE(!is_rehearsal || change.Rehearse().ok());
      }
      EXPECT_EQ(planned[1], planned[0]);
      EXPECT_EQ(planned[2], planned[0]);
    }
    return absl::OkStatus();
  });
}

TEST_F(TransactionRehearsalTest, ANameMayBePassedForSomebodyWhoIsGoneByThen) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    std::vector<std::string> names;
    for (int i = 0; i < 2; ++i) {
      GraphTransaction change(*graph_);
      names.push_back(change.Resolve(AddOverlay(change, ""))->name());
      change.PassGeneratedName();
      names.push_back(change.Resolve(AddOverlay(change, ""))->name());
    }
    EXPECT_THAT(names, testing::ElementsAre("#block0", "#block2", "#block0", "#block2"));
    return absl::OkStatus();
  });
}

// A node that is only staged is told by its file, too.
TEST_F(TransactionRehearsalTest, ARefusalNamesTheFileOfANodeThatIsOnlyStaged) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    GraphTransaction change(*graph_);
    const NodeId file = change.AddNode(MakeFileDriver({.path = "disk.img"}), {.name = "file"});
    const NodeId raw = change.AddNode(MakeRawDriver(), {.is_read_only = true});
    change.AddChild(raw, Role::kPrimary, file);
    AttachmentOptions writer = Keep(me_);
    writer.permissions.used = kWrite;
    const Attachment guest = change.Attach(raw, writer);
    EXPECT_THAT(change.Rehearse().ToString(), testing::HasSubstr("'#block0 (disk.img)'"));
    return absl::OkStatus();
  });
}

// Edits that would follow one another: what one has put there the next may let go of, and a plan
// shows it no longer.
TEST_F(TransactionRehearsalTest, WhatWasRehearsedMayBeLetGoOfByWhatIsStagedAfterIt) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    {
      GraphTransaction change(*graph_);
      const NodeId file = change.AddNode(MakeMemoryDriver({}), {.name = "file"});
      const NodeId disk = AddOverlay(change, "disk");
      change.AddChild(disk, Role::kPrimary, file);
      Attachment hold = change.Attach(disk, Keep(me_));
      EXPECT_TRUE(change.Rehearse().ok());
      change.SetBacking(disk, chain.nodes[2], std::nullopt);
      EXPECT_TRUE(change.Rehearse().ok());
      EXPECT_EQ(change.Nodes().size(), 5u);
      change.Detach(hold);
      EXPECT_TRUE(change.Rehearse().ok());
      EXPECT_EQ(change.Nodes(), chain.nodes);
      EXPECT_TRUE(change.Resolve(chain.nodes[2])->parents().empty());
      // What nobody has held yet is refused as before.
      change.AddNode(MakeMemoryDriver({}), {.name = "nobody's"});
      EXPECT_FALSE(change.Rehearse().ok());
    }
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- n0");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// Edits that come one after another in earnest: the first that is refused is told, whatever is
// wrong with those after it.
TEST_F(TransactionRehearsalTest, StepByStepTheFirstMistakeIsTold) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    AttachmentOptions writer = Keep(me_);
    writer.permissions.used = kWrite;  // which the guest does not share
    for (const bool step_by_step : {false, true}) {
      GraphTransaction change(*graph_);
      const Attachment first = change.Attach(chain.nodes[2], Keep(me_));
      EXPECT_TRUE(!step_by_step || change.Rehearse().ok());
      const Attachment second = change.Attach(chain.nodes[2], writer);
      const absl::Status in_the_way = step_by_step ? change.Rehearse() : absl::OkStatus();
      change.SetBacking(chain.nodes[0], chain.nodes[2], std::nullopt);
      const absl::Status at_the_end = change.Rehearse();
      EXPECT_EQ(ConflictOf(step_by_step ? in_the_way : at_the_end)->reason,
                step_by_step ? ConflictReason::kPermission : ConflictReason::kCycle);
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionRehearsalTest, WhatHeldANodeForAStepIsNotToldOf) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    GraphTransaction change(*graph_);
    const NodeId file = change.AddNode(MakeMemoryDriver({}), {.name = "file"});
    {
      const Attachment hold = change.Attach(file, Keep(me_));
      EXPECT_TRUE(change.Rehearse().ok());
      EXPECT_THAT(change.DescribePlan(), testing::HasSubstr("attach"));
    }
    EXPECT_EQ(change.DescribePlan(), "add memory node 'file'");
    EXPECT_TRUE(change.Rehearse().ok());
    EXPECT_TRUE(change.Nodes().empty()) << "nothing holds it any more";
    return absl::OkStatus();
  });
}

TEST_F(TransactionRehearsalTest, ADeviceThatIsDetachedLeavesItsNameToAnother) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    AttachmentOptions options = Keep(me_);
    options.device_name = "cd";
    MILLRACE_ASSIGN_OR_RETURN(Attachment device,
                              Attachment::Attach(*graph_, chain.nodes[2], options));
    Attachment other;
    for (const bool detaches : {false, true}) {
      GraphTransaction change(*graph_);
      if (detaches) change.Detach(device);
      other = change.Attach(chain.nodes[1], options);
      const absl::Status status = change.Commit().status();
      EXPECT_EQ(status.ok(), detaches);
    }
    EXPECT_FALSE(device.is_attached());
    // The name is the other one's.
    EXPECT_FALSE(Attachment::Attach(*graph_, chain.nodes[0], options).ok());
    other.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(TransactionRehearsalTest, WhatWasRehearsedIsNeverApplied) {
  EXPECT_DEATH(
      Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
        MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                  DrainedSection::CoBegin(*graph_, {chain.nodes[2]}, {me_}));
        GraphTransaction change(*graph_);
        change.Show(drained).SetBacking(chain.nodes[2], chain.nodes[0], std::nullopt);
        change.Rehearse().IgnoreError();
        return change.Commit().status();
      }),
      "only rehearsed");
}

}  // namespace
}  // namespace millrace::transaction_rehearsal_test
