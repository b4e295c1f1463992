// Mirrors while somebody changes what lies below their source: a raw image's file, what a filter
// stands on, a backing. What was acknowledged before the disk moves is in the target.
//
// QEMU 7.2, asked with `raw <- file` and a writable NBD export on each: both are let in, and what
// is written to the file while the raw node is mirrored is missing in the target.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/sync/event.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/filters/throttle.h"
#include "millrace/graph/filters/throttle_group.h"
#include "millrace/graph/reopen_nodes.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/jobs/mirror_below_support.h"

namespace millrace::mirror_below_test {
namespace {

// ---- Building graphs ---------------------------------------------------------------------------

absl::StatusOr<NodeId> CoAddThrottle(MirrorWorld& world, NodeId below) MILLRACE_MAY_SUSPEND {
  auto group = std::make_shared<ThrottleGroup>(world.graph().engine().scheduler(), "group",
                                               ThrottleLimits());
  return CoAdd(world, "throttle", MakeThrottleDriver(std::move(group)), {{Role::kFiltered, below}});
}

absl::StatusOr<NodeId> CoAddOverlay(MirrorWorld& world, std::string name,
                                    std::optional<NodeId> backing, uint64_t bytes = kBytes)
    MILLRACE_MAY_SUSPEND {
  MemoryOverlayOptions options;
  options.bytes = bytes;
  if (backing) options.backing = {"img-below", "memory-overlay"};
  options.filename = StrCat("img-", name);
  std::vector<std::pair<Role, NodeId>> below;
  if (backing) below.emplace_back(Role::kBacking, *backing);
  return CoAdd(world, std::move(name), MakeMemoryOverlayDriver(std::move(options)), below);
}

absl::StatusOr<Attachment> Come(MirrorWorld& world, NodeId node, Permissions permissions = kShared)
    MILLRACE_OPENS_VIEW {
  return Attach(world, node, MakeHolder("other", "export"), permissions);
}

// As a snapshot does: whoever stands on the node stands on the overlay, and that on the node.
absl::Status PutOverlay(MirrorWorld& world, const DrainedSection& drained, NodeId overlay,
                        NodeId node) MILLRACE_OPENS_VIEW {
  GraphTransaction change(world.graph());
  change.Show(drained).OnBehalfOf(world.chain.monitor_holder);
  change.ReplaceNode(node, overlay);
  change.SetBacking(overlay, node, std::nullopt);
  return change.Commit().status();
}

absl::Status CoPutOverlay(MirrorWorld& world, NodeId overlay, NodeId node) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(
      const DrainedSection drained,
      DrainedSection::CoBegin(world.graph(), {node, overlay}, {world.chain.monitor_holder}));
  return PutOverlay(world, drained, overlay, node);
}

// ---- Parts of the stories ----------------------------------------------------------------------

absl::Status CoSetOptions(MirrorWorld& world, NodeId node, std::unique_ptr<Driver> fresh)
    MILLRACE_MAY_SUSPEND {
  std::vector<NodeChange> changes(1);
  changes[0].node = node;
  changes[0].fresh = std::move(fresh);
  return CoReopenNodes(world.graph(), std::move(changes), world.chain.monitor_holder);
}

// A ready mirror of all that the guest sees on `source` to "t".
absl::Status CoStartOn(MirrorWorld& world, NodeId source) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(world.chain.guest, Attach(world, source, world.chain.guest_holder));
  world.chain.nodes = {source};
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  return absl::OkStatus();
}

// The disk moves to the target and shows what it showed.
absl::Status CoCompleteAndCompare(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const std::string before, CoContent(world.chain.guest));
  MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
  MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
  EXPECT_EQ(world.Shape(), "t");
  MILLRACE_ASSIGN_OR_RETURN(const std::string after, CoContent(world.chain.guest));
  EXPECT_TRUE(after == before);
  return absl::OkStatus();
}

// Mirrors `source`, and somebody writes sector 5 of it where that lies in `below`.
absl::Status CoWriteBelow(MirrorWorld& world, NodeId source, NodeId below, uint64_t first_sector)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartOn(world, source));
  MILLRACE_ASSIGN_OR_RETURN(Attachment other, Come(world, below));
  MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other, first_sector + 5, 2, 'o'));
  MILLRACE_ASSIGN_OR_RETURN(const std::string seen, CoContent(world.chain.guest));
  EXPECT_EQ(seen.substr(5 * kSector, 2 * kSector), std::string(2 * kSector, 'o'));
  return CoCompleteAndCompare(world);
}

// ---- Where others write ------------------------------------------------------------------------

TEST(MirrorBelow, WhatIsWrittenToTheFileOfARawSourceIsInTheTarget) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, kBytes));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", file));
    return CoWriteBelow(world, raw, file, 0);
  });
}

TEST(MirrorBelow, WhatIsWrittenToAWindowsFileIsInTheTarget) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, kBytes + 6 * kSector));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId outer,
                              CoAddRaw(world, "outer", file, {2 * kSector, {}}));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", outer, {kSector, kBytes}));
    return CoWriteBelow(world, raw, file, 3);
  });
}

TEST(MirrorBelow, WhatIsWrittenBelowAFilterIsInTheTarget) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, kBytes));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", file));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId throttle, CoAddThrottle(world, raw));
    return CoWriteBelow(world, throttle, file, 0);
  });
}

TEST(MirrorBelow, WhatIsWrittenToARawBackingsFileIsInTheTarget) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, kBytes));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", file));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId top, CoAddOverlay(world, "top", raw));
    return CoWriteBelow(world, top, file, 0);
  });
}

// ---- The graph changes below -------------------------------------------------------------------

// Whoever stood on the node below a filter, or on a backing, stands on its new overlay.
absl::Status CoSnapshotBelow(MirrorWorld& world, NodeId source, NodeId below) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartOn(world, source));
  MILLRACE_ASSIGN_OR_RETURN(Attachment other, Come(world, below));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId overlay, CoAddOverlay(world, "o", std::nullopt));
  MILLRACE_RETURN_IF_ERROR(CoPutOverlay(world, overlay, below));
  EXPECT_EQ(other.node(), overlay);
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
  MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other, 5, 2, 'o'));
  return CoCompleteAndCompare(world);
}

TEST(MirrorBelow, WhatIsWrittenToASnapshotBelowAFilterIsInTheTarget) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId image, CoAddOverlay(world, "image", std::nullopt));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId throttle, CoAddThrottle(world, image));
    return CoSnapshotBelow(world, throttle, image);
  });
}

TEST(MirrorBelow, WhatIsWrittenToASnapshotOfABackingIsInTheTarget) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId base, CoAddOverlay(world, "base", std::nullopt));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId top, CoAddOverlay(world, "top", base));
    return CoSnapshotBelow(world, top, base);
  });
}

// The overlay need not be empty.
TEST(MirrorBelow, WhatAnImageThatComesBelowShowsIsInTheTarget) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId base, CoAddOverlay(world, "base", std::nullopt));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId top, CoAddOverlay(world, "top", base));
    MILLRACE_RETURN_IF_ERROR(CoStartOn(world, top));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId overlay, CoAddOverlay(world, "o", std::nullopt));
    {
      MILLRACE_ASSIGN_OR_RETURN(Attachment writer, Come(world, overlay));
      MILLRACE_RETURN_IF_ERROR(CoWriteSectors(writer, 3, 1, 'x'));
      writer.CoDetach();
    }
    MILLRACE_RETURN_IF_ERROR(CoPutOverlay(world, overlay, base));
    return CoCompleteAndCompare(world);
  });
}

TEST(MirrorBelow, AWindowThatIsMovedBelowAFilterIsMirroredAnew) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, kBytes + kSector));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", file, {0, kBytes}));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId throttle, CoAddThrottle(world, raw));
    MILLRACE_ASSIGN_OR_RETURN(Attachment other, Come(world, file));
    for (uint64_t i = 0; i <= kSectors; ++i) {
      MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other, i, 1, static_cast<char>('a' + i)));
    }
    MILLRACE_RETURN_IF_ERROR(CoStartOn(world, throttle));
    MILLRACE_RETURN_IF_ERROR(CoSetOptions(world, raw, MakeRawDriver({kSector, kBytes})));
    MILLRACE_ASSIGN_OR_RETURN(const std::string seen, CoContent(world.chain.guest));
    EXPECT_EQ(seen[0], 'b');
    MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other, kSectors, 1, 'z'));
    return CoCompleteAndCompare(world);
  });
}

TEST(MirrorBelow, WhatABackingsWindowThatShrinksShowsNoMoreIsZeroInTheTarget) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, kBytes));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", file, {0, kBytes}));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId top, CoAddOverlay(world, "top", raw));
    MILLRACE_ASSIGN_OR_RETURN(Attachment other, Come(world, file));
    MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other, 0, kSectors, 'b'));
    MILLRACE_RETURN_IF_ERROR(CoStartOn(world, top));
    MILLRACE_RETURN_IF_ERROR(CoSetOptions(world, raw, MakeRawDriver({0, 5 * kSector})));
    MILLRACE_ASSIGN_OR_RETURN(const std::string seen, CoContent(world.chain.guest));
    EXPECT_EQ(seen[5 * kSector], '\0');
    return CoCompleteAndCompare(world);
  });
}

TEST(MirrorBelow, WhatABackingThatShrinksShowsNoMoreIsZeroInTheTarget) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId base, CoAddOverlay(world, "base", std::nullopt));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId top, CoAddOverlay(world, "top", base));
    MILLRACE_ASSIGN_OR_RETURN(
        Attachment other, Come(world, base, {kConsistentRead | kWrite | kResize, kAllPermissions}));
    MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other, 0, kSectors, 'b'));
    MILLRACE_RETURN_IF_ERROR(CoStartOn(world, top));
    MILLRACE_RETURN_IF_ERROR(other.CoResize(5 * kSector));
    MILLRACE_ASSIGN_OR_RETURN(const std::string seen, CoContent(world.chain.guest));
    EXPECT_EQ(seen.substr(4 * kSector, 2 * kSector),
              std::string(kSector, 'b') + std::string(kSector, '\0'));
    return CoCompleteAndCompare(world);
  });
}

// ---- An image leaves the chain -----------------------------------------------------------------

ChildChange Backing(std::optional<NodeId> backing) { return {Role::kBacking, "backing", backing}; }

absl::Status CoFill(MirrorWorld& world, NodeId image, uint64_t first, uint64_t count, char byte)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(Attachment writer, Come(world, image));
  const absl::Status status = CoWriteSectors(writer, first, count, byte);
  writer.CoDetach();
  return status;
}

// "top <- mid <- base", bottom first; of base's bytes mid hides some.
absl::StatusOr<std::vector<NodeId>> CoAddThree(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const NodeId base, CoAddOverlay(world, "base", std::nullopt));
  MILLRACE_RETURN_IF_ERROR(CoFill(world, base, 0, kSectors, 'b'));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId mid, CoAddOverlay(world, "mid", base));
  MILLRACE_RETURN_IF_ERROR(CoFill(world, mid, 3, 2, 'm'));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId top, CoAddOverlay(world, "top", mid));
  return std::vector<NodeId>{base, mid, top};
}

// A mirror of "top <- mid <- base" is ready when links change; sector 3 shows `byte` afterwards.
using LinkChanges =
    std::function<std::vector<std::pair<NodeId, ChildChange>>(const std::vector<NodeId>& nodes)>;
void MirrorWhileLinksChange(const LinkChanges& links, char byte) {
  RunOnce([&](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<NodeId> nodes, CoAddThree(world));
    MILLRACE_RETURN_IF_ERROR(CoStartOn(world, nodes[2]));
    MILLRACE_ASSIGN_OR_RETURN(const std::string before, CoContent(world.chain.guest));
    EXPECT_EQ(before[3 * kSector], 'm');
    std::vector<NodeChange> changes;
    for (const auto& [node, child] : links(nodes)) {
      changes.emplace_back().node = node;
      changes.back().children.push_back(child);
    }
    MILLRACE_RETURN_IF_ERROR(
        CoReopenNodes(world.graph(), std::move(changes), world.chain.monitor_holder));
    MILLRACE_ASSIGN_OR_RETURN(const std::string seen, CoContent(world.chain.guest));
    EXPECT_EQ(seen[3 * kSector], byte);
    return CoCompleteAndCompare(world);
  });
}

TEST(MirrorBelow, WhatABackingThatIsTakenOutShowedIsGoneFromTheTarget) {
  using Nodes = std::vector<NodeId>;
  using Links = std::vector<std::pair<NodeId, ChildChange>>;
  MirrorWhileLinksChange([](const Nodes& n) { return Links{{n[2], Backing(n[0])}}; }, 'b');
  MirrorWhileLinksChange([](const Nodes& n) { return Links{{n[2], Backing(std::nullopt)}}; }, '\0');
  MirrorWhileLinksChange([](const Nodes& n) { return Links{{n[1], Backing(std::nullopt)}}; }, 'm');
  MirrorWhileLinksChange(
      [](const Nodes& n) {
        return Links{{n[2], Backing(n[0])}, {n[1], Backing(std::nullopt)}, {n[0], Backing(n[1])}};
      },
      'b');
}

// Nor is there anything new to copy.
TEST(MirrorBelow, WhatAStreamTakesOutIsShownAsBefore) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<NodeId> nodes, CoAddThree(world));
    MILLRACE_RETURN_IF_ERROR(CoStartOn(world, nodes[2]));
    MILLRACE_ASSIGN_OR_RETURN(const JobInfo before, world.jobs().Query("m"));
    StreamOptions stream;
    stream.job.spec.id = "s";
    stream.top = nodes[1];
    MILLRACE_RETURN_IF_ERROR(CoStartStream(world.graph(), world.jobs(), stream).status());
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("s"));
    EXPECT_EQ(world.Shape(), "[#block0] <- top <- mid");
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
    MILLRACE_ASSIGN_OR_RETURN(const JobInfo after, world.jobs().Query("m"));
    EXPECT_EQ(after.total, before.total);
    return CoCompleteAndCompare(world);
  });
}

// ---- The graph's permissions change below ------------------------------------------------------

enum class End { kComplete, kCancel, kForce };

// `before`: the graph without the mirror.
absl::Status CoEndMirror(MirrorWorld& world, End end, const std::string& before)
    MILLRACE_MAY_SUSPEND {
  if (end == End::kComplete) {
    MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
  } else {
    MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", end == End::kForce));
  }
  // How it has ended is seen from the graph.
  world.CoWaitUntilOver("m").IgnoreError();
  EXPECT_EQ(world.Shape(), end == End::kComplete ? "t" : before);
  return absl::OkStatus();
}

// Asks for more than its users, as it is told by its options.
class WishFilter final : public FilterDriver {
 public:
  explicit WishFilter(PermissionSet wishes) : wishes_(wishes) {}
  std::string_view driver_name() const override { return "wish"; }
  Permissions DerivePermissions(const PermissionContext& context) const override {
    const Permissions derived = DeriveForFilter(context);
    return {derived.used | wishes_, derived.shared};
  }
  void TakeOptionsOf(Driver& fresh) override { wishes_ = static_cast<WishFilter&>(fresh).wishes_; }
  const Driver& AsWithOptionsOf(const Driver& fresh) const override { return fresh; }

 private:
  PermissionSet wishes_;
};

// A job's end looks at the permissions of its source: it is not what finds out that options of the
// source's are in somebody's way.
TEST(MirrorBelow, OptionsThatAreInTheWayBelowAreRefusedWhenTheyAreSetAndNotWhenTheJobEnds) {
  for (const End end : {End::kComplete, End::kCancel, End::kForce}) {
    RunOnce([end](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, kBytes));
      MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", file));
      MILLRACE_RETURN_IF_ERROR(CoAddRaw(world, "window", file, {0, kBytes / 2}).status());
      MILLRACE_ASSIGN_OR_RETURN(const NodeId wish,
                                CoAdd(world, "wish", std::make_unique<WishFilter>(kNoPermissions),
                                      {{Role::kFiltered, raw}}));
      MILLRACE_RETURN_IF_ERROR(CoStartOn(world, wish));
      const absl::Status refused = CoSetOptions(world, wish, std::make_unique<WishFilter>(kResize));
      const std::optional<Conflict> conflict = ConflictOf(refused);
      EXPECT_TRUE(conflict && conflict->reason == ConflictReason::kPermission) << refused;
      EXPECT_TRUE(world.graph().CheckInvariants().ok());
      return CoEndMirror(world, end, "[wish] <- raw");
    });
  }
}

// Windows stand side by side, each with its writers.
TEST(MirrorBelow, ASourceThatBecomesAWindowBesideAnotherOneIsMirroredToTheEnd) {
  for (const End end : {End::kComplete, End::kCancel, End::kForce}) {
    RunOnce([end](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, kBytes));
      MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", file));
      MILLRACE_ASSIGN_OR_RETURN(const NodeId window,
                                CoAddRaw(world, "window", file, {0, kBytes / 2}));
      MILLRACE_ASSIGN_OR_RETURN(Attachment neighbour, Come(world, window));
      MILLRACE_RETURN_IF_ERROR(CoStartOn(world, raw));
      MILLRACE_RETURN_IF_ERROR(CoSetOptions(world, raw, MakeRawDriver({0, kBytes})));
      MILLRACE_RETURN_IF_ERROR(CoWriteSectors(neighbour, 0, 1, 'n'));
      EXPECT_TRUE(world.graph().CheckInvariants().ok());
      return CoEndMirror(world, end, "raw");
    });
  }
}

// ---- The end -----------------------------------------------------------------------------------

// Takes its time for every write.
class SlowFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "slow"; }
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    CoSleepFor(kWriteTime).IgnoreError();
    return FilterDriver::CoWrite(offset, source, flags);
  }

 private:
  static constexpr Nanoseconds kWriteTime = 4 * kMillisecond;
};

// They write all over the backing, faster than what they have written can be copied: 64 KiB at a
// time are, in four milliseconds, and in each of these they change 256 KiB.
TEST(MirrorBelow, WritersThatNeverStopDoNotKeepItFromEnding) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    constexpr uint64_t kDiskBytes = uint64_t{4} << 20;
    constexpr uint64_t kGranularity = 4096;
    constexpr uint64_t kWriters = 64;
    constexpr uint64_t kPart = kDiskBytes / kWriters;
    constexpr uint64_t kWrites = 300000;
    MILLRACE_ASSIGN_OR_RETURN(const NodeId base,
                              CoAddOverlay(world, "base", std::nullopt, kDiskBytes));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId top, CoAddOverlay(world, "top", base, kDiskBytes));
    MILLRACE_ASSIGN_OR_RETURN(world.chain.guest, Attach(world, top, world.chain.guest_holder));
    world.chain.nodes = {base, top};
    MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage(kDiskBytes));
    options.granularity = kGranularity;
    options.buffer_bytes = 64 << 10;
    MILLRACE_ASSIGN_OR_RETURN(options.target, CoAdd(world, "slow", std::make_unique<SlowFilter>(),
                                                    {{Role::kFiltered, options.target}}));
    MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
    EXPECT_TRUE(world.CoWaitUntilReady("m"));
    MILLRACE_ASSIGN_OR_RETURN(Attachment other, Come(world, base));
    uint64_t writes = 0;
    bool is_over = false;
    Event are_at_work{"all write"};
    TaskScope scope("other");
    for (uint64_t writer = 0; writer < kWriters; ++writer) {
      scope.Spawn("writer", [&, writer]() MILLRACE_MAY_SUSPEND -> absl::Status {
        for (uint64_t at = 0; ++writes < kWrites && !is_over; at = (at + kGranularity) % kPart) {
          const uint64_t sector = (writer * kPart + at) / kSector;
          MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other, sector, 1, 'w'));
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(4 * kMillisecond));
          if (writes > 2 * kDiskBytes / kGranularity) are_at_work.Set();
        }
        return absl::OkStatus();
      });
    }
    are_at_work.CoWait();
    MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
    absl::Status status = world.CoWaitUntilOver("m");
    is_over = true;
    status.Update(scope.CoJoin());
    EXPECT_LT(writes, kWrites);
    EXPECT_EQ(world.Shape(), "[slow] <- t");
    return status;
  });
}

// Once it is told to, lets a last flush pass outside the section, and holds those that come then.
struct HeldFlush {
  bool holds = false;
  std::function<absl::Status()> before_section{};  // called by the flush that passes
  Event begins{"a flush begins"};
  Event release{"release of the flush"};
};

class HoldFlushFilter final : public FilterDriver {
 public:
  explicit HoldFlushFilter(HeldFlush& held) : held_(held) {}
  std::string_view driver_name() const override { return "hold"; }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND {
    if (held_.holds && held_.before_section) {
      MILLRACE_RETURN_IF_ERROR(std::exchange(held_.before_section, nullptr)());
    } else if (held_.holds) {
      held_.begins.Set();
      held_.release.CoWait();
    }
    return FilterDriver::CoFlush();
  }

 private:
  HeldFlush& held_;
};

using Meanwhile = std::function<absl::Status(MirrorWorld& world, NodeId below)>;

// `source` is mirrored to "t" below a filter; `meanwhile` runs in the last flush of the end.
absl::Status CoInTheLastFlushOf(MirrorWorld& world, NodeId source, NodeId below, HeldFlush& held,
                                const Meanwhile& meanwhile) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(world.chain.guest, Attach(world, source, world.chain.guest_holder));
  world.chain.nodes = {source};
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
  MILLRACE_ASSIGN_OR_RETURN(options.target,
                            CoAdd(world, "hold", std::make_unique<HoldFlushFilter>(held),
                                  {{Role::kFiltered, options.target}}));
  options.job.spec.finalizes_automatically = false;
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
  EXPECT_TRUE(world.CoWaitForState("m", JobState::kPending));
  MILLRACE_RETURN_IF_ERROR(CoWriteSectors(world.chain.guest, 1, 1, 'g'));
  held.before_section = [&]() MILLRACE_MAY_SUSPEND {
    return CoWriteSectors(world.chain.guest, 1, 1, 'G');  // to be flushed in the section
  };
  held.holds = true;
  MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
  held.begins.CoWait();
  MILLRACE_RETURN_IF_ERROR(meanwhile(world, below));
  EXPECT_EQ(world.Shape().substr(0, 1), "[");  // the mirror's filter
  held.holds = false;
  held.release.Set();
  MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
  EXPECT_EQ(world.Shape(), "[hold] <- t");
  return absl::OkStatus();
}

// The same of "top <- base".
absl::Status CoInTheLastFlush(MirrorWorld& world, HeldFlush& held, const Meanwhile& meanwhile)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const NodeId base, CoAddOverlay(world, "base", std::nullopt));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId top, CoAddOverlay(world, "top", base));
  return CoInTheLastFlushOf(world, top, base, held, meanwhile);
}

absl::Status CoExpect(MirrorWorld& world, uint64_t sector, char byte) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const std::string seen, CoContent(world.chain.guest));
  EXPECT_EQ(seen.substr(sector * kSector, kSector), std::string(kSector, byte));
  return absl::OkStatus();
}

absl::Status GiveUpPermissions(MirrorWorld& world, const Attachment& user) MILLRACE_OPENS_VIEW {
  GraphTransaction change(world.graph());
  change.SetPermissions(user, {kNoPermissions, kAllPermissions});
  return change.Commit().status();
}

// He comes, writes once, and is no writer any more.
TEST(MirrorBelow, WhatSomebodyWritesDuringTheLastFlushIsInTheTarget) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    HeldFlush held;
    Attachment other;
    const Meanwhile write = [&](MirrorWorld&, NodeId base) MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(other, Come(world, base));
      MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other, 7, 1, 'o'));
      return GiveUpPermissions(world, other);
    };
    MILLRACE_RETURN_IF_ERROR(CoInTheLastFlush(world, held, write));
    return CoExpect(world, 7, 'o');
  });
}

// Nobody but the guest writes to the file of a raw source: who reads it goes on.
TEST(MirrorBelow, WhoReadsTheFileOfARawSourceIsNotAtRestWhenTheDiskMoves) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, kBytes));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", file));
    MILLRACE_ASSIGN_OR_RETURN(Attachment reader,
                              Come(world, file, {kConsistentRead, kAllPermissions}));
    HeldFlush held;
    bool has_read = false;
    TaskScope scope("other");
    absl::Status status = CoInTheLastFlushOf(
        world, raw, file, held, [&](MirrorWorld&, NodeId) MILLRACE_MAY_SUSPEND -> absl::Status {
          scope.Spawn("reader", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
            MILLRACE_RETURN_IF_ERROR(CoContent(reader).status());
            has_read = true;
            return absl::OkStatus();
          });
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
          EXPECT_TRUE(has_read);
          return absl::OkStatus();
        });
    status.Update(scope.CoJoin());
    return status;
  });
}

// He stays, and writes until the disk has moved. What was acknowledged before is in the target.
TEST(MirrorBelow, WhoComesDuringTheLastFlushIsAtRestWhenTheDiskMoves) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    HeldFlush held;
    Attachment other;
    char newest = 'A';  // acknowledged before the disk moved
    TaskScope scope("other");
    absl::Status status = CoInTheLastFlush(
        world, held, [&](MirrorWorld&, NodeId base) MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(other, Come(world, base));
          MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other, 7, 1, newest));
          scope.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
            for (char byte = 'B'; byte <= 'Z'; ++byte) {
              MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other, 7, 1, byte));
              if (world.Shape() == "[hold] <- t") break;
              newest = byte;
            }
            return absl::OkStatus();
          });
          return absl::OkStatus();
        });
    status.Update(scope.CoJoin());
    EXPECT_LT(newest, 'Z');
    status.Update(CoExpect(world, 7, newest));
    return status;
  });
}

// ---- Under random schedules --------------------------------------------------------------------

// Writes each sector again and again, every time one more; knows what was acknowledged while the
// disk had not moved yet.
class CountingWriter {
 public:
  CountingWriter(MirrorWorld& world, Attachment other)
      : world_(world), other_(std::move(other)), written_(kSectors), owed_(kSectors) {}

  void Start(TaskScope& scope) {
    scope.Spawn("writer", [this]() MILLRACE_MAY_SUSPEND { return CoMain(); });
  }
  void Stop() { is_stopped_ = true; }
  void CoExpectInTheTarget() MILLRACE_MAY_SUSPEND {
    const absl::StatusOr<std::string> seen = CoContent(world_.chain.guest);
    ASSERT_TRUE(seen.ok());
    for (uint64_t sector = 0; sector < kSectors; ++sector) {
      EXPECT_GE((*seen)[sector * kSector], owed_[sector]) << "sector " << sector;
      EXPECT_LE((*seen)[sector * kSector], written_[sector]) << "sector " << sector;
    }
    other_.CoDetach();
  }

 private:
  absl::Status CoMain() MILLRACE_MAY_SUSPEND {
    for (uint64_t number = 0; !is_stopped_ && number < 100 * kSectors; ++number) {
      const uint64_t sector = number * 5 % kSectors;
      const char next = ++written_[sector];
      MILLRACE_RETURN_IF_ERROR(CoWriteSectors(other_, sector, 1, next));
      if (world_.Shape() != "t") owed_[sector] = next;
      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond * static_cast<int64_t>(number % 3)));
    }
    return absl::OkStatus();
  }

  MirrorWorld& world_;
  Attachment other_;
  bool is_stopped_ = false;
  std::vector<char> written_;
  std::vector<char> owed_;
};

absl::Status CoMirrorBesideACounter(MirrorWorld& world, NodeId source, NodeId below)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(Attachment other, Come(world, below));
  CountingWriter writer(world, std::move(other));
  TaskScope scope("other");
  MILLRACE_RETURN_IF_ERROR(CoStartOn(world, source));
  writer.Start(scope);
  CoSleepFor(100 * kMillisecond).IgnoreError();
  absl::Status status = world.jobs().Complete("m");
  status.Update(world.CoWaitUntilOver("m"));
  EXPECT_EQ(world.Shape(), "t");
  writer.Stop();
  status.Update(scope.CoJoin());
  writer.CoExpectInTheTarget();
  return status;
}

TEST(MirrorBelow, WhatWasAcknowledgedBeforeTheDiskMovesIsInTheTarget) {
  Explore(
      [](Engine& engine, uint64_t) {
        RunOn(engine, [](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, kBytes));
          MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", file));
          MILLRACE_ASSIGN_OR_RETURN(const NodeId throttle, CoAddThrottle(world, raw));
          return CoMirrorBesideACounter(world, throttle, file);
        });
      },
      /*cost=*/10);
  Explore(
      [](Engine& engine, uint64_t) {
        RunOn(engine, [](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(const NodeId base, CoAddOverlay(world, "base", std::nullopt));
          MILLRACE_ASSIGN_OR_RETURN(const NodeId top, CoAddOverlay(world, "top", base));
          return CoMirrorBesideACounter(world, top, base);
        });
      },
      /*cost=*/10);
}

}  // namespace
}  // namespace millrace::mirror_below_test
