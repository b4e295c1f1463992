// The fault loop over images in states of their own: left dirty, with a snapshot that shares
// clusters, with bitmaps, with compressed clusters, shrunk, about to outgrow their refcount table.
// The N-th operation on the file fails, once or with all that follow, for every N: a clean error,
// an image free of corruption, nothing lost that was flushed.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/faulted_guest.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/seeds.h"

namespace millrace::driver_fault_states_test {
namespace {

constexpr uint64_t kCluster = 4096;

struct Prepared {
  CrashDisk disk;
  std::vector<uint8_t> model;
};

// A closed image of `options` that begins with `data`. `is_left` copies it while it is open still,
// after a flush: what a crash leaves.
Prepared Prepare(const Qcow2CreateOptions& options, const std::vector<uint8_t>& data,
                 bool is_left = false) {
  Prepared prepared;
  CrashDisk disk = MakeImage(options);
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    absl::Status result = node.CoWrite(0, data);
    if (result.ok()) result = node.CoFlush();
    prepared.disk = CrashDisk(disk.live());
    node.CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  if (!is_left) prepared.disk = CrashDisk(disk.live());
  prepared.model = data;
  prepared.model.resize(options.bytes);
  return prepared;
}

// Compressible, and nowhere zero.
std::vector<uint8_t> Text(uint64_t bytes, uint8_t first) {
  std::vector<uint8_t> text(bytes);
  for (uint64_t i = 0; i < bytes; ++i) text[i] = static_cast<uint8_t>(first + i / 64 % 16);
  return text;
}

// ---- The states -----------------------------------------------------------------------------

// Lazy refcounts: on disk they say nothing about what was written.
Prepared LeftDirty() {
  return Prepare({.bytes = 64 * kCluster, .cluster_bytes = kCluster, .lazy_refcounts = true},
                 Pattern(9 * kCluster, 5), /*is_left=*/true);
}
void CoWriteABit(FaultedGuest& guest) MILLRACE_MAY_SUSPEND {
  guest.CoRead(0, 10 * kCluster);
  guest.CoWrite(kCluster + 100, 2 * kCluster);
  guest.CoWrite(20 * kCluster, 700);
  guest.CoFlush();
}

Prepared Full() {
  return Prepare({.bytes = 64 * kCluster, .cluster_bytes = kCluster}, Pattern(64 * kCluster, 6));
}
void CoShrinkAndGrow(FaultedGuest& guest) MILLRACE_MAY_SUSPEND {
  guest.CoResize(40 * kCluster);
  guest.CoFlush();
  guest.CoResize(8 * kCluster + 1000);
  guest.CoWrite(8 * kCluster, 600);
  guest.CoResize(48 * kCluster);
  guest.CoWrite(30 * kCluster + 17, kCluster);
  guest.CoFlush();
}

Prepared WithSnapshot() {
  Prepared prepared =
      Prepare({.bytes = 700 * kCluster, .cluster_bytes = kCluster}, Pattern(12 * kCluster, 7));
  CraftedQcow2 image(std::move(prepared.disk));
  image.AddSnapshot("before");
  prepared.disk = image.Finish();
  return prepared;
}
void CoWriteOverShared(FaultedGuest& guest) MILLRACE_MAY_SUSPEND {
  guest.CoWrite(100, 50);
  guest.CoWrite(3 * kCluster, 2 * kCluster);
  guest.CoZero(6 * kCluster, kCluster);
  guest.CoDiscard(8 * kCluster, 2 * kCluster);
  guest.CoFlush();
  guest.CoWrite(100, 60);
  guest.CoWrite(600 * kCluster, 1000);  // below another L2 table
  guest.CoFlush();
}

Prepared WithBitmaps() {
  Prepared prepared =
      Prepare({.bytes = 64 * kCluster, .cluster_bytes = kCluster}, Pattern(4 * kCluster, 8));
  CraftedQcow2 image(std::move(prepared.disk));
  image.AddBitmaps();
  prepared.disk = image.Finish();
  return prepared;
}
void CoWriteAndGrow(FaultedGuest& guest) MILLRACE_MAY_SUSPEND {
  guest.CoWrite(100, 2 * kCluster);
  guest.CoFlush();
  guest.CoResize(80 * kCluster);
  if (guest.bytes() == 80 * kCluster) guest.CoWrite(70 * kCluster, 100);  // it has grown
  guest.CoFlush();
}

Prepared Compressed(Qcow2Compression compression) {
  const std::vector<uint8_t> data = Text(12 * kCluster, 'a');
  Prepared prepared = Prepare(
      {.bytes = 64 * kCluster, .cluster_bytes = kCluster, .compression = compression}, data);
  CraftedQcow2 image(std::move(prepared.disk));
  for (const uint64_t cluster : {1u, 2u, 3u, 5u, 7u, 8u}) {
    image.Compress(cluster, absl::MakeConstSpan(data).subspan(cluster * kCluster, kCluster));
  }
  prepared.disk = image.Finish();
  return prepared;
}
Prepared CompressedByZlib() { return Compressed(Qcow2Compression::kZlib); }
Prepared CompressedByZstd() { return Compressed(Qcow2Compression::kZstd); }
void CoReadAndOverwrite(FaultedGuest& guest) MILLRACE_MAY_SUSPEND {
  guest.CoRead(0, 12 * kCluster);
  guest.CoWrite(kCluster + 50, 100);
  guest.CoWrite(2 * kCluster, 2 * kCluster);
  guest.CoZero(5 * kCluster, kCluster);
  guest.CoDiscard(7 * kCluster, kCluster);
  guest.CoFlush();
  guest.CoWrite(20 * kCluster, 4 * kCluster);  // perhaps where compressed data were
  guest.CoFlush();
  guest.CoRead(0, 24 * kCluster);
}

// A refcount table of one cluster of 512 bytes covers 2 MiB.
Prepared NearlyOutgrown() {
  return Prepare({.bytes = 3 << 20, .cluster_bytes = 512, .refcount_bits = 64},
                 Pattern((2 << 20) - (150 << 10), 9));
}
void CoOutgrow(FaultedGuest& guest) MILLRACE_MAY_SUSPEND {
  for (uint64_t i = 0; i < 4; ++i) guest.CoWrite((2 << 20) + (i << 16), 1 << 16);
  guest.CoFlush();
  guest.CoWrite(5, 10);
  guest.CoFlush();
}

struct State {
  const char* name;
  Prepared (*prepare)();
  void (*run)(FaultedGuest&);
};
void PrintTo(const State& state, std::ostream* out) { *out << state.name; }

const State kStates[] = {
    {"LeftDirty", LeftDirty, CoWriteABit},
    {"Shrunk", Full, CoShrinkAndGrow},
    {"SharedWithASnapshot", WithSnapshot, CoWriteOverShared},
    {"WithBitmaps", WithBitmaps, CoWriteAndGrow},
    {"CompressedByZlib", CompressedByZlib, CoReadAndOverwrite},
    {"CompressedByZstd", CompressedByZstd, CoReadAndOverwrite},
    {"OutgrowsItsRefcountTable", NearlyOutgrown, CoOutgrow},
};

// ---- The loop ---------------------------------------------------------------------------------

struct Fault {
  uint64_t at = UINT64_MAX - 1;
  bool for_ever = false;
  bool after_effect = false;
};

std::vector<uint8_t> ContentOf(CrashDisk disk) {
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  context.set_read_only(true);
  FormatNode node(context, MakeQcow2Driver());
  std::vector<uint8_t> content;
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    content.resize(node.driver().bytes());
    const absl::Status read = node.CoRead(0, absl::MakeSpan(content));
    node.CoClose();
    return read;
  });
  EXPECT_TRUE(status.ok()) << status;
  return content;
}

class Qcow2FaultStates : public testing::TestWithParam<State> {
 protected:
  void SetUp() override {
    prepared_ = GetParam().prepare();
    bitmaps_ = BitmapsOf(prepared_.disk);
    has_snapshot_ = prepared_.disk.live()[63] != 0;
    if (has_snapshot_) snapshot_ = ContentOf(SnapshotView(prepared_.disk));
  }

  // Runs the operations with a fault; returns how many operations on the file they took.
  uint64_t RunWithFault(const Fault& fault) {
    CrashDisk disk = prepared_.disk;
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk);
    FormatNode node(context, MakeQcow2Driver({.cache_bytes_max = 16384}));
    FakeDriverContext again(*engine, disk);
    FormatNode reopened(again, MakeQcow2Driver());
    uint64_t operations = 0;
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      FaultedGuest guest(node, prepared_.model);
      disk.FailAt(fault.at, fault.for_ever, fault.after_effect);
      const absl::Status open = node.CoOpen();
      if (open.ok()) GetParam().run(guest);
      operations = disk.operations();
      if (!fault.for_ever) disk.FailNever();
      absl::Status seen;
      if (open.ok() && !fault.for_ever) seen = guest.CoVerify(node);
      node.CoClose();
      disk.FailNever();
      MILLRACE_RETURN_IF_ERROR(seen);
      if (fault.at < operations && open.ok() && guest.failures() == 0 && fault.for_ever) {
        return absl::InternalError("a failure went unnoticed");
      }
      MILLRACE_RETURN_IF_ERROR(reopened.CoOpen());
      const absl::Status result =
          fault.for_ever ? guest.CoVerifyFlushed(reopened) : guest.CoVerify(reopened);
      reopened.CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
    disk.FailNever();
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
    EXPECT_TRUE(check.ok() && check->corruptions == 0) << Describe(check);
    ExpectKept(disk, fault.at < operations);
    return operations;
  }

  // What the guest cannot see: the snapshot, and the bitmaps.
  void ExpectKept(const CrashDisk& disk, bool has_failed) {
    if (has_snapshot_) {
      EXPECT_EQ(ContentOf(SnapshotView(disk)), snapshot_);
    }
    const std::vector<CraftedBitmap> now = BitmapsOf(disk);
    if (now.empty() && has_failed) return;  // they do not count any more
    ASSERT_EQ(now.size(), bitmaps_.size());
    const bool is_written = ContentOf(disk) != prepared_.model;
    for (size_t i = 0; i < now.size(); ++i) {
      EXPECT_EQ(now[i].entry.name, bitmaps_[i].entry.name);
      EXPECT_EQ(now[i].bits, bitmaps_[i].bits);
      const bool records = (now[i].entry.flags & qcow2::kBitmapRecording) != 0;
      const bool is_in_use = (now[i].entry.flags & qcow2::kBitmapInUse) != 0;
      EXPECT_TRUE(!is_written || !records || is_in_use)
          << now[i].entry.name << " claims to know of writes that it has not recorded";
    }
  }

  void Loop(Fault fault) {
    fault.at = UINT64_MAX - 1;
    const uint64_t count = RunWithFault(fault);
    ASSERT_GT(count, 10u);
    for (fault.at = 0; fault.at < count && !HasFailure(); fault.at += CaseStride()) {
      SCOPED_TRACE(StrCat("number ", fault.at, " of ", count, " fails"));
      RunWithFault(fault);
    }
  }

  Prepared prepared_;
  std::vector<CraftedBitmap> bitmaps_;
  bool has_snapshot_ = false;
  std::vector<uint8_t> snapshot_;
};

TEST_P(Qcow2FaultStates, TheNthOperationFailsAndNothingBreaks) { Loop({}); }
TEST_P(Qcow2FaultStates, TheNthOperationFailsAfterItsEffectAndNothingBreaks) {
  Loop({.after_effect = true});
}
TEST_P(Qcow2FaultStates, FromTheNthOperationOnAllFailAndNothingFlushedIsLost) {
  Loop({.for_ever = true});
}
TEST_P(Qcow2FaultStates, FromTheNthOperationOnAllFailAfterTheirEffectAndNothingFlushedIsLost) {
  Loop({.for_ever = true, .after_effect = true});
}
INSTANTIATE_TEST_SUITE_P(States, Qcow2FaultStates, testing::ValuesIn(kStates),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace millrace::driver_fault_states_test
