// What a qcow2 image in memory is worth after a crash: whether it opens, what the check says, what
// its header says lies below, and what each sector of its own layer holds.
//
// Everything happens in memory, without a graph and without suspending, so that a campaign can look
// at tens of thousands of images a second. Sectors are told apart by TaggedDisk's tags.
#ifndef MILLRACE_TESTS_SUPPORT_IMAGE_EXAMINER_H_
#define MILLRACE_TESTS_SUPPORT_IMAGE_EXAMINER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/sparse_image.h"
#include "millrace/graph/drivers/qcow2/image_file.h"

namespace millrace {

// Values of sectors: 0 for zeroes, a version of TaggedDisk, or one of these.
inline constexpr uint64_t kSectorFromBelow = UINT64_MAX;
inline constexpr uint64_t kSectorTorn = UINT64_MAX - 1;  // no version as a whole

// The value of `sector` by its content, 512 bytes.
uint64_t SectorValue(uint64_t sector, const uint8_t* content);

struct ExaminedImage {
  // Not OK: it does not open, is corrupt, or a repair of a dirty image has failed.
  absl::Status status;
  uint64_t bytes = 0;
  std::string backing_filename;
  std::vector<uint64_t> sectors;
  uint64_t leaks = 0;
  bool was_repaired = false;  // it was marked dirty

  // A hash of what a user sees of it, in this process.
  size_t ContentKey() const { return absl::HashOf(bytes, backing_filename, sectors); }
};

// Checks, repairs if the header says that the image is dirty, opens read-only and reads.
ExaminedImage CoExamineImage(Engine& engine, SparseImage image) MILLRACE_MAY_SUSPEND;

class SparseImageFile final : public ImageFile {
 public:
  explicit SparseImageFile(SparseImage& image) : image_(image) {}
  std::string_view name() const override { return "img"; }
  uint64_t bytes() const override { return image_.bytes(); }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoResize(uint64_t bytes) override MILLRACE_MAY_SUSPEND;

 private:
  SparseImage& image_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_IMAGE_EXAMINER_H_
