#include "tests/support/image_examiner.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/qcow2_check.h"
#include "millrace/graph/drivers/qcow2/qcow2_driver.h"

namespace millrace {
namespace {

constexpr uint64_t kSector = 512;

uint8_t* Bytes(const iovec& piece) { return static_cast<uint8_t*>(piece.iov_base); }

// Zeroes where the file has ended.
void ReadImage(const SparseImage& image, uint64_t offset, const IoVector& target) {
  for (const iovec& piece : target.pieces()) {
    const size_t done = image.Read(offset, {reinterpret_cast<char*>(Bytes(piece)), piece.iov_len});
    std::memset(Bytes(piece) + done, 0, piece.iov_len - done);
    offset += piece.iov_len;
  }
}

// A node that is open read-only on an image in memory.
class ReadOnlyContext final : public DriverContext {
 public:
  ReadOnlyContext(Engine& engine, const SparseImage& image) : engine_(engine), image_(image) {}

  Engine& engine() const override { return engine_; }
  const std::string& node_name() const override { return name_; }
  bool is_read_only() const override { return true; }
  bool HasChild(ChildKey child) const override { return child.role == Role::kPrimary; }
  uint64_t ChildBytes(ChildKey) const override { return image_.bytes(); }
  absl::Status CoReadChild(ChildKey, uint64_t offset, const IoVector& target) override
      MILLRACE_MAY_SUSPEND {
    ReadImage(image_, offset, target);
    return absl::OkStatus();
  }
  absl::Status CoWriteChild(ChildKey, uint64_t, const IoVector&, WriteFlags) override
      MILLRACE_MAY_SUSPEND {
    return Refuse();
  }
  absl::Status CoWriteZeroesChild(ChildKey, ByteRange, ZeroFlags) override MILLRACE_MAY_SUSPEND {
    return Refuse();
  }
  absl::Status CoDiscardChild(ChildKey, ByteRange) override MILLRACE_MAY_SUSPEND {
    return Refuse();
  }
  absl::Status CoFlushChild(ChildKey) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoResizeChild(ChildKey, uint64_t) override MILLRACE_MAY_SUSPEND { return Refuse(); }
  absl::StatusOr<Extent> CoMapChild(ChildKey, ByteRange range) override MILLRACE_MAY_SUSPEND {
    return Extent{range.bytes, ExtentKind::kData, HostOffset(range.offset)};
  }
  void CoEvent(std::string_view) override MILLRACE_MAY_SUSPEND {}
  uint64_t NewestRequest() const override { return 0; }
  uint64_t OldestRequest() const override { return UINT64_MAX; }
  void LogWarning(std::string_view line) override { warning_ = line; }

  // What was to be written although it must not, or what the driver warned of.
  const std::string& warning() const { return warning_; }

 private:
  absl::Status Refuse() {
    warning_ = "a read-only image was to be written";
    return absl::FailedPreconditionError(warning_);
  }

  Engine& engine_;
  const SparseImage& image_;
  const std::string name_ = "img";
  std::string warning_;
};

bool IsMarked(const SparseImage& image, uint64_t bit) {
  uint8_t fields[80] = {};
  image.Read(0, {reinterpret_cast<char*>(fields), sizeof(fields)});
  return fields[7] >= 3 && (fields[79] & bit) != 0;
}

std::string Findings(const Qcow2CheckResult& check) {
  std::string text = StrCat(check.corruptions, " corruptions, ", check.errors, " errors");
  for (const std::string& finding : check.findings) StrAppend(&text, "; ", finding);
  return text;
}

absl::Status CoCheck(SparseImage& image, ExaminedImage& examined) MILLRACE_MAY_SUSPEND {
  SparseImageFile file(image);
  if (IsMarked(image, qcow2::kIncompatibleDirty)) {
    MILLRACE_ASSIGN_OR_RETURN(const Qcow2CheckResult repaired,
                              CoCheckQcow2(file, {.repair = Qcow2Repair::kAll}));
    if (!repaired.is_clean_now()) return absl::DataLossError(Findings(repaired));
    examined.was_repaired = true;
  }
  MILLRACE_ASSIGN_OR_RETURN(const Qcow2CheckResult check, CoCheckQcow2(file, {}));
  examined.leaks = check.leaks;
  if (check.corruptions + check.errors > 0) return absl::DataLossError(Findings(check));
  if (IsMarked(image, qcow2::kIncompatibleCorrupt)) return absl::DataLossError("marked corrupt");
  return absl::OkStatus();
}

absl::Status CoReadSectors(FormatDriver& driver, const SparseImage& image, ExaminedImage& examined)
    MILLRACE_MAY_SUSPEND {
  std::vector<uint8_t> content;
  for (uint64_t offset = 0; offset < examined.bytes;) {
    MILLRACE_ASSIGN_OR_RETURN(const Extent extent,
                              driver.CoMap(ByteRange(offset, examined.bytes - offset)));
    const uint64_t count = extent.bytes / kSector;
    switch (extent.kind) {
      case ExtentKind::kData:
        content.resize(extent.bytes);
        ReadImage(image, extent.host.value(), IoVector(absl::MakeSpan(content)));
        for (uint64_t i = 0; i < count; ++i) {
          examined.sectors.push_back(SectorValue(offset / kSector + i, &content[i * kSector]));
        }
        break;
      case ExtentKind::kZero:
        examined.sectors.insert(examined.sectors.end(), count, 0);
        break;
      case ExtentKind::kUnallocated:
        examined.sectors.insert(examined.sectors.end(), count, kSectorFromBelow);
        break;
      default:
        return absl::InternalError("encoded data, which nobody has written");
    }
    offset += extent.bytes;
  }
  return absl::OkStatus();
}

absl::Status CoRead(Engine& engine, const SparseImage& image, ExaminedImage& examined)
    MILLRACE_MAY_SUSPEND {
  ReadOnlyContext context(engine, image);
  const std::unique_ptr<FormatDriver> driver = MakeQcow2Driver({.cache_bytes_max = 1 << 20});
  absl::Status status = driver->CoOpen(context);
  if (status.ok()) {
    examined.bytes = driver->bytes();
    examined.backing_filename = driver->backing_reference().filename;
    status = CoReadSectors(*driver, image, examined);
  }
  driver->CoClose();
  if (status.ok() && !context.warning().empty()) status = absl::InternalError(context.warning());
  return status;
}

}  // namespace

absl::Status SparseImageFile::CoRead(uint64_t offset, const IoVector& target) {
  ReadImage(image_, offset, target);
  return absl::OkStatus();
}
absl::Status SparseImageFile::CoWrite(uint64_t offset, const IoVector& source) {
  for (const iovec& piece : source.pieces()) {
    image_.Write(offset, {reinterpret_cast<const char*>(Bytes(piece)), piece.iov_len});
    offset += piece.iov_len;
  }
  return absl::OkStatus();
}
absl::Status SparseImageFile::CoWriteZeroes(ByteRange range) {
  image_.WriteZeroes(range.offset, range.bytes);
  return absl::OkStatus();
}
absl::Status SparseImageFile::CoResize(uint64_t bytes) {
  image_.Resize(bytes);
  return absl::OkStatus();
}

uint64_t SectorValue(uint64_t sector, const uint8_t* content) {
  uint64_t number = 0;
  uint32_t version = 0;
  uint32_t padding = 0;
  std::memcpy(&number, content, sizeof(number));
  std::memcpy(&version, content + 8, sizeof(version));
  std::memcpy(&padding, content + 12, sizeof(padding));
  if (std::memcmp(content, content + 16, kSector - 16) != 0 || padding != 0) return kSectorTorn;
  if (number == 0 && version == 0) return 0;
  return number == sector && version != 0 ? version : kSectorTorn;
}

ExaminedImage CoExamineImage(Engine& engine, SparseImage image) {
  ExaminedImage examined;
  examined.status = CoCheck(image, examined);
  if (examined.status.ok()) examined.status = CoRead(engine, image, examined);
  return examined;
}

}  // namespace millrace
