// DiskModel: what a disk should show, sector by sector. The oracle of the quickstart.
//
// Each write has a tag of its own, and a sector's bytes follow from its number and the tag of the
// last write there; tag 0 is zeroes. So a sector that is stale, torn, or in the wrong place shows.
#ifndef MILLRACE_EXAMPLES_QUICKSTART_DISK_MODEL_H_
#define MILLRACE_EXAMPLES_QUICKSTART_DISK_MODEL_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/byte_range.h"

namespace millrace {

class DiskModel {
 public:
  static constexpr uint64_t kSectorBytes = 512;

  explicit DiskModel(uint64_t bytes) : tags_(bytes / kSectorBytes, 0) {}

  uint64_t bytes() const { return tags_.size() * kSectorBytes; }
  // A tag that no write had before.
  uint32_t NewTag() { return ++newest_tag_; }

  // Ranges are whole sectors. What a write of `tag` writes; what the disk shows from now on.
  static void Fill(ByteRange range, uint32_t tag, uint8_t* memory);
  void Write(ByteRange range, uint32_t tag);
  // What a reader must see.
  void Expect(ByteRange range, uint8_t* memory) const;
  // DataLoss names the first sector that differs, and what was read instead.
  absl::Status Check(ByteRange range, const uint8_t* memory) const;

  // The same for all of a disk of this size, of which another model was read.
  absl::Status Compare(const DiskModel& shown) const;

  // Stands for everything the disk shows.
  uint64_t Digest() const;
  // The tag that a sector's bytes carry; nothing if they are no sector of that number.
  static std::optional<uint32_t> TagOf(uint64_t sector, const uint8_t* memory);

 private:
  std::vector<uint32_t> tags_;
  uint32_t newest_tag_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_QUICKSTART_DISK_MODEL_H_
