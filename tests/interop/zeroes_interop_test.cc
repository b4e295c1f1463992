// Writing zeroes, with and without leave to unmap, and discarding: by us on one image, by QEMU on
// its twin. The same map, down to which zero clusters keep their place in the file; the same
// content; both checks clean; as many clusters in use.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/sanitizer.h"
#include "tests/support/open_qcow2.h"
#include "tests/support/qemu_tools.h"

namespace millrace::zeroes_interop_test {
namespace {

enum class Change { kZeroes, kZeroesAndUnmap, kDiscard };

std::string_view QemuCommand(Change change) {
  switch (change) {
    case Change::kZeroes:
      return "write -z";
    case Change::kZeroesAndUnmap:
      return "write -z -u";
    case Change::kDiscard:
      return "discard";
  }
  return "";
}

absl::Status CoChange(Attachment& guest, Change change, ByteRange range) MILLRACE_MAY_SUSPEND {
  if (change == Change::kDiscard) return guest.CoDiscard(range);
  ZeroFlags flags;
  flags.may_unmap = change == Change::kZeroesAndUnmap;
  return guest.CoWriteZeroes(range, flags);
}

absl::Status ChangeByUs(const std::string& path, Change change, ByteRange range) {
  return WithQcow2(path, GuestDevicePermissions(), [&](Attachment& guest) MILLRACE_MAY_SUSPEND {
    return CoChange(guest, change, range);
  });
}

// What data says of holes in the file below is left out: whether zeroes in the middle of a data
// cluster were written or punched is not the format's business.
std::string MapText(const std::string& path) {
  return QemuMapText(path, [](const QemuExtent& extent) {
    return StrCat("depth ", extent.depth, extent.is_present ? "" : " absent",
                  extent.is_data ? " data" : " zero", extent.has_offset ? " with a place" : "");
  });
}

// What `qemu-img check` counts: "12/64 = …% allocated" and so on.
std::string CheckText(const std::string& path) {
  const absl::StatusOr<std::string> said = RunTool({"qemu-img", "check", "-f", "qcow2", path});
  if (!said.ok()) return said.status().ToString();
  return said->substr(0, said->find("Image end offset"));
}

struct Format {
  const char* name;
  const char* options;
  uint64_t cluster;
  bool has_backing;
};

void PrintTo(const Format& format, std::ostream* out) { *out << format.name; }

const Format kFormats[] = {
    {"Usual", "compat=1.1", 65536, false},
    {"UsualOverlay", "compat=1.1", 65536, true},
    {"Old", "compat=0.10,cluster_size=4k", 4096, false},
    {"OldOverlay", "compat=0.10,cluster_size=4k", 4096, true},
    {"Subclusters", "extended_l2=on,cluster_size=64k", 65536, true},
    {"LargestClusters", "cluster_size=2M", 2 << 20, true},
    {"LargestSubclusters", "extended_l2=on,cluster_size=2M", 2 << 20, true},
    {"SmallestClusters", "cluster_size=512", 512, true},
};

class ZeroesInterop : public testing::TestWithParam<Format> {
 protected:
  void Make() {
    const Format& format = GetParam();
    if (format.has_backing) {
      WriteFile(folder_.File("base.raw"), std::vector<uint8_t>(kClusters * format.cluster, 0xbb));
    }
    for (const std::string& path : {ours_, theirs_}) {
      std::vector<std::string> create = {"qemu-img", "create", "-q",          "-f",
                                         "qcow2",    "-o",     format.options};
      if (format.has_backing) {
        create.insert(create.end(), {"-b", folder_.File("base.raw"), "-F", "raw"});
      }
      create.insert(create.end(), {path, std::to_string(kClusters * format.cluster)});
      ASSERT_TRUE(RunTool(create).ok());
      // Data in the first half, a cluster of the second half, and part of another.
      ASSERT_TRUE(RunTool({"qemu-io", "-f", "qcow2", "-c",
                           StrCat("write -P 1 0 ", kClusters / 2 * format.cluster), "-c",
                           StrCat("write -P 2 ", 9 * format.cluster, " ", format.cluster), "-c",
                           StrCat("write -P 3 ", 11 * format.cluster, " ", 256), path})
                      .ok());
    }
  }
  // The same change on both.
  void Apply(Change change, ByteRange range) {
    SCOPED_TRACE(StrCat(QemuCommand(change), " ", range.offset, " ", range.bytes));
    const absl::Status status = ChangeByUs(ours_, change, range);
    ASSERT_TRUE(status.ok()) << status;
    const auto qemu =
        RunTool({"qemu-io", "-f", "qcow2", "-d", "unmap", "-c",
                 StrCat(QemuCommand(change), " ", range.offset, " ", range.bytes), theirs_});
    ASSERT_TRUE(qemu.ok()) << qemu.status();
    ASSERT_EQ(MapText(ours_), MapText(theirs_));
    ASSERT_EQ(CheckText(ours_), CheckText(theirs_));
  }

  static constexpr uint64_t kClusters = 16;
  const TemporaryFolder folder_;
  const std::string ours_ = folder_.File("ours.qcow2");
  const std::string theirs_ = folder_.File("theirs.qcow2");
};

// Whole clusters, parts of them, parts of two, what was zero already, what was never written, the
// rest of the image; each change on what the ones before have left.
TEST_P(ZeroesInterop, LeaveTheImageAsQemuLeavesIts) {
  if (!HasQemuTools()) GTEST_SKIP() << "qemu-utils is not installed";
  const uint64_t cluster = GetParam().cluster;
  // Large clusters are 32 MiB a time, and the smaller ones have been through all.
  const bool is_large = GetParam().cluster > 1 << 20;
  for (const Change first : {Change::kZeroes, Change::kZeroesAndUnmap, Change::kDiscard}) {
    // What is compared is the same with sanitizers, whose part it is to look on once.
    if ((MILLRACE_ASAN || is_large) && first != Change::kZeroesAndUnmap) continue;
    for (const std::string& path : {ours_, theirs_}) std::remove(path.c_str());
    ASSERT_NO_FATAL_FAILURE(Make());
    const ByteRange ranges[] = {
        {0, cluster},
        {cluster + cluster / 4, cluster / 2},
        {2 * cluster + cluster / 2, 2 * cluster},
        {7 * cluster + cluster / 2, 3 * cluster},
        {11 * cluster, cluster / 2},
    };
    for (const ByteRange& range : ranges) {
      ASSERT_NO_FATAL_FAILURE(Apply(first, range));
    }
    for (const Change next : {Change::kDiscard, Change::kZeroes, Change::kZeroesAndUnmap}) {
      ASSERT_NO_FATAL_FAILURE(Apply(next, ByteRange(0, 6 * cluster)));
    }
    EXPECT_EQ(QemuContent(folder_, "ours.qcow2"), QemuContent(folder_, "theirs.qcow2"));
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, ZeroesInterop, testing::ValuesIn(kFormats),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace millrace::zeroes_interop_test
