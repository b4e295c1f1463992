#include "millrace/graph/drain.h"

#include <algorithm>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/event.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"

namespace millrace::drain_test {
namespace {

class DrainTest : public GraphFixture {
 protected:
  void CoLetRun(int steps = 20) MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < steps; ++i) CoYield();
  }
  bool IsQuiesced(NodeId id) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    absl::StatusOr<NodeView> node = view.Resolve(id);
    return node.ok() && node->is_quiesced();
  }
  // One transaction that moves the attachments of `from` to `to`, showing `drained`.
  absl::Status Replace(NodeId from, NodeId to, const std::vector<const DrainedSection*>& drained)
      MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    for (const DrainedSection* section : drained) change.Show(*section);
    change.ReplaceNode(from, to);
    return change.Commit().status();
  }
  absl::StatusOr<Attachment> AttachJob(const HolderRef& holder, NodeId node) MILLRACE_OPENS_VIEW {
    return Attachment::Attach(*graph_, node, Keep(holder, "job"));
  }

  const HolderRef me_ = MakeHolder("me", "test");
  const HolderRef other_ = MakeHolder("other", "test");
};

TEST_F(DrainTest, GuestReadsThroughTheChainAndWritesToTheTop) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    std::string written(700, 'x');
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoWrite(300, IoVector::OfConst(written.data(), 700)));
    std::string read(1000, '?');
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoRead(200, IoVector(read.data(), 1000)));
    EXPECT_EQ(read, std::string(100, '\0') + written + std::string(200, '\0'));
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DrainTest, ARequestInFlightHoldsTheGrantUp) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    std::vector<std::string> order;
    TaskScope scope("both");
    char byte = 'a';
    scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      absl::Status status = chain.guest.CoWrite(0, IoVector(&byte, 1));
      order.push_back("written");
      return status;
    });
    scope.Spawn("drainer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
      order.push_back("drained");
      return absl::OkStatus();
    });
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(order, (std::vector<std::string>{"written", "drained"}));
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DrainTest, ARequestThatArrivesInADrainWaitsForItsEnd) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    std::vector<std::string> order;
    TaskScope scope("guests");
    char byte = 'a';
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[1]}, {}));
      scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
        absl::Status status = chain.guest.CoWrite(0, IoVector(&byte, 1));
        order.push_back("written");
        return status;
      });
      CoLetRun();
      order.push_back("undrained");
    }
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(order, (std::vector<std::string>{"undrained", "written"}));
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// R20 (b): the request is in flight from the moment the section ends, not from when it runs.
TEST_F(DrainTest, ADrainThatBeginsRightAfterAnotherWaitsForWhatQueuedInTheFirst) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    bool is_written = false;
    char byte = 'a';
    TaskScope scope("guest");
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection first,
                              DrainedSection::CoBegin(*graph_, {chain.top()}, {}));
    scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      absl::Status status = chain.guest.CoWrite(0, IoVector(&byte, 1));
      is_written = true;
      return status;
    });
    CoLetRun();
    first.End();
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection second,
                              DrainedSection::CoBegin(*graph_, {chain.top()}, {}));
    EXPECT_TRUE(is_written);
    second.End();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DrainTest, QueuedRequestsAreAdmittedInOrderAndOnlyByTheOutermostEnd) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection outer,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection inner,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[2]}, {me_}));
    std::vector<int> order;
    TaskScope scope("guests");
    for (int i = 0; i < 3; ++i) {
      scope.Spawn("guest", [&, i]() MILLRACE_MAY_SUSPEND -> absl::Status {
        char byte = 'a';
        absl::Status status = chain.guest.CoRead(0, IoVector(&byte, 1));
        order.push_back(i);
        return status;
      });
    }
    CoLetRun();
    inner.End();
    CoLetRun();
    EXPECT_TRUE(order.empty());
    EXPECT_TRUE(IsQuiesced(chain.nodes[2]));
    outer.End();
    EXPECT_FALSE(IsQuiesced(chain.nodes[2]));
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DrainTest, DrainGoesUpOnly) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    AttachmentOptions reader;
    reader.holder = other_;
    reader.permissions.used = kConsistentRead;
    MILLRACE_ASSIGN_OR_RETURN(Attachment below,
                              Attachment::Attach(*graph_, chain.nodes[0], reader));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[1]}, {}));
    EXPECT_TRUE(IsQuiesced(chain.nodes[2]));
    EXPECT_FALSE(IsQuiesced(chain.nodes[0]));
    char byte = 0;
    EXPECT_TRUE(below.CoRead(0, IoVector(&byte, 1)).ok());
    drained.End();
    below.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DrainTest, AMovedSectionEndsOnceAndAnEndedOneIsInert) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection first,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    DrainedSection moved = std::move(first);
    first.End();
    EXPECT_TRUE(IsQuiesced(chain.top()));
    MILLRACE_ASSIGN_OR_RETURN(moved, DrainedSection::CoBegin(*graph_, {chain.nodes[1]}, {me_}));
    EXPECT_FALSE(IsQuiesced(chain.nodes[0]));
    EXPECT_TRUE(IsQuiesced(chain.nodes[1]));
    moved.End();
    moved.End();
    EXPECT_FALSE(moved.is_active());
    EXPECT_FALSE(IsQuiesced(chain.nodes[1]));
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DrainTest, AStaleNodeCannotBeDrained) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    const NodeId gone = chain.nodes[1];
    chain.guest.CoDetach();
    ExpectConflict(DrainedSection::CoBegin(*graph_, {gone}, {}).status(),
                   ConflictReason::kStaleNode, "n1");
    return absl::OkStatus();
  });
}

// ---- Nodes that go -----------------------------------------------------------------------------

TEST_F(DrainTest, ASectionOutlivesTheNodeItWasBegunOn) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.nodes[1], me_));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {filter}, {me_}));
    {
      GraphTransaction change(*graph_);
      change.Show(drained).RemoveFilter(filter);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    graph_->CoWaitForReaper();  // the filter is freed here
    EXPECT_FALSE(IsQuiesced(chain.top()));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection next,
                              DrainedSection::CoBegin(*graph_, {chain.top()}, {me_}));
    next.End();
    drained.End();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DrainTest, APendingSectionWhoseNodeGoesIsGranted) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    HandDrivenJob job("job");
    const HolderRef holder = job.MakeHolderOf();
    MILLRACE_ASSIGN_OR_RETURN(Attachment work, AttachJob(holder, chain.top()));
    job.CoBeginStep();
    bool is_granted = false;
    TaskScope scope("drainer");
    scope.Spawn("drainer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.top()}, {}));
      is_granted = true;
      return absl::OkStatus();
    });
    CoLetRun();
    EXPECT_FALSE(is_granted);
    EXPECT_EQ(job.quiesce_count(), 1);
    EXPECT_TRUE(chain.guest.Detach().ok());
    EXPECT_TRUE(work.Detach().ok());  // the last user of the chain goes in the middle of its step
    EXPECT_EQ(job.quiesce_count(), 0);
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_TRUE(is_granted);
    job.EndStep();
    return absl::OkStatus();
  });
}

// G7: a closing format writes back into its file; not while somebody has drained that.
class WritesWhenClosed final : public FormatDriver {
 public:
  std::string_view driver_name() const override { return "writes-when-closed"; }
  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND {
    context_ = &context;
    return absl::OkStatus();
  }
  void CoClose() override MILLRACE_MAY_SUSPEND {
    char byte = 'c';
    EXPECT_TRUE(context_->CoWriteChild(Role::kPrimary, 0, IoVector(&byte, 1), {}).ok());
  }
  uint64_t bytes() const override { return 512; }
  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND {
    return Extent{range.bytes, ExtentKind::kData, HostOffset(range.offset)};
  }
  absl::StatusOr<std::unique_ptr<Allocation>> CoAllocate(ByteRange, WriteFlags) override
      MILLRACE_MAY_SUSPEND {
    return absl::UnimplementedError("no writes");
  }
  absl::Status CoLink(Allocation&) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  void CoAbandon(Allocation&) override MILLRACE_MAY_SUSPEND {}
  absl::Status CoFlushMetadata() override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }

 private:
  DriverContext* context_ = nullptr;
};

TEST_F(DrainTest, ADroppedNodeDoesNotWriteBackIntoADrainedFile) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    auto image = std::make_shared<MemoryImage>();
    image->bytes = 512;
    Attachment device;
    Attachment file_user;
    NodeId file;
    NodeId format;
    {
      GraphTransaction change(*graph_);
      file = change.AddNode(MakeMemoryDriver({.image = image}), {});
      format = change.AddNode(std::make_unique<WritesWhenClosed>(), {});
      change.AddChild(format, Role::kPrimary, file);
      device = change.Attach(format, Keep(me_));
      file_user = change.Attach(file, Keep(other_));
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, file));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, format));
    char byte = 0;
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {file}, {other_}));
      EXPECT_TRUE(device.Detach().ok());
      CoLetRun();
      EXPECT_TRUE(file_user.CoRead(0, IoVector(&byte, 1)).ok());
      EXPECT_EQ(byte, 0);
    }
    graph_->CoWaitForReaper();
    EXPECT_TRUE(file_user.CoRead(0, IoVector(&byte, 1)).ok());
    EXPECT_EQ(byte, 'c');
    file_user.CoDetach();
    return absl::OkStatus();
  });
}

// ---- Jobs and owners ---------------------------------------------------------------------------

TEST_F(DrainTest, AJobInTheMiddleOfAStepHoldsTheGrantUpAndTakesNoStepAfterIt) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    HandDrivenJob job("job");
    const HolderRef holder = job.MakeHolderOf();
    MILLRACE_ASSIGN_OR_RETURN(Attachment work, AttachJob(holder, chain.nodes[1]));
    std::vector<std::string> order;
    Event may_end_step("may end");
    TaskScope scope("both");
    scope.Spawn("job", [&]() MILLRACE_MAY_SUSPEND {
      job.CoBeginStep();
      may_end_step.CoWait();
      order.push_back("step one ended");
      job.EndStep();
      job.CoBeginStep();  // completing, say: a step like any other
      order.push_back("step two");
      job.EndStep();
    });
    CoLetRun(3);
    scope.Spawn("drainer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
      order.push_back("drained");
      CoLetRun();
      order.push_back("undrained");
      return absl::OkStatus();
    });
    CoLetRun();
    EXPECT_TRUE(order.empty());
    may_end_step.Set();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(order,
              (std::vector<std::string>{"step one ended", "drained", "undrained", "step two"}));
    EXPECT_TRUE(work.Detach().ok());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DrainTest, TwoJobsThatDrainEachOtherTakeTurnsOldestFirst) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    HandDrivenJob jobs[] = {HandDrivenJob("one"), HandDrivenJob("two")};
    const HolderRef holders[] = {jobs[0].MakeHolderOf(), jobs[1].MakeHolderOf()};
    std::vector<Attachment> work;
    for (const HolderRef& holder : holders) {
      MILLRACE_ASSIGN_OR_RETURN(Attachment attachment, AttachJob(holder, chain.top()));
      work.push_back(std::move(attachment));
    }
    std::vector<std::string> order;
    TaskScope scope("jobs");
    for (int i = 0; i < 2; ++i) {
      scope.Spawn("job", [&, i]() MILLRACE_MAY_SUSPEND -> absl::Status {
        jobs[i].CoBeginStep();
        CoLetRun(3);  // both are in their step when the first one drains
        MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                  DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {holders[i]}));
        order.push_back("in " + std::to_string(i));
        CoLetRun();
        order.push_back("out " + std::to_string(i));
        drained.End();
        jobs[i].EndStep();
        return absl::OkStatus();
      });
    }
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(order, (std::vector<std::string>{"in 0", "out 0", "in 1", "out 1"}));
    work.clear();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// The same for holders that nothing can bring to rest, such as a monitor's.
TEST_F(DrainTest, SectionsThatCoverEachOthersOwnersAreNotGrantedAtOnce) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    std::vector<Attachment> keep;
    for (const HolderRef& holder : {me_, other_}) {
      MILLRACE_ASSIGN_OR_RETURN(Attachment attachment, AttachJob(holder, chain.top()));
      keep.push_back(std::move(attachment));
    }
    int inside = 0;
    int inside_max = 0;
    TaskScope scope("monitors");
    for (const HolderRef& holder : {me_, other_}) {
      scope.Spawn("monitor", [&, holder]() MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                  DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {holder}));
        inside_max = std::max(inside_max, ++inside);
        CoLetRun();
        --inside;
        return absl::OkStatus();
      });
    }
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(inside_max, 1);
    keep.clear();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// A job that becomes quiet while a section is still being set up must not be the reason to grant it
// before everything it covers has been looked at.
class QuietAtOnce final : public Quiescable {
 public:
  void BeginQuiesce() override {
    is_quiet_ = true;
    NotifyQuiet();
  }
  void EndQuiesce() override { is_quiet_ = false; }
  bool is_quiet() const override { return is_quiet_; }
  std::string DescribeQuiescable() const override { return "test job 'at once'"; }
  void EnterQuietWait() override {}
  void CoLeaveQuietWait() override MILLRACE_MAY_SUSPEND {}
  void OnSectionGranted() override {}
  void OnSectionEnded() override {}

 private:
  bool is_quiet_ = false;
};

TEST_F(DrainTest, AJobThatIsQuietAtOnceDoesNotGrantForTheOthers) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    QuietAtOnce quick;
    HandDrivenJob slow("slow");
    const HolderRef quick_holder = MakeHolder("quick", "test job", 0, &quick);
    const HolderRef slow_holder = slow.MakeHolderOf();
    MILLRACE_ASSIGN_OR_RETURN(Attachment one, AttachJob(quick_holder, chain.top()));
    MILLRACE_ASSIGN_OR_RETURN(Attachment two, AttachJob(slow_holder, chain.top()));
    slow.CoBeginStep();
    bool is_granted = false;
    TaskScope scope("drainer");
    scope.Spawn("drainer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
      is_granted = true;
      return absl::OkStatus();
    });
    CoLetRun();
    EXPECT_FALSE(is_granted);
    slow.EndStep();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_TRUE(one.Detach().ok());
    EXPECT_TRUE(two.Detach().ok());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// ---- Edits under a drain -----------------------------------------------------------------------

TEST_F(DrainTest, AUserThatAttachesToADrainedNodeIsHeldFromTheStart) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    HandDrivenJob job("job");
    const HolderRef holder = job.MakeHolderOf();
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    MILLRACE_ASSIGN_OR_RETURN(Attachment work, AttachJob(holder, chain.nodes[1]));
    EXPECT_TRUE(job.is_held());
    drained.End();
    EXPECT_FALSE(job.is_held());
    EXPECT_TRUE(work.Detach().ok());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DrainTest, ANewOverlayOnADrainedNodeIsCoveredAndReleasedWithIt) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    Attachment device;
    NodeId overlay;
    {
      GraphTransaction change(*graph_);
      overlay = AddOverlay(change, "overlay");
      change.SetBacking(overlay, chain.nodes[0], std::nullopt);
      device = change.Attach(overlay, {.holder = other_});
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    EXPECT_TRUE(IsQuiesced(overlay));
    drained.End();
    EXPECT_FALSE(IsQuiesced(overlay));
    device.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

struct ReplaceCase {
  bool old_is_drained;
  bool new_is_drained;
  bool has_queued;
};

// R18: the guest's attachment moves from one node to another. In no case does a request slip
// through while either side is drained.
class ReplaceUnderDrainTest : public DrainTest, public testing::WithParamInterface<ReplaceCase> {};

TEST_P(ReplaceUnderDrainTest, NothingSlipsThroughWhileTheAttachmentMoves) {
  const ReplaceCase param = GetParam();
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    const NodeId old_node = chain.nodes[2];
    const NodeId new_node = chain.nodes[1];
    std::vector<DrainedSection> sections(2);
    if (param.old_is_drained) {
      MILLRACE_ASSIGN_OR_RETURN(sections[0], DrainedSection::CoBegin(*graph_, {old_node}, {me_}));
    }
    if (param.new_is_drained) {
      MILLRACE_ASSIGN_OR_RETURN(sections[1], DrainedSection::CoBegin(*graph_, {new_node}, {me_}));
    }
    TaskScope scope("guest");
    bool is_read = false;
    if (param.has_queued) {
      scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
        char byte = 0;
        absl::Status status = chain.guest.CoRead(0, IoVector(&byte, 1));
        is_read = true;
        return status;
      });
      // Drained above or below, the attachment queues it; else it must have ended before the move.
      CoLetRun();
    }
    const bool was_held = param.old_is_drained || param.new_is_drained;
    EXPECT_EQ(is_read, param.has_queued && !was_held);
    MILLRACE_RETURN_IF_ERROR(Replace(old_node, new_node, {&sections[0], &sections[1]}));
    EXPECT_EQ(chain.guest.node(), new_node);
    CoLetRun();
    // Held on the new side only if that is drained.
    EXPECT_EQ(is_read, param.has_queued && !param.new_is_drained);
    sections.clear();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(is_read, param.has_queued);
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

INSTANTIATE_TEST_SUITE_P(
    All, ReplaceUnderDrainTest,
    testing::Values(ReplaceCase{false, false, false}, ReplaceCase{false, false, true},
                    ReplaceCase{false, true, false}, ReplaceCase{false, true, true},
                    ReplaceCase{true, false, false}, ReplaceCase{true, false, true},
                    ReplaceCase{true, true, false}, ReplaceCase{true, true, true}));

TEST_F(DrainTest, AFilterPutAboveADrainedNodeIsDrainedToo) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.top(), me_));
    EXPECT_EQ(chain.guest.node(), filter);
    EXPECT_TRUE(IsQuiesced(filter));
    MILLRACE_RETURN_IF_ERROR(CoRemovePass(filter, me_));
    EXPECT_TRUE(IsQuiesced(chain.top()));
    drained.End();
    EXPECT_FALSE(IsQuiesced(chain.top()));
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DrainTest, APendingDrainSaysWhomItWaitsFor) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    HandDrivenJob job("slow");
    const HolderRef holder = job.MakeHolderOf();
    MILLRACE_ASSIGN_OR_RETURN(Attachment work, AttachJob(holder, chain.top()));
    job.CoBeginStep();
    TaskScope scope("drainer");
    scope.Spawn("drainer", [&]() MILLRACE_MAY_SUSPEND {
      return DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}).status();
    });
    CoLetRun();
    const std::string waits = engine_->scheduler().DescribeWaits();
    EXPECT_NE(waits.find("drain of 'n0'"), std::string::npos) << waits;
    EXPECT_NE(waits.find("test job 'slow'"), std::string::npos) << waits;
    job.EndStep();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_TRUE(work.Detach().ok());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::drain_test
