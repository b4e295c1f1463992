#include "tests/support/guest_device.h"

#include <poll.h>

#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {

GuestDevice::GuestDevice(GuestPort port, Options options)
    : port_(std::move(port)),
      options_(options),
      slots_(options.slots),
      slots_running_(options.slots) {
  for (Slot& slot : slots_) {
    slot.device = this;
    // Pieces that are neither equal nor aligned.
    slot.pieces = {iovec{slot.buffer.data(), 100}, iovec{slot.buffer.data() + 100, 412},
                   iovec{slot.buffer.data() + 512, kSlotBytes - 512}};
    slot.request.offset = OffsetOf(slot);
    slot.request.bytes = kSlotBytes;
    if (options.completions != nullptr) {
      slot.request.completion = &GuestCompletions::Deliver;
      slot.request.context = options.completions;
    } else {
      slot.request.completion = [](GuestRequest& request) {
        Slot& done = SlotOf(request);
        done.device->OnCompletion(done);
      };
    }
  }
}

GuestDevice::~GuestDevice() {
  for (const Slot& slot : slots_) {
    MILLRACE_CHECK(!slot.is_under_way, "a guest request never completed");
  }
}

GuestDevice::Slot& GuestDevice::SlotOf(GuestRequest& request) {
  // A slot starts with its request.
  return *reinterpret_cast<Slot*>(&request);
}

uint64_t GuestDevice::OffsetOf(const Slot& slot) const {
  return options_.first_byte + static_cast<uint64_t>(&slot - slots_.data()) * kSlotBytes;
}

void GuestDevice::Start() {
  for (Slot& slot : slots_) Submit(slot);
}

void GuestDevice::Submit(Slot& slot) {
  GuestRequest& request = slot.request;
  request.iov = {};
  switch (slot.round % 5) {
    case 0:
    case 3: {
      const auto seed = static_cast<uint64_t>(&slot - slots_.data()) * 251 +
                        static_cast<uint64_t>(slot.round) * 7 + 1;
      for (size_t i = 0; i < kSlotBytes; ++i) {
        slot.buffer[i] = static_cast<uint8_t>(seed + i / 64);
      }
      request.operation = GuestOperation::kWrite;
      request.iov = slot.pieces;
      break;
    }
    case 2:
      request.operation = slot.round % 2 == 0
                              ? GuestOperation::kWriteZeroes  // unwanted in odd ones
                              : GuestOperation::kFlush;
      break;
    default:
      slot.buffer.fill(0xee);
      request.operation = GuestOperation::kRead;
      request.iov = slot.pieces;
      break;
  }
  slot.is_under_way = true;
  ++submitted_;
  // From a push that succeeds on, the slot may belong to another thread.
  if (port_.Submit(request)) return;
  slot.is_under_way = false;
  --submitted_;
  --slots_running_;
}

void GuestDevice::OnCompletion(Slot& slot) {
  if (!std::exchange(slot.is_under_way, false)) return Fail("a request completed twice");
  if (absl::IsCancelled(slot.request.status)) {
    ++cancelled_;
    --slots_running_;
    return;
  }
  ++completed_;
  if (!slot.request.status.ok()) Fail(slot.request.status.ToString());
  switch (slot.request.operation) {
    case GuestOperation::kWrite:
      slot.content = slot.buffer;
      break;
    case GuestOperation::kWriteZeroes:
      slot.content.fill(0);
      break;
    case GuestOperation::kRead:
      if (slot.buffer != slot.content) Fail(StrCat("wrong bytes read at ", OffsetOf(slot)));
      break;
    default:
      break;
  }
  if (++slot.round == options_.rounds) {
    --slots_running_;
  } else {
    Submit(slot);
  }
}

void GuestDevice::Fail(std::string what) {
  if (!has_failed_.exchange(true)) failure_ = std::move(what);
}

bool GuestDevice::RunOnThisThread() {
  constexpr int kLimitMs = 60'000;  // a lost completion fails the test instead of hanging it
  while (!is_done()) {
    pollfd wanted = {options_.completions->PollFd(), POLLIN, 0};
    if (poll(&wanted, 1, kLimitMs) == 0) return false;
    options_.completions->TakeAll([](GuestRequest& request) {
      Slot& slot = SlotOf(request);
      slot.device->OnCompletion(slot);
    });
  }
  return true;
}

absl::Status GuestDevice::CoVerify(Attachment& attachment) const {
  Bytes read;
  for (const Slot& slot : slots_) {
    MILLRACE_RETURN_IF_ERROR(attachment.CoRead(OffsetOf(slot), IoVector(read.data(), read.size())));
    if (read != slot.content) {
      return absl::DataLossError(StrCat("the disk differs from its model at ", OffsetOf(slot)));
    }
  }
  return absl::OkStatus();
}

}  // namespace millrace
