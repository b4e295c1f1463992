#include "millrace/engine/io/buffer_pool.h"

#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/io/heap_array.h"
#include "millrace/engine/io/io_error.h"

namespace millrace::buffer_pool_test {
namespace {

// Counts slabs registered.
class NullBackend final : public IoBackend {
 public:
  std::string_view name() const override { return "null"; }
  void Submit(IoRequest&) override {}
  void Flush() override {}
  size_t Poll() override { return 0; }
  void Block(Nanoseconds) override {}
  void Interrupt() override {}
  int PollFd() override { return -1; }
  size_t in_flight() const override { return 0; }
  absl::StatusOr<IoFile> CoOpen(const std::string&, const OpenOptions&) override
      MILLRACE_MAY_SUSPEND {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<IoFile> Adopt(int) override { return absl::UnimplementedError(""); }
  void CoClose(IoFile) override MILLRACE_MAY_SUSPEND {}
  absl::StatusOr<FileInfo> CoStat(IoFile) override MILLRACE_MAY_SUSPEND {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<FileExtent> CoFindExtent(IoFile, uint64_t) override MILLRACE_MAY_SUSPEND {
    return absl::UnimplementedError("");
  }
  absl::Status LockBytes(IoFile, absl::Span<const uint64_t>) override { return absl::OkStatus(); }
  void UnlockBytes(IoFile, absl::Span<const uint64_t>) override {}
  absl::Status ProbeLocks(IoFile, absl::Span<const uint64_t>) override { return absl::OkStatus(); }
  void RegisterSlab(char*, size_t, uint32_t) override { ++slabs; }

  int slabs = 0;
};

// Lets allocations fail at will.
class FaultDecider final : public Decider {
 public:
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    return kind == ChoiceKind::kFault && is_armed ? options.size() - 1 : 0;
  }
  bool is_armed = false;
};

struct PoolTest : ::testing::Test {
  SimulatedClock clock;
  FaultDecider decider;
  Scheduler scheduler{clock, &decider};
  NullBackend backend;
};
using BufferPoolTest = PoolTest;
using IoBufferTest = PoolTest;
using HeapArrayTest = PoolTest;

TEST_F(BufferPoolTest, GivesAlignedMemoryThatDoesNotOverlap) {
  BufferPool pool(scheduler, backend, {.slabs_max = 4});
  RandomStream random(1);
  std::vector<std::pair<IoBuffer, char>> out;
  for (int i = 0; i < 3000; ++i) {
    if (out.size() > 20 || (!out.empty() && random.OneIn(3))) {
      const size_t victim = random.Below(out.size());
      const IoBuffer& buffer = out[victim].first;
      for (size_t at = 0; at < buffer.bytes(); at += 509) {
        ASSERT_EQ(buffer.data()[at], out[victim].second);
      }
      out.erase(out.begin() + static_cast<ptrdiff_t>(victim));
      continue;
    }
    auto buffer = pool.TryTake(1 + random.Below(300000), "test");
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % IoBuffer::kAlignment, 0u);
    std::memset(buffer->data(), i, buffer->bytes());
    out.emplace_back(*std::move(buffer), static_cast<char>(i));
  }
  EXPECT_LE(backend.slabs, 4);
  out.clear();
  EXPECT_EQ(pool.bytes_out(), 0u);
}

TEST_F(BufferPoolTest, ReusesTheMemoryGivenBack) {
  BufferPool pool(scheduler, backend, {.slabs_max = 4});
  const char* first = pool.TryTake(65536, "test")->data();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(pool.TryTake(65536, "test")->data(), first);
  // An empty slab serves another class.
  EXPECT_EQ(pool.TryTake(1 << 20, "test")->data(), first);
  EXPECT_EQ(backend.slabs, 1);
}

TEST_F(BufferPoolTest, KeepsNoMoreThanItsBound) {
  BufferPool pool(scheduler, backend, {.slabs_max = 2});
  std::vector<IoBuffer> out;
  for (int i = 0; i < 5; ++i) out.push_back(*pool.TryTake(1 << 20, "test"));
  EXPECT_EQ(pool.bytes_kept(), size_t{2} << 20);
  EXPECT_EQ(pool.bytes_out(), size_t{5} << 20);
}

TEST_F(BufferPoolTest, RefusesMoreThanItsLimit) {
  BufferPool pool(scheduler, backend, {.slabs_max = 2, .bytes_max = 100000});
  auto first = pool.TryTake(60000, "test");
  ASSERT_TRUE(first.ok());
  const absl::Status status = pool.TryTake(60000, "the copy of img-3").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoOf(status), ENOMEM);
  EXPECT_NE(std::string(status.message()).find("the copy of img-3"), std::string::npos);
  *first = IoBuffer();
  EXPECT_TRUE(pool.TryTake(60000, "test").ok());
}

TEST_F(BufferPoolTest, FailsWhereTheDeciderSaysSo) {
  BufferPool pool(scheduler, backend, {});
  decider.is_armed = true;
  EXPECT_EQ(pool.TryTake(4096, "test").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(pool.bytes_out(), 0u);
}

TEST_F(IoBufferTest, AnImpossibleSizeIsAStatus) {
  EXPECT_EQ(IoBuffer::TryAllocate(scheduler, SIZE_MAX - 5, "test").status().code(),
            absl::StatusCode::kResourceExhausted);
  decider.is_armed = true;
  EXPECT_EQ(IoBuffer::TryAllocate(scheduler, 512, "test").status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(HeapArrayTest, StartsZeroAndGrowsKeepingItsElements) {
  auto array = HeapArray<uint64_t>::TryAllocate(scheduler, 3, "table");
  ASSERT_TRUE(array.ok());
  (*array)[2] = 7;
  EXPECT_EQ((*array)[0], 0u);
  ASSERT_TRUE(array->TryGrow(scheduler, 100, "table").ok());
  EXPECT_EQ(array->size(), 100u);
  EXPECT_EQ((*array)[2], 7u);
  EXPECT_EQ((*array)[99], 0u);
}

TEST_F(HeapArrayTest, AFailedGrowthLeavesItAsItIs) {
  auto array = HeapArray<uint64_t>::TryAllocate(scheduler, 3, "table");
  ASSERT_TRUE(array.ok());
  (*array)[2] = 7;
  EXPECT_EQ(array->TryGrow(scheduler, SIZE_MAX / 4, "table").code(),
            absl::StatusCode::kResourceExhausted);
  decider.is_armed = true;
  EXPECT_EQ(array->TryGrow(scheduler, 5, "table").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(array->size(), 3u);
  EXPECT_EQ((*array)[2], 7u);
}

TEST_F(HeapArrayTest, AnIndexBeyondTheEndIsCaught) {
  auto array = HeapArray<uint64_t>::TryAllocate(scheduler, 3, "table");
  EXPECT_DEATH((*array)[3] = 1, "beyond");
}

}  // namespace
}  // namespace millrace::buffer_pool_test
