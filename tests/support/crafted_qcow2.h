// qcow2 images with what our driver keeps but does not make: internal snapshots, persistent
// bitmaps, compressed clusters. Crafted in memory, so that tests need no QEMU.
//
//   CraftedQcow2 image(disk);      // a closed image
//   image.AddSnapshot("one");
//   CrashDisk crafted = image.Finish();
#ifndef MILLRACE_TESTS_SUPPORT_CRAFTED_QCOW2_H_
#define MILLRACE_TESTS_SUPPORT_CRAFTED_QCOW2_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "millrace/graph/drivers/qcow2/bitmap_directory.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "tests/support/crash_disk.h"

namespace millrace {

class CraftedQcow2 {
 public:
  explicit CraftedQcow2(CrashDisk disk) : disk_(std::move(disk)) {}

  // Of the disk as it is now; its tables and data are shared from then on.
  void AddSnapshot(std::string_view name);
  // One that records writes, called "recording", and one that does not, called "kept". The first
  // bits of both are set.
  void AddBitmaps();
  // Replaces a guest cluster, which must be allocated, by a compressed one; by the header's method.
  void Compress(uint64_t guest_cluster, absl::Span<const uint8_t> content);
  // The same, in the host cluster of the one compressed last where that has room: both then count
  // as its users.
  void CompressBehindLast(uint64_t guest_cluster, absl::Span<const uint8_t> content);
  // The image, with refcounts and flags set right; checked.
  CrashDisk Finish();

 private:
  qcow2::Header header() const;
  uint64_t Append(std::vector<uint8_t> content);
  std::vector<uint8_t> Pack(absl::Span<const uint8_t> content) const;
  void PointAtPacked(uint64_t guest_cluster, uint64_t place, uint64_t bytes);

  CrashDisk disk_;
  uint64_t packed_end_ = 0;  // of the compressed data that were added last
};

// The image as its first snapshot would show it, to be read only.
CrashDisk SnapshotView(const CrashDisk& disk);

// The bitmaps of an image, and the bytes each of them has in its table's clusters. Empty where the
// header says that they do not count.
struct CraftedBitmap {
  qcow2::BitmapEntry entry;
  std::vector<uint8_t> bits;
};
std::vector<CraftedBitmap> BitmapsOf(const CrashDisk& disk);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_CRAFTED_QCOW2_H_
