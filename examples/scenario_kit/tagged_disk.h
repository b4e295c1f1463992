// TaggedDisk: the model of a disk whose every sector says where and when it was written. The oracle
// of scenarios: what a guest reads must be what it wrote last. Requests may be in flight together.
#ifndef MILLRACE_EXAMPLES_SCENARIO_KIT_TAGGED_DISK_H_
#define MILLRACE_EXAMPLES_SCENARIO_KIT_TAGGED_DISK_H_

#include <cstdint>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "examples/scenario_kit/memory_chain.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/drivers/memory_overlay.h"

namespace millrace {

// Data that tells where and when it was written: every sector carries its number and a version.
// Where a run is recorded, what begins and how it ends is noted: kind "data", object "drive0",
// text "write of sectors 3-4 begins (version 7)".
class TaggedDisk {
 public:
  static constexpr uint64_t kSector = 512;
  explicit TaggedDisk(uint64_t sectors) : versions_(sectors, 0), decided_at_(sectors, 0) {}

  uint64_t sectors() const { return versions_.size(); }
  // Content of a sector at a version; version 0 is zeroes.
  static std::vector<uint8_t> Content(uint64_t sector, uint32_t version);
  // Writes a new version of some sectors through the attachment. A write that fails may have been
  // done all the same: then either version is right, until the next one that succeeds. Of writes of
  // one sector that are in flight together each may be the last, until one begins after them.
  absl::Status CoWrite(Attachment& attachment, uint64_t sector, uint64_t count)
      MILLRACE_MAY_SUSPEND;
  // Makes some sectors zeroes, by writing them or by discarding.
  absl::Status CoZero(Attachment& attachment, uint64_t sector, uint64_t count, bool discard)
      MILLRACE_MAY_SUSPEND;
  // Reads sectors and compares with what was written last. Of what is being written meanwhile the
  // old and the new are right.
  absl::Status CoVerify(Attachment& attachment, uint64_t sector, uint64_t count)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoVerifyAll(Attachment& attachment) MILLRACE_MAY_SUSPEND {
    return CoVerify(attachment, 0, sectors());
  }
  // Whether the sector may hold this now: for whoever looks at the images themselves.
  bool Allows(uint64_t sector, const uint8_t* content) const {
    return MayHold({{sector, 1}}, sector, content);
  }
  // Puts a new version of a sector into an image that is not in use; upper layers come last.
  void Put(MemoryOverlayImage& image, uint64_t sector);
  // The version every sector has now, 0 for zeroes; where several are right, one of them.
  const std::vector<uint32_t>& versions() const { return versions_; }
  // Of the reads that were compared: those beside which one of their sectors was being written.
  uint64_t reads_beside_writes() const { return reads_beside_writes_; }

 private:
  using Write = absl::FunctionRef<absl::Status()>;
  struct Sectors {
    uint64_t first = 0;
    uint64_t count = 0;
    bool Contain(uint64_t sector) const { return sector >= first && sector - first < count; }
    bool Meet(const Sectors& other) const {
      return first < other.first + other.count && other.first < first + count;
    }
  };
  // What may be in a sector as well.
  struct Candidate {
    uint32_t version = 0;
    uint64_t decided_at = 0;
  };
  struct Change {
    std::string_view what;  // "write", "discard"
    Sectors sectors;
    uint32_t version = 0;
    uint64_t begun_at = 0;
  };
  struct Read {
    Sectors sectors;
    bool is_beside_write = false;
    // Sector and version: right when it began, and overwritten since.
    std::vector<std::pair<uint64_t, uint32_t>> overwritten{};
  };
  absl::Status CoChange(const Attachment& attachment, Change change, Write write)
      MILLRACE_MAY_SUSPEND;
  void TakeIn(const Change& change, bool has_failed);
  void Overwrite(uint64_t sector, const Change& change);
  void NoteOverwritten(uint64_t sector, uint32_t version);
  bool MayHold(const Read& read, uint64_t sector, const uint8_t* content) const;

  std::vector<uint32_t> versions_;
  std::vector<uint64_t> decided_at_;
  std::map<uint64_t, std::vector<Candidate>> others_;  // by sector
  uint32_t next_version_ = 1;
  uint64_t time_ = 0;                    // counts begins and ends of changes
  std::vector<const Change*> changing_;  // in flight
  std::vector<Read*> reading_;           // in flight
  uint64_t reads_beside_writes_ = 0;
};

// Fills a chain so that every layer holds some clusters of its own: layer i has those where
// (cluster + i) % 3 == 0, in full view of the disk's model. Runs over the images directly.
void FillLayers(MemoryChain& chain, TaggedDisk& disk);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_SCENARIO_KIT_TAGGED_DISK_H_
