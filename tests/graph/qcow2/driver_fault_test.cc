// The fault loop: one fixed sequence of operations, in which the N-th operation on the file fails,
// for every N. Each failure is a clean error; nothing already written is lost, and the image stays
// free of corruption whatever the driver did after the error.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/qcow2_images.h"

namespace millrace {
namespace {

// The sequence, and which bytes the guest may see: after a failed write either value.
class Sequence {
 public:
  Sequence(FormatNode& node, std::vector<uint8_t> model)
      : node_(node), model_(std::move(model)), other_(model_), third_(model_) {}

  void CoRun() MILLRACE_MAY_SUSPEND {
    const uint64_t cluster = node_.driver().cluster_bytes();
    CoWrite(100, 50);
    CoWrite(cluster * 3, 2 * cluster);
    Count(node_.CoFlush());
    CoZero(0, cluster);
    CoWrite(cluster * 3 + 512, 1024);
    CoDiscard(cluster * 4, cluster);
    Count(node_.CoFlush());
    Count(node_.CoPopulate(ByteRange(cluster * 6, cluster)));
    CoWrite(model_.size() - 700, 700);
    CoGrow();
    CoWrite(model_.size() - 3000, 3000);
    Count(node_.CoFlush());
    for (uint64_t i = 0; i < 4; ++i) CoWrite((7 + 2 * i) * cluster + 10, 20);
    Count(node_.CoFlush());
    Count(node_.CoFlush());
  }
  // Whether the guest sees nothing impossible; the first wrong byte if it does.
  absl::Status CoVerify(FormatNode& node) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> now(std::min<uint64_t>(node.driver().bytes(), model_.size()));
    MILLRACE_RETURN_IF_ERROR(node.CoRead(0, absl::MakeSpan(now)));
    for (uint64_t i = 0; i < now.size(); ++i) {
      if (now[i] != model_[i] && now[i] != other_[i] && now[i] != third_[i]) {
        return absl::InternalError(StrCat("byte ", i, " is ", int{now[i]}, ", not ", int{model_[i]},
                                          ", ", int{other_[i]}, " or ", int{third_[i]}));
      }
    }
    return absl::OkStatus();
  }
  int failures() const { return failures_; }

 private:
  void Count(const absl::Status& status) { failures_ += status.ok() ? 0 : 1; }
  void Remember(uint64_t offset, const std::vector<uint8_t>& data, const absl::Status& status) {
    Count(status);
    for (uint64_t i = 0; i < data.size(); ++i) {
      const uint64_t at = offset + i;
      third_[at] = status.ok() ? data[i] : other_[at];
      other_[at] = status.ok() ? data[i] : model_[at];
      model_[at] = data[i];
    }
  }
  void CoWrite(uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    const std::vector<uint8_t> data = Pattern(bytes, offset);
    Remember(offset, data, node_.CoWrite(offset, data));
  }
  void CoZero(uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    Remember(offset, std::vector<uint8_t>(bytes), node_.CoWriteZeroes(ByteRange(offset, bytes)));
  }
  void CoDiscard(uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    Count(node_.CoDiscard(ByteRange(offset, bytes)));
    for (uint64_t i = offset; i < offset + bytes; ++i) {
      third_[i] = other_[i];
      other_[i] = 0;
    }
  }
  void CoGrow() MILLRACE_MAY_SUSPEND {
    const absl::Status status = node_.CoResize(model_.size() * 3);
    Count(status);
    if (!status.ok()) return;
    model_.resize(model_.size() * 3);
    other_.resize(model_.size());
    third_.resize(model_.size());
  }

  FormatNode& node_;
  std::vector<uint8_t> model_;
  std::vector<uint8_t> other_;
  std::vector<uint8_t> third_;
  int failures_ = 0;
};

struct Case {
  const char* name;
  Qcow2CreateOptions options;
  bool has_backing;
};
const Case kCases[] = {
    {"SmallClusters", {.bytes = 40960, .cluster_bytes = 512, .refcount_bits = 64}, true},
    {"Version2", {.bytes = 65536, .version = 2, .cluster_bytes = 1024}, false},
    {"Subclusters", {.bytes = 1 << 18, .cluster_bytes = 16384, .extended_l2 = true}, true},
    {"Lazy", {.bytes = 1 << 16, .cluster_bytes = 4096, .lazy_refcounts = true}, true},
};

class Qcow2FaultLoop : public testing::TestWithParam<Case> {};

struct Fault {
  uint64_t at = UINT64_MAX - 1;
  bool for_ever = false;
  bool after_effect = false;
};

// Runs the sequence with a fault; returns how many operations it took.
uint64_t RunWithFault(const Case& test, const Fault& fault) {
  CrashDisk disk = MakeImage(test.options);
  const std::vector<uint8_t> backing =
      test.has_backing ? Pattern(test.options.bytes, 1) : std::vector<uint8_t>();
  std::vector<uint8_t> model = backing;
  model.resize(test.options.bytes);
  const bool for_ever = fault.for_ever;
  auto engine = SimulatedEngine();
  uint64_t operations = 0;
  {
    FakeDriverContext context(*engine, disk);
    FormatNode node(context, MakeQcow2Driver({.cache_bytes_max = 16384}), backing);
    FakeDriverContext again(*engine, disk);
    FormatNode reopened(again, MakeQcow2Driver(), backing);
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      disk.FailAt(fault.at, for_ever, fault.after_effect);
      if (const absl::Status open = node.CoOpen(); !open.ok()) {
        node.CoClose();
        disk.FailNever();
        return absl::OkStatus();
      }
      Sequence sequence(node, model);
      sequence.CoRun();
      operations = disk.operations();
      if (!for_ever) disk.FailNever();
      const absl::Status seen = for_ever ? absl::OkStatus() : sequence.CoVerify(node);
      node.CoClose();
      disk.FailNever();
      MILLRACE_RETURN_IF_ERROR(seen);
      if (fault.at < operations && sequence.failures() == 0 && for_ever) {
        return absl::InternalError("a failure went unnoticed");
      }
      MILLRACE_RETURN_IF_ERROR(reopened.CoOpen());
      // What a device that stays broken loses is what was not flushed.
      absl::Status result;
      if (!for_ever) result = sequence.CoVerify(reopened);
      reopened.CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
  }
  disk.FailNever();
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  EXPECT_TRUE(check.ok() && check->corruptions == 0) << Describe(check);
  return operations;
}

void Loop(const Case& test, Fault fault) {
  fault.at = UINT64_MAX - 1;
  const uint64_t count = RunWithFault(test, fault);
  ASSERT_GT(count, 30u);
  for (fault.at = 0; fault.at < count; ++fault.at) {
    SCOPED_TRACE(StrCat("number ", fault.at, " of ", count, " fails"));
    RunWithFault(test, fault);
    if (testing::Test::HasFailure()) return;
  }
}

TEST_P(Qcow2FaultLoop, TheNthOperationFailsAndNothingBreaks) { Loop(GetParam(), {}); }
TEST_P(Qcow2FaultLoop, TheNthOperationFailsAfterItsEffectAndNothingBreaks) {
  Loop(GetParam(), {.after_effect = true});
}
TEST_P(Qcow2FaultLoop, FromTheNthOperationOnAllFailAndNothingBreaks) {
  Loop(GetParam(), {.for_ever = true});
}
TEST_P(Qcow2FaultLoop, FromTheNthOperationOnAllFailAfterTheirEffectAndNothingBreaks) {
  Loop(GetParam(), {.for_ever = true, .after_effect = true});
}
INSTANTIATE_TEST_SUITE_P(Formats, Qcow2FaultLoop, testing::ValuesIn(kCases),
                         [](const auto& each) { return std::string(each.param.name); });

// Creating an image either works or leaves something that nobody takes for one.
TEST(Qcow2CreateFaults, TheNthOperationFailsAndNoImageIsLeft) {
  const Qcow2CreateOptions options{
      .bytes = 1 << 20, .cluster_bytes = 4096, .backing_filename = "base.qcow2"};
  auto engine = SimulatedEngine();
  uint64_t operations = 1;
  for (uint64_t n = 0; n <= operations; ++n) {
    CrashDisk disk;
    DiskFile file(disk);
    disk.FailAt(n);
    const absl::Status status =
        engine->Run([&]() MILLRACE_MAY_SUSPEND { return CoCreateQcow2(file, options); });
    if (n == operations) {
      EXPECT_TRUE(status.ok()) << status;
    }
    if (status.ok()) continue;
    operations = n + 2;
    disk.FailNever();
    // The last flush may fail with everything in place; before that there is no header.
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
    EXPECT_TRUE(!check.ok() || check->is_clean()) << Describe(check);
  }
}

}  // namespace
}  // namespace millrace
