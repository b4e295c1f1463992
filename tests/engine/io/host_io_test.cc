// What both real backends must do with files of the host.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/scope/task_scope.h"
#include "tests/engine/io/io_test_support.h"
#include "tests/support/temporary_folder.h"

namespace millrace::host_io_test {
namespace {

class RealBackend : public ::testing::TestWithParam<IoBackendKind> {
 protected:
  void SetUp() override {
    if (!IsAvailable(GetParam())) GTEST_SKIP() << "this host refuses io_uring";
    engine_ = RealEngine(GetParam());
  }
  IoBackend& io() { return engine_->io(); }

  IoFile CoCreate(const std::string& name = "a") MILLRACE_MAY_SUSPEND {
    auto file = io().CoOpen(folder_.File(name), {.writable = true, .create = true});
    EXPECT_TRUE(file.ok()) << file.status();
    return file.value_or(IoFile{});
  }

  TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(RealBackend, ReadsBackWhatWasWritten) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile file = CoCreate();
                    EXPECT_EQ(CoWriteText(io(), file, 3, "hello"), 5);
                    EXPECT_EQ(CoRange(io(), IoOpcode::kSync, file), 0);
                    EXPECT_EQ(CoReadText(io(), file, 3, 5), "hello");
                    EXPECT_EQ(CoReadText(io(), file, 0, 4), std::string("\0\0\0h", 4));
                    io().CoClose(file);
                  })
                  .ok());
  EXPECT_EQ(io().in_flight(), 0u);
}

TEST_P(RealBackend, AReadAcrossTheEndIsShort) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile file = CoCreate();
                    EXPECT_EQ(CoWriteText(io(), file, 0, "12345"), 5);
                    EXPECT_EQ(CoReadText(io(), file, 2, 100), "345");
                    EXPECT_EQ(CoReadText(io(), file, 5, 100), "");
                    io().CoClose(file);
                  })
                  .ok());
}

TEST_P(RealBackend, MovesMoreBuffersThanTheHostTakesAtOnce) {
  constexpr size_t kBuffers = 3000;  // IOV_MAX is 1024
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile file = CoCreate();
                    std::string data;
                    for (size_t i = 0; i < kBuffers; ++i) data += StrCat(10000 + i);
                    std::vector<iovec> iov;
                    for (size_t i = 0; i < kBuffers; ++i) iov.push_back({&data[i * 5], 5});
                    IoRequest write;
                    write.opcode = IoOpcode::kWrite;
                    write.file = file;
                    write.iov = iov;
                    write.bytes = data.size();
                    EXPECT_EQ(CoSubmit(io(), write), static_cast<int64_t>(data.size()));
                    EXPECT_EQ(CoReadText(io(), file, 0, data.size()), data);
                    std::string back(data.size(), 0);
                    for (size_t i = 0; i < kBuffers; ++i) iov[i].iov_base = &back[i * 5];
                    write.opcode = IoOpcode::kRead;
                    EXPECT_EQ(CoSubmit(io(), write), static_cast<int64_t>(data.size()));
                    EXPECT_EQ(back, data);
                    io().CoClose(file);
                  })
                  .ok());
}

TEST_P(RealBackend, DiscardMakesAHoleAndKeepsTheSize) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile file = CoCreate();
                    EXPECT_EQ(CoWriteText(io(), file, 0, std::string(1 << 20, 'x')), 1 << 20);
                    EXPECT_EQ(CoRange(io(), IoOpcode::kDiscard, file, 65536, 131072), 0);
                    EXPECT_EQ(CoRange(io(), IoOpcode::kDiscard, file, 2 << 20, 65536), 0);
                    auto info = io().CoStat(file);
                    EXPECT_TRUE(info.ok());
                    EXPECT_EQ(info->bytes, 1u << 20);
                    EXPECT_EQ(CoReadText(io(), file, 65535, 2), std::string("x\0", 2));
                    auto data = io().CoFindExtent(file, 0);
                    EXPECT_TRUE(data.ok() && data->is_data && data->bytes == 65536);
                    auto hole = io().CoFindExtent(file, 65536);
                    EXPECT_TRUE(hole.ok() && !hole->is_data && hole->bytes == 131072);
                    auto beyond = io().CoFindExtent(file, 1 << 20);
                    EXPECT_TRUE(beyond.ok() && beyond->bytes == 0);
                    io().CoClose(file);
                  })
                  .ok());
}

TEST_P(RealBackend, WriteZeroesLeavesNoHoleAndGrowsTheFile) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile file = CoCreate();
                    EXPECT_EQ(CoWriteText(io(), file, 0, std::string(65536, 'x')), 65536);
                    EXPECT_EQ(CoRange(io(), IoOpcode::kWriteZeroes, file, 4096, 131072), 0);
                    auto info = io().CoStat(file);
                    EXPECT_TRUE(info.ok());
                    EXPECT_EQ(info->bytes, 4096u + 131072u);
                    EXPECT_GE(info->allocated_bytes, 4096u + 131072u);
                    EXPECT_EQ(CoReadText(io(), file, 4095, 3), std::string("x\0\0", 3));
                    io().CoClose(file);
                  })
                  .ok());
}

TEST_P(RealBackend, TruncateSetsTheSize) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile file = CoCreate();
                    EXPECT_EQ(CoRange(io(), IoOpcode::kTruncate, file, 1 << 20), 0);
                    EXPECT_EQ(io().CoStat(file)->bytes, 1u << 20);
                    EXPECT_EQ(io().CoStat(file)->allocated_bytes, 0u);
                    EXPECT_EQ(CoRange(io(), IoOpcode::kTruncate, file, 10), 0);
                    EXPECT_EQ(CoReadText(io(), file, 0, 100).size(), 10u);
                    io().CoClose(file);
                  })
                  .ok());
}

TEST_P(RealBackend, CopyRangeCopiesAndIsShortAtTheEndOfTheSource) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile from = CoCreate("from");
                    const IoFile to = CoCreate("to");
                    EXPECT_EQ(CoWriteText(io(), from, 0, "0123456789"), 10);
                    IoRequest copy;
                    copy.opcode = IoOpcode::kCopyRange;
                    copy.file = to;
                    copy.offset = 1;
                    copy.source = from;
                    copy.source_offset = 4;
                    copy.bytes = 100;
                    EXPECT_EQ(CoSubmit(io(), copy), 6);
                    EXPECT_EQ(CoReadText(io(), to, 1, 100), "456789");
                    io().CoClose(from);
                    io().CoClose(to);
                  })
                  .ok());
}

TEST_P(RealBackend, ErrorsOfTheHostComeBackAsErrno) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    io().CoClose(CoCreate());
                    auto file = io().CoOpen(folder_.File("a"), {});
                    EXPECT_TRUE(file.ok());
                    EXPECT_EQ(CoWriteText(io(), *file, 0, "x"), -EBADF);  // opened to read
                    EXPECT_EQ(CoRange(io(), IoOpcode::kSync, IoFile{}), -EBADF);
                    io().CoClose(*file);
                  })
                  .ok());
}

TEST_P(RealBackend, OpenErrorsNameTheFileAndHaveFixedCodes) {
  ASSERT_EQ(mkfifo(folder_.File("pipe").c_str(), 0600), 0);
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    auto missing = io().CoOpen(folder_.File("missing"), {});
                    EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
                    EXPECT_EQ(ErrnoOf(missing.status()), ENOENT);
                    EXPECT_NE(std::string(missing.status().message()).find("missing"),
                              std::string::npos);
                    io().CoClose(CoCreate());
                    auto again = io().CoOpen(folder_.File("a"), {.writable = true, .create = true});
                    EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists);
                    // Opening a pipe must neither wait nor succeed.
                    auto pipe = io().CoOpen(folder_.File("pipe"), {});
                    EXPECT_EQ(pipe.status().code(), absl::StatusCode::kFailedPrecondition);
                    auto directory = io().CoOpen(folder_.path(), {});
                    EXPECT_EQ(directory.status().code(), absl::StatusCode::kFailedPrecondition);
                  })
                  .ok());
}

TEST_P(RealBackend, DirectFilesSayTheirAlignment) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile buffered = CoCreate();
                    EXPECT_EQ(io().CoStat(buffered)->io_alignment, 1u);
                    EXPECT_EQ(CoWriteText(io(), buffered, 0, std::string(6000, 'x')), 6000);
                    io().CoClose(buffered);
                    auto file = io().CoOpen(folder_.File("a"), {.writable = true, .direct = true});
                    if (!file.ok()) return;  // a file system without direct I/O
                    const uint32_t alignment = io().CoStat(*file)->io_alignment;
                    EXPECT_GE(alignment, 512u);
                    // A direct read past an unaligned end is short, not an error.
                    void* memory = std::aligned_alloc(4096, 16384);
                    const iovec buffer = {memory, 16384};
                    IoRequest read;
                    read.file = *file;
                    read.bytes = 16384;
                    read.iov = absl::MakeConstSpan(&buffer, 1);
                    EXPECT_EQ(CoSubmit(io(), read), 6000);
                    std::free(memory);
                    io().CoClose(*file);
                  })
                  .ok());
}

TEST_P(RealBackend, ManyRequestsAtOnceAllCompleteOnce) {
  constexpr int kRequests = 2000;
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile file = CoCreate();
                    TaskScope scope("many");
                    for (int i = 0; i < kRequests; ++i) {
                      scope.Spawn("writer", [&, i]() MILLRACE_MAY_SUSPEND {
                        const auto offset = static_cast<uint64_t>(i) * 5;
                        const std::string text = StrCat(10000 + i);
                        EXPECT_EQ(CoWriteText(io(), file, offset, text), 5);
                        EXPECT_EQ(CoReadText(io(), file, offset, 5), text);
                      });
                    }
                    EXPECT_TRUE(scope.CoJoin().ok());
                    EXPECT_EQ(io().CoStat(file)->bytes, uint64_t{kRequests} * 5);
                    io().CoClose(file);
                  })
                  .ok());
}

TEST_P(RealBackend, LocksOfAnotherOpenAreRefusedAndNamed) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile mine = CoCreate();
                    auto other = io().CoOpen(folder_.File("a"), {.writable = true});
                    EXPECT_TRUE(other.ok());
                    EXPECT_TRUE(io().LockBytes(mine, {100, 101}).ok());
                    EXPECT_TRUE(io().LockBytes(*other, {100}).ok());  // shared
                    const absl::Status probed = io().ProbeLocks(*other, {101});
                    EXPECT_EQ(probed.code(), absl::StatusCode::kFailedPrecondition);
                    EXPECT_NE(std::string(probed.message()).find("this process"), std::string::npos)
                        << probed;
                    EXPECT_TRUE(io().ProbeLocks(*other, {102}).ok());
                    EXPECT_TRUE(io().ProbeLocks(mine, {101}).ok());  // one's own do not count
                    io().UnlockBytes(mine, {101});
                    EXPECT_TRUE(io().ProbeLocks(*other, {101}).ok());
                    io().CoClose(mine);
                    EXPECT_TRUE(io().ProbeLocks(*other, {100}).ok());
                    io().CoClose(*other);
                  })
                  .ok());
}

TEST_P(RealBackend, ARefusedLockGivesBackOnlyWhatItTook) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile mine = CoCreate();
                    // Another program that locks exclusively.
                    const int foreign = open(folder_.File("a").c_str(), O_RDWR | O_CLOEXEC);
                    struct flock lock = {};
                    lock.l_type = F_WRLCK;
                    lock.l_whence = SEEK_SET;
                    lock.l_start = 103;
                    lock.l_len = 1;
                    EXPECT_EQ(fcntl(foreign, F_OFD_SETLK, &lock), 0);
                    EXPECT_TRUE(io().LockBytes(mine, {101}).ok());
                    EXPECT_EQ(io().LockBytes(mine, {101, 102, 103}).code(),
                              absl::StatusCode::kFailedPrecondition);
                    auto probe = io().CoOpen(folder_.File("a"), {});
                    EXPECT_FALSE(io().ProbeLocks(*probe, {101}).ok());  // held before
                    EXPECT_TRUE(io().ProbeLocks(*probe, {102}).ok());   // given back
                    io().CoClose(*probe);
                    io().CoClose(mine);
                    close(foreign);
                  })
                  .ok());
}

TEST_P(RealBackend, MemoryRequestsAreAppliedOnTheHomeThread) {
  ASSERT_TRUE(engine_
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    std::thread::id applied_on;
                    IoRequest request;
                    request.opcode = IoOpcode::kMemory;
                    request.apply_context = &applied_on;
                    request.apply = [](IoRequest& self) {
                      *static_cast<std::thread::id*>(self.apply_context) =
                          std::this_thread::get_id();
                      self.result = 7;
                    };
                    EXPECT_EQ(CoSubmit(io(), request), 7);
                    EXPECT_EQ(applied_on, std::this_thread::get_id());
                  })
                  .ok());
}

std::string KindName(const ::testing::TestParamInfo<IoBackendKind>& info) {
  return info.param == IoBackendKind::kThreads ? "Threads" : "Uring";
}
INSTANTIATE_TEST_SUITE_P(Kinds, RealBackend,
                         ::testing::Values(IoBackendKind::kThreads, IoBackendKind::kIoUring),
                         KindName);

}  // namespace
}  // namespace millrace::host_io_test
