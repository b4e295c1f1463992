// A guest's device for tests: slots that write, read back and zero sectors of their own through a
// GuestPort, and know what must be there.
//
//   GuestDevice device(attachment.guest_port(), {.slots = 8, .rounds = 10});
//   device.Start();                         // any thread; completions go on by themselves
//   engine.RunUntil([&] { return device.is_done(); });
//   device.CoVerify(attachment)             // the disk holds what the completions promised
//
// A slot has one request under way, so slots and devices never overlap. A slot ends after its
// rounds, when its port refuses, and when a request is cancelled, which must have done nothing at
// all.
#ifndef MILLRACE_TESTS_SUPPORT_GUEST_DEVICE_H_
#define MILLRACE_TESTS_SUPPORT_GUEST_DEVICE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/guest_completions.h"
#include "millrace/graph/guest_port.h"

namespace millrace {

class GuestDevice {
 public:
  static constexpr uint64_t kSlotBytes = 1024;

  struct Options {
    size_t slots = 4;
    int rounds = 10;  // requests of each slot
    uint64_t first_byte = 0;
    // Null: completions are handled where they are called, on the home thread.
    GuestCompletions* completions = nullptr;
  };
  GuestDevice(GuestPort port, Options options);
  // Every request must have come back (checked).
  ~GuestDevice();

  // Submits the first request of every slot.
  void Start();
  // The device's own thread: handles completions until every slot has ended. False if nothing came
  // for a minute.
  bool RunOnThisThread();

  // Any thread.
  bool is_done() const { return slots_running_ == 0; }
  int submitted() const { return submitted_; }
  int completed() const { return completed_; }
  int cancelled() const { return cancelled_; }
  // The first thing that went wrong; once done.
  const std::string& failure() const { return failure_; }

  // Reads everything back: what the latest completed write of each slot promised, and nothing of a
  // cancelled one.
  absl::Status CoVerify(Attachment& attachment) const MILLRACE_MAY_SUSPEND;

 private:
  using Bytes = std::array<uint8_t, kSlotBytes>;
  struct Slot {
    GuestRequest request;
    GuestDevice* device = nullptr;
    std::array<iovec, 3> pieces = {};
    Bytes buffer = {};
    Bytes content = {};  // of the disk
    int round = 0;
    bool is_under_way = false;
  };

  void Submit(Slot& slot);
  static Slot& SlotOf(GuestRequest& request);
  void OnCompletion(Slot& slot);
  void Fail(std::string what);
  uint64_t OffsetOf(const Slot& slot) const;

  const GuestPort port_;
  const Options options_;
  std::vector<Slot> slots_;
  std::atomic<size_t> slots_running_;
  std::atomic<int> submitted_ = 0;
  std::atomic<int> completed_ = 0;
  std::atomic<int> cancelled_ = 0;
  std::atomic<bool> has_failed_ = false;
  std::string failure_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_GUEST_DEVICE_H_
