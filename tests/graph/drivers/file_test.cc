#include "millrace/graph/drivers/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/scheduler/decider.h"
#include "tests/support/simple_driver_context.h"
#include "tests/support/temporary_folder.h"

namespace millrace::file_test {
namespace {

// Memory that suits direct I/O.
struct AlignedBuffer {
  explicit AlignedBuffer(uint64_t size)
      : bytes(size), data(static_cast<uint8_t*>(aligned_alloc(4096, AlignUp(size, 4096))), &free) {}
  IoVector vector() const { return IoVector(data.get(), bytes); }

  uint64_t bytes;
  std::unique_ptr<uint8_t, void (*)(void*)> data;
};

void Put(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}
std::string Get(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class FileDriverTest : public ::testing::TestWithParam<IoBackendKind> {
 protected:
  void SetUp() override {
    auto created = Engine::Create({.io = GetParam()});
    if (!created.ok()) GTEST_SKIP() << "this host has no such backend: " << created.status();
    engine_ = *std::move(created);
    context_ = std::make_unique<SimpleDriverContext>(*engine_, "node");
    read_only_context_ = std::make_unique<SimpleDriverContext>(*engine_, "node", true);
  }

  template <typename Body>
  absl::Status Run(Body body) {
    return engine_->Run(body);
  }
  // Opens a driver, runs `body(driver)` and closes it.
  template <typename Body>
  absl::Status WithDriver(FileOptions options, Body body) {
    return Run([&]() MILLRACE_MAY_SUSPEND {
      auto driver = MakeFileDriver(options);
      absl::Status status = driver->CoOpen(*context_);
      if (status.ok()) status = body(*driver);
      driver->CoClose();
      return status;
    });
  }
  void RandomOperations(bool direct, uint64_t operations);

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("image");
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<SimpleDriverContext> context_;
  std::unique_ptr<SimpleDriverContext> read_only_context_;
};

// Offsets and lengths are multiples of what the driver asks for; sizes may grow past the end.
void FileDriverTest::RandomOperations(bool direct, uint64_t operations) {
  constexpr uint64_t kBytesLimit = 256 * 1024;
  Put(path_, "");
  std::vector<uint8_t> model;
  RandomStream random(23 + direct);
  const auto body = [&](ProtocolDriver& driver) MILLRACE_MAY_SUSPEND -> absl::Status {
    const uint64_t alignment = driver.io_alignment();
    EXPECT_EQ(alignment > 1, direct);
    for (uint64_t i = 0; i < operations; ++i) {
      const uint64_t offset = AlignDown(random.Below(kBytesLimit), alignment);
      const uint64_t bytes = AlignUp(1 + random.Below(kBytesLimit / 4), alignment);
      const ByteRange range(offset, bytes);
      switch (random.Below(6)) {
        case 0:
        case 1: {
          AlignedBuffer buffer(bytes);
          std::memset(buffer.data.get(), static_cast<int>(1 + i % 255), bytes);
          const WriteFlags flags{.force_unit_access = random.OneIn(8)};
          MILLRACE_RETURN_IF_ERROR(driver.CoWrite(offset, buffer.vector(), flags));
          if (model.size() < range.end()) model.resize(range.end(), 0);
          std::memset(model.data() + offset, static_cast<int>(1 + i % 255), bytes);
          break;
        }
        case 2: {
          MILLRACE_RETURN_IF_ERROR(driver.CoWriteZeroes(range, {.may_unmap = random.OneIn(2)}));
          if (model.size() < range.end()) model.resize(range.end(), 0);
          std::memset(model.data() + offset, 0, bytes);
          break;
        }
        case 3: {
          // A discard may leave what is there; on a file that can punch holes it does not.
          MILLRACE_RETURN_IF_ERROR(driver.CoDiscard(range));
          const uint64_t end = std::min<uint64_t>(range.end(), model.size());
          if (offset < end) std::memset(model.data() + offset, 0, end - offset);
          break;
        }
        case 4: {
          const uint64_t size = AlignDown(random.Below(kBytesLimit), alignment);
          MILLRACE_RETURN_IF_ERROR(driver.CoResize(size));
          model.resize(size, 0);
          break;
        }
        default:
          MILLRACE_RETURN_IF_ERROR(driver.CoFlush());
          break;
      }
      EXPECT_EQ(driver.bytes(), model.size()) << "operation " << i;
      if (model.empty()) continue;
      AlignedBuffer whole(model.size());
      std::memset(whole.data.get(), 0xee, whole.bytes);
      MILLRACE_RETURN_IF_ERROR(driver.CoRead(0, whole.vector()));
      EXPECT_EQ(std::memcmp(whole.data.get(), model.data(), model.size()), 0) << "operation " << i;
      const uint64_t at = random.Below(model.size());
      MILLRACE_ASSIGN_OR_RETURN(Extent extent, driver.CoMap(ByteRange(at, model.size() - at)));
      EXPECT_GE(extent.bytes, 1u);
      EXPECT_LE(extent.bytes, model.size() - at);
      if (extent.kind == ExtentKind::kZero) {
        for (uint64_t j = at; j < at + extent.bytes; ++j) EXPECT_EQ(model[j], 0) << j;
      }
      if (::testing::Test::HasFailure()) return absl::OkStatus();
    }
    return absl::OkStatus();
  };
  const absl::Status status = WithDriver({.path = path_, .direct = direct}, body);
  if (direct && status.code() == absl::StatusCode::kFailedPrecondition) {
    GTEST_SKIP() << "the file system of the test's folder does no direct I/O: " << status;
  }
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(Get(path_), std::string(model.begin(), model.end()));
}

TEST_P(FileDriverTest, BufferedOperationsMatchAModel) { RandomOperations(false, 300); }
TEST_P(FileDriverTest, DirectOperationsMatchAModel) { RandomOperations(true, 300); }

TEST_P(FileDriverTest, ReadsBeyondTheEndAreZero) {
  Put(path_, "abc");
  std::string data(6, '?');
  EXPECT_TRUE(WithDriver({.path = path_}, [&](ProtocolDriver& driver) MILLRACE_MAY_SUSPEND {
                MILLRACE_RETURN_IF_ERROR(driver.CoRead(1, IoVector(data.data(), data.size())));
                auto extent = driver.CoMap(ByteRange(1000, 50));
                EXPECT_EQ(extent->kind, ExtentKind::kZero);
                EXPECT_EQ(extent->bytes, 50u);
                return absl::OkStatus();
              }).ok());
  EXPECT_EQ(data, std::string("bc\0\0\0\0", 6));
}

TEST_P(FileDriverTest, HolesAreSeenAndPunched) {
  EXPECT_TRUE(
      Run([&]() MILLRACE_MAY_SUSPEND { return CoCreateFile(*engine_, path_, 1 << 20); }).ok());
  const std::string data(65536, 'x');
  const auto body = [&](ProtocolDriver& driver) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(
        driver.CoWrite(131072, IoVector::OfConst(data.data(), data.size()), {}));
    MILLRACE_ASSIGN_OR_RETURN(Extent hole, driver.CoMap(ByteRange(0, 1 << 20)));
    EXPECT_EQ(hole.kind, ExtentKind::kZero);
    EXPECT_EQ(hole.bytes, 131072u);
    MILLRACE_ASSIGN_OR_RETURN(Extent written, driver.CoMap(ByteRange(131072, 100)));
    EXPECT_EQ(written.kind, ExtentKind::kData);
    EXPECT_EQ(written.bytes, 100u);
    EXPECT_EQ(written.host.value(), 131072u);
    MILLRACE_RETURN_IF_ERROR(driver.CoWriteZeroes(ByteRange(131072, 65536), {}));
    MILLRACE_ASSIGN_OR_RETURN(uint64_t allocated, driver.CoAllocatedBytes());
    EXPECT_EQ(allocated, 0u);
    MILLRACE_RETURN_IF_ERROR(driver.CoWriteZeroes(ByteRange(0, 65536), {.may_unmap = false}));
    MILLRACE_ASSIGN_OR_RETURN(allocated, driver.CoAllocatedBytes());
    EXPECT_GE(allocated, 65536u);
    return absl::OkStatus();
  };
  const absl::Status status = WithDriver({.path = path_}, body);
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(FileDriverTest, CreatingKeepsWhatIsThere) {
  Put(path_, "precious");
  const absl::Status status =
      Run([&]() MILLRACE_MAY_SUSPEND { return CoCreateFile(*engine_, path_, 10); });
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
  EXPECT_EQ(Get(path_), "precious");
}

TEST_P(FileDriverTest, AMissingFileIsNamedWithTheHostsReason) {
  const absl::Status status = WithDriver(
      {.path = path_}, [](ProtocolDriver&) MILLRACE_MAY_SUSPEND { return absl::OkStatus(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrnoOf(status), ENOENT);
  EXPECT_NE(status.message().find(path_), std::string::npos) << status;
}

TEST_P(FileDriverTest, AReadOnlyFileRefusesWritesWithTheHostsErrno) {
  Put(path_, "abc");
  const absl::Status status = Run([&]() MILLRACE_MAY_SUSPEND {
    auto driver = MakeFileDriver({.path = path_});
    MILLRACE_RETURN_IF_ERROR(driver->CoOpen(*read_only_context_));
    absl::Status write = driver->CoWrite(0, IoVector::OfConst("x", 1), {});
    EXPECT_EQ(ErrnoOf(write), EBADF) << write;
    EXPECT_NE(write.message().find("write '" + path_ + "' at 0"), std::string::npos) << write;
    driver->CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(FileDriverTest, ASymbolicLinkOutOfTheOpenRootIsRefused) {
  const std::string root = std::filesystem::canonical(folder_.path()).string() + "/root";
  std::filesystem::create_directory(root);
  Put(path_, "secret");
  Put(root + "/inside", "ours");
  std::filesystem::create_symlink(path_, root + "/link");
  const auto nothing = [](ProtocolDriver&) MILLRACE_MAY_SUSPEND { return absl::OkStatus(); };
  EXPECT_TRUE(WithDriver({.path = root + "/inside", .open_root = root}, nothing).ok());
  EXPECT_EQ(WithDriver({.path = root + "/link", .open_root = root}, nothing).code(),
            absl::StatusCode::kPermissionDenied);
}

// ---- Descriptors from the embedder --------------------------------------------------------------

TEST_P(FileDriverTest, TakesOverADescriptorAndClosesIt) {
  Put(path_, "abc");
  const int descriptor = open(path_.c_str(), O_RDWR | O_CLOEXEC);
  const absl::Status status = WithDriver({.path = "fd", .descriptor = descriptor},
                                         [&](ProtocolDriver& driver) MILLRACE_MAY_SUSPEND {
                                           EXPECT_EQ(driver.bytes(), 3u);
                                           return driver.CoWrite(1, IoVector::OfConst("X", 1), {});
                                         });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(Get(path_), "aXc");
  EXPECT_EQ(fcntl(descriptor, F_GETFD), -1);
}

TEST_P(FileDriverTest, AReadOnlyDescriptorIsRefusedForAWritableNodeAndClosed) {
  Put(path_, "abc");
  const int descriptor = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  const absl::Status status =
      WithDriver({.path = "fd", .descriptor = descriptor},
                 [](ProtocolDriver&) MILLRACE_MAY_SUSPEND { return absl::OkStatus(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("for reading only"), std::string::npos) << status;
  EXPECT_EQ(fcntl(descriptor, F_GETFD), -1);
}

TEST_P(FileDriverTest, ADescriptorOfSomethingElseIsRefusedAndClosed) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const absl::Status status =
      WithDriver({.path = "fd", .descriptor = ends[0]},
                 [](ProtocolDriver&) MILLRACE_MAY_SUSPEND { return absl::OkStatus(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(fcntl(ends[0], F_GETFD), -1);
  close(ends[1]);
}

// ---- Going read-only and writable ---------------------------------------------------------------

TEST_P(FileDriverTest, ReopeningChangesTheModeOfTheSameFile) {
  Put(path_, "abc");
  const absl::Status status = Run([&]() MILLRACE_MAY_SUSPEND {
    auto driver = MakeFileDriver({.path = path_});
    MILLRACE_RETURN_IF_ERROR(driver->CoOpen(*read_only_context_));
    // Another file takes the name: it must not be the one that becomes writable.
    std::filesystem::rename(path_, folder_.File("moved"));
    Put(path_, "imposter");
    MILLRACE_RETURN_IF_ERROR(driver->CoPrepareReopen(true));
    driver->CommitReopen(true);
    MILLRACE_RETURN_IF_ERROR(driver->CoWrite(0, IoVector::OfConst("X", 1), {}));
    MILLRACE_RETURN_IF_ERROR(driver->CoPrepareReopen(false));
    EXPECT_TRUE(driver->CoWrite(1, IoVector::OfConst("Y", 1), {}).ok()) << "prepare changed it";
    driver->CommitReopen(false);
    EXPECT_EQ(ErrnoOf(driver->CoWrite(2, IoVector::OfConst("Z", 1), {})), EBADF);
    driver->CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(Get(folder_.File("moved")), "XYc");
  EXPECT_EQ(Get(path_), "imposter");
}

TEST_P(FileDriverTest, KnowsWhetherAFlushOwesAnything) {
  Put(path_, std::string(8192, 'a'));
  const absl::Status status =
      WithDriver({.path = path_}, [&](ProtocolDriver& driver) MILLRACE_MAY_SUSPEND -> absl::Status {
        const auto expect_owed = [&](std::string_view after) MILLRACE_MAY_SUSPEND {
          EXPECT_TRUE(driver.has_unflushed_changes()) << after;
          EXPECT_TRUE(driver.CoFlush().ok());
          EXPECT_FALSE(driver.has_unflushed_changes()) << after << " and a flush";
        };
        EXPECT_FALSE(driver.has_unflushed_changes()) << "as opened";
        char byte;
        MILLRACE_RETURN_IF_ERROR(driver.CoRead(0, IoVector(&byte, 1)));
        EXPECT_FALSE(driver.has_unflushed_changes()) << "after a read";
        MILLRACE_RETURN_IF_ERROR(driver.CoWrite(0, IoVector::OfConst("b", 1), {}));
        expect_owed("a write");
        const IoPart part{.offset = 1, .memory = IoVector::OfConst("c", 1)};
        MILLRACE_RETURN_IF_ERROR(driver.CoWriteScattered({&part, 1}));
        expect_owed("scattered writes");
        MILLRACE_RETURN_IF_ERROR(driver.CoWrite(0, IoVector::OfConst("b", 1), {}));
        const ByteRange written(0, 1);
        driver.CoStartWriteback({&written, 1});
        expect_owed("a write that is on its way to the device");
        MILLRACE_RETURN_IF_ERROR(driver.CoWriteZeroes(ByteRange(0, 4096), {}));
        expect_owed("zeroes");
        MILLRACE_RETURN_IF_ERROR(driver.CoDiscard(ByteRange(4096, 4096)));
        expect_owed("a discard");
        MILLRACE_RETURN_IF_ERROR(driver.CoResize(100));
        expect_owed("a resize");
        MILLRACE_RETURN_IF_ERROR(
            driver.CoWrite(0, IoVector::OfConst("d", 1), {.force_unit_access = true}));
        EXPECT_FALSE(driver.has_unflushed_changes()) << "after a durable write";
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
}

// Buffered or direct, whatever the host's file system can do: either the bytes are there, or the
// caller is told that they are not, and is told so without asking from then on.
TEST_P(FileDriverTest, BytesOfAnotherFileArriveOrItIsSaidThatTheyDoNot) {
  constexpr uint64_t kBlock = 4096;
  for (const bool direct : {false, true}) {
    Put(path_, std::string(2 * kBlock, 'a'));
    const std::string other_path = folder_.File("other");
    Put(other_path, std::string(kBlock, 'x') + std::string(kBlock, 'y'));
    bool has_arrived = false;
    const absl::Status status = Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      auto target = MakeFileDriver({.path = path_, .direct = direct});
      auto source = MakeFileDriver({.path = other_path, .direct = direct});
      absl::Status opened = target->CoOpen(*context_);
      opened.Update(source->CoOpen(*read_only_context_));
      EXPECT_FALSE(target->CoMayShareWith(*target, ShareBy::kAnyMeans)) << "one file";
      const FileShare share = {
          .source_offset = kBlock, .target_offset = 2 * kBlock, .bytes = kBlock};
      EXPECT_TRUE(target->may_share(ShareBy::kAnyMeans)) << "nobody was asked yet";
      if (opened.ok() && target->CoMayShareWith(*source, ShareBy::kAnyMeans)) {
        EXPECT_EQ(target->bytes(), 2 * kBlock) << "asking changes nothing";
        has_arrived = target->CoShareFrom(*source, {&share, 1}, ShareBy::kAnyMeans);
        EXPECT_EQ(target->CoMayShareWith(*source, ShareBy::kAnyMeans), has_arrived);
        EXPECT_EQ(target->bytes(), has_arrived ? 3 * kBlock : 2 * kBlock);
        const FileShare beyond = {.source_offset = kBlock, .target_offset = 0, .bytes = 2 * kBlock};
        EXPECT_FALSE(target->CoShareFrom(*source, {&beyond, 1}, ShareBy::kAnyMeans))
            << "the source ends before";
        EXPECT_FALSE(target->CoMayShareWith(*source, ShareBy::kAnyMeans)) << "after a failure";
        EXPECT_FALSE(target->may_share(ShareBy::kAnyMeans)) << "after a failure";
      }
      source->CoClose();
      target->CoClose();
      return opened;
    });
    if (direct && status.code() == absl::StatusCode::kFailedPrecondition) continue;
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(direct || has_arrived) << "the host copies between two of its files";
    const std::string content = Get(path_);
    EXPECT_EQ(content.substr(kBlock, kBlock), std::string(kBlock, 'a'));
    EXPECT_EQ(content.substr(2 * kBlock), std::string(has_arrived ? kBlock : 0, 'y'));
  }
}

TEST_P(FileDriverTest, AnAbortedReopenLeavesTheModeAndNoDescriptor) {
  Put(path_, "abc");
  const auto count_descriptors = [] {
    const std::filesystem::directory_iterator begin("/proc/self/fd");
    return std::distance(begin, {});
  };
  const absl::Status status = Run([&]() MILLRACE_MAY_SUSPEND {
    auto driver = MakeFileDriver({.path = path_});
    MILLRACE_RETURN_IF_ERROR(driver->CoOpen(*read_only_context_));
    const auto before = count_descriptors();
    MILLRACE_RETURN_IF_ERROR(driver->CoPrepareReopen(true));
    driver->CoAbortReopen(true);
    EXPECT_EQ(count_descriptors(), before);
    EXPECT_EQ(ErrnoOf(driver->CoWrite(2, IoVector::OfConst("Z", 1), {})), EBADF);
    driver->CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(FileDriverTest, LessThanABlockAtTheEndOfADirectFileIsWrittenAsItIs) {
  constexpr uint64_t kBytes = (1 << 20) + 100;
  Put(path_, std::string(kBytes, 'a'));
  const auto count_descriptors = [] {
    const std::filesystem::directory_iterator begin("/proc/self/fd");
    return std::distance(begin, {});
  };
  const auto before = count_descriptors();
  const auto body = [&](ProtocolDriver& driver) MILLRACE_MAY_SUSPEND -> absl::Status {
    if (driver.io_alignment() == 1) return absl::FailedPreconditionError("no direct I/O");
    const auto open = count_descriptors();
    MILLRACE_RETURN_IF_ERROR(driver.CoWrite(kBytes - 7, IoVector::OfConst("1234567", 7), {}));
    EXPECT_EQ(driver.bytes(), kBytes);
    AlignedBuffer end(driver.io_alignment());
    MILLRACE_RETURN_IF_ERROR(driver.CoRead(AlignDown(kBytes, end.bytes), end.vector()));
    EXPECT_EQ(std::memcmp(end.data.get() + kBytes % end.bytes - 8, "a1234567\0", 9), 0);
    MILLRACE_RETURN_IF_ERROR(driver.CoFlush());
    MILLRACE_RETURN_IF_ERROR(driver.CoPrepareReopen(false));
    driver.CommitReopen(false);
    // A read-only node has no descriptor to write by: they are closed while others go on.
    for (int i = 0; i < 10'000 && count_descriptors() != open; ++i) {
      MILLRACE_RETURN_IF_ERROR(driver.CoFlush());
    }
    EXPECT_EQ(count_descriptors(), open);
    MILLRACE_RETURN_IF_ERROR(driver.CoPrepareReopen(true));
    driver.CommitReopen(true);
    return driver.CoWrite(kBytes - 1, IoVector::OfConst("8", 1), {});
  };
  const absl::Status status = WithDriver({.path = path_, .direct = true}, body);
  if (status.code() == absl::StatusCode::kFailedPrecondition) {
    GTEST_SKIP() << "the file system of the test's folder does no direct I/O: " << status;
  }
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(Get(path_), std::string(kBytes - 7, 'a') + "1234568");
  EXPECT_EQ(count_descriptors(), before);
}

INSTANTIATE_TEST_SUITE_P(Backends, FileDriverTest,
                         ::testing::Values(IoBackendKind::kIoUring, IoBackendKind::kThreads),
                         [](const auto& parameter) {
                           return parameter.param == IoBackendKind::kThreads ? "Threads"
                                                                             : "IoUring";
                         });

}  // namespace
}  // namespace millrace::file_test
