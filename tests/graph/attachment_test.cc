#include "millrace/graph/attachment.h"

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/qcow2/qcow2_driver.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::attachment_test {
namespace {

class AttachmentTest : public GraphFixture {
 protected:
  absl::StatusOr<FrozenChain> Freeze(NodeId top, NodeId last) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    return FrozenChain::Freeze(view, top, last, me_);
  }

  const HolderRef me_ = MakeHolder("me", "test");
};

TEST_F(AttachmentTest, ItKeepsItsNodeAndFollowsItUnlessItStays) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(Attachment stays,
                              Attachment::Attach(*graph_, chain.top(), Keep(me_)));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.top(), me_));
    EXPECT_EQ(chain.guest.node(), filter);
    EXPECT_EQ(stays.node(), chain.top());
    chain.guest.CoDetach();
    EXPECT_FALSE(Find("pass").is_valid());
    EXPECT_EQ(graph_->node_count(), 3u);
    stays.CoDetach();
    EXPECT_EQ(graph_->node_count(), 0u);
    return absl::OkStatus();
  });
}

TEST_F(AttachmentTest, DetachingNamesTheNodesThatGo) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep,
                              Attachment::Attach(*graph_, chain.nodes[0], Keep(me_)));
    EXPECT_EQ(*chain.guest.Detach(), (std::vector<NodeId>{chain.nodes[2], chain.nodes[1]}));
    EXPECT_FALSE(chain.guest.is_attached());
    EXPECT_EQ(chain.guest.bytes(), 0u);
    EXPECT_FALSE(chain.guest.node().is_valid());
    EXPECT_TRUE(chain.guest.Detach()->empty());
    EXPECT_EQ(*keep.Detach(), std::vector<NodeId>{chain.nodes[0]});
    return absl::OkStatus();
  });
}

TEST_F(AttachmentTest, ADeviceNameIsFreeAgainAfterDetaching) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    {
      GraphView view(*graph_);
      EXPECT_EQ(view.FindDeviceOrNode("drive0")->name(), "n2");
    }
    MILLRACE_RETURN_IF_ERROR(chain.guest.Detach().status());
    {
      GraphView view(*graph_);
      EXPECT_TRUE(absl::IsNotFound(view.FindDeviceOrNode("drive0").status()));
    }
    MILLRACE_ASSIGN_OR_RETURN(
        chain.guest,
        Attachment::Attach(*graph_, chain.nodes[1], {.holder = me_, .device_name = "drive0"}));
    {
      GraphView view(*graph_);
      EXPECT_EQ(view.FindDeviceOrNode("drive0")->name(), "n1");
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(AttachmentTest, DetachingIsRefusedWhileRequestsAreQueuedOrInFlight) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    for (bool is_drained : {true, false}) {
      DrainedSection drained;
      if (is_drained) {
        MILLRACE_ASSIGN_OR_RETURN(drained, DrainedSection::CoBegin(*graph_, {chain.top()}, {me_}));
      }
      TaskScope scope("guest");
      char byte = 'x';
      scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
        return chain.guest.CoWrite(0, IoVector(&byte, 1));
      });
      CoYield();
      {
        GraphTransaction change(*graph_);
        change.Detach(chain.guest);
        const absl::Status refused = change.Validate();
        ExpectConflict(refused, ConflictReason::kNodeInUse, "n2");
        EXPECT_EQ(ConflictOf(refused)->holders.front().id, "drive0");
      }
      ExpectConflict(chain.guest.Detach().status(), ConflictReason::kNodeInUse, "n2");
      EXPECT_TRUE(chain.guest.is_attached());
      drained.End();
      MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(AttachmentTest, CoDetachWaitsForItsRequestsInFlightAndQueued) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (bool is_drained : {true, false}) {
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
      DrainedSection drained;
      if (is_drained) {
        MILLRACE_ASSIGN_OR_RETURN(drained, DrainedSection::CoBegin(*graph_, {chain.top()}, {me_}));
      }
      TaskScope scope("both");
      char byte = 'x';
      bool is_written = false;
      scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
        absl::Status status = chain.guest.CoWrite(0, IoVector(&byte, 1));
        is_written = true;
        return status;
      });
      CoYield();
      scope.Spawn("unplug", [&]() MILLRACE_MAY_SUSPEND {
        chain.guest.CoDetach();
        EXPECT_TRUE(is_written);
        EXPECT_EQ(graph_->node_count(), 0u);
      });
      for (int i = 0; i < 10; ++i) CoYield();
      EXPECT_EQ(chain.guest.is_attached(), is_drained || !is_written);
      drained.End();
      MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    }
    return absl::OkStatus();
  });
}

TEST_F(AttachmentTest, TheLastUserOfSomebodyElsesLeaseIsNotDetached) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    absl::StatusOr<FrozenChain> lease = Freeze(chain.nodes[2], chain.nodes[1]);
    MILLRACE_RETURN_IF_ERROR(lease.status());
    const absl::Status refused = chain.guest.Detach().status();
    ExpectConflict(refused, ConflictReason::kFrozenLink, "n1");
    EXPECT_EQ(ConflictOf(refused)->holders.front().id, "me");
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- n0");
    lease->Release();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// The attachment moves from the filter to the node below while it waits to detach.
TEST_F(AttachmentTest, CoDetachFollowsItsNode) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.top(), me_));
    HandDrivenJob job("job");
    const HolderRef holder = job.MakeHolderOf();
    MILLRACE_ASSIGN_OR_RETURN(Attachment work, Attachment::Attach(*graph_, filter, Keep(holder)));
    job.CoBeginStep();
    TaskScope scope("unplug");
    scope.Spawn("unplug", [&]() MILLRACE_MAY_SUSPEND { chain.guest.CoDetach(); });
    CoYield();
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {filter}, {holder}));
      GraphTransaction change(*graph_);
      change.Show(drained).OnBehalfOf(holder);
      change.Detach(work);
      change.RemoveFilter(filter);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    job.EndStep();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(graph_->node_count(), 0u);
    return absl::OkStatus();
  });
}

TEST_F(AttachmentTest, ItMayMoveWhileARequestIsUnderWay) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.top()}, {me_}));
    TaskScope scope("guest");
    char byte = 'x';
    scope.Spawn("guest",
                [&]() MILLRACE_MAY_SUSPEND { return chain.guest.CoWrite(0, IoVector(&byte, 1)); });
    CoYield();
    Attachment moved = std::move(chain.guest);
    drained.End();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    byte = 0;
    MILLRACE_RETURN_IF_ERROR(moved.CoRead(0, IoVector(&byte, 1)));
    EXPECT_EQ(byte, 'x');
    moved.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(AttachmentTest, RequestsOutsideTheNodeOrWithoutPermissionAreRefused) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    char byte = 'x';
    const IoVector one(&byte, 1);
    const uint64_t end = chain.guest.bytes();
    EXPECT_TRUE(absl::IsInvalidArgument(chain.guest.CoRead(end, one)));
    EXPECT_TRUE(absl::IsInvalidArgument(chain.guest.CoWrite(UINT64_MAX, one)));
    EXPECT_TRUE(absl::IsInvalidArgument(chain.guest.CoDiscard(ByteRange(end - 1, 2))));
    EXPECT_TRUE(absl::IsInvalidArgument(chain.guest.CoResize(end)));
    MILLRACE_ASSIGN_OR_RETURN(Attachment reader,
                              Attachment::Attach(*graph_, chain.nodes[0], Keep(me_)));
    EXPECT_TRUE(absl::IsInvalidArgument(reader.CoWrite(0, one)));
    EXPECT_TRUE(absl::IsInvalidArgument(reader.CoWriteZeroes(ByteRange(0, 1))));
    EXPECT_TRUE(absl::IsInvalidArgument(reader.CoDiscard(ByteRange(0, 1))));
    reader.CoDetach();
    EXPECT_TRUE(absl::IsFailedPrecondition(reader.CoRead(0, one)));
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// "n2" long, "n1" short, "n0" long: beyond the end of n1 the guest sees zeroes, whatever n0 holds.
TEST_F(AttachmentTest, AShortLayerDecidesTheZeroesBeyondItsEndForWhoeverAsks) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MemoryChainOptions options;
    for (uint64_t bytes : {4096u, 1024u, 4096u}) {
      options.images.push_back(std::make_shared<MemoryOverlayImage>(bytes, 512));
    }
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, options, false));
    const ByteRange beyond(2048, 512);
    for (NodeId first : {NodeId(), chain.nodes[2], chain.nodes[1]}) {
      MILLRACE_ASSIGN_OR_RETURN(AllocationRun run,
                                chain.guest.CoAllocation(beyond, first, chain.nodes[1]));
      EXPECT_TRUE(run.is_allocated) << first.ToString();
      EXPECT_TRUE(run.is_zero);
      EXPECT_EQ(run.layer, chain.nodes[1]);
    }
    MILLRACE_ASSIGN_OR_RETURN(AllocationRun top_only,
                              chain.guest.CoAllocation(beyond, NodeId(), chain.nodes[2]));
    EXPECT_FALSE(top_only.is_allocated);
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

using AttachmentDeathTest = AttachmentTest;

TEST_F(AttachmentDeathTest, DestroyingItWithRequestsUnderWayIsCaught) {
  EXPECT_DEATH(Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                 MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                                           CoMakeMemoryChain(*graph_, {}, false));
                 TaskScope scope("guest");
                 char byte = 'x';
                 scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND {
                   return chain.guest.CoWrite(0, IoVector(&byte, 1));
                 });
                 CoYield();
                 chain.guest = Attachment();
                 return scope.CoJoin();
               }),
               "destroyed too early: .*requests are in flight or queued");
}

TEST_F(AttachmentDeathTest, AGraphThatStillHasNodesIsNotDestroyed) {
  EXPECT_DEATH(
      {
        Attachment device;
        absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
          device = std::move(chain.guest);
          return absl::OkStatus();
        });
        graph_.reset();
      },
      "graph destroyed while nodes are attached: 'n2' by block device 'drive0'");
}

// Whoever waits in one engine for something of another waits for ever.
TEST_F(AttachmentDeathTest, AGraphIsUsedInCoroutinesOfItsOwnEngineOnly) {
  auto other = SimulatedEngine();
  const auto looking = [&] {
    (void)other->Run([&]() MILLRACE_MAY_SUSPEND { GraphView view(*graph_); });
  };
  EXPECT_DEATH(looking(), "a graph of one engine was used by coroutine 'main' of another");
  const auto reading = [&] {
    absl::StatusOr<MemoryChain> chain = absl::InternalError("not made");
    (void)engine_->Run([&]() MILLRACE_MAY_SUSPEND {
      chain = CoMakeMemoryChain(*graph_, {}, false);
      return chain.status();
    });
    (void)other->Run([&]() MILLRACE_MAY_SUSPEND {
      char byte = 0;
      return chain->guest.CoRead(0, IoVector(&byte, 1));
    });
  };
  EXPECT_DEATH(reading(), "a graph of one engine was used by coroutine 'main' of another");
}

TEST_F(AttachmentTest, ANodeThatWasNotOpenedAnswersWithARefusal) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Attachment user;
    {
      GraphTransaction change(*graph_);
      const NodeId node = change.AddNode(MakeMemoryDriver({.bytes = 4096}), {.name = "d"});
      user = change.Attach(node, {.permissions = {kAllPermissions, kAllPermissions}});
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    std::string bytes(512, 'x');
    const IoVector memory(bytes.data(), bytes.size());
    const ByteRange range(0, 512);
    ExpectConflict(user.CoRead(0, memory), ConflictReason::kNodeNotOpen, "d");
    ExpectConflict(user.CoWrite(0, memory), ConflictReason::kNodeNotOpen, "d");
    ExpectConflict(user.CoWriteZeroes(range), ConflictReason::kNodeNotOpen, "d");
    ExpectConflict(user.CoDiscard(range), ConflictReason::kNodeNotOpen, "d");
    ExpectConflict(user.CoFlush(), ConflictReason::kNodeNotOpen, "d");
    ExpectConflict(user.CoResize(8192), ConflictReason::kNodeNotOpen, "d");
    ExpectConflict(user.CoAllocation(range, {}, {}).status(), ConflictReason::kNodeNotOpen, "d");
    const absl::Status read = user.CoRead(0, memory);
    EXPECT_EQ(read.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(read.message(), "node 'd' is not open; CoOpenNode it first");
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, user.node()));
    EXPECT_TRUE(user.CoRead(0, memory).ok());
    user.CoDetach();
    return absl::OkStatus();
  });
}

// A format reads its file when it is opened.
TEST_F(AttachmentTest, AnOpenFormatNeedsAnOpenFile) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Attachment user;
    {
      GraphTransaction change(*graph_);
      const NodeId file = change.AddNode(MakeMemoryDriver({.bytes = 65536}), {.name = "file"});
      const NodeId format = change.AddNode(MakeQcow2Driver({}), {.name = "format"});
      change.AddChild(format, Role::kPrimary, file);
      user = change.Attach(format, {});
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    ExpectConflict(CoOpenNode(*graph_, user.node()), ConflictReason::kNodeNotOpen, "file");
    user.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(AttachmentTest, RefusalsOfRequestsSayWhy) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(
        Attachment reader, Attachment::Attach(*graph_, chain.top(),
                                              {.holder = MakeHolder("r", "reader"),
                                               .permissions = {kConsistentRead, kAllPermissions}}));
    std::string bytes(512, 'x');
    const IoVector memory(bytes.data(), bytes.size());
    ExpectConflict(reader.CoWrite(0, memory), ConflictReason::kNotPermitted, "n2");
    EXPECT_THAT(std::string(reader.CoWrite(0, memory).message()),
                testing::HasSubstr("reader 'r' did not ask for the permission 'write'"));
    ExpectConflict(chain.guest.CoForget({0, 512}), ConflictReason::kNotPermitted, "n2");
    EXPECT_EQ(ConflictOf(reader.CoWrite(0, memory))->holders.at(0).id, "r");
    ExpectConflict(reader.CoRead(reader.bytes(), memory), ConflictReason::kOutOfRange, "n2");
    reader.CoDetach();
    ExpectConflict(reader.CoRead(0, memory), ConflictReason::kNotAttached, "");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(AttachmentTest, ADeviceNameBelongsToOneAndTheRefusalNamesIt) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    const AttachmentOptions device{.holder = MakeHolder("a", "guest device"),
                                   .device_name = "virtio0"};
    MILLRACE_ASSIGN_OR_RETURN(Attachment first,
                              Attachment::Attach(*graph_, chain.nodes[0], device));
    absl::Status again = Attachment::Attach(*graph_, chain.nodes[0], device).status();
    ExpectConflict(again, ConflictReason::kDuplicateDeviceName, "virtio0");
    EXPECT_EQ(again.message(),
              "cannot attach a device 'virtio0': guest device 'a' has this name; choose another "
              "device name");
    again = Attachment::Attach(*graph_, chain.nodes[0], {.device_name = "n1"}).status();
    ExpectConflict(again, ConflictReason::kDuplicateDeviceName, "n1");
    EXPECT_EQ(ConflictOf(again)->holders.at(0).type, "node");
    first.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::attachment_test
