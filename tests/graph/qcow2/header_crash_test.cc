// The power fails while a backing file's name and format change: afterwards the header says the old
// ones or the new ones, and all else that it said before.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/header_extension.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/seeds.h"

namespace millrace::header_crash_test {
namespace {

BackingReference RandomBacking(RandomStream& random) {
  BackingReference backing;
  if (random.OneIn(5)) return backing;
  const uint64_t letters = 1 + random.Below(random.OneIn(3) ? 300 : 40);
  backing.filename.assign(letters, static_cast<char>('a' + random.Below(26)));
  if (!random.OneIn(3)) backing.format = random.OneIn(2) ? "raw" : "fault_injection";
  return backing;
}

CrashDisk RandomImage(const BackingReference& backing, RandomStream& random) {
  Qcow2CreateOptions options{.bytes = 64 << 10,
                             .cluster_bytes = uint64_t{2048} << random.Below(2),
                             .backing_filename = backing.filename,
                             .backing_format = backing.format};
  options.version = random.OneIn(5) ? 2 : 3;
  CrashDisk disk = MakeImage(options);
  if (options.version == 2 || random.OneIn(2)) return disk;
  CraftedQcow2 image(std::move(disk));
  image.AddBitmaps();
  return image.Finish();
}

struct Opened {
  BackingReference backing;
  std::string feature;  // the first one's name, as the header has it
};

absl::StatusOr<Opened> Open(const CrashDisk& image) {
  CrashDisk disk = image;
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  context.set_read_only(true);
  FormatNode node(context, MakeQcow2Driver());
  Opened opened;
  MILLRACE_RETURN_IF_ERROR(engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    const absl::Status status = node.CoOpen();
    opened.backing = node.driver().backing_reference();
    node.CoClose();
    return status;
  }));
  const auto header = qcow2::ParseHeader(absl::MakeConstSpan(disk.live()).first(4096));
  MILLRACE_RETURN_IF_ERROR(header.status());
  opened.feature = qcow2::FeatureName(header->extensions, qcow2::FeatureKind::kIncompatible, 0);
  return opened;
}

struct Change {
  BackingReference backing;
  uint64_t began = 0;  // events of the file before it, and by its end
  uint64_t ended = 0;
};

// Each after the one before, and what the disk goes through. What does not fit is not done.
std::vector<Change> MakeChanges(CrashDisk& disk, const BackingReference& first,
                                RandomStream& random) {
  std::vector<Change> changes = {{first, 0, 0}};
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    // The first change of all marks the bitmaps, whose directory does not count meanwhile.
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(0, Pattern(512, 1)));
    MILLRACE_RETURN_IF_ERROR(node.CoFlush());
    disk.RecordEvents();
    for (int i = 0; i < 3; ++i) {
      Change change{RandomBacking(random), disk.event_count(), 0};
      const absl::Status changed = node.driver().CoWriteBackingReference(change.backing);
      change.ended = disk.event_count();
      if (changed.ok()) changes.push_back(change);
      EXPECT_TRUE(changed.ok() || absl::IsInvalidArgument(changed)) << changed;
    }
    node.CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return changes;
}

bool Allows(const std::vector<Change>& changes, const BackingReference& backing, uint64_t crash) {
  for (size_t i = 0; i < changes.size(); ++i) {
    const bool has_begun = i == 0 || crash > changes[i].began;
    const bool is_over = i + 1 < changes.size() && crash >= changes[i + 1].ended;
    if (has_begun && !is_over && backing == changes[i].backing) return true;
  }
  return false;
}

TEST(Qcow2HeaderCrash, NameAndFormatAreTheOldOnesOrTheNewOnes) {
  for (const uint64_t seed : Seeds(5)) {
    RandomStream random(seed, "header");
    const BackingReference first = RandomBacking(random);
    CrashDisk disk = RandomImage(first, random);
    const std::vector<CraftedBitmap> bitmaps = BitmapsOf(disk);
    const std::vector<Change> changes = MakeChanges(disk, first, random);
    for (int i = 0; i < 20; ++i) {
      const uint64_t crash = random.Below(disk.event_count() + 1);
      SCOPED_TRACE(StrCat("seed ", seed, ", crash before event ", crash, " of ", disk.event_count(),
                          ", image ", i));
      const CrashDisk crashed(disk.CrashImage(crash, random));
      const absl::StatusOr<Opened> opened = Open(crashed);
      ASSERT_TRUE(opened.ok()) << opened.status();
      EXPECT_TRUE(Allows(changes, opened->backing, crash))
          << "'" << opened->backing.filename << "' of format '" << opened->backing.format << "'";
      EXPECT_EQ(opened->feature, "dirty bit");
      EXPECT_EQ(BitmapsOf(crashed).size(), bitmaps.size());
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace millrace::header_crash_test
