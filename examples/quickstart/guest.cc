#include "examples/quickstart/guest.h"

#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace {
namespace {

constexpr uint64_t kWorkers = 4;
constexpr uint64_t kStripeBytes = 64 * 1024;
// A guest thinks now and then; without it the disks would grow without end.
constexpr Nanoseconds kThinkTime = 4 * kMillisecond;

}  // namespace

// Each worker has every fourth stripe of the disk to itself, so that what it reads is certain.
struct Guest::Worker {
  uint64_t number;
  RandomStream random;
  std::vector<uint8_t> memory;

  ByteRange ChooseRange(uint64_t disk_bytes) {
    const uint64_t stripe = random.Below(disk_bytes / kStripeBytes / kWorkers) * kWorkers + number;
    constexpr uint64_t kSectors = kStripeBytes / DiskModel::kSectorBytes;
    const uint64_t first = random.Below(kSectors);
    const uint64_t sectors = 1 + random.Below(kSectors - first);
    return ByteRange(stripe * kStripeBytes + first * DiskModel::kSectorBytes,
                     sectors * DiskModel::kSectorBytes);
  }
};

absl::Status Guest::CoRun() {
  TaskScope scope("guest");
  for (uint64_t number = 0; number < kWorkers; ++number) {
    scope.Spawn("guest/worker", [this, number]() MILLRACE_MAY_SUSPEND { return CoWork(number); });
  }
  absl::Status status = scope.CoJoin();
  witness_.OnGuestOver();
  return status;
}

absl::Status Guest::CoWork(uint64_t number) {
  Worker worker{number, RandomStream(seed_, StrCat("guest/", number)),
                std::vector<uint8_t>(kStripeBytes)};
  while (!is_stopped_) {
    MILLRACE_RETURN_IF_ERROR(CoStep(worker));
    // A sibling that failed cancels the rest.
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(
        static_cast<Nanoseconds>(worker.random.Below(static_cast<uint64_t>(2 * kThinkTime)))));
  }
  return absl::OkStatus();
}

absl::Status Guest::CoStep(Worker& worker) {
  const ByteRange range = worker.ChooseRange(model_.bytes());
  const uint64_t dice = worker.random.Below(100);
  counts_.bytes += range.bytes;
  if (dice < 55) return CoReadAndCheck(range, worker.memory.data());
  if (dice < 92) return CoWriteTagged(range, worker.memory.data());
  if (dice < 98) return CoWriteZeroes(range);
  ++counts_.flushes;
  return disk_.CoFlush();
}

absl::Status Guest::CoReadAndCheck(ByteRange range, uint8_t* memory) {
  MILLRACE_RETURN_IF_ERROR(disk_.CoRead(range.offset, IoVector(memory, range.bytes)));
  MILLRACE_RETURN_IF_ERROR(model_.Check(range, memory));
  ++counts_.reads;
  witness_.OnGuestRead();
  return absl::OkStatus();
}

absl::Status Guest::CoWriteTagged(ByteRange range, uint8_t* memory) {
  const uint32_t tag = model_.NewTag();
  DiskModel::Fill(range, tag, memory);
  MILLRACE_RETURN_IF_ERROR(disk_.CoWrite(range.offset, IoVector::OfConst(memory, range.bytes)));
  model_.Write(range, tag);
  ++counts_.writes;
  witness_.OnGuestWrite();
  return absl::OkStatus();
}

absl::Status Guest::CoWriteZeroes(ByteRange range) {
  MILLRACE_RETURN_IF_ERROR(disk_.CoWriteZeroes(range));
  model_.Write(range, 0);
  ++counts_.writes;
  witness_.OnGuestWrite();
  return absl::OkStatus();
}

}  // namespace millrace
