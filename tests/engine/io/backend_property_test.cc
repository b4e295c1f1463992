// Random requests on one file, against a string: on every backend.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/simulated_disk.h"
#include "tests/engine/io/io_test_support.h"
#include "tests/support/seeds.h"
#include "tests/support/temporary_folder.h"

namespace millrace::backend_property_test {
namespace {

constexpr uint64_t kFileBytesMax = 300'000;

enum class Backend { kThreads, kUring, kSimulated };

struct Range {
  uint64_t offset;
  uint64_t bytes;
};

class BackendProperty : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    Engine::Options options;
    options.simulated = GetParam() == Backend::kSimulated;
    options.disk = &disk_;
    options.io = GetParam() == Backend::kUring ? IoBackendKind::kIoUring : IoBackendKind::kThreads;
    if (!IsAvailable(options.io)) GTEST_SKIP() << "this host refuses io_uring";
    engine_ = *Engine::Create(options);
  }

  static Range Draw(RandomStream& random) {
    const uint64_t offset = random.Below(kFileBytesMax);
    const uint64_t bytes_max = random.OneIn(4) ? 100'000 : 5'000;
    Range range = {offset, 1 + random.Below(std::min(bytes_max, kFileBytesMax - offset))};
    if (random.OneIn(3)) {
      range.offset = range.offset / 4096 * 4096;
      range.bytes = (range.bytes + 4095) / 4096 * 4096;
    }
    return range;
  }
  static void Grow(std::string& model, const Range& range) {
    model.resize(std::max<size_t>(model.size(), range.offset + range.bytes), '\0');
  }
  // Cuts `data` into buffers of random sizes.
  static std::vector<iovec> Cut(RandomStream& random, std::string& data) {
    std::vector<iovec> iov;
    for (size_t done = 0; done < data.size();) {
      const size_t count = std::min<size_t>(data.size() - done, 1 + random.Below(9000));
      iov.push_back({data.data() + done, count});
      done += count;
    }
    return iov;
  }

  void CoWrite(RandomStream& random, IoFile file, std::string& model) MILLRACE_MAY_SUSPEND {
    const Range range = Draw(random);
    std::string data(range.bytes, '\0');
    for (char& c : data) c = static_cast<char>('a' + random.Below(26));
    Grow(model, range);
    model.replace(range.offset, range.bytes, data);
    const std::vector<iovec> iov = Cut(random, data);
    IoRequest request;
    request.opcode = IoOpcode::kWrite;
    request.file = file;
    request.offset = range.offset;
    request.bytes = range.bytes;
    request.iov = iov;
    ASSERT_EQ(CoSubmit(engine_->io(), request), static_cast<int64_t>(range.bytes));
  }
  void CoRead(RandomStream& random, IoFile file, const std::string& model) MILLRACE_MAY_SUSPEND {
    const Range range = Draw(random);
    std::string data(range.bytes, '?');
    const std::vector<iovec> iov = Cut(random, data);
    IoRequest request;
    request.file = file;
    request.offset = range.offset;
    request.bytes = range.bytes;
    request.iov = iov;
    const int64_t result = CoSubmit(engine_->io(), request);
    const std::string expected =
        range.offset < model.size() ? model.substr(range.offset, range.bytes) : std::string();
    ASSERT_EQ(result, static_cast<int64_t>(expected.size()));
    data.resize(expected.size());
    ASSERT_TRUE(data == expected) << "at " << range.offset;
  }
  void CoZero(RandomStream& random, IoFile file, std::string& model) MILLRACE_MAY_SUSPEND {
    const Range range = Draw(random);
    const bool is_discard = random.OneIn(2);
    ASSERT_EQ(CoRange(engine_->io(), is_discard ? IoOpcode::kDiscard : IoOpcode::kWriteZeroes, file,
                      range.offset, range.bytes),
              0);
    if (!is_discard) Grow(model, range);
    if (range.offset >= model.size()) return;
    const size_t count = std::min<size_t>(range.bytes, model.size() - range.offset);
    std::fill_n(model.begin() + static_cast<ptrdiff_t>(range.offset), count, '\0');
  }
  // Holes must read as zeroes, and extents must tile the file.
  void CoCheckExtents(IoFile file, const std::string& model) MILLRACE_MAY_SUSPEND {
    uint64_t offset = 0;
    while (offset < model.size()) {
      auto extent = engine_->io().CoFindExtent(file, offset);
      ASSERT_TRUE(extent.ok()) << extent.status();
      ASSERT_GT(extent->bytes, 0u);
      ASSERT_LE(offset + extent->bytes, model.size());
      if (!extent->is_data) {
        const std::string_view hole(model.data() + offset, extent->bytes);
        ASSERT_EQ(hole.find_first_not_of('\0'), std::string_view::npos) << "at " << offset;
      }
      offset += extent->bytes;
    }
    ASSERT_EQ(engine_->io().CoFindExtent(file, offset)->bytes, 0u);
  }

  void CoRunSteps(RandomStream& random, IoFile file, IoFile copy) MILLRACE_MAY_SUSPEND {
    std::string model;
    for (int step = 0; step < 60 && !HasFatalFailure(); ++step) {
      switch (random.Below(8)) {
        case 0:
        case 1:
        case 2:
          CoWrite(random, file, model);
          break;
        case 3:
        case 4:
          CoRead(random, file, model);
          break;
        case 5:
          CoZero(random, file, model);
          break;
        case 6: {
          const uint64_t bytes = random.Below(kFileBytesMax);
          ASSERT_EQ(CoRange(engine_->io(), IoOpcode::kTruncate, file, bytes), 0);
          model.resize(bytes, '\0');
          break;
        }
        case 7:
          CoCheckExtents(file, model);
          break;
      }
    }
    if (HasFatalFailure()) return;
    EXPECT_EQ(CoRange(engine_->io(), IoOpcode::kSync, file), 0);
    EXPECT_EQ(engine_->io().CoStat(file)->bytes, model.size());
    EXPECT_TRUE(CoReadText(engine_->io(), file, 0, kFileBytesMax + 1) == model);
    IoRequest request;
    request.opcode = IoOpcode::kCopyRange;
    request.file = copy;
    request.source = file;
    request.bytes = kFileBytesMax;
    EXPECT_EQ(CoSubmit(engine_->io(), request), static_cast<int64_t>(model.size()));
    EXPECT_TRUE(CoReadText(engine_->io(), copy, 0, kFileBytesMax + 1) == model);
  }

  SimulatedDisk disk_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(BackendProperty, AFileBehavesLikeAString) {
  TemporaryFolder folder;
  for (uint64_t seed : Seeds(20)) {
    SCOPED_TRACE(StrCat("seed ", seed));
    RandomStream random(seed, "requests");
    const OpenOptions create = {.writable = true, .create = true, .truncate = true};
    ASSERT_TRUE(engine_
                    ->Run([&]() MILLRACE_MAY_SUSPEND {
                      auto file = engine_->io().CoOpen(folder.File("a"), create);
                      auto copy = engine_->io().CoOpen(folder.File("b"), create);
                      EXPECT_TRUE(file.ok() && copy.ok()) << file.status();
                      if (!file.ok() || !copy.ok()) return;
                      CoRunSteps(random, *file, *copy);
                      engine_->io().CoClose(*file);
                      engine_->io().CoClose(*copy);
                    })
                    .ok());
    if (HasFatalFailure()) return;
  }
}

std::string BackendName(const ::testing::TestParamInfo<Backend>& info) {
  constexpr const char* kNames[] = {"Threads", "Uring", "Simulated"};
  return kNames[static_cast<int>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(Backends, BackendProperty,
                         ::testing::Values(Backend::kThreads, Backend::kUring, Backend::kSimulated),
                         BackendName);

}  // namespace
}  // namespace millrace::backend_property_test
