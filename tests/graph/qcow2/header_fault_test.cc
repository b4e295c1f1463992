// A change of the header that fails, before its effect or after it: by the next flush the file says
// what the driver believes.
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/qcow2_images.h"

namespace millrace::header_fault_test {
namespace {

constexpr uint64_t kCluster = 4096;

struct Failing {
  const char* name;
  bool goes_on = false;  // all operations fail until the change has failed; else one does
  bool after_effect = false;
};
void PrintTo(const Failing& failing, std::ostream* out) { *out << failing.name; }

const Failing kFailures[] = {
    {"Once"},
    {"OnceAfterItsEffect", false, true},
    {"UntilItIsOver", true, false},
    {"UntilItIsOverAfterTheirEffect", true, true},
};

class Qcow2HeaderFault : public testing::TestWithParam<Failing> {
 protected:
  using Body = std::function<absl::Status(FormatNode& node)>;

  // Opens the image, readies it for changes, and makes `change` with its operation number `at`
  // failing; then `after`, on a sound device. Returns how many operations the change took.
  uint64_t FailOne(CrashDisk& disk, uint64_t at, const Body& change, const Body& after) {
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk);
    FormatNode node(context, MakeQcow2Driver());
    uint64_t operations = 0;
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      disk.FailAt(at, GetParam().goes_on, GetParam().after_effect);
      changed_ = change(node);
      operations = disk.operations();
      disk.FailNever();
      const absl::Status result = after(node);
      node.CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
    return operations;
  }

  template <typename Use>
  void Reopen(CrashDisk& disk, Use&& use) {
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk);
    FormatNode node(context, MakeQcow2Driver());
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      const absl::Status result = use(node);
      node.CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
    EXPECT_TRUE(check.ok() && check->corruptions == 0) << Describe(check);
  }

  // For every operation of `change`.
  void Loop(const CrashDisk& start, const Body& change,
            const std::function<void(CrashDisk& disk, uint64_t at)>& try_one) {
    CrashDisk probe = start;
    const uint64_t count =
        FailOne(probe, UINT64_MAX - 1, change,
                [](FormatNode&) MILLRACE_MAY_SUSPEND { return absl::OkStatus(); });
    ASSERT_TRUE(changed_.ok()) << changed_;
    ASSERT_GT(count, 3u);
    for (uint64_t at = 0; at < count && !HasFailure(); ++at) {
      SCOPED_TRACE(StrCat("number ", at, " of ", count, " fails"));
      CrashDisk disk = start;
      try_one(disk, at);
    }
  }

  absl::Status changed_;
};

// The table moves. Where the header points then decides what the next writes are worth.
TEST_P(Qcow2HeaderFault, AfterAFailedGrowthOfTheL1TableNothingFlushedIsLost) {
  const CrashDisk start = MakeImage({.bytes = 64 * kCluster, .cluster_bytes = kCluster});
  const Body grow = [](FormatNode& node) MILLRACE_MAY_SUSPEND { return node.CoResize(8 << 20); };
  Loop(start, grow, [&](CrashDisk& disk, uint64_t at) {
    const std::vector<uint8_t> data = Pattern(kCluster, 1);
    bool is_flushed = false;
    FailOne(disk, at, grow, [&](FormatNode& node) MILLRACE_MAY_SUSPEND {
      EXPECT_FALSE(changed_.ok());
      EXPECT_EQ(node.driver().bytes(), 64 * kCluster);
      const absl::Status written = node.CoWrite(5 * kCluster, data);
      is_flushed = written.ok() && node.CoFlush().ok();
      return absl::OkStatus();
    });
    EXPECT_TRUE(is_flushed) << "what has failed must not be the end";
    Reopen(disk, [&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
      std::vector<uint8_t> now(kCluster);
      MILLRACE_RETURN_IF_ERROR(node.CoRead(5 * kCluster, absl::MakeSpan(now)));
      EXPECT_TRUE(!is_flushed || now == data) << "lost";
      return absl::OkStatus();
    });
  });
}

// Name and format stand in different places, and the next change of the header writes one of them.
TEST_P(Qcow2HeaderFault, AfterAFailedChangeOfTheBackingNameAndFormatBelongTogether) {
  const BackingReference old{std::string(250, 'o'), "qcow2"};
  for (const BackingReference& fresh :
       {BackingReference{"second-with-a-longer-name.raw", "raw"}, BackingReference{"b", "vmdk"},
        BackingReference{std::string(400, 'n'), "qcow2"}, BackingReference{}}) {
    SCOPED_TRACE(fresh.filename.substr(0, 20));
    // The longest name does not fit beside the old one.
    const CrashDisk start = MakeImage({.bytes = 64 * 1024,
                                       .cluster_bytes = 1024,
                                       .backing_filename = old.filename,
                                       .backing_format = old.format});
    const Body change = [&](FormatNode& node) MILLRACE_MAY_SUSPEND {
      return node.driver().CoWriteBackingReference(fresh);
    };
    Loop(start, change, [&](CrashDisk& disk, uint64_t at) {
      absl::Status grown;
      FailOne(disk, at, change, [&](FormatNode& node) MILLRACE_MAY_SUSPEND {
        EXPECT_FALSE(changed_.ok());
        EXPECT_EQ(node.driver().backing_reference(), old);
        grown = node.CoResize(80 * 1024);
        return absl::OkStatus();
      });
      EXPECT_TRUE(grown.ok()) << grown;
      Reopen(disk, [&](FormatNode& node) MILLRACE_MAY_SUSPEND {
        const BackingReference now = node.driver().backing_reference();
        EXPECT_TRUE(now == old) << now.filename.substr(0, 20) << " " << now.format;
        return absl::OkStatus();
      });
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Failures, Qcow2HeaderFault, testing::ValuesIn(kFailures),
                         [](const auto& each) { return std::string(each.param.name); });

// Its clusters are free again once it is sure that nothing points at them.
using Qcow2HeaderFaultOnce = Qcow2HeaderFault;

TEST_P(Qcow2HeaderFaultOnce, AFailedGrowthOfTheL1TableLeaksNothing) {
  const CrashDisk start = MakeImage({.bytes = 64 * kCluster, .cluster_bytes = kCluster});
  const Body grow = [](FormatNode& node) MILLRACE_MAY_SUSPEND { return node.CoResize(8 << 20); };
  Loop(start, grow, [&](CrashDisk& disk, uint64_t at) {
    FailOne(disk, at, grow, grow);
    Reopen(disk, [&](FormatNode& node) MILLRACE_MAY_SUSPEND {
      EXPECT_EQ(node.driver().bytes(), 8u << 20);
      return absl::OkStatus();
    });
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
    EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
  });
}

INSTANTIATE_TEST_SUITE_P(Failures, Qcow2HeaderFaultOnce,
                         testing::Values(kFailures[0], kFailures[1]),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace millrace::header_fault_test
