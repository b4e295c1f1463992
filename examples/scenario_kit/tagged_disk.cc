#include "examples/scenario_kit/tagged_disk.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {
namespace {

// "write of sectors 3-4"
std::string InWords(std::string_view what, uint64_t sector, uint64_t count) {
  return count == 1 ? StrCat(what, " of sector ", sector)
                    : StrCat(what, " of sectors ", sector, "-", sector + count - 1);
}

// `words` are asked for only where somebody keeps them.
void NoteData(const Attachment& attachment, absl::FunctionRef<std::string()> words) {
  StepObserver* keeper = Scheduler::Current()->note_keeper();
  if (keeper == nullptr) return;
  const std::string& device = attachment.device_name();
  keeper->OnNote("data", device.empty() ? attachment.holder()->id : device, words());
}

}  // namespace

std::vector<uint8_t> TaggedDisk::Content(uint64_t sector, uint32_t version) {
  std::vector<uint8_t> content(kSector, 0);
  if (version == 0) return content;
  for (uint64_t i = 0; i < kSector; i += 16) {
    std::memcpy(content.data() + i, &sector, sizeof(sector));
    std::memcpy(content.data() + i + 8, &version, sizeof(version));
  }
  return content;
}

absl::Status TaggedDisk::CoChange(const Attachment& attachment, Change change, Write write) {
  const auto say = [&](std::string_view how) {
    NoteData(attachment, [&] {
      return StrCat(InWords(change.what, change.sectors.first, change.sectors.count), how,
                    " (version ", change.version, ")");
    });
  };
  say(" begins");
  change.begun_at = ++time_;
  changing_.push_back(&change);
  for (Read* read : reading_) read->is_beside_write |= read->sectors.Meet(change.sectors);
  absl::Status status = write();
  std::erase(changing_, &change);
  say(status.ok() ? " is done" : " fails");
  TakeIn(change, !status.ok());
  return status;
}

void TaggedDisk::TakeIn(const Change& change, bool has_failed) {
  ++time_;
  for (uint64_t i = 0; i < change.sectors.count; ++i) {
    const uint64_t sector = change.sectors.first + i;
    if (has_failed) {
      others_[sector].push_back({change.version, time_});
    } else {
      Overwrite(sector, change);
    }
  }
}

// What was decided before the change began cannot be there any more. What was decided meanwhile
// can: nobody knows which was first.
void TaggedDisk::Overwrite(uint64_t sector, const Change& change) {
  std::vector<Candidate> kept;
  const auto keep = [&](const Candidate& each) {
    NoteOverwritten(sector, each.version);
    if (each.decided_at > change.begun_at) kept.push_back(each);
  };
  keep({versions_[sector], decided_at_[sector]});
  if (const auto others = others_.find(sector); others != others_.end()) {
    std::for_each(others->second.begin(), others->second.end(), keep);
    others_.erase(others);
  }
  if (!kept.empty()) others_[sector] = std::move(kept);
  versions_[sector] = change.version;
  decided_at_[sector] = time_;
}

void TaggedDisk::NoteOverwritten(uint64_t sector, uint32_t version) {
  for (Read* read : reading_) {
    if (read->sectors.Contain(sector)) read->overwritten.emplace_back(sector, version);
  }
}

bool TaggedDisk::MayHold(const Read& read, uint64_t sector, const uint8_t* content) const {
  const auto holds = [&](uint32_t version) {
    const std::vector<uint8_t> wanted = Content(sector, version);
    return std::equal(wanted.begin(), wanted.end(), content);
  };
  if (holds(versions_[sector])) return true;
  const auto others = others_.find(sector);
  if (others != others_.end() &&
      std::any_of(others->second.begin(), others->second.end(),
                  [&](const Candidate& each) { return holds(each.version); })) {
    return true;
  }
  return std::any_of(changing_.begin(), changing_.end(),
                     [&](const Change* each) {
                       return each->sectors.Contain(sector) && holds(each->version);
                     }) ||
         std::any_of(read.overwritten.begin(), read.overwritten.end(),
                     [&](const auto& each) { return each.first == sector && holds(each.second); });
}

absl::Status TaggedDisk::CoWrite(Attachment& attachment, uint64_t sector, uint64_t count) {
  const uint32_t version = next_version_++;
  std::vector<uint8_t> data;
  for (uint64_t i = 0; i < count; ++i) {
    const std::vector<uint8_t> content = Content(sector + i, version);
    data.insert(data.end(), content.begin(), content.end());
  }
  const Change change{"write", {sector, count}, version};
  return CoChange(attachment, change, [&]() MILLRACE_MAY_SUSPEND {
    return attachment.CoWrite(sector * kSector, IoVector::OfConst(data.data(), data.size()));
  });
}

absl::Status TaggedDisk::CoZero(Attachment& attachment, uint64_t sector, uint64_t count,
                                bool discard) {
  const ByteRange range(sector * kSector, count * kSector);
  const Change change{discard ? "discard" : "zeroing", {sector, count}, 0};
  return CoChange(attachment, change, [&]() MILLRACE_MAY_SUSPEND {
    return discard ? attachment.CoDiscard(range) : attachment.CoWriteZeroes(range);
  });
}

absl::Status TaggedDisk::CoVerify(Attachment& attachment, uint64_t sector, uint64_t count) {
  std::vector<uint8_t> data(count * kSector, 0xee);
  NoteData(attachment, [&] { return StrCat(InWords("read", sector, count), " begins"); });
  Read read{{sector, count}};
  for (const Change* each : changing_) read.is_beside_write |= read.sectors.Meet(each->sectors);
  reading_.push_back(&read);
  const absl::Status status =
      attachment.CoRead(sector * kSector, IoVector(data.data(), data.size()));
  std::erase(reading_, &read);
  MILLRACE_RETURN_IF_ERROR(status);
  reads_beside_writes_ += read.is_beside_write ? 1 : 0;
  for (uint64_t i = 0; i < count; ++i) {
    if (MayHold(read, sector + i, &data[i * kSector])) continue;
    uint32_t found = 0;
    std::memcpy(&found, data.data() + i * kSector + 8, sizeof(found));
    return absl::DataLossError(StrCat("I2: sector ", sector + i, " holds version ", found,
                                      ", expected ", versions_[sector + i]));
  }
  return absl::OkStatus();
}

void FillLayers(MemoryChain& chain, TaggedDisk& disk) {
  for (size_t layer = 0; layer < chain.images.size(); ++layer) {
    MemoryOverlayImage& image = *chain.images[layer];
    const uint64_t sectors = std::min(disk.sectors(), image.bytes / TaggedDisk::kSector);
    for (uint64_t sector = 0; sector < sectors; ++sector) {
      // Whole clusters: what is in one is all of this layer.
      if ((sector * TaggedDisk::kSector / image.cluster_bytes + layer) % 3 != 0) continue;
      disk.Put(image, sector);
    }
  }
}

void TaggedDisk::Put(MemoryOverlayImage& image, uint64_t sector) {
  const uint32_t version = next_version_++;
  std::vector<uint8_t> content = Content(sector, version);
  image.content.Write(sector * kSector, IoVector(content.data(), content.size()));
  image.map[sector * kSector / image.cluster_bytes] = MemoryOverlayImage::Cluster::kData;
  versions_[sector] = version;
}

}  // namespace millrace
