#include "examples/quickstart/verify.h"

#include <fstream>
#include <ios>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/map_image.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/block_runtime.h"
#include "tests/support/temporary_folder.h"

namespace millrace::quickstart_verify_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A sector that was written, and where in an image's file the disk has it from.
struct Place {
  uint64_t sector = 0;
  uint64_t in_file = 0;
};

// "2 <- 1 <- 0", each with a MiB of its own.
class VerifyTest : public ::testing::Test {
 protected:
  VerifyTest() : chain_{"v", {}, {}, DiskModel(kDiskBytes)} {
    absl::Status status =
        InBlocks([this](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND { return CoBuild(blocks); });
    EXPECT_TRUE(status.ok()) << status;
    for (size_t image = 0; image < chain_.digests.size(); ++image) {
      expected_.images.insert(expected_.images.begin(), image);
      expected_.digests[image] = chain_.digests[image];
    }
  }

  absl::Status Verify() {
    return InBlocks([this](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
      return CoVerifyChain(blocks.graph(), blocks.drivers(), chain_, expected_);
    });
  }

  // A place of the image that the top shows too: what changes there is seen through each layer.
  Place PlaceIn(size_t image) {
    std::optional<Place> place;
    absl::Status status = InBlocks([&](BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
      return CoFind(blocks, static_cast<uint32_t>(chain_.paths.size() - 1 - image), &place);
    });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(place.has_value()) << "the top shows nothing of image " << image;
    return place.value_or(Place());
  }

  void FlipByte(size_t image, uint64_t offset) {
    std::fstream file(chain_.paths[image], std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(byte ^ 1));
    EXPECT_TRUE(file.good());
  }

  void WriteZeroes(size_t image, uint64_t offset) {
    std::fstream file(chain_.paths[image], std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(offset));
    const std::string zeroes(DiskModel::kSectorBytes, '\0');
    file.write(zeroes.data(), static_cast<std::streamsize>(zeroes.size()));
    EXPECT_TRUE(file.good());
  }

  static constexpr uint64_t kDiskBytes = 8 << 20;
  TemporaryFolder folder_;
  BuiltChain chain_;
  ExpectedChain expected_;

 private:
  template <typename Body>
  absl::Status InBlocks(Body body) {
    MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create({}));
    return engine->Run([&]() MILLRACE_MAY_SUSPEND {
      BlockRuntime blocks(*engine);
      return blocks.CoRun([&]() MILLRACE_MAY_SUSPEND { return body(blocks); });
    });
  }

  absl::Status CoBuild(BlockRuntime& blocks) MILLRACE_MAY_SUSPEND {
    ChainShape shape;
    shape.folder = folder_.path();
    shape.name = "v";
    shape.images = 3;
    shape.disk_bytes = kDiskBytes;
    shape.bytes_per_image = 1 << 20;
    shape.seed = 1;
    MILLRACE_ASSIGN_OR_RETURN(chain_, CoBuildChain(blocks.graph(), blocks.drivers(), shape));
    return absl::OkStatus();
  }

  bool IsWritten(uint64_t offset) const {
    const ByteRange sector(offset, DiskModel::kSectorBytes);
    const std::vector<uint8_t> zeroes(sector.bytes);
    return !chain_.model.Check(sector, zeroes.data()).ok();
  }

  absl::Status CoFind(BlockRuntime& blocks, uint32_t depth, std::optional<Place>* place)
      MILLRACE_MAY_SUSPEND {
    const OpenImageOptions top{
        .path = chain_.paths.back(), .format = "qcow2", .is_read_only = true};
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage opened,
                              CoOpenImage(blocks.graph(), blocks.drivers(), top));
    AttachmentOptions options;
    options.holder = MakeHolder("finder", "program");
    options.permissions.used = kConsistentRead;
    MILLRACE_ASSIGN_OR_RETURN(Attachment disk,
                              Attachment::Attach(blocks.graph(), opened.top(), std::move(options)));
    absl::Status status = CoMapImage(disk, [&](const MapExtent& run) {
      if (!run.is_data || run.depth != depth || !run.host_offset) return;
      for (uint64_t at = 0; at < run.bytes; at += DiskModel::kSectorBytes) {
        if (!IsWritten(run.offset + at)) continue;
        *place = Place{(run.offset + at) / DiskModel::kSectorBytes, *run.host_offset + at};
      }
    });
    disk.CoDetach();
    opened.holds[0].CoDetach();
    return status;
  }
};

TEST_F(VerifyTest, AChainAsItWasBuiltIsAsItShouldBe) {
  const absl::Status status = Verify();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(VerifyTest, OneFlippedByteOfAnyLayerIsADataLossThatNamesItsPlace) {
  for (size_t image = 0; image < chain_.paths.size(); ++image) {
    SCOPED_TRACE(image);
    const Place place = PlaceIn(image);
    FlipByte(image, place.in_file + 300);
    const absl::Status status = Verify();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    // The first image to be read that shows it is the top.
    EXPECT_THAT(
        std::string(status.message()),
        HasSubstr(StrCat(chain_.paths.back(), ": sector ", place.sector, " holds bytes that")));
    FlipByte(image, place.in_file + 300);
    EXPECT_TRUE(Verify().ok()) << "it was put back";
  }
}

// An older write, or none, has bytes of the right form; only the model knows better.
TEST_F(VerifyTest, ASectorWhoseWriteWasLostIsADataLossThatNamesTheSector) {
  const Place place = PlaceIn(1);
  WriteZeroes(1, place.in_file);
  const absl::Status status = Verify();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(chain_.paths.back()));
  EXPECT_THAT(std::string(status.message()), HasSubstr(StrCat("sector ", place.sector, " ")));
}

// What a layer shows is compared for each of them, not only for the top.
TEST_F(VerifyTest, ALayerBelowTheTopThatShowsSomethingElseIsNamed) {
  expected_.digests[1] ^= 1;
  const absl::Status status = Verify();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(chain_.paths[1]));
}

TEST_F(VerifyTest, AChainOfOtherImagesIsADataLossThatSaysWhichTheHeadersName) {
  expected_.images = {2, 0};
  const absl::Status status = Verify();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("the headers say 2 <- 1 <- 0"), HasSubstr("it should be 2 <- 0")));
}

}  // namespace
}  // namespace millrace::quickstart_verify_test
