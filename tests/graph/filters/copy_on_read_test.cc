#include "millrace/graph/filters/copy_on_read.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "tests/support/simulation.h"

namespace millrace::copy_on_read_test {
namespace {

using Layer = ChainExtent::Layer;

// A child whose chain is a row of sectors, each of one layer, and that writes down what is done.
class ChainContext final : public DriverContext {
 public:
  ChainContext(Engine& engine, std::vector<Layer> chain)
      : layers(std::move(chain)), content(layers.size() * 512, 'd'), engine_(engine) {}

  Engine& engine() const override { return engine_; }
  const std::string& node_name() const override { return name_; }
  bool is_read_only() const override { return false; }
  bool HasChild(ChildKey role) const override { return role == Role::kFiltered; }
  uint64_t ChildBytes(ChildKey) const override { return content.size(); }
  absl::Status CoReadChild(ChildKey, uint64_t offset, const IoVector& target) override
      MILLRACE_MAY_SUSPEND {
    Log("read", offset, target.bytes());
    target.CopyFrom(0, content.data() + offset, target.bytes());
    CoYield();
    return absl::OkStatus();
  }
  absl::Status CoWriteChild(ChildKey, uint64_t offset, const IoVector& source,
                            WriteFlags flags) override MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(flags.only_if_unallocated);
    written.assign(source.bytes(), '?');
    source.CopyTo(0, written.data(), source.bytes());
    Log("write", offset, source.bytes());
    return write_status;
  }
  absl::Status CoWriteZeroesChild(ChildKey, ByteRange range, ZeroFlags flags) override
      MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(flags.only_if_unallocated);
    Log("zero", range.offset, range.bytes);
    return write_status;
  }
  absl::Status CoDiscardChild(ChildKey, ByteRange) override MILLRACE_MAY_SUSPEND {
    return absl::OkStatus();
  }
  absl::Status CoFlushChild(ChildKey) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoResizeChild(ChildKey, uint64_t) override MILLRACE_MAY_SUSPEND {
    return absl::OkStatus();
  }
  absl::StatusOr<Extent> CoMapChild(ChildKey, ByteRange) override MILLRACE_MAY_SUSPEND {
    return absl::UnimplementedError("not asked");
  }
  absl::StatusOr<ChainExtent> CoMapChildChain(ChildKey, ByteRange range,
                                              std::string_view bottom) override
      MILLRACE_MAY_SUSPEND {
    asked_bottom = bottom;
    const Layer first = layers[range.offset / 512];
    uint64_t end = range.offset;
    while (end < range.end() && layers[end / 512] == first) end = (end / 512 + 1) * 512;
    return ChainExtent{std::min(end, range.end()) - range.offset, first};
  }
  void CoEvent(std::string_view) override MILLRACE_MAY_SUSPEND {}
  uint64_t NewestRequest() const override { return 0; }
  uint64_t OldestRequest() const override { return UINT64_MAX; }
  void LogWarning(std::string_view) override {}

  std::vector<Layer> layers;
  std::string content;
  std::vector<std::string> log;
  std::string asked_bottom;
  std::string written;
  absl::Status write_status;

 private:
  void Log(std::string_view what, uint64_t offset, uint64_t bytes) {
    log.push_back(StrCat(what, " ", offset, "+", bytes));
  }
  Engine& engine_;
  const std::string name_ = "cor";
};

class CopyOnRead : public ::testing::Test {
 protected:
  absl::Status Read(ChainContext& context, const std::string& bottom, uint64_t offset,
                    uint64_t bytes) {
    return engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      auto filter = MakeCopyOnReadDriver({.bottom = bottom});
      MILLRACE_RETURN_IF_ERROR(filter->CoOpen(context));
      target_.assign(bytes, '?');
      return filter->CoRead(offset, IoVector(target_.data(), bytes));
    });
  }
  std::unique_ptr<Engine> engine_ = SimulatedEngine();
  std::string target_;
};

TEST_F(CopyOnRead, StandsAsideForReadsWhileItsOwnerSaysSo) {
  const auto reads_pass = std::make_shared<bool>(false);
  const auto filter = MakeCopyOnReadDriver({.reads_pass = reads_pass});
  EXPECT_FALSE(filter->is_transparent_for_reads());
  *reads_pass = true;
  EXPECT_TRUE(filter->is_transparent_for_reads());
  EXPECT_FALSE(MakeCopyOnReadDriver({})->is_transparent_for_reads());
}

TEST_F(CopyOnRead, KeepsOnlyWhatComesFromBetweenChildAndBottom) {
  ChainContext context(*engine_, {Layer::kTop, Layer::kBetween, Layer::kBetween, Layer::kBelow});
  EXPECT_TRUE(Read(context, "mid", 100, 1900).ok());
  EXPECT_EQ(context.log, (std::vector<std::string>{"read 100+412", "read 512+1024",
                                                   "write 512+1024", "read 1536+464"}));
  EXPECT_EQ(context.asked_bottom, "mid");
  EXPECT_EQ(target_, std::string(1900, 'd'));
}

TEST_F(CopyOnRead, WithoutABottomKeepsEverything) {
  ChainContext context(*engine_, {Layer::kTop, Layer::kBelow});
  context.content.replace(512, 512, std::string(512, '\0'));
  EXPECT_TRUE(Read(context, "", 0, 1024).ok());
  EXPECT_EQ(context.log, (std::vector<std::string>{"read 0+512", "read 512+512", "zero 512+512"}));
}

TEST_F(CopyOnRead, ReadsLargerThanAPieceAreKeptInPieces) {
  ChainContext context(*engine_, std::vector<Layer>(4096 + 2, Layer::kBetween));
  EXPECT_TRUE(Read(context, "mid", 0, (4096 + 2) * 512).ok());
  EXPECT_EQ(context.log, (std::vector<std::string>{"read 0+1048576", "write 0+1048576",
                                                   "read 1048576+1048576", "write 1048576+1048576",
                                                   "read 2097152+1024", "write 2097152+1024"}));
}

// A guest may write to its own buffer while its read is in flight.
TEST_F(CopyOnRead, WhatIsWrittenIsWhatWasReadWhateverTheGuestsBufferHolds) {
  ChainContext context(*engine_, {Layer::kBetween});
  target_.assign(512, '?');
  const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    scope.Spawn("read", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      auto filter = MakeCopyOnReadDriver({.bottom = "mid"});
      MILLRACE_RETURN_IF_ERROR(filter->CoOpen(context));
      return filter->CoRead(0, IoVector(target_.data(), 512));
    });
    scope.Spawn("guest scribbles", [&]() MILLRACE_MAY_SUSPEND {
      for (int i = 0; i < 10; ++i) {
        std::fill(target_.begin(), target_.end(), 'X');
        CoYield();
      }
    });
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(context.written, std::string(512, 'd'));
}

TEST_F(CopyOnRead, AFailedCopyFailsTheRead) {
  ChainContext context(*engine_, {Layer::kBetween});
  context.write_status = absl::ResourceExhaustedError("full");
  EXPECT_EQ(Read(context, "mid", 0, 512).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(CopyOnRead, AlwaysWritesUnchangedDataAndLetsOthersDoSo) {
  auto filter = MakeCopyOnReadDriver({});
  EXPECT_EQ(
      filter->DerivePermissions(
          {.role = Role::kFiltered, .parents = {kConsistentRead, kConsistentRead | kWrite}}),
      (Permissions{kConsistentRead | kWriteUnchanged, kConsistentRead | kWrite | kWriteUnchanged}));
  EXPECT_EQ(filter->DerivePermissions({.parents = {kNoPermissions, kNoPermissions}}),
            (Permissions{kWriteUnchanged, kWriteUnchanged}));
}

}  // namespace
}  // namespace millrace::copy_on_read_test
