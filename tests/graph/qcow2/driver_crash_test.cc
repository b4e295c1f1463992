// Several coroutines at once on one image, under random schedules: what they read is what they
// wrote, and a crash at any moment leaves at most leaked clusters, with all flushed data there.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/qcow2_workload.h"
#include "tests/support/sector_history.h"
#include "tests/support/seeds.h"

namespace millrace {
namespace {

constexpr uint64_t kSector = SectorHistory::kSector;

// One coroutine's part of the disk. Parts meet inside clusters, so that neighbours contend.
class Worker {
 public:
  Worker(uint64_t seed, ByteRange region, FormatNode& node, CrashDisk& disk,
         std::vector<uint8_t>& model, SectorHistory& history)
      : random_(seed, "worker"),
        region_(region),
        node_(node),
        disk_(disk),
        model_(model),
        history_(history) {}

  absl::Status CoRun(int steps) MILLRACE_MAY_SUSPEND {
    for (int step = 0; step < steps; ++step) MILLRACE_RETURN_IF_ERROR(CoStep());
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
  SectorHistory::Moment Now() { return history_.Now(disk_.event_count()); }
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
  absl::Status CoVerify(ByteRange range) MILLRACE_MAY_SUSPEND {
    return CoVerifyAgainst(model_, node_, range);
  }

  RandomStream random_;
  const ByteRange region_;
  FormatNode& node_;
  CrashDisk& disk_;
  std::vector<uint8_t>& model_;
  SectorHistory& history_;
};

// Opens the crashed image for reading and holds every sector against the history.
void VerifyCrashed(CrashDisk& disk, const std::vector<uint8_t>& backing,
                   const SectorHistory& history, uint64_t bytes, uint64_t crash) {
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver(), backing);
  std::vector<uint8_t> now(bytes);
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    absl::Status result = node.CoOpen();  // writable: repairs a dirty image
    if (result.ok()) result = node.CoRead(0, absl::MakeSpan(now));
    node.CoClose();
    return result;
  });
  ASSERT_TRUE(status.ok()) << status;
  for (uint64_t sector = 0; sector < bytes / kSector; ++sector) {
    const uint64_t hash =
        SectorHistory::Hash(absl::MakeConstSpan(now).subspan(sector * kSector, kSector));
    ASSERT_TRUE(history.Allows(sector, hash, crash)) << "sector " << sector << " after a crash";
  }
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  ASSERT_TRUE(check.ok() && check->corruptions == 0) << Describe(check);
}

struct Session {
  Qcow2CreateOptions options;
  CrashDisk disk;
  std::vector<uint8_t> backing;
  std::vector<uint8_t> model;
};

Session MakeSession(RandomStream& random) {
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
  return session;
}

void RunSeed(uint64_t seed, int crashes) {
  RandomStream random(seed, "session");
  Session session = MakeSession(random);
  SCOPED_TRACE(StrCat("seed ", seed, ": ", Describe(session.options)));
  CrashDisk& disk = session.disk;
  SectorHistory history(session.model);
  disk.RecordEvents();
  RandomDecider decider(seed);
  auto engine = SimulatedEngine(&decider);
  FakeDriverContext context(*engine, disk, /*simulate_io=*/true);
  FormatNode node(context, MakeQcow2Driver({.cache_bytes_max = random.OneIn(2) ? 8192u : 1u << 20}),
                  session.backing);
  const uint64_t workers = 1 + random.Below(5);
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    TaskScope scope("workers");
    const uint64_t share = session.model.size() / kSector / workers * kSector;
    for (uint64_t i = 0; i < workers && share > 0; ++i) {
      scope.Spawn("worker", [&, i, worker_seed = random.Next()]() MILLRACE_MAY_SUSPEND {
        Worker worker(worker_seed, ByteRange(i * share, share), node, disk, session.model, history);
        return worker.CoRun(12);
      });
    }
    const absl::Status result = scope.CoJoin();
    node.CoClose();
    return result;
  });
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_THAT(context.warnings(), testing::IsEmpty());
  for (int i = 0; i < crashes; ++i) {
    const uint64_t crash = random.Below(disk.event_count() + 1);
    SCOPED_TRACE(StrCat("crash before event ", crash, " of ", disk.event_count(), ", image ", i));
    CrashDisk crashed(disk.CrashImage(crash, random));
    VerifyCrashed(crashed, session.backing, history, session.model.size(), crash);
    if (testing::Test::HasFatalFailure()) return;
  }
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  ASSERT_TRUE(check.ok() && check->is_clean()) << Describe(check);
}

TEST(Qcow2Crash, AnyCrashOfConcurrentRequestsLeavesAtMostLeaks) {
  for (uint64_t seed : Seeds(16)) {
    RunSeed(seed, 6);
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace millrace
