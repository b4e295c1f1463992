#include "tests/support/crash_disk.h"

#include <algorithm>
#include <cstring>

namespace millrace {

void CrashDisk::Apply(std::vector<uint8_t>& image, uint64_t offset, const uint8_t* content,
                      uint64_t bytes) {
  if (bytes == 0) return;
  if (image.size() < offset + bytes) image.resize(offset + bytes);
  std::memcpy(image.data() + offset, content, bytes);
}

void CrashDisk::Read(uint64_t offset, uint8_t* target, uint64_t bytes) const {
  if (bytes == 0) return;
  const uint64_t inside = offset >= live_.size() ? 0 : std::min(bytes, live_.size() - offset);
  if (inside > 0) std::memcpy(target, live_.data() + offset, inside);
  std::memset(target + inside, 0, bytes - inside);
}

void CrashDisk::Write(uint64_t offset, std::vector<uint8_t> content) {
  Apply(live_, offset, content.data(), content.size());
  if (is_recording_) events_.push_back({EventKind::kBytes, offset, std::move(content)});
}

void CrashDisk::WriteZeroes(uint64_t offset, uint64_t bytes) {
  Write(offset, std::vector<uint8_t>(bytes));
}

void CrashDisk::Resize(uint64_t bytes) {
  live_.resize(bytes);
  if (is_recording_) events_.push_back({EventKind::kSize, bytes, {}});
}

void CrashDisk::Flush(uint64_t issued) {
  if (is_recording_) events_.push_back({EventKind::kBarrier, issued, {}});
}

std::vector<uint8_t> CrashDisk::CrashImage(uint64_t events_before, RandomStream& random) const {
  uint64_t durable = 0;
  for (uint64_t i = 0; i < events_before; ++i) {
    if (events_[i].kind == EventKind::kBarrier) durable = std::max(durable, events_[i].offset);
  }
  std::vector<uint8_t> image = base_;
  // Few, most or about half of what is not durable survives.
  const uint64_t survivors_of_8 = random.Below(9);
  for (uint64_t i = 0; i < events_before; ++i) {
    const Event& event = events_[i];
    if (event.kind == EventKind::kBarrier) continue;
    if (event.kind == EventKind::kSize) {
      if (i < durable || random.Below(8) < survivors_of_8) image.resize(event.offset);
      continue;
    }
    if (i < durable) {
      Apply(image, event.offset, event.content.data(), event.content.size());
      continue;
    }
    const bool whole_or_nothing = random.OneIn(2);
    const bool survives = random.Below(8) < survivors_of_8;
    for (uint64_t done = 0; done < event.content.size();) {
      const uint64_t position = event.offset + done;
      const uint64_t bytes =
          std::min<uint64_t>(kSectorBytes - position % kSectorBytes, event.content.size() - done);
      const bool sector = whole_or_nothing ? survives : random.Below(8) < survivors_of_8;
      if (sector) Apply(image, position, event.content.data() + done, bytes);
      done += bytes;
    }
  }
  return image;
}

}  // namespace millrace
