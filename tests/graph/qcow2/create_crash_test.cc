// The power fails while an image is made, in an empty file or over what was there: afterwards the
// file is no image, or the old one as it was, or the whole new one; never one that looks like an
// image and is another.
#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/qcow2_workload.h"
#include "tests/support/seeds.h"

namespace millrace::create_crash_test {
namespace {

// An image, and all that an embedder could ask about it.
struct Expected {
  BackingReference backing;
  std::string kind;
  std::vector<uint8_t> below;    // what its backing file holds
  std::vector<uint8_t> content;  // what a guest sees
};

// "cluster 512, compat 1.1, compression-type zlib, ..."
std::string KindOf(const FormatDriver& driver) {
  std::string text = StrCat("cluster ", driver.cluster_bytes());
  for (const FormatFact& fact : driver.facts()) {
    StrAppend(&text, ", ", fact.name, " ");
    std::visit([&](const auto& value) { StrAppend(&text, value); }, fact.value);
  }
  return text;
}

absl::Status CoCompare(FormatNode& node, const Expected& expected) MILLRACE_MAY_SUSPEND {
  const FormatDriver& driver = node.driver();
  if (driver.bytes() != expected.content.size()) {
    return absl::InternalError(StrCat("it has ", driver.bytes(), " bytes"));
  }
  if (!(driver.backing_reference() == expected.backing)) {
    return absl::InternalError(StrCat("its backing file is '", driver.backing_reference().filename,
                                      "' of format '", driver.backing_reference().format, "'"));
  }
  if (KindOf(driver) != expected.kind) {
    return absl::InternalError(StrCat("it is of another kind: ", KindOf(driver)));
  }
  return CoVerifyAgainst(expected.content, node, ByteRange(0, expected.content.size()));
}

// Opens the disk's image for reading and calls `body` with it. The status of opening it, or its.
template <typename Body>
absl::Status Use(CrashDisk& disk, bool is_read_only, const std::vector<uint8_t>& below, Body body) {
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  context.set_read_only(is_read_only);
  FormatNode node(context, MakeQcow2Driver(), below);
  return engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    absl::Status status = node.CoOpen();
    if (status.ok()) status = body(node);
    node.CoClose();
    return status;
  });
}

// `why` says what it is not.
bool IsWhole(CrashDisk& disk, const Expected& expected, std::string& why) {
  const absl::Status status =
      Use(disk, true, expected.below,
          [&](FormatNode& node) MILLRACE_MAY_SUSPEND { return CoCompare(node, expected); });
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  if (status.ok() && check.ok() && check->is_clean()) return true;
  StrAppend(&why, status.ToString(), "; ", Describe(check), "\n");
  return false;
}

// Nobody, QEMU included, takes it for an image, and whoever looks is told so.
bool IsNoImage(CrashDisk& disk) {
  const std::vector<uint8_t>& file = disk.live();
  if (file.size() >= 4 && qcow2::LoadBig<uint32_t>(file.data()) == qcow2::kMagic) return false;
  const absl::Status opened =
      Use(disk, true, {}, [](FormatNode&) MILLRACE_MAY_SUSPEND { return absl::OkStatus(); });
  return absl::IsInvalidArgument(opened) && CheckImage(disk).status().code() == opened.code();
}

Qcow2CreateOptions RandomCreation(RandomStream& random) {
  Qcow2CreateOptions options = RandomOptions(random);
  if (options.version == 3 && random.OneIn(3)) options.compression = Qcow2Compression::kZstd;
  if (options.preallocation != Qcow2Preallocation::kOff || random.OneIn(3)) return options;
  // Up to what fits into the first cluster beside the fields; long ones reach over sectors.
  const uint64_t room = std::min<uint64_t>(options.cluster_bytes, 1200) - 200;
  options.backing_filename.resize(1 + random.Below(random.OneIn(2) ? 30 : room));
  for (char& letter : options.backing_filename) {
    letter = static_cast<char>('a' + random.Below(26));
  }
  if (!random.OneIn(4)) options.backing_format = random.OneIn(2) ? "raw" : "qcow2";
  return options;
}

absl::Status Create(CrashDisk& disk, const Qcow2CreateOptions& options) {
  DiskFile file(disk);
  auto engine = SimulatedEngine();
  return engine->Run([&]() MILLRACE_MAY_SUSPEND { return CoCreateQcow2(file, options); });
}

// What the finished image on `disk` is, with something in its backing file, if it has one.
Expected Learn(CrashDisk& disk, const Qcow2CreateOptions& options, uint64_t seed) {
  Expected expected;
  expected.content.resize(AlignUp(options.bytes, 512));
  if (!options.backing_filename.empty()) {
    expected.content = expected.below = Pattern(expected.content.size(), seed);
  }
  const absl::Status status = Use(disk, true, {}, [&](FormatNode& node) MILLRACE_MAY_SUSPEND {
    expected.backing = node.driver().backing_reference();
    expected.kind = KindOf(node.driver());
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(expected.backing, (BackingReference{options.backing_filename, options.backing_format}));
  return expected;
}

// An image in use, on whose file the new one is to be made.
Expected MakeOld(CrashDisk& disk, RandomStream& random) {
  const Qcow2CreateOptions options = RandomCreation(random);
  disk = MakeImage(options);
  Expected old = Learn(disk, options, random.Next());
  const absl::Status status =
      Use(disk, false, old.below, [&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
        for (int i = 0; i < 4; ++i) {
          const uint64_t offset = random.Below(old.content.size());
          const uint64_t bytes = std::min<uint64_t>(old.content.size() - offset, 20000);
          const std::vector<uint8_t> data = Pattern(bytes, random.Next());
          MILLRACE_RETURN_IF_ERROR(node.CoWrite(offset, data));
          std::copy(data.begin(), data.end(), old.content.begin() + static_cast<ptrdiff_t>(offset));
        }
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  disk = CrashDisk(disk.live());
  return old;
}

struct Seen {
  int none = 0;
  int old = 0;
  int fresh = 0;
};

void RunSeed(uint64_t seed, bool has_old, int crashes, Seen& seen) {
  RandomStream random(seed, "create");
  CrashDisk disk;
  Expected old;
  if (has_old) old = MakeOld(disk, random);
  const Qcow2CreateOptions options = RandomCreation(random);
  SCOPED_TRACE(StrCat("seed ", seed, ": ", Describe(options), ", backing file's name ",
                      options.backing_filename.size()));
  disk.RecordEvents();
  ASSERT_TRUE(Create(disk, options).ok());
  const Expected fresh = Learn(disk, options, random.Next());
  for (int i = 0; i < crashes; ++i) {
    const uint64_t crash = random.Below(disk.event_count() + 1);
    CrashDisk crashed(disk.CrashImage(crash, random));
    std::string why;
    if (IsWhole(crashed, fresh, why)) {
      ++seen.fresh;
    } else if (has_old && IsWhole(crashed, old, why)) {
      ++seen.old;
    } else {
      ++seen.none;
      ASSERT_TRUE(IsNoImage(crashed))
          << "crash before event " << crash << " of " << disk.event_count() << ": it is not\n"
          << why;
    }
    ASSERT_TRUE(crash < disk.event_count() || seen.fresh > 0) << "what was made is not there";
  }
}

TEST(Qcow2CreateCrash, LeavesNoImageOrAWholeOne) {
  Seen seen;
  for (const uint64_t seed : Seeds(10)) {
    RunSeed(seed, /*has_old=*/false, 12, seen);
    if (testing::Test::HasFatalFailure()) return;
  }
  EXPECT_TRUE(seen.none > 0 && seen.fresh > 0);
}

TEST(Qcow2CreateCrash, OverAnotherImageLeavesThatOneOrNoneOrAWholeOne) {
  Seen seen;
  for (const uint64_t seed : Seeds(10)) {
    RunSeed(seed, /*has_old=*/true, 12, seen);
    if (testing::Test::HasFatalFailure()) return;
  }
  EXPECT_TRUE(seen.none > 0 && seen.old > 0 && seen.fresh > 0);
}

}  // namespace
}  // namespace millrace::create_crash_test
