// Going read-only and writable, other options, opening, and the headers that follow an edit.
#include <algorithm>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/raw.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/reopen_nodes.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/zero_file.h"

namespace millrace::reopen_test {
namespace {

// A file whose reopening takes steps, and tells if two of them meet.
class ReopenedFile final : public ZeroFile {
 public:
  struct Log {
    int preparing = 0;
    int preparing_max = 0;
    int committed = 0;
    int aborted = 0;
    int closed = 0;
    bool fails = false;
  };
  explicit ReopenedFile(Log& log) : ZeroFile("reopened", 4096), log_(log) {}

  void CoClose() override MILLRACE_MAY_SUSPEND { ++log_.closed; }
  absl::Status CoPrepareReopen(bool) override MILLRACE_MAY_SUSPEND {
    log_.preparing_max = std::max(log_.preparing_max, ++log_.preparing);
    for (int i = 0; i < 5; ++i) CoYield();
    --log_.preparing;
    return log_.fails ? absl::PermissionDeniedError("no") : absl::OkStatus();
  }
  void CommitReopen(bool) override { ++log_.committed; }
  void CoAbortReopen(bool) override MILLRACE_MAY_SUSPEND { ++log_.aborted; }

 private:
  Log& log_;
};

class ReopenTest : public GraphFixture {
 protected:
  bool IsReadOnly(NodeId id) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    return view.Resolve(id)->is_read_only();
  }
  absl::StatusOr<Attachment> AddFile(const std::string& name, bool is_read_only)
      MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    const NodeId node = change.AddNode(std::make_unique<ReopenedFile>(log_),
                                       {.name = name, .is_read_only = is_read_only});
    Attachment keep = change.Attach(node, Keep(me_));
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    return keep;
  }
  absl::Status SetBacking(const MemoryChain& chain, size_t overlay, size_t base,
                          const DrainedSection& drained, std::vector<HeaderUpdate>* headers)
      MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    change.Show(drained).SetBacking(
        chain.nodes[overlay], chain.nodes[base],
        BackingReference{"img-" + std::to_string(base), "memory-overlay"});
    MILLRACE_ASSIGN_OR_RETURN(AppliedEdit edit, change.Commit());
    *headers = edit.headers;
    return absl::OkStatus();
  }
  absl::Status CoSetBacking(const MemoryChain& chain, size_t overlay, size_t base,
                            std::vector<HeaderUpdate>* headers) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[overlay]}, {me_}));
    return SetBacking(chain, overlay, base, drained, headers);
  }

  const HolderRef me_ = MakeHolder("me", "test");
  const HolderRef other_ = MakeHolder("other", "test");
  ReopenedFile::Log log_;
};

// ---- Read-only ---------------------------------------------------------------------------------

// R08: at most one reopening at a time per node, whoever asks.
TEST_F(ReopenTest, TwoReopeningsOfOneNodeDoNotMeet) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep, AddFile("f", true));
    const NodeId node = keep.node();
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, node));
    TaskScope scope("both");
    for (const HolderRef& holder : {me_, other_}) {
      scope.Spawn("reopen", [&, holder]() MILLRACE_MAY_SUSPEND {
        return CoSetReadOnly(*graph_, node, false, holder);
      });
    }
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(log_.preparing_max, 1);
    EXPECT_EQ(log_.committed, 1);  // the second found it as wanted
    EXPECT_FALSE(IsReadOnly(node));
    keep.CoDetach();
    EXPECT_EQ(log_.closed, 1);
    return absl::OkStatus();
  });
}

// G7: schedules of "stream 3-2 and commit 5-4, with odd branches", seed 1673. A job that makes its
// base read-only again finds it drained by somebody else, and is attached to it: not awake.
TEST_F(ReopenTest, AJobComesQuietIntoASectionThatSomebodyElseHolds) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep, AddFile("f", false));
    const NodeId node = keep.node();
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, node));
    HandDrivenJob job("job");
    TaskScope scope("job");
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {node}, {other_}));
      scope.Spawn("job", [&]() MILLRACE_MAY_SUSPEND {
        job.CoBeginStep();
        absl::Status status = CoSetReadOnly(*graph_, node, true, job.MakeHolderOf());
        EXPECT_TRUE(job.is_in_step());
        job.EndStep();
        return status;
      });
      while (job.quiesce_count() == 0) CoYield();
      EXPECT_EQ(job.times_held_awake(), 0);
    }
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_TRUE(IsReadOnly(node));
    keep.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ReopenTest, ANodeWhoseUserLeavesDuringAReopeningLivesToItsEnd) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep, AddFile("f", true));
    const NodeId node = keep.node();
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, node));
    TaskScope scope("reopen");
    scope.Spawn("reopen",
                [&]() MILLRACE_MAY_SUSPEND { return CoSetReadOnly(*graph_, node, false, other_); });
    while (log_.preparing == 0) CoYield();
    EXPECT_TRUE(keep.Detach().ok());
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(log_.committed, 1);
    EXPECT_EQ(log_.closed, 1);  // and is closed before the reopening returns
    return absl::OkStatus();
  });
}

TEST_F(ReopenTest, AFailedReopeningLeavesEverythingAsItWas) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep, AddFile("f", true));
    const NodeId node = keep.node();
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, node));
    log_.fails = true;
    EXPECT_TRUE(absl::IsPermissionDenied(CoSetReadOnly(*graph_, node, false, me_)));
    EXPECT_TRUE(IsReadOnly(node));
    EXPECT_EQ(log_.committed + log_.aborted, 0);
    log_.fails = false;
    MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(*graph_, node, false, me_));
    EXPECT_TRUE(keep.is_attached());
    keep.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ReopenTest, ANodeWithAWriterCannotBecomeReadOnlyAndTheDriverIsToldSo) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep, AddFile("f", false));
    const NodeId node = keep.node();
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, node));
    AttachmentOptions writer;
    writer.holder = other_;
    writer.permissions.used = kWrite;
    MILLRACE_ASSIGN_OR_RETURN(Attachment writes, Attachment::Attach(*graph_, node, writer));
    const absl::Status refused = CoSetReadOnly(*graph_, node, true, me_);
    ExpectConflict(refused, ConflictReason::kReadOnly, "f");
    EXPECT_EQ(ConflictOf(refused)->holders.front().id, "other");
    EXPECT_EQ(log_.aborted, 1);
    EXPECT_FALSE(IsReadOnly(node));
    writes.CoDetach();
    keep.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ReopenTest, AFilterAndWhatItShowsChangeTogetherUnlessOthersStillWriteBelow) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep, AddFile("f", false));
    const NodeId file = keep.node();
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, file));
    MILLRACE_ASSIGN_OR_RETURN(
        Attachment device,
        Attachment::Attach(*graph_, file, {.holder = MakeHolder("d", "device")}));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", file, me_));
    MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(*graph_, filter, true, me_));
    EXPECT_TRUE(IsReadOnly(filter));
    EXPECT_TRUE(IsReadOnly(file));
    MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(*graph_, filter, false, me_));
    EXPECT_FALSE(IsReadOnly(file));
    AttachmentOptions writer;
    writer.holder = other_;
    writer.permissions.used = kWrite;
    writer.stays_at_node = true;
    MILLRACE_ASSIGN_OR_RETURN(Attachment writes, Attachment::Attach(*graph_, file, writer));
    MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(*graph_, filter, true, me_));
    EXPECT_TRUE(IsReadOnly(filter));
    EXPECT_FALSE(IsReadOnly(file));
    writes.CoDetach();
    device.CoDetach();
    keep.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ReopenTest, AStaleNodeIsNamed) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep, AddFile("f", true));
    const NodeId node = keep.node();
    keep.CoDetach();
    EXPECT_EQ(log_.closed, 0);  // never opened
    ExpectConflict(CoSetReadOnly(*graph_, node, false, me_), ConflictReason::kStaleNode, "f");
    ExpectConflict(CoOpenNode(*graph_, node), ConflictReason::kStaleNode, "f");
    return absl::OkStatus();
  });
}

// ---- Headers -----------------------------------------------------------------------------------

TEST_F(ReopenTest, TheHeaderFollowsTheEditAlsoOfAReadOnlyOverlay) {
  for (bool is_read_only : {false, true}) {
    Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(
          MemoryChain chain,
          CoMakeMemoryChain(*graph_, {.layers = 4, .is_read_only = is_read_only}, true));
      std::vector<HeaderUpdate> headers;
      MILLRACE_RETURN_IF_ERROR(CoSetBacking(chain, 2, 0, &headers));
      EXPECT_EQ(chain.Header(2), "img-1");  // edit first, header second (R04)
      MILLRACE_RETURN_IF_ERROR(CoSyncBackingHeaders(*graph_, headers, me_));
      EXPECT_EQ(chain.Header(2), "img-0");
      EXPECT_EQ(IsReadOnly(chain.nodes[2]), is_read_only);  // R62
      chain.monitor.clear();
      chain.guest.CoDetach();
      return absl::OkStatus();
    });
  }
}

TEST_F(ReopenTest, OnlyTheNewestEditWritesTheHeader) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 4}, true));
    std::vector<HeaderUpdate> first;
    std::vector<HeaderUpdate> second;
    MILLRACE_RETURN_IF_ERROR(CoSetBacking(chain, 3, 1, &first));
    MILLRACE_RETURN_IF_ERROR(CoSetBacking(chain, 3, 0, &second));
    MILLRACE_RETURN_IF_ERROR(CoSyncBackingHeaders(*graph_, first, me_));
    EXPECT_EQ(chain.Header(3), "img-2");  // left to the later writer
    MILLRACE_RETURN_IF_ERROR(CoSyncBackingHeaders(*graph_, second, me_));
    EXPECT_EQ(chain.Header(3), "img-0");
    chain.monitor.clear();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ReopenTest, AnOverlayThatIsGoneIsSuccess) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    std::vector<HeaderUpdate> headers;
    MILLRACE_RETURN_IF_ERROR(CoSetBacking(chain, 2, 0, &headers));
    chain.guest.CoDetach();
    EXPECT_TRUE(CoSyncBackingHeaders(*graph_, headers, me_).ok());
    EXPECT_EQ(chain.Header(2), "img-1");
    return absl::OkStatus();
  });
}

// Two jobs whose edits both changed a read-only overlay, each draining it once to write its header.
// Whether their edges end with the edit or later: a job that waits for its header is no obstacle to
// the drains of the other one's.
class SyncTest : public ReopenTest, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(StaysAttached, SyncTest, testing::Bool());

TEST_P(SyncTest, TwoJobsThatSyncOneReadOnlyOverlayBothFinish) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(
        MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 4, .is_read_only = true}, true));
    HandDrivenJob jobs[] = {HandDrivenJob("one"), HandDrivenJob("two")};
    const HolderRef holders[] = {jobs[0].MakeHolderOf(), jobs[1].MakeHolderOf()};
    std::vector<Attachment> work;
    for (const HolderRef& holder : holders) {
      MILLRACE_ASSIGN_OR_RETURN(Attachment attachment,
                                Attachment::Attach(*graph_, chain.nodes[2], Keep(holder)));
      work.push_back(std::move(attachment));
    }
    TaskScope scope("jobs");
    for (size_t i = 0; i < 2; ++i) {
      scope.Spawn("job", [&, i]() MILLRACE_MAY_SUSPEND -> absl::Status {
        jobs[i].CoBeginStep();
        std::vector<HeaderUpdate> headers;
        {
          MILLRACE_ASSIGN_OR_RETURN(
              DrainedSection drained,
              DrainedSection::CoBegin(*graph_, {chain.nodes[2]}, {holders[i]}));
          MILLRACE_RETURN_IF_ERROR(SetBacking(chain, 2, i, drained, &headers));
        }
        if (!GetParam()) MILLRACE_RETURN_IF_ERROR(work[i].Detach().status());
        MILLRACE_RETURN_IF_ERROR(CoSyncBackingHeaders(*graph_, headers, holders[i]));
        jobs[i].EndStep();
        return absl::OkStatus();
      });
    }
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(chain.Header(2), "img-1");
    EXPECT_TRUE(IsReadOnly(chain.nodes[2]));
    work.clear();
    chain.monitor.clear();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// The drain waits for the job, whose header waits for the drain: the job must count as quiet.
TEST_F(ReopenTest, AHeaderOfAJobThatIsStillAttachedDoesNotBlockADrain) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    HandDrivenJob job("job");
    const HolderRef holder = job.MakeHolderOf();
    MILLRACE_ASSIGN_OR_RETURN(Attachment work,
                              Attachment::Attach(*graph_, chain.nodes[2], Keep(holder)));
    std::vector<HeaderUpdate> headers;
    job.CoBeginStep();
    {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[2]}, {holder}));
      MILLRACE_RETURN_IF_ERROR(SetBacking(chain, 2, 0, drained, &headers));
    }
    TaskScope scope("drainer");
    scope.Spawn("drainer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                DrainedSection::CoBegin(*graph_, {chain.nodes[2]}, {other_}));
      EXPECT_EQ(chain.Header(2), "img-1");
      return absl::OkStatus();
    });
    CoYield();
    MILLRACE_RETURN_IF_ERROR(CoSyncBackingHeaders(*graph_, headers, holder));
    EXPECT_EQ(chain.Header(2), "img-0");
    job.EndStep();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    work.CoDetach();
    chain.monitor.clear();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// G7: a header is not written inside somebody else's drained section.
TEST_F(ReopenTest, AHeaderWaitsForTheEndOfAForeignDrain) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    std::vector<HeaderUpdate> headers;
    MILLRACE_RETURN_IF_ERROR(CoSetBacking(chain, 2, 0, &headers));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[2]}, {other_}));
    TaskScope scope("sync");
    scope.Spawn("sync",
                [&]() MILLRACE_MAY_SUSPEND { return CoSyncBackingHeaders(*graph_, headers, me_); });
    for (int i = 0; i < 20; ++i) CoYield();
    EXPECT_EQ(chain.Header(2), "img-1");
    drained.End();
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    EXPECT_EQ(chain.Header(2), "img-0");
    chain.monitor.clear();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// ---- Options ------------------------------------------------------------------------------------

constexpr uint64_t kFileBytes = 4096;
constexpr Permissions kWriter = {kConsistentRead | kWrite, kAllPermissions};
constexpr Permissions kResizer = {kConsistentRead | kResize, kAllPermissions};

// "raw" without options over "f", and who uses them.
struct RawOnFile {
  NodeId file;
  NodeId raw;
  std::vector<Attachment> users;

  void CoGo() MILLRACE_MAY_SUSPEND {
    for (Attachment& user : users) user.CoDetach();
  }
};

class ReopenOptionsTest : public ReopenTest {
 protected:
  absl::Status Link(RawOnFile* world) MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    world->file = change.AddNode(MakeMemoryDriver({.bytes = kFileBytes}), {.name = "f"});
    world->raw = change.AddNode(MakeRawDriver(), {.name = "raw"});
    change.AddChild(world->raw, Role::kPrimary, world->file);
    world->users.push_back(change.Attach(world->raw, Keep(me_)));
    return change.Commit().status();
  }
  absl::Status AddShorterFile(RawOnFile* world) MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    world->file = change.AddNode(MakeMemoryDriver({.bytes = kFileBytes / 4}), {.name = "s"});
    world->users.push_back(change.Attach(world->file, Keep(me_)));
    return change.Commit().status();
  }
  absl::StatusOr<RawOnFile> CoMakeShorterFile() MILLRACE_MAY_SUSPEND {
    RawOnFile world;
    MILLRACE_RETURN_IF_ERROR(AddShorterFile(&world));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, world.file));
    return world;
  }
  absl::StatusOr<RawOnFile> CoMakeRaw() MILLRACE_MAY_SUSPEND {
    RawOnFile world;
    MILLRACE_RETURN_IF_ERROR(Link(&world));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, world.file));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, world.raw));
    return world;
  }
  absl::Status Use(RawOnFile& world, NodeId node, Permissions permissions) MILLRACE_OPENS_VIEW {
    AttachmentOptions options;
    options.holder = other_;
    options.permissions = permissions;
    MILLRACE_ASSIGN_OR_RETURN(Attachment user, Attachment::Attach(*graph_, node, options));
    world.users.push_back(std::move(user));
    return absl::OkStatus();
  }
  absl::Status CoSetWindow(NodeId raw, const RawOptions& options) MILLRACE_MAY_SUSPEND {
    std::vector<NodeChange> changes(1);
    changes[0].node = raw;
    changes[0].fresh = MakeRawDriver(options);
    return CoReopenNodes(*graph_, std::move(changes), me_);
  }
  uint64_t BytesOf(NodeId id) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    return view.Resolve(id)->bytes();
  }
  bool IsShared(NodeId id, PermissionSet permissions) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    return view.Resolve(id)->cumulative_permissions().shared.Contains(permissions);
  }
};

// G5, which is looked at after every step.
TEST_F(ReopenOptionsTest, AWindowUnderAWriterKeepsOthersFromResizingTheFileFromThenOn) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(RawOnFile world, CoMakeRaw());
    MILLRACE_RETURN_IF_ERROR(Use(world, world.raw, kWriter));
    EXPECT_TRUE(IsShared(world.file, kResize));
    MILLRACE_RETURN_IF_ERROR(CoSetWindow(world.raw, {0, 1024}));
    EXPECT_EQ(BytesOf(world.raw), 1024u);
    EXPECT_FALSE(IsShared(world.file, kResize));
    ExpectConflict(Use(world, world.file, kResizer), ConflictReason::kPermission, "f");
    MILLRACE_RETURN_IF_ERROR(CoSetWindow(world.raw, {}));
    EXPECT_EQ(BytesOf(world.raw), kFileBytes);
    EXPECT_TRUE(IsShared(world.file, kResize));
    MILLRACE_RETURN_IF_ERROR(Use(world, world.file, kResizer));
    world.CoGo();
    return absl::OkStatus();
  });
}

TEST_F(ReopenOptionsTest, AWindowOnAFileThatSomebodyResizesIsRefusedAndNothingChanges) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (const Permissions& above : {Permissions(), kWriter}) {
      MILLRACE_ASSIGN_OR_RETURN(RawOnFile world, CoMakeRaw());
      MILLRACE_RETURN_IF_ERROR(Use(world, world.raw, above));
      MILLRACE_RETURN_IF_ERROR(Use(world, world.file, kResizer));
      const absl::Status refused = CoSetWindow(world.raw, {0, 1024});
      ExpectConflict(refused, ConflictReason::kPermission, "f");
      EXPECT_EQ(ConflictOf(refused)->detail, "resize");
      EXPECT_EQ(BytesOf(world.raw), kFileBytes);
      EXPECT_TRUE(IsShared(world.file, kResize));
      world.CoGo();
    }
    return absl::OkStatus();
  });
}

TEST_F(ReopenOptionsTest, ADryRunIsRefusedLikewiseAndTakesNothing) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(RawOnFile world, CoMakeRaw());
    for (const bool is_resized : {false, true}) {
      if (is_resized) MILLRACE_RETURN_IF_ERROR(Use(world, world.file, kResizer));
      std::vector<NodeChange> changes(1);
      changes[0].node = world.raw;
      changes[0].fresh = MakeRawDriver({0, 1024});
      GraphTransaction edit(*graph_);
      StageReopen(edit, changes);
      EXPECT_EQ(edit.DescribePlan(), "set the options of 'raw'");
      const absl::Status status = edit.Rehearse();
      EXPECT_EQ(status.ok(), !is_resized) << status;
      EXPECT_EQ(edit.Resolve(world.raw)->bytes(), kFileBytes);
    }
    world.CoGo();
    return absl::OkStatus();
  });
}

// Whoever asked may have looked before the drain, and at the file that was there then.
TEST_F(ReopenOptionsTest, AWindowLiesInsideTheFileThatIsThereThen) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(RawOnFile world, CoMakeRaw());
    ExpectConflict(CoSetWindow(world.raw, {kFileBytes - 511, 512}), ConflictReason::kInvalidOption,
                   "raw");
    MILLRACE_ASSIGN_OR_RETURN(RawOnFile shorter, CoMakeShorterFile());
    for (const uint64_t bytes : {kFileBytes / 2, kFileBytes / 4}) {
      std::vector<NodeChange> changes(1);
      changes[0].node = world.raw;
      changes[0].fresh = MakeRawDriver({0, bytes});
      changes[0].children.push_back({Role::kPrimary, "file", shorter.file});
      const absl::Status status = CoReopenNodes(*graph_, std::move(changes), me_);
      EXPECT_EQ(status.ok(), bytes == kFileBytes / 4) << status;
      EXPECT_EQ(BytesOf(world.raw), status.ok() ? bytes : kFileBytes);
    }
    world.CoGo();
    shorter.CoGo();
    return absl::OkStatus();
  });
}

TEST_F(ReopenOptionsTest, WhatANodeSharesByForceFollowsItsOptions) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(RawOnFile world, CoMakeRaw());
    MILLRACE_RETURN_IF_ERROR(CoSetWindow(world.raw, {0, 1024}));
    for (const bool is_forced : {true, false}) {
      std::vector<NodeChange> changes(1);
      changes[0].node = world.raw;
      changes[0].is_read_only = true;
      changes[0].io = NodeIoOptions{.shares_by_force = is_forced};
      MILLRACE_RETURN_IF_ERROR(CoReopenNodes(*graph_, std::move(changes), me_));
      EXPECT_EQ(IsShared(world.file, kResize), is_forced);
    }
    world.CoGo();
    return absl::OkStatus();
  });
}

// G6: options are taken while nothing is under way.
TEST_F(ReopenOptionsTest, OptionsOfANodeThatIsNotDrainedAreRefusedAndSoIsASecondWord) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(RawOnFile world, CoMakeRaw());
    MILLRACE_RETURN_IF_ERROR(Use(world, world.raw, kWriter));
    for (const int words : {1, 2}) {
      GraphTransaction edit(*graph_);
      edit.OnBehalfOf(me_);
      for (int i = 0; i < words; ++i) edit.ChangeOptions(world.raw, {.io = NodeIoOptions()});
      const absl::Status refused = edit.Validate();
      if (words == 2) {
        EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
      } else {
        ExpectConflict(refused, ConflictReason::kNotDrained, "raw");
      }
    }
    world.CoGo();
    return absl::OkStatus();
  });
}

// ---- Several nodes in one step -------------------------------------------------------------------

// One change takes the last link to the node of another: that is done as well, and then closed.
TEST_F(ReopenTest, ANodeThatTheSameReopeningLetsGoOfIsReopenedAndGoes) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (const bool goes_first : {false, true}) {
      log_ = {};
      MILLRACE_ASSIGN_OR_RETURN(Attachment file, AddFile("f", true));
      MILLRACE_ASSIGN_OR_RETURN(Attachment other, AddFile("o", true));
      const NodeId going = file.node();
      MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, going));
      MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, other.node()));
      NodeId filter;
      Attachment keep;
      {
        GraphTransaction change(*graph_);
        filter = change.AddNode(std::make_unique<PassFilter>(), {.name = "pass"});
        change.AddChild(filter, Role::kFiltered, going, "file");
        keep = change.Attach(filter, Keep(me_));
        MILLRACE_RETURN_IF_ERROR(change.Commit().status());
      }
      MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, filter));
      file.CoDetach();  // the filter keeps it
      std::vector<NodeChange> changes(2);
      NodeChange& leaves = changes[goes_first ? 1 : 0];
      leaves.node = filter;
      leaves.children.push_back({Role::kFiltered, "file", other.node()});
      NodeChange& goes = changes[goes_first ? 0 : 1];
      goes.node = going;
      goes.is_read_only = false;
      goes.io = NodeIoOptions();
      MILLRACE_RETURN_IF_ERROR(CoReopenNodes(*graph_, std::move(changes), me_));
      EXPECT_EQ(log_.committed, 1);
      EXPECT_EQ(log_.closed, 1) << "before the reopening returns";
      keep.CoDetach();
      other.CoDetach();
    }
    return absl::OkStatus();
  });
}

TEST_F(ReopenTest, ANodeThatStandsTwiceInAReopeningIsRefusedAndNothingIsPrepared) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep, AddFile("f", true));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, keep.node()));
    std::vector<NodeChange> changes(2);
    for (NodeChange& change : changes) {
      change.node = keep.node();
      change.is_read_only = false;
    }
    const absl::Status refused = CoReopenNodes(*graph_, std::move(changes), me_);
    EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
    EXPECT_EQ(log_.preparing_max, 0);
    EXPECT_TRUE(IsReadOnly(keep.node()));
    keep.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::reopen_test
