// CrashDisk: a file in memory that remembers what a power failure may do to it.
//
// Completed writes are visible at once, and durable only after a flush that was issued behind them.
// CrashImage() answers what a crash at any moment of the past could have left: everything durable
// then, and any subset of the other writes, torn at sectors. Faults: the N-th operation fails.
#ifndef MILLRACE_TESTS_SUPPORT_CRASH_DISK_H_
#define MILLRACE_TESTS_SUPPORT_CRASH_DISK_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

class CrashDisk {
 public:
  static constexpr uint64_t kSectorBytes = 512;

  CrashDisk() = default;
  explicit CrashDisk(std::vector<uint8_t> content) : base_(content), live_(std::move(content)) {}

  const std::vector<uint8_t>& live() const { return live_; }
  std::vector<uint8_t>& live() { return live_; }

  // ---- Operations; effects are immediate --------------------------------------------------------
  void Read(uint64_t offset, uint8_t* target, uint64_t bytes) const;
  void Write(uint64_t offset, std::vector<uint8_t> content);
  void WriteZeroes(uint64_t offset, uint64_t bytes);
  void Resize(uint64_t bytes);
  // A flush covers the events before `issued`: the value of event_count() when it was issued.
  void Flush(uint64_t issued);

  // ---- Crashes ----------------------------------------------------------------------------------
  // Off by default: the log keeps every write.
  void RecordEvents() {
    base_ = live_;
    events_.clear();
    is_recording_ = true;
  }
  uint64_t event_count() const { return events_.size(); }
  std::vector<uint8_t> CrashImage(uint64_t events_before, RandomStream& random) const;

  // ---- Faults -----------------------------------------------------------------------------------
  // The operation with this number (from 0, counted from now on) fails; `for_ever`: and all after;
  // `after_effect`: although what it was to do is done.
  void FailAt(uint64_t operation, bool for_ever = false, bool after_effect = false) {
    operations_ = 0;
    fail_at_ = operation;
    fails_for_ever_ = for_ever;
    fails_after_effect_ = after_effect;
  }
  bool fails_after_effect() const { return fails_after_effect_; }
  void FailNever() { fail_at_ = ~uint64_t{0}; }
  uint64_t operations() const { return operations_; }
  // Counts an operation and says whether it fails.
  bool NextFails() {
    const uint64_t number = operations_++;
    return number == fail_at_ || (fails_for_ever_ && number > fail_at_ && fail_at_ != ~uint64_t{0});
  }

 private:
  enum class EventKind : uint8_t { kBytes, kSize, kBarrier };
  struct Event {
    EventKind kind = EventKind::kBytes;
    uint64_t offset = 0;  // kSize: the size; kBarrier: events covered
    std::vector<uint8_t> content;
  };
  static void Apply(std::vector<uint8_t>& image, uint64_t offset, const uint8_t* content,
                    uint64_t bytes);

  std::vector<uint8_t> base_;  // durable when recording began
  std::vector<uint8_t> live_;
  bool is_recording_ = false;
  std::vector<Event> events_;
  uint64_t operations_ = 0;
  uint64_t fail_at_ = ~uint64_t{0};
  bool fails_for_ever_ = false;
  bool fails_after_effect_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_CRASH_DISK_H_
