// Two engines in one process, each on a thread of its own, each with everything there is: a graph,
// a chain of qcow2 images in files, a guest, a stream and a commit. They share nothing, so each
// sees what it would see alone; and ThreadSanitizer, under which this runs, sees no race.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/block_runtime.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/temporary_folder.h"

namespace millrace::two_engines_threads_test {
namespace {

constexpr size_t kLayers = 7;
constexpr uint64_t kBytes = 1 << 20;
constexpr int kGuestRoundsMin = 50;

// A disk of its own: "n6 <- n5 <- ... <- n0" in a folder, and what a guest must see of it.
class Host {
 public:
  explicit Host(uint64_t seed) : random_(seed, "host") {}

  absl::Status Run() {
    MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create({}));
    return engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      for (size_t layer = 0; layer < kLayers; ++layer) {
        const absl::Status made =
            CoWithBlocks(*engine, [&](BlockRuntime& blocks)
                                      MILLRACE_MAY_SUSPEND { return CoMakeLayer(blocks, layer); });
        if (!made.ok()) return made;
      }
      const absl::Status worked = CoWithBlocks(
          *engine, [&](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND { return CoWork(blocks); });
      if (!worked.ok()) return worked;
      return CoWithBlocks(*engine, [&](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
        return CoVerifyFromHeaders(blocks);
      });
    });
  }

 private:
  template <typename Body>
  static absl::Status CoWithBlocks(Engine& engine, Body&& body) MILLRACE_MAY_SUSPEND {
    BlockRuntime blocks(engine);
    return blocks.CoRun([&]() MILLRACE_MAY_SUSPEND { return body(blocks); });
  }

  std::string Name(size_t layer) const { return StrCat("n", layer, ".qcow2"); }
  std::string Path(size_t layer) const { return folder_.File(Name(layer)); }

  absl::StatusOr<OpenedImage> CoOpen(BlockRuntime& blocks, size_t layer) MILLRACE_MAY_SUSPEND {
    OpenImageOptions options;
    options.path = Path(layer);
    options.format = "qcow2";
    return CoOpenImage(blocks.graph(), blocks.drivers(), options);
  }
  static absl::StatusOr<Attachment> Attach(BlockRuntime& blocks, const OpenedImage& disk)
      MILLRACE_OPENS_VIEW {
    AttachmentOptions device;
    device.holder = MakeHolder("drive0", "guest device");
    device.permissions = GuestDevicePermissions();
    return Attachment::Attach(blocks.graph(), disk.top(), device);
  }

  absl::Status CoMakeLayer(BlockRuntime& blocks, size_t layer) MILLRACE_MAY_SUSPEND {
    CreateImageOptions options;
    options.path = Path(layer);
    options.qcow2.bytes = kBytes;
    options.qcow2.cluster_bytes = 4096;
    if (layer > 0) {
      options.qcow2.backing_filename = Name(layer - 1);
      options.qcow2.backing_format = "qcow2";
    }
    MILLRACE_RETURN_IF_ERROR(CoCreateImage(blocks.graph(), blocks.drivers(), options));
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpen(blocks, layer));
    MILLRACE_ASSIGN_OR_RETURN(Attachment writer, Attach(blocks, image));
    for (int i = 0; i < 20; ++i) MILLRACE_RETURN_IF_ERROR(CoWrite(writer));
    return absl::OkStatus();
  }

  ByteRange RandomRange() {
    const uint64_t offset = random_.Below(kBytes / 512) * 512;
    return ByteRange(offset, std::min<uint64_t>(512 * (1 + random_.Below(40)), kBytes - offset));
  }
  absl::Status CoWrite(Attachment& guest) MILLRACE_MAY_SUSPEND {
    const ByteRange range = RandomRange();
    std::string data(range.bytes, ' ');
    for (char& byte : data) byte = static_cast<char>(random_.Next());
    MILLRACE_RETURN_IF_ERROR(guest.CoWrite(range.offset, IoVector(data.data(), data.size())));
    model_.replace(range.offset, range.bytes, data);
    return absl::OkStatus();
  }
  absl::Status CoRead(Attachment& guest, ByteRange range) MILLRACE_MAY_SUSPEND {
    std::string data(range.bytes, ' ');
    MILLRACE_RETURN_IF_ERROR(guest.CoRead(range.offset, IoVector(data.data(), data.size())));
    if (data == model_.substr(range.offset, range.bytes)) return absl::OkStatus();
    return absl::DataLossError(StrCat("the guest read something else at ", range.offset));
  }

  // A commit and a stream on neighbouring ranges: n6 <- [n5 n4 n3] <- [n2 n1] <- n0.
  static absl::Status CoRunJobs(BlockRuntime& blocks, const OpenedImage& disk)
      MILLRACE_MAY_SUSPEND {
    const auto layer = [&disk](size_t number) { return disk.images[kLayers - 1 - number]; };
    StreamOptions stream;
    stream.job.spec.id = "stream";
    stream.top = layer(2);
    stream.bottom = layer(1);
    MILLRACE_RETURN_IF_ERROR(CoStartStream(blocks.graph(), blocks.jobs(), stream).status());
    CommitOptions commit;
    commit.job.spec.id = "commit";
    commit.root = layer(6);
    commit.top = layer(5);
    commit.base = layer(3);
    MILLRACE_RETURN_IF_ERROR(CoStartCommit(blocks.graph(), blocks.jobs(), commit).status());
    absl::Status status = blocks.jobs().CoWaitUntilOver("stream");
    status.Update(blocks.jobs().CoWaitUntilOver("commit"));
    return status;
  }

  absl::Status CoWork(BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage disk, CoOpen(blocks, kLayers - 1));
    MILLRACE_ASSIGN_OR_RETURN(Attachment guest, Attach(blocks, disk));
    bool are_over = false;
    TaskScope scope("guest");
    scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      for (int round = 0; round < kGuestRoundsMin || !are_over; ++round) {
        MILLRACE_RETURN_IF_ERROR(CoWrite(guest));
        MILLRACE_RETURN_IF_ERROR(CoRead(guest, RandomRange()));
      }
      return absl::OkStatus();
    });
    absl::Status status = CoRunJobs(blocks, disk);
    are_over = true;
    status.Update(scope.CoJoin());
    return status;
  }

  absl::Status CoVerifyFromHeaders(BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
    {
      MILLRACE_ASSIGN_OR_RETURN(OpenedImage disk, CoOpen(blocks, kLayers - 1));
      // n5 and n4 are committed into n3; n2 stands on n0.
      if (disk.images.size() != 4) {
        return absl::InternalError(StrCat("the chain has ", disk.images.size(), " images"));
      }
      MILLRACE_ASSIGN_OR_RETURN(Attachment guest, Attach(blocks, disk));
      MILLRACE_RETURN_IF_ERROR(CoRead(guest, ByteRange(0, kBytes)));
      guest.CoDetach();
      for (Attachment& hold : disk.holds) hold.CoDetach();
    }
    for (size_t layer = 0; layer < kLayers; ++layer) {
      MILLRACE_ASSIGN_OR_RETURN(const Qcow2CheckResult check,
                                CoCheckImage(blocks.graph(), blocks.drivers(),
                                             {.path = Path(layer), .format = "qcow2"}, {}));
      if (!check.is_clean()) return absl::DataLossError(StrCat(Name(layer), " is not clean"));
    }
    return absl::OkStatus();
  }

  TemporaryFolder folder_;
  RandomStream random_;
  std::string model_ = std::string(kBytes, '\0');
};

TEST(TwoEnginesWithJobs, OnTwoThreadsEachWorkAsIfAlone) {
  absl::Status results[2];
  std::thread threads[2];
  for (size_t i = 0; i < 2; ++i) {
    threads[i] = std::thread([&result = results[i], i] {
      Host host(i + 1);
      result = host.Run();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) EXPECT_TRUE(result.ok()) << result;
}

}  // namespace
}  // namespace millrace::two_engines_threads_test
