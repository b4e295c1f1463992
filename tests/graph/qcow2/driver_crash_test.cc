// Several coroutines at once on one image, under random schedules: what they read is what they
// wrote, and a crash at any moment leaves at most leaked clusters, with all flushed data there.
// Some images have an internal snapshot, which shows what it did, or compressed clusters; some
// grow.
#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/qcow2_workload.h"
#include "tests/support/sector_history.h"
#include "tests/support/seeds.h"

namespace millrace::driver_crash_test {
namespace {

constexpr uint64_t kSector = SectorHistory::kSector;

// The disk becomes longer, from one number of bytes to another.
struct Growth {
  uint64_t old_bytes = 0;
  uint64_t bytes = 0;
  uint64_t began = 0;  // events of the file before, and by the time it was done
  uint64_t ended = UINT64_MAX;

  bool is_planned() const { return bytes > old_bytes; }
};

struct Session {
  Qcow2CreateOptions options;
  CrashDisk disk;
  std::vector<uint8_t> backing;
  std::vector<uint8_t> model;     // as long as the disk will be
  std::vector<uint8_t> snapshot;  // what the image's internal snapshot shows; empty: it has none
  size_t compressed = 0;          // clusters
  Growth growth;

  bool has_snapshot() const { return !snapshot.empty(); }
  std::string Describe() const {
    return StrCat(millrace::Describe(options), has_snapshot() ? ", with a snapshot" : "", ", ",
                  compressed, " compressed, grows by ", growth.bytes - growth.old_bytes);
  }
};

// One coroutine's part of the disk. Parts meet inside clusters, so that neighbours contend.
class Worker {
 public:
  Worker(uint64_t seed, ByteRange region, FormatNode& node, Session& session,
         SectorHistory& history)
      : random_(seed, "worker"),
        region_(region),
        node_(node),
        session_(session),
        model_(session.model),
        history_(history) {}

  // `grows` is for the worker whose part is the last: it makes the disk longer on the way.
  absl::Status CoRun(int steps, bool grows) MILLRACE_MAY_SUSPEND {
    for (int step = 0; step < steps; ++step) {
      if (grows && step == steps / 3) MILLRACE_RETURN_IF_ERROR(CoGrow());
      MILLRACE_RETURN_IF_ERROR(CoStep());
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CoStep() MILLRACE_MAY_SUSPEND {
    const uint64_t first = region_.offset + random_.Below(region_.bytes / kSector) * kSector;
    const uint64_t sectors = 1 + random_.Below(random_.OneIn(3) ? 64 : 8);
    const ByteRange range(first, std::min(sectors * kSector, region_.end() - first));
    switch (random_.Below(8)) {
      case 0:
        return CoZero(range);
      case 1:
        return CoDiscard(range);
      case 2:
        return CoFlush();
      case 3:
        return CoVerify(range);
      case 4:
        return node_.CoPopulate(range);
      default:
        return CoWrite(range);
    }
  }
  SectorHistory::Moment Now() { return history_.Now(session_.disk.event_count()); }
  void Record(ByteRange range, const std::vector<uint8_t>& data, SectorHistory::Moment began) {
    const SectorHistory::Moment ended = Now();
    for (uint64_t i = 0; i < range.bytes; i += kSector) {
      history_.Add((range.offset + i) / kSector,
                   SectorHistory::Hash(absl::MakeConstSpan(data).subspan(i, kSector)), began,
                   ended);
    }
  }
  void Remember(ByteRange range, const std::vector<uint8_t>& data) {
    std::copy(data.begin(), data.end(), model_.begin() + static_cast<ptrdiff_t>(range.offset));
  }
  absl::Status CoWrite(ByteRange range) MILLRACE_MAY_SUSPEND {
    const std::vector<uint8_t> data = Pattern(range.bytes, random_.Next());
    const SectorHistory::Moment began = Now();
    MILLRACE_RETURN_IF_ERROR(node_.CoWrite(range.offset, data));
    Record(range, data, began);
    Remember(range, data);
    return absl::OkStatus();
  }
  absl::Status CoZero(ByteRange range) MILLRACE_MAY_SUSPEND {
    const SectorHistory::Moment began = Now();
    MILLRACE_RETURN_IF_ERROR(node_.CoWriteZeroes(range, {.may_unmap = random_.OneIn(2)}));
    const std::vector<uint8_t> data(range.bytes);
    Record(range, data, began);
    Remember(range, data);
    return absl::OkStatus();
  }
  absl::Status CoDiscard(ByteRange range) MILLRACE_MAY_SUSPEND {
    const SectorHistory::Moment began = Now();
    MILLRACE_RETURN_IF_ERROR(node_.CoDiscard(range));
    std::vector<uint8_t> now(range.bytes);
    Record(range, now, began);
    MILLRACE_RETURN_IF_ERROR(node_.CoRead(range.offset, absl::MakeSpan(now)));
    // Old or zero: what was not forgotten is still allowed.
    for (uint64_t i = 0; i < range.bytes; ++i) {
      if (now[i] != 0 && now[i] != model_[range.offset + i]) {
        return absl::InternalError(StrCat("discarded byte ", range.offset + i, " is new"));
      }
    }
    Record(range, now, began);
    Remember(range, now);
    return absl::OkStatus();
  }
  absl::Status CoFlush() MILLRACE_MAY_SUSPEND {
    const SectorHistory::Moment began = Now();
    MILLRACE_RETURN_IF_ERROR(node_.CoFlush());
    history_.AddFlush(began, Now());
    return absl::OkStatus();
  }
  absl::Status CoGrow() MILLRACE_MAY_SUSPEND {
    Growth& growth = session_.growth;
    growth.began = Now().event;
    MILLRACE_RETURN_IF_ERROR(node_.CoResize(growth.bytes));
    growth.ended = Now().event;
    region_.bytes = growth.bytes - region_.offset;
    return absl::OkStatus();
  }
  absl::Status CoVerify(ByteRange range) MILLRACE_MAY_SUSPEND {
    return CoVerifyAgainst(model_, node_, range);
  }

  RandomStream random_;
  ByteRange region_;
  FormatNode& node_;
  Session& session_;
  std::vector<uint8_t>& model_;
  SectorHistory& history_;
};

// ---- Images -------------------------------------------------------------------------------------

// Opens the disk's image, for reading or to write, and calls `body` with it.
template <typename Body>
absl::Status Use(CrashDisk& disk, const std::vector<uint8_t>& backing, bool is_read_only,
                 Body body) {
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  context.set_read_only(is_read_only);
  FormatNode node(context, MakeQcow2Driver(), backing);
  return engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    absl::Status status = node.CoOpen();
    if (status.ok()) status = body(node);
    node.CoClose();
    return status;
  });
}

absl::StatusOr<std::vector<uint8_t>> Content(CrashDisk& disk, const std::vector<uint8_t>& backing,
                                             bool is_read_only) {
  std::vector<uint8_t> content;
  MILLRACE_RETURN_IF_ERROR(
      Use(disk, backing, is_read_only, [&](FormatNode& node) MILLRACE_MAY_SUSPEND {
        content.resize(node.driver().bytes());
        return node.CoRead(0, absl::MakeSpan(content));
      }));
  return content;
}

std::vector<uint8_t> Compressible(uint64_t bytes, uint64_t seed) {
  std::vector<uint8_t> text(bytes);
  for (uint64_t i = 0; i < bytes; ++i) text[i] = static_cast<uint8_t>(1 + (seed + i / 64) % 16);
  return text;
}

// Fills some of the image, and gives it what our driver keeps but does not make.
void Craft(Session& session, RandomStream& random) {
  const uint64_t cluster = session.options.cluster_bytes;
  const uint64_t whole_clusters = session.options.bytes / cluster;
  const bool adds_snapshot = session.options.refcount_bits > 1 && !random.OneIn(3);
  std::set<uint64_t> packed;
  for (uint64_t i = adds_snapshot ? random.Below(6) : 5; i > 0 && whole_clusters > 0; --i) {
    packed.insert(random.Below(whole_clusters));
  }
  const absl::Status filled =
      Use(session.disk, session.backing, false, [&](FormatNode& node) MILLRACE_MAY_SUSPEND {
        auto fill = [&](uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
          const std::vector<uint8_t> data =
              Pattern(std::min(bytes, session.options.bytes - offset), random.Next());
          std::copy(data.begin(), data.end(),
                    session.model.begin() + static_cast<ptrdiff_t>(offset));
          return node.CoWrite(offset, data);
        };
        for (int i = 0; i < 4; ++i) {
          MILLRACE_RETURN_IF_ERROR(
              fill(random.Below(session.options.bytes), 1 + random.Below(4 * cluster)));
        }
        for (uint64_t each : packed) MILLRACE_RETURN_IF_ERROR(fill(each * cluster, cluster));
        return absl::OkStatus();
      });
  ASSERT_TRUE(filled.ok()) << filled;
  CraftedQcow2 image(std::move(session.disk));
  // Two users of one host cluster are too many for a refcount of one bit, four for one of two.
  const bool may_share = session.options.refcount_bits > 2 && random.OneIn(2);
  for (uint64_t each : packed) {
    const std::vector<uint8_t> text = Compressible(cluster, random.Next());
    may_share&& session.compressed > 0 ? image.CompressBehindLast(each, text)
                                       : image.Compress(each, text);
    std::copy(text.begin(), text.end(),
              session.model.begin() + static_cast<ptrdiff_t>(each * cluster));
    ++session.compressed;
  }
  if (adds_snapshot) {
    image.AddSnapshot("before");
    session.snapshot = session.model;
  }
  session.disk = image.Finish();
}

// Behind the end of the last L2 table, where that is not far.
void PlanGrowth(Session& session, RandomStream& random) {
  const Qcow2CreateOptions& options = session.options;
  const uint64_t bytes = session.model.size();
  const uint64_t table =
      options.cluster_bytes / (options.extended_l2 ? 16 : 8) * options.cluster_bytes;
  constexpr uint64_t kFar = 512 << 10;
  const uint64_t from = AlignUp(bytes, table) - bytes <= kFar ? AlignUp(bytes, table) : bytes;
  session.growth.old_bytes = bytes;
  session.growth.bytes = from + kSector * (1 + random.Below(4 * options.cluster_bytes / kSector));
}

Session MakeSession(uint64_t seed, RandomStream& random) {
  Session session;
  session.options = RandomOptions(random);
  session.options.bytes =
      std::min<uint64_t>(session.options.bytes, 24 * session.options.cluster_bytes + 4096);
  session.disk = MakeImage(session.options);
  const uint64_t bytes = AlignUp(session.options.bytes, 512);
  if (random.OneIn(2) && session.options.preallocation == Qcow2Preallocation::kOff) {
    session.backing = Pattern(bytes, random.Next());
  }
  session.model = session.backing;
  session.model.resize(bytes);
  RandomStream history(seed, "history");
  if (seed % 3 == 0) Craft(session, history);
  session.growth.old_bytes = session.growth.bytes = bytes;
  const bool can_grow = session.options.version > 2 || !session.has_snapshot();
  if (can_grow && history.OneIn(2)) PlanGrowth(session, history);
  session.model.resize(session.growth.bytes);
  return session;
}

// ---- Crashes ------------------------------------------------------------------------------------

// Whether the disk may have this size after a crash.
bool AllowsSize(const Growth& growth, uint64_t bytes, uint64_t crash) {
  if (bytes == growth.old_bytes) return !growth.is_planned() || crash < growth.ended;
  return bytes == growth.bytes && crash > growth.began;
}

void ExpectSnapshot(const Session& session, const CrashDisk& disk) {
  if (!session.has_snapshot()) return;
  CrashDisk view = SnapshotView(disk);
  const auto now = Content(view, session.backing, /*is_read_only=*/true);
  ASSERT_TRUE(now.ok()) << now.status();
  EXPECT_TRUE(*now == session.snapshot) << "the snapshot shows something else";
}

// Opens the crashed image and holds every sector, and the snapshot, against the history.
void VerifyCrashed(CrashDisk& disk, const Session& session, const SectorHistory& history,
                   uint64_t crash) {
  // Writable: repairs a dirty image.
  const auto now = Content(disk, session.backing, /*is_read_only=*/false);
  ASSERT_TRUE(now.ok()) << now.status();
  ASSERT_TRUE(AllowsSize(session.growth, now->size(), crash)) << now->size() << " bytes";
  for (uint64_t sector = 0; sector < now->size() / kSector; ++sector) {
    const uint64_t hash =
        SectorHistory::Hash(absl::MakeConstSpan(*now).subspan(sector * kSector, kSector));
    ASSERT_TRUE(history.Allows(sector, hash, crash)) << "sector " << sector << " after a crash";
  }
  ExpectSnapshot(session, disk);
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  ASSERT_TRUE(check.ok() && check->corruptions == 0) << Describe(check);
}

absl::Status CoWork(FormatNode& node, Session& session, SectorHistory& history,
                    RandomStream& random) MILLRACE_MAY_SUSPEND {
  TaskScope scope("workers");
  const uint64_t workers = 1 + random.Below(5);
  const uint64_t share = session.growth.old_bytes / kSector / workers * kSector;
  for (uint64_t i = 0; i < workers && share > 0; ++i) {
    const bool grows = session.growth.is_planned() && i + 1 == workers;
    scope.Spawn("worker", [&, i, grows, worker_seed = random.Next()]() MILLRACE_MAY_SUSPEND {
      Worker worker(worker_seed, ByteRange(i * share, share), node, session, history);
      return worker.CoRun(12, grows);
    });
  }
  return scope.CoJoin();
}

void RunSeed(uint64_t seed, int crashes) {
  RandomStream random(seed, "session");
  Session session = MakeSession(seed, random);
  SCOPED_TRACE(StrCat("seed ", seed, ": ", session.Describe()));
  if (testing::Test::HasFatalFailure()) return;
  CrashDisk& disk = session.disk;
  SectorHistory history(session.model);
  disk.RecordEvents();
  RandomDecider decider(seed);
  auto engine = SimulatedEngine(&decider);
  FakeDriverContext context(*engine, disk, /*simulate_io=*/true);
  FormatNode node(context, MakeQcow2Driver({.cache_bytes_max = random.OneIn(2) ? 8192u : 1u << 20}),
                  session.backing);
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    const absl::Status result = CoWork(node, session, history, random);
    node.CoClose();
    return result;
  });
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_THAT(context.warnings(), testing::IsEmpty());
  for (int i = 0; i < crashes; ++i) {
    const uint64_t crash = random.Below(disk.event_count() + 1);
    SCOPED_TRACE(StrCat("crash before event ", crash, " of ", disk.event_count(), ", image ", i));
    CrashDisk crashed(disk.CrashImage(crash, random));
    VerifyCrashed(crashed, session, history, crash);
    if (testing::Test::HasFailure()) return;
  }
  ExpectSnapshot(session, disk);
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  ASSERT_TRUE(check.ok() && check->is_clean()) << Describe(check);
}

TEST(Qcow2Crash, AnyCrashOfConcurrentRequestsLeavesAtMostLeaks) {
  for (uint64_t seed : Seeds(16)) {
    RunSeed(seed, 6);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace millrace::driver_crash_test
