// Users who come to a job's nodes while it runs, below its filter: whoever is let in is in nobody's
// way when the job ends, one way or the other, and nothing of what anybody has written is lost.
//
// QEMU 7.2, asked with an NBD export of the source below the filter: a background mirror copies
// what is written there, a write-blocking one loses it. With a device above an active commit that
// does not share writes, the export is let in, and QEMU aborts when the job ends or is cancelled.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/jobs/mirror_support.h"
#include "tests/support/seeds.h"
#include "tests/support/simulation.h"

namespace millrace::other_users_test {
namespace {

// As an NBD export asks.
constexpr Permissions kExport = {kConsistentRead | kWrite, kAllPermissions - kResize};

absl::Status SetPermissions(Graph& graph, const Attachment& user, Permissions permissions)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.SetPermissions(user, permissions);
  return change.Commit().status();
}

absl::StatusOr<Attachment> Come(MirrorWorld& world, NodeId node, Permissions permissions)
    MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("other", "export");
  options.permissions = permissions;
  return Attachment::Attach(world.graph(), node, std::move(options));
}

// ---- Nothing is lost ---------------------------------------------------------------------------

// Writes to the source below the filter for all of the job's life.
absl::Status CoWriteMeanwhile(MirrorWorld& world, NodeId node, const std::string& job,
                              bool completes) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(Attachment other, Come(world, node, kExport));
  bool is_over = false;
  TaskScope scope("other");
  scope.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t number = 0; !is_over; ++number) {
      MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(other, number * 5 % (kSectors - 1), 2));
      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond * static_cast<int64_t>(number % 3)));
    }
    return absl::OkStatus();
  });
  EXPECT_TRUE(world.CoWaitUntilReady(job));
  for (int i = 0; i < 3; ++i) CoSleepFor(40 * kMillisecond).IgnoreError();
  absl::Status status =
      completes ? world.jobs().Complete(job) : world.jobs().Cancel(job, /*force=*/false);
  status.Update(world.CoWaitUntilOver(job));
  is_over = true;
  status.Update(scope.CoJoin());
  status.Update(world.disk.CoVerifyAll(other));
  other.CoDetach();
  return status;
}

void MirrorBesideAWriter(MirrorCopyMode copy_mode, MirrorSync sync) {
  ExploreMirror(
      {.layers = 2, .has_guest = false},
      [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(SetPermissions(world.graph(), world.chain.guest, kExport));
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.copy_mode = copy_mode;
        options.sync = sync;
        options.backing = MirrorBacking::kOfSource;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        return CoWriteMeanwhile(world, world.chain.top(), "m", true);
      });
}

TEST(OtherUsers, WhatIsWrittenToAMirrorsSourceBelowItsFilterIsInTheTarget) {
  MirrorBesideAWriter(MirrorCopyMode::kBackground, MirrorSync::kFull);
  MirrorBesideAWriter(MirrorCopyMode::kBackground, MirrorSync::kTop);
}

TEST(OtherUsers, WhatIsWrittenBelowTheFilterOfAWriteBlockingMirrorIsInTheTarget) {
  MirrorBesideAWriter(MirrorCopyMode::kWriteBlocking, MirrorSync::kFull);
}

TEST(OtherUsers, WhatIsWrittenToTheTopOfAnActiveCommitBelowItsFilterIsInTheBase) {
  for (const bool completes : {true, false}) {
    ExploreMirror(
        {.layers = 2, .has_guest = false},
        [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_RETURN_IF_ERROR(SetPermissions(world.graph(), world.chain.guest, kExport));
          MILLRACE_RETURN_IF_ERROR(
              CoStartCommit(world.graph(), world.jobs(), ActiveCommit(world, 0)).status());
          return CoWriteMeanwhile(world, world.chain.top(), "c", completes);
        });
  }
}

// ---- Nobody is in the way ----------------------------------------------------------------------

enum class Kind { kMirror, kActiveCommit, kCommit, kStream };

struct Case {
  Kind kind;
  bool has_export;  // the guest shares its disk with other writers
  bool completes;
  size_t node;
  Permissions other;
};

std::string Text(const Case& c) {
  constexpr const char* kNames[] = {"mirror", "active commit", "commit", "stream"};
  return StrCat(kNames[static_cast<size_t>(c.kind)], c.has_export ? ", export" : ", device",
                c.completes ? ", ends" : ", cancelled", ", on n", c.node, " uses ",
                c.other.used.ToString(), "; shares ", c.other.shared.ToString());
}

absl::Status CoStart(MirrorWorld& world, const Case& c) MILLRACE_MAY_SUSPEND {
  if (c.kind == Kind::kMirror) {
    MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
    options.job.spec.id = "j";
    MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  } else if (c.kind == Kind::kStream) {
    StreamOptions options;
    options.job.spec.id = "j";
    options.job.spec.speed = 1;
    options.top = world.chain.top();
    options.base = world.chain.nodes[0];
    return CoStartStream(world.graph(), world.jobs(), options).status();
  } else {
    CommitOptions options = ActiveCommit(world, 0);
    options.job.spec.id = "j";
    if (c.kind == Kind::kCommit) {
      options.top = world.chain.nodes[2];
      options.job.spec.speed = 1;
    }
    MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), options).status());
    if (c.kind == Kind::kCommit) return absl::OkStatus();
  }
  EXPECT_TRUE(world.CoWaitUntilReady("j"));
  return absl::OkStatus();
}

absl::Status End(MirrorWorld& world, const Case& c) {
  if (!c.completes) return world.jobs().Cancel("j", /*force=*/true);
  const bool has_verb = c.kind == Kind::kMirror || c.kind == Kind::kActiveCommit;
  return has_verb ? world.jobs().Complete("j") : world.jobs().SetSpeed("j", 0);
}

// Whether the other was let in.
absl::StatusOr<bool> CoTry(MirrorWorld& world, const Case& c) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(world.chain, CoMakeMemoryChain(world.graph(), {.layers = 4}, false));
  FillLayers(world.chain, world.disk);
  if (c.has_export) {
    MILLRACE_RETURN_IF_ERROR(SetPermissions(world.graph(), world.chain.guest, kExport));
  }
  MILLRACE_RETURN_IF_ERROR(CoStart(world, c));
  absl::StatusOr<Attachment> other = Come(world, world.chain.nodes[c.node], c.other);
  if (other.ok() && c.other.used.Intersects(kWrite)) {
    const std::string data(3 * 512, 'o');
    MILLRACE_RETURN_IF_ERROR(other->CoWrite(5 * 512, IoVector::OfConst(data.data(), data.size())));
  }
  MILLRACE_ASSIGN_OR_RETURN(const std::string before, CoContent(world.chain.guest));
  MILLRACE_RETURN_IF_ERROR(End(world, c));
  const absl::Status over = world.CoWaitUntilOver("j");
  EXPECT_TRUE(c.completes ? over.ok() : absl::IsCancelled(over)) << Text(c) << ": " << over;
  MILLRACE_ASSIGN_OR_RETURN(const std::string after, CoContent(world.chain.guest));
  EXPECT_EQ(before, after) << Text(c);
  if (other.ok()) other->CoDetach();
  world.keepers.clear();
  world.jobs_world.CoClose(world.chain);
  return other.ok();
}

// Returns how many of all that could come were let in.
size_t TryAll(Kind kind, bool has_export, bool completes) {
  const PermissionSet shares[] = {kAllPermissions,
                                  kAllPermissions - kConsistentRead,
                                  kAllPermissions - kWrite,
                                  kAllPermissions - kWriteUnchanged,
                                  kConsistentRead | kWriteUnchanged,
                                  kNoPermissions};
  size_t let_in = 0;
  uint64_t number = 0;
  for (size_t node = 0; node < 4; ++node) {
    for (uint8_t used = 0; used < 16; ++used) {
      for (const PermissionSet shared : shares) {
        if (number++ % CaseStride() != 0) continue;
        const Case c = {kind, has_export, completes, node, {PermissionSet(used), shared}};
        const std::unique_ptr<Engine> engine = SimulatedEngine({}, /*steps_per_look=*/7);
        MirrorWorld world(*engine);
        const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(const bool is_in, CoTry(world, c));
          let_in += is_in ? 1 : 0;
          return absl::OkStatus();
        });
        EXPECT_TRUE(status.ok()) << Text(c) << ": " << status;
      }
    }
  }
  return let_in;
}

void TryAll(Kind kind) {
  for (const bool has_export : {false, true}) {
    const size_t let_in = TryAll(kind, has_export, true);
    EXPECT_GT(let_in, 0u);
    EXPECT_EQ(let_in, TryAll(kind, has_export, false));
  }
}

TEST(OtherUsers, WhoComesToAMirrorsNodesIsNotInItsWay) { TryAll(Kind::kMirror); }
TEST(OtherUsers, WhoComesToAnActiveCommitsNodesIsNotInItsWay) { TryAll(Kind::kActiveCommit); }
TEST(OtherUsers, WhoComesToACommitsNodesIsNotInItsWay) { TryAll(Kind::kCommit); }
TEST(OtherUsers, WhoComesToAStreamsNodesIsNotInItsWay) { TryAll(Kind::kStream); }

// Who is refused learns of whom he would be in the way.
TEST(OtherUsers, WhoWouldBeInTheWayOnceTheJobIsOverIsNamedWithWhomHeWouldMeet) {
  MirrorEventLog log;
  RunMirrorOnce({.layers = 2, .has_guest = false}, log,
                [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_RETURN_IF_ERROR(
                      CoStartCommit(world.graph(), world.jobs(), ActiveCommit(world, 0)).status());
                  EXPECT_TRUE(world.CoWaitUntilReady("c"));
                  const absl::Status status = Come(world, world.chain.top(), kExport).status();
                  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
                  const std::optional<Conflict> conflict = ConflictOf(status);
                  if (!conflict) return absl::InternalError("no conflict");
                  EXPECT_EQ(conflict->reason, ConflictReason::kPermission);
                  EXPECT_EQ(conflict->object, "n1");
                  EXPECT_EQ(conflict->detail, "write");
                  EXPECT_GE(conflict->holders.size(), 2u);
                  MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("c", true));
                  EXPECT_TRUE(absl::IsCancelled(world.CoWaitUntilOver("c")));
                  return absl::OkStatus();
                });
}

}  // namespace
}  // namespace millrace::other_users_test
