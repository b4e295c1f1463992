// Any bytes as a qcow2 image, and operations on it. An image that the check finds free of
// corruption must behave like a disk: what is read is what was written, and it stays free of
// corruption. Any other may fail, but brings nothing down.
//
// The input: a byte that says how many operations there are, four bytes for each, the image.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "millrace/engine/base/text.h"
#include "tests/support/qcow2_images.h"

namespace millrace {
namespace {

constexpr uint64_t kImageBytesMax = 1 << 18;
constexpr uint64_t kModelBytesMax = 1 << 18;  // of the guest's disk, from its start
constexpr uint64_t kSector = 512;
constexpr size_t kOperationBytes = 4;

struct Operation {
  uint8_t kind;
  ByteRange range;
  uint8_t value;
};

// Runs the operations and keeps what the disk must hold.
class Modelled {
 public:
  Modelled(FormatNode& node, bool is_sound) : node_(node), is_sound_(is_sound) {}

  absl::Status CoLearn() MILLRACE_MAY_SUSPEND {
    model_.resize(std::min(node_.driver().bytes(), kModelBytesMax));
    return node_.CoRead(0, absl::MakeSpan(model_));
  }
  uint64_t sectors() const { return model_.size() / kSector; }

  void CoDo(const Operation& operation) MILLRACE_MAY_SUSPEND {
    const ByteRange range = operation.range;
    const std::vector<uint8_t> data(range.bytes, operation.kind % 5 < 3 ? operation.value : 0);
    absl::Status status;
    switch (operation.kind % 5) {
      case 3:
        status = node_.CoWriteZeroes(range, {.may_unmap = operation.value % 2 == 0});
        break;
      case 4:
        return CoDiscardOrFlush(operation);
      default:
        status = node_.CoWrite(range.offset, data);
    }
    CheckStatus(status);
    if (!status.ok()) return CoLearnAgain(range);  // some of it may be there
    std::copy(data.begin(), data.end(), model_.begin() + static_cast<ptrdiff_t>(range.offset));
    CoVerify(range);
  }
  void CoVerifyAll() MILLRACE_MAY_SUSPEND { CoVerify(ByteRange(0, model_.size())); }

 private:
  void CheckStatus(const absl::Status& status) const {
    // A refcount may have reached its limit, and version 2 cannot do everything.
    MILLRACE_CHECK(!is_sound_ || status.ok() || absl::IsResourceExhausted(status) ||
                       absl::IsFailedPrecondition(status) || absl::IsUnimplemented(status),
                   StrCat("an operation on a sound image has failed: ", status.ToString()));
  }
  void CoLearnAgain(ByteRange range) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> found(range.bytes);
    if (!node_.CoRead(range.offset, absl::MakeSpan(found)).ok()) return;
    std::copy(found.begin(), found.end(), model_.begin() + static_cast<ptrdiff_t>(range.offset));
  }
  void CoVerify(ByteRange range) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> found(range.bytes);
    const absl::Status status = node_.CoRead(range.offset, absl::MakeSpan(found));
    if (!is_sound_) return;
    MILLRACE_CHECK(status.ok(), StrCat("a sound image could not be read: ", status.ToString()));
    MILLRACE_CHECK(std::equal(found.begin(), found.end(),
                              model_.begin() + static_cast<ptrdiff_t>(range.offset)),
                   "a sound image holds something else");
  }
  // Discarded bytes read as before or as zeroes.
  void CoDiscardOrFlush(const Operation& operation) MILLRACE_MAY_SUSPEND {
    const ByteRange range = operation.range;
    if (operation.value % 2 == 0) return CheckStatus(node_.CoFlush());
    CheckStatus(node_.CoDiscard(range));
    std::vector<uint8_t> found(range.bytes);
    if (!node_.CoRead(range.offset, absl::MakeSpan(found)).ok()) return;
    for (uint64_t i = 0; i < found.size(); ++i) {
      uint8_t& byte = model_[range.offset + i];
      MILLRACE_CHECK(!is_sound_ || found[i] == 0 || found[i] == byte, "a discarded byte is new");
      byte = found[i];
    }
  }

  FormatNode& node_;
  const bool is_sound_;
  std::vector<uint8_t> model_;
};

Operation Decode(const uint8_t* bytes, uint64_t sectors) {
  const uint64_t first = (uint64_t{bytes[1]} << 8 | bytes[2]) % sectors;
  const uint64_t count = std::min<uint64_t>(1 + bytes[3] % 16, sectors - first);
  return {bytes[0], ByteRange(first * kSector, count * kSector), bytes[3]};
}

void CoFuzz(Engine& engine, absl::Span<const uint8_t> operations, CrashDisk& disk)
    MILLRACE_MAY_SUSPEND {
  DiskFile file(disk);
  const absl::StatusOr<Qcow2CheckResult> check = CoCheckQcow2(file, {});
  const bool is_sound = check.ok() && check->corruptions + check->errors == 0;
  FakeDriverContext context(engine, disk);
  FormatNode node(context, MakeQcow2Driver({.cache_bytes_max = 65536}));
  bool has_run = false;
  if (node.CoOpen().ok()) {
    Modelled disk_model(node, is_sound);
    if (disk_model.CoLearn().ok() && disk_model.sectors() > 0) {
      has_run = true;
      for (size_t i = 0; i + kOperationBytes <= operations.size(); i += kOperationBytes) {
        disk_model.CoDo(Decode(&operations[i], disk_model.sectors()));
      }
      disk_model.CoVerifyAll();
    }
  }
  node.CoClose();
  if (!has_run || !is_sound) return;
  const absl::StatusOr<Qcow2CheckResult> after = CoCheckQcow2(file, {});
  MILLRACE_CHECK(after.ok() && after->corruptions + after->errors == 0,
                 "a sound image has become corrupt");
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const size_t operations = std::min<size_t>(data[0] % 64 * millrace::kOperationBytes, size - 1);
  const size_t image = size - 1 - operations;
  if (image > millrace::kImageBytesMax) return 0;
  millrace::CrashDisk disk(std::vector<uint8_t>(data + 1 + operations, data + size));
  auto engine = millrace::SimulatedEngine();
  (void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
    millrace::CoFuzz(*engine, absl::MakeConstSpan(data + 1, operations), disk);
  });
  return 0;
}
