// What a mirror leaves to be done while its guest is at rest, in the drained section of its end.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/graph/graph_view.h"
#include "tests/jobs/mirror_below_support.h"

namespace millrace::mirror_end_test {
namespace {

// Stands on a target and counts what is done to it while the mirror's source is drained.
class SectionMeter final : public FilterDriver {
 public:
  struct Count {
    NodeId source{};
    uint64_t bytes = 0;
    uint64_t flushes = 0;
    uint64_t flushes_before = 0;
    std::function<absl::Status()> in_flush{};  // called in every flush outside the section
  };
  SectionMeter(MirrorWorld& world, Count& count) : world_(world), count_(count) {}
  std::string_view driver_name() const override { return "meter"; }

  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    if (IsInSection()) count_.bytes += source.bytes();
    return FilterDriver::CoWrite(offset, source, flags);
  }
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    if (IsInSection()) count_.bytes += range.bytes;
    return FilterDriver::CoWriteZeroes(range, flags);
  }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND {
    const bool is_in_section = IsInSection();
    ++(is_in_section ? count_.flushes : count_.flushes_before);
    MILLRACE_RETURN_IF_ERROR(FilterDriver::CoFlush());
    const std::function<absl::Status()> in_flush = count_.in_flush;  // it may be set meanwhile
    return !is_in_section && in_flush ? in_flush() : absl::OkStatus();
  }

 private:
  bool IsInSection() MILLRACE_OPENS_VIEW {
    GraphView view(world_.graph());
    const absl::StatusOr<NodeView> source = view.Resolve(count_.source);
    return source.ok() && source->is_quiesced();
  }

  MirrorWorld& world_;
  Count& count_;
};

// A disk full of 'o', and a ready mirror of it that is finalized by hand.
struct MeteredMirror {
  std::string id;
  Attachment guest{};
  SectionMeter::Count count{};
};

struct MeteredOptions {
  uint64_t disk_bytes = 0;
  uint64_t granularity = 0;
  std::shared_ptr<JobTransaction> transaction{};
};

absl::Status CoWriteBytes(MeteredMirror& mirror, uint64_t bytes, char byte) MILLRACE_MAY_SUSPEND {
  const std::string data(bytes, byte);
  return mirror.guest.CoWrite(0, IoVector::OfConst(data.data(), data.size()));
}

absl::Status CoStartMetered(MirrorWorld& world, MeteredMirror& mirror, const MeteredOptions& wanted)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(
      mirror.count.source,
      CoAdd(world, StrCat(mirror.id, "-source"), MakeMemoryDriver({.bytes = wanted.disk_bytes})));
  MILLRACE_ASSIGN_OR_RETURN(
      const NodeId target,
      CoAdd(world, StrCat(mirror.id, "-target"), MakeMemoryDriver({.bytes = wanted.disk_bytes})));
  MILLRACE_ASSIGN_OR_RETURN(
      mirror.guest, Attach(world, mirror.count.source, MakeHolder(mirror.id, "block device"),
                           {kConsistentRead | kWrite, kAllPermissions}));
  MILLRACE_RETURN_IF_ERROR(CoWriteBytes(mirror, wanted.disk_bytes, 'o'));
  MirrorOptions options;
  options.job.spec.id = mirror.id;
  options.job.spec.finalizes_automatically = false;
  options.job.spec.transaction = wanted.transaction;
  options.source = mirror.count.source;
  options.granularity = wanted.granularity;
  MILLRACE_ASSIGN_OR_RETURN(
      options.target,
      CoAdd(world, StrCat(mirror.id, "-meter"), std::make_unique<SectionMeter>(world, mirror.count),
            {{Role::kFiltered, target}}));
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  EXPECT_TRUE(world.CoWaitUntilReady(mirror.id));
  return absl::OkStatus();
}

absl::Status CoMakePending(MirrorWorld& world, MeteredMirror& mirror) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(world.jobs().Complete(mirror.id));
  EXPECT_TRUE(world.CoWaitForState(mirror.id, JobState::kPending));
  return absl::OkStatus();
}

// The disk has moved, and starts with so many bytes of `byte`.
absl::Status CoExpectMoved(MeteredMirror& mirror, uint64_t bytes, char byte) MILLRACE_MAY_SUSPEND {
  EXPECT_NE(mirror.guest.node(), mirror.count.source);
  MILLRACE_ASSIGN_OR_RETURN(const std::string content, CoContent(mirror.guest));
  EXPECT_TRUE(content.substr(0, bytes) == std::string(bytes, byte)) << content[0];
  EXPECT_TRUE(content.substr(bytes) == std::string(content.size() - bytes, 'o'));
  mirror.guest.CoDetach();
  return absl::OkStatus();
}

constexpr uint64_t kMiB = uint64_t{1} << 20;

TEST(MirrorEnd, WhatWasWrittenWhileItWasPendingIsCopiedAndFlushedBeforeTheSection) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MeteredMirror mirror{.id = "m"};
    MILLRACE_RETURN_IF_ERROR(
        CoStartMetered(world, mirror, {.disk_bytes = 4 * kMiB, .granularity = 4096}));
    MILLRACE_RETURN_IF_ERROR(CoMakePending(world, mirror));
    MILLRACE_RETURN_IF_ERROR(CoWriteBytes(mirror, 4 * kMiB, 'g'));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
    EXPECT_EQ(mirror.count.bytes, 0u);
    EXPECT_EQ(mirror.count.flushes, 0u);
    return CoExpectMoved(mirror, 4 * kMiB, 'g');
  });
}

// In each pass the guest writes a quarter of what the pass has copied.
TEST(MirrorEnd, PassesGoOnWhileTheyLeaveLess) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MeteredMirror mirror{.id = "m"};
    MILLRACE_RETURN_IF_ERROR(
        CoStartMetered(world, mirror, {.disk_bytes = 4 * kMiB, .granularity = 4096}));
    MILLRACE_RETURN_IF_ERROR(CoMakePending(world, mirror));
    uint64_t next = kMiB;
    mirror.count.in_flush = [&]() MILLRACE_MAY_SUSPEND {
      return CoWriteBytes(mirror, std::exchange(next, next / 4), 'g');
    };
    MILLRACE_RETURN_IF_ERROR(CoWriteBytes(mirror, 4 * kMiB, 'f'));
    MILLRACE_RETURN_IF_ERROR(CoWriteBytes(mirror, kMiB, 'g'));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
    // Sixteen granules are little.
    EXPECT_EQ(mirror.count.bytes, 64u << 10);
    EXPECT_EQ(mirror.count.flushes, 1u);
    mirror.count.in_flush = nullptr;
    EXPECT_NE(mirror.guest.node(), mirror.count.source);
    MILLRACE_ASSIGN_OR_RETURN(const std::string content, CoContent(mirror.guest));
    EXPECT_TRUE(content == std::string(kMiB, 'g') + std::string(3 * kMiB, 'f'));
    mirror.guest.CoDetach();
    return absl::OkStatus();
  });
}

// The guest writes all of it anew, in every pass: there is an end all the same.
TEST(MirrorEnd, PassesEndWhenTheyLeaveNoLess) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MeteredMirror mirror{.id = "m"};
    MILLRACE_RETURN_IF_ERROR(
        CoStartMetered(world, mirror, {.disk_bytes = 4 * kMiB, .granularity = 4096}));
    MILLRACE_RETURN_IF_ERROR(CoMakePending(world, mirror));
    MILLRACE_RETURN_IF_ERROR(CoWriteBytes(mirror, 4 * kMiB, 'f'));
    const uint64_t flushes = mirror.count.flushes_before;
    mirror.count.in_flush = [&]() MILLRACE_MAY_SUSPEND {
      return CoWriteBytes(mirror, 4 * kMiB, 'g');
    };
    MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
    EXPECT_EQ(mirror.count.flushes_before, flushes + 1);
    EXPECT_EQ(mirror.count.bytes, 4 * kMiB);
    EXPECT_EQ(mirror.count.flushes, 1u);
    mirror.count.in_flush = nullptr;
    return CoExpectMoved(mirror, 4 * kMiB, 'g');
  });
}

// ---- Too much is left when the section is there ------------------------------------------------

// The guest has written much anew during the only pass: it is not at rest while that is copied.
TEST(MirrorEnd, ASectionThatFindsMuchToCopyEndsAndPassesGoOn) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MeteredMirror mirror{.id = "m"};
    MILLRACE_RETURN_IF_ERROR(
        CoStartMetered(world, mirror, {.disk_bytes = 20 * kMiB, .granularity = 64 << 10}));
    MILLRACE_RETURN_IF_ERROR(CoMakePending(world, mirror));
    MILLRACE_RETURN_IF_ERROR(CoWriteBytes(mirror, 20 * kMiB, 'f'));
    mirror.count.in_flush = [&]() MILLRACE_MAY_SUSPEND {
      mirror.count.in_flush = nullptr;
      return CoWriteBytes(mirror, 20 * kMiB, 'g');
    };
    MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
    EXPECT_EQ(mirror.count.bytes, 0u);
    EXPECT_EQ(mirror.count.flushes, 0u);
    return CoExpectMoved(mirror, 20 * kMiB, 'g');
  });
}

TEST(MirrorEnd, ASectionThatFindsNoLessThanTheOneBeforeIsTheLast) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MeteredMirror mirror{.id = "m"};
    MILLRACE_RETURN_IF_ERROR(
        CoStartMetered(world, mirror, {.disk_bytes = 20 * kMiB, .granularity = 64 << 10}));
    MILLRACE_RETURN_IF_ERROR(CoMakePending(world, mirror));
    MILLRACE_RETURN_IF_ERROR(CoWriteBytes(mirror, 20 * kMiB, 'f'));
    const uint64_t flushes = mirror.count.flushes_before;
    mirror.count.in_flush = [&]() MILLRACE_MAY_SUSPEND {
      return CoWriteBytes(mirror, 20 * kMiB, 'g');
    };
    MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
    EXPECT_EQ(mirror.count.flushes_before, flushes + 2);
    EXPECT_EQ(mirror.count.bytes, 20 * kMiB);
    mirror.count.in_flush = nullptr;
    return CoExpectMoved(mirror, 20 * kMiB, 'g');
  });
}

// Two that end together. The newer one prepares first; while the older one does, the newer one's
// guest writes much. Both prepare again, and neither guest is at rest for more than the edit.
TEST(MirrorEnd, WhatIsWrittenWhileAnotherMemberPreparesIsCopiedBeforeTheSection) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    const auto transaction = world.jobs().NewTransaction();
    const MeteredOptions options = {
        .disk_bytes = 20 * kMiB, .granularity = 64 << 10, .transaction = transaction};
    MeteredMirror older{.id = "a"};
    MeteredMirror newer{.id = "b"};
    MILLRACE_RETURN_IF_ERROR(CoStartMetered(world, older, options));
    MILLRACE_RETURN_IF_ERROR(CoStartMetered(world, newer, options));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("a"));
    MILLRACE_RETURN_IF_ERROR(CoMakePending(world, newer));
    MILLRACE_RETURN_IF_ERROR(CoWriteBytes(older, kMiB, 'g'));
    older.count.in_flush = [&]() MILLRACE_MAY_SUSPEND {
      older.count.in_flush = nullptr;
      return CoWriteBytes(newer, 20 * kMiB, 'g');
    };
    MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("a"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("a"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("b"));
    EXPECT_EQ(older.count.bytes + newer.count.bytes, 0u);
    EXPECT_EQ(older.count.flushes + newer.count.flushes, 0u);
    MILLRACE_RETURN_IF_ERROR(CoExpectMoved(older, kMiB, 'g'));
    return CoExpectMoved(newer, 20 * kMiB, 'g');
  });
}

}  // namespace
}  // namespace millrace::mirror_end_test
