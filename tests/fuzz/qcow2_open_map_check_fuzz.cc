// Any bytes as a qcow2 image: describe it, check it, open it read-only and map and read all of it;
// then check and repair a copy, and open that for writing. Nothing may crash, hang or take memory
// out of proportion. The first byte of the input chooses what is written; the rest is the image.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "millrace/graph/drivers/qcow2/qcow2_info.h"
#include "tests/support/qcow2_images.h"

namespace millrace {
namespace {

constexpr uint64_t kImageBytesMax = 1 << 20;
// Of the guest's disk, from its start and from its end.
constexpr uint64_t kReadBytesMax = 1 << 18;

void CoReadSome(FormatNode& node) MILLRACE_MAY_SUSPEND {
  const uint64_t bytes = node.driver().bytes();
  uint64_t offset = 0;
  for (int extents = 0; extents < 2000 && offset < bytes; ++extents) {
    const absl::StatusOr<Extent> extent = node.driver().CoMap(ByteRange(offset, bytes - offset));
    if (!extent.ok()) break;
    offset += extent->bytes;
  }
  std::vector<uint8_t> content(std::min(bytes, kReadBytesMax));
  (void)node.CoRead(0, absl::MakeSpan(content));
  (void)node.CoRead(bytes - content.size(), absl::MakeSpan(content));
}

void CoWriteSome(FormatNode& node, uint8_t choice) MILLRACE_MAY_SUSPEND {
  const uint64_t bytes = node.driver().bytes();
  if (bytes < 4096) return;
  const uint64_t offset = choice % 4 == 0 ? 0 : bytes / 256 * choice;
  const std::vector<uint8_t> data(std::min<uint64_t>(3000, bytes - offset), choice);
  (void)node.CoWrite(offset, data);
  (void)node.CoWriteZeroes(ByteRange(offset / 2, std::min<uint64_t>(bytes / 2, 200000)));
  (void)node.CoDiscard(ByteRange(0, std::min<uint64_t>(bytes, 65536)));
  (void)node.CoFlush();
  (void)node.CoWrite(0, data);
}

void CoUse(Engine& engine, CrashDisk& disk, bool writable, uint8_t choice) MILLRACE_MAY_SUSPEND {
  FakeDriverContext context(engine, disk);
  context.set_read_only(!writable);
  FormatNode node(context, MakeQcow2Driver({.cache_bytes_max = 65536}));
  if (node.CoOpen().ok()) {
    CoReadSome(node);
    if (writable) CoWriteSome(node, choice);
  }
  node.CoClose();
}

void CoFuzz(Engine& engine, const std::vector<uint8_t>& image, uint8_t choice)
    MILLRACE_MAY_SUSPEND {
  CrashDisk disk(image);
  DiskFile file(disk);
  (void)CoReadQcow2Info(file);
  (void)CoCheckQcow2(file, {});
  CoUse(engine, disk, /*writable=*/false, choice);
  MILLRACE_CHECK(disk.live() == image, "a read-only use of an image wrote to it");
  CrashDisk repaired(image);
  DiskFile repaired_file(repaired);
  (void)CoCheckQcow2(repaired_file, {.repair = Qcow2Repair::kAll});
  CoUse(engine, repaired, /*writable=*/true, choice);
  CoUse(engine, disk, /*writable=*/true, choice);
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > millrace::kImageBytesMax) return 0;
  const std::vector<uint8_t> image(data + 1, data + size);
  auto engine = millrace::SimulatedEngine();
  (void)engine->Run([&]() MILLRACE_MAY_SUSPEND { millrace::CoFuzz(*engine, image, data[0]); });
  return 0;
}
