// Images in files that are opened past the host's page cache: guests ask for any byte at any
// address, the file takes whole blocks only, of whatever size the host asks for; and neighbours in
// one block do not lose each other's bytes.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "tests/support/simulation.h"

namespace millrace::direct_file_test {
namespace {

struct DirectCase {
  const char* name;
  const char* format;
  uint32_t block_bytes;
};

void PrintTo(const DirectCase& each, std::ostream* out) { *out << each.name; }

constexpr DirectCase kCases[] = {
    {"RawIn512", "raw", 512},     {"RawIn1024", "raw", 1024},     {"RawIn4096", "raw", 4096},
    {"Qcow2In512", "qcow2", 512}, {"Qcow2In1024", "qcow2", 1024}, {"Qcow2In4096", "qcow2", 4096},
};

// Its last block of more than 512 bytes is not whole.
constexpr uint64_t kBytes = 24 * 1024 + 512;
constexpr uint64_t kWorkers = 4;
// No multiple of any block: neighbours meet inside blocks.
constexpr uint64_t kPartBytes = kBytes / kWorkers + 77;

// One user of a part of the disk, which knows what must be there.
class Worker {
 public:
  Worker(Attachment& disk, ByteRange part, uint64_t seed)
      : disk_(disk),
        part_(part),
        random_(seed, StrCat("worker ", part.offset)),
        model_(part.bytes, 0) {}

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    for (int step = 0; step < 8; ++step) {
      const uint64_t from = random_.Below(part_.bytes);
      const ByteRange range(part_.offset + from,
                            1 + random_.Below(std::min<uint64_t>(part_.bytes - from, 3000)));
      MILLRACE_RETURN_IF_ERROR(CoStep(range));
      MILLRACE_RETURN_IF_ERROR(CoVerify());
    }
    return absl::OkStatus();
  }
  const std::vector<uint8_t>& model() const { return model_; }

 private:
  absl::Status CoStep(ByteRange range) MILLRACE_MAY_SUSPEND {
    switch (random_.Below(4)) {
      case 0:
        Fill(range, 0);
        return disk_.CoWriteZeroes(range, {});
      case 1:
        return CoWriteInParts(range);
      default:
        return CoWrite(range);
    }
  }
  absl::Status CoWrite(ByteRange range) MILLRACE_MAY_SUSPEND {
    const auto value = static_cast<uint8_t>(1 + random_.Below(255));
    Fill(range, value);
    // At an odd address in memory, and in two pieces.
    std::vector<uint8_t> data(range.bytes + 1, value);
    const uint64_t first = range.bytes / 2;
    iovec pieces[] = {{data.data() + 1, first}, {data.data() + 1 + first, range.bytes - first}};
    return disk_.CoWrite(range.offset, IoVector(pieces));
  }
  absl::Status CoWriteInParts(ByteRange range) MILLRACE_MAY_SUSPEND {
    const uint64_t third = range.bytes / 3;
    if (third == 0) return absl::OkStatus();
    const auto value = static_cast<uint8_t>(1 + random_.Below(255));
    const std::vector<ByteRange> parts = {ByteRange(range.offset, third),
                                          ByteRange(range.offset + 2 * third, third)};
    for (const ByteRange& part : parts) Fill(part, value);
    // At an odd address as well: nothing may follow from where memory happens to lie, or a run
    // could not be repeated.
    std::vector<uint8_t> data(2 * third + 1, value);
    return disk_.CoWriteParts(parts, IoVector(data.data() + 1, 2 * third), {});
  }
  absl::Status CoVerify() MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> seen(part_.bytes + 1);
    MILLRACE_RETURN_IF_ERROR(disk_.CoRead(part_.offset, IoVector(seen.data() + 1, part_.bytes)));
    if (std::equal(model_.begin(), model_.end(), seen.begin() + 1)) return absl::OkStatus();
    const auto differs = std::mismatch(model_.begin(), model_.end(), seen.begin() + 1).first;
    return absl::DataLossError(
        StrCat("byte ", part_.offset + static_cast<uint64_t>(differs - model_.begin()),
               " is not what was written"));
  }
  void Fill(ByteRange range, uint8_t value) {
    const auto begin = model_.begin() + static_cast<ptrdiff_t>(range.offset - part_.offset);
    std::fill(begin, begin + static_cast<ptrdiff_t>(range.bytes), value);
  }

  Attachment& disk_;
  const ByteRange part_;
  RandomStream random_;
  std::vector<uint8_t> model_;
};

absl::Status CoCreate(Graph& graph, const DriverRegistry& drivers, const std::string& format)
    MILLRACE_MAY_SUSPEND {
  CreateImageOptions options;
  options.path = "disk";
  options.format = format;
  options.qcow2.bytes = kBytes;
  options.qcow2.cluster_bytes = 1024;
  return CoCreateImage(graph, drivers, options);
}

absl::StatusOr<std::vector<uint8_t>> CoBytesOf(Attachment& disk) MILLRACE_MAY_SUSPEND {
  std::vector<uint8_t> content(kBytes);
  MILLRACE_RETURN_IF_ERROR(disk.CoRead(0, IoVector(content.data(), content.size())));
  return content;
}

// Opens the image, hands the guest's attachment to `body`, closes all of it.
template <typename Body>
absl::Status CoWithDisk(Graph& graph, const DriverRegistry& drivers,
                        const OpenImageOptions& options, Body body) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph, drivers, options));
  AttachmentOptions guest;
  guest.holder = MakeHolder("guest", "block device");
  guest.permissions = GuestDevicePermissions();
  MILLRACE_ASSIGN_OR_RETURN(Attachment disk, Attachment::Attach(graph, image.top(), guest));
  absl::Status status = body(disk);
  disk.CoDetach();
  image.holds[0].CoDetach();
  return status;
}

absl::Status CoWorkOn(Attachment& disk, uint64_t seed, std::vector<uint8_t>* model)
    MILLRACE_MAY_SUSPEND {
  std::vector<std::unique_ptr<Worker>> workers;
  TaskScope scope("workers");
  for (uint64_t at = 0; at < kBytes; at += kPartBytes) {
    const ByteRange part(at, std::min(kPartBytes, kBytes - at));
    workers.push_back(std::make_unique<Worker>(disk, part, seed));
    Worker& worker = *workers.back();
    scope.Spawn("worker", [&worker]() MILLRACE_MAY_SUSPEND { return worker.CoRun(); });
  }
  MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
  for (const auto& worker : workers) {
    model->insert(model->end(), worker->model().begin(), worker->model().end());
  }
  return absl::OkStatus();
}

class DirectFile : public testing::TestWithParam<DirectCase> {};

TEST_P(DirectFile, EveryByteIsThereWhateverTheHostsBlocksAre) {
  Explore(
      [](Engine& engine, uint64_t seed) {
        engine.simulated_io()->disk().options().io_alignment = GetParam().block_bytes;
        const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          Graph graph(engine);
          DriverRegistry drivers;
          MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(drivers));
          MILLRACE_RETURN_IF_ERROR(CoCreate(graph, drivers, GetParam().format));
          OpenImageOptions options;
          options.path = "disk";
          options.format = GetParam().format;
          options.direct = true;
          std::vector<uint8_t> model;
          const auto work = [&](Attachment& disk)
                                MILLRACE_MAY_SUSPEND { return CoWorkOn(disk, seed, &model); };
          absl::Status result = CoWithDisk(graph, drivers, options, work);
          // Through the page cache the same is there.
          options.direct = false;
          const auto compare = [&](Attachment& disk) MILLRACE_MAY_SUSPEND -> absl::Status {
            MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> content, CoBytesOf(disk));
            EXPECT_EQ(disk.bytes(), kBytes);
            return content == model ? absl::OkStatus() : absl::DataLossError("another content");
          };
          if (result.ok()) result = CoWithDisk(graph, drivers, options, compare);
          graph.CoClose();
          return result;
        });
        EXPECT_TRUE(status.ok()) << status;
      },
      /*cost=*/20);
}

// One change of the end of a raw disk that ends in the middle of a block of 4 KiB.
struct EndCase {
  const char* name;
  ByteRange range;
  enum { kWrite, kWriteParts, kZero, kZeroAndUnmap } how;
};

void PrintTo(const EndCase& each, std::ostream* out) { *out << each.name; }

const EndCase kEndCases[] = {
    {"AWriteInTheLastBlock", ByteRange(kBytes - 512, 512), EndCase::kWrite},
    {"AWriteOfTheLastByte", ByteRange(kBytes - 1, 1), EndCase::kWrite},
    {"AWriteOfAllOfIt", ByteRange(0, kBytes), EndCase::kWrite},
    {"AWriteAcrossTwoBlocks", ByteRange(kBytes - 5000, 5000), EndCase::kWrite},
    {"PartsOfWhichOneIsTheEnd", ByteRange(kBytes - 9000, 9000), EndCase::kWriteParts},
    {"ZeroesInTheLastBlock", ByteRange(kBytes - 100, 100), EndCase::kZero},
    {"ZeroesFromTheBlockBefore", ByteRange(8192, kBytes - 8192), EndCase::kZeroAndUnmap},
};

absl::Status CoChange(Attachment& disk, const EndCase& change, std::vector<uint8_t>* model)
    MILLRACE_MAY_SUSPEND {
  const ByteRange range = change.range;
  const auto fill = [model](ByteRange part, uint8_t value) {
    std::fill_n(model->begin() + static_cast<ptrdiff_t>(part.offset), part.bytes, value);
  };
  std::vector<uint8_t> data(range.bytes, 0x77);
  switch (change.how) {
    case EndCase::kWrite:
      fill(range, 0x77);
      return disk.CoWrite(range.offset, IoVector(data.data(), data.size()));
    case EndCase::kWriteParts: {
      const uint64_t third = range.bytes / 3;
      const std::vector<ByteRange> parts = {ByteRange(range.offset, third),
                                            ByteRange(range.offset + 2 * third, third)};
      for (const ByteRange& part : parts) fill(part, 0x77);
      return disk.CoWriteParts(parts, IoVector(data.data(), 2 * third), {});
    }
    case EndCase::kZero:
    case EndCase::kZeroAndUnmap:
      fill(range, 0);
      return disk.CoWriteZeroes(range, {.may_unmap = change.how == EndCase::kZeroAndUnmap});
  }
  return absl::OkStatus();
}

class DirectFileEnd : public testing::TestWithParam<EndCase> {};

TEST_P(DirectFileEnd, StaysWhereItIs) {
  auto engine = SimulatedEngine();
  SimulatedDisk& host = engine->simulated_io()->disk();
  host.options().io_alignment = 4096;
  host.Put("disk", std::string(kBytes, 'a'));
  std::vector<uint8_t> model(kBytes, 'a');
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Graph graph(*engine);
    DriverRegistry drivers;
    MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(drivers));
    OpenImageOptions options;
    options.path = "disk";
    options.format = "raw";
    options.direct = true;
    const auto use = [&](Attachment& disk) MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(CoChange(disk, GetParam(), &model));
      EXPECT_EQ(disk.bytes(), kBytes);
      EXPECT_EQ(host.Find("disk")->current().bytes(), kBytes);
      // Past the cache again.
      MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> content, CoBytesOf(disk));
      EXPECT_EQ(content, model);
      return disk.CoFlush();
    };
    absl::Status result = CoWithDisk(graph, drivers, options, use);
    graph.CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(host.Find("disk")->current().bytes(), kBytes);
}

INSTANTIATE_TEST_SUITE_P(Changes, DirectFileEnd, testing::ValuesIn(kEndCases),
                         [](const auto& each) { return std::string(each.param.name); });

INSTANTIATE_TEST_SUITE_P(Blocks, DirectFile, testing::ValuesIn(kCases),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace millrace::direct_file_test
