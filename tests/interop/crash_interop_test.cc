// What a crash leaves, as QEMU sees it: `qemu-img check` finds no corruption in any image of the
// chain, and `qemu-img convert` reads the guest's disk as we do.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/image_examiner.h"
#include "tests/support/job_crash_story.h"
#include "tests/support/qemu_tools.h"
#include "tests/support/seeds.h"

namespace millrace::crash_interop_test {
namespace {

std::vector<uint8_t> BytesOf(const SparseImage& image) {
  std::vector<uint8_t> bytes(image.bytes());
  image.Read(0, {reinterpret_cast<char*>(bytes.data()), bytes.size()});
  return bytes;
}

// Leaks are allowed. An image that is marked dirty is repaired first, as opening it would do.
absl::Status CheckWithQemu(const std::string& path, bool is_dirty) {
  if (is_dirty) {
    MILLRACE_RETURN_IF_ERROR(
        RunTool({"qemu-img", "check", "-q", "-f", "qcow2", "-r", "all", path}).status());
  }
  return RunTool({"sh", "-c", "qemu-img check -f qcow2 \"$0\" || test $? = 3", path}).status();
}

class Sampler {
 public:
  absl::Status Take(const CrashedDisk& disk) {
    const TemporaryFolder folder;
    for (size_t i = 0; i < disk.files.size(); ++i) {
      const std::vector<uint8_t> bytes = BytesOf(disk.files[i]);
      WriteFile(folder.File(disk.paths[i]), bytes);
      const bool is_dirty = bytes.size() > 79 && bytes[7] == 3 && (bytes[79] & 1) != 0;
      MILLRACE_RETURN_IF_ERROR(CheckWithQemu(folder.File(disk.paths[i]), is_dirty));
    }
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> content,
                              QemuContent(folder, disk.root_path));
    for (uint64_t sector = 0; sector < disk.sectors.size(); ++sector) {
      if (SectorValue(sector, &content.at(sector * 512)) == disk.sectors[sector]) continue;
      return absl::InternalError(StrCat("QEMU reads sector ", sector, " otherwise"));
    }
    ++taken_;
    return absl::OkStatus();
  }
  int taken() const { return taken_; }

 private:
  int taken_ = 0;
};

TEST(CrashInterop, QemuFindsNoCorruptionInWhatACrashLeavesAndReadsTheSame) {
  if (!HasQemuTools()) GTEST_SKIP() << "qemu-utils is not installed";
  Sampler sampler;
  JobCrashOptions options;
  options.images = {.samples = 16, .subsets_max = 64};
  options.restart_one_in = 0;
  options.sample_one_in = 400;
  options.on_sample = [&](const CrashedDisk& disk) { return sampler.Take(disk); };
  JobCrashCounts counts;
  for (uint64_t seed : Seeds(340)) {
    for (const CrashJob job : kCrashJobs) {
      const CrashCase crash_case = CrashCase::Random(job, seed % 4 == 0 ? 65536 : 512, seed);
      const absl::Status status = RunJobCrashStory(crash_case, seed, options, counts);
      ASSERT_TRUE(status.ok()) << "seed " << seed << ": " << status;
    }
  }
  RecordProperty("crash images checked by QEMU", sampler.taken());
  EXPECT_GT(sampler.taken(), 0);
}

}  // namespace
}  // namespace millrace::crash_interop_test
