// SubmissionQueue: work on its way from any thread to an engine's home thread: what a hypervisor's
// device threads put their requests into.
//
// Items are the submitter's own memory; they carry the link, so nothing is allocated and pushing
// takes no lock. Items of one thread arrive in the order in which it pushed them. The home thread
// hands a bounded batch to the handler and lets everything else run in between, so that a flood of
// requests cannot starve the jobs. A burst of pushes costs one wake-up.
//
//   struct GuestRequest : SubmissionItem { ... };
//   SubmissionQueue<GuestRequest> queue(engine, [&](GuestRequest& request) { Start(request); });
//   queue.Push(request);                     // a device thread
//
// An item belongs to the queue from Push() until the handler has been called with it; how its
// completion gets back is the item's own affair (the handler's side calls it on the home thread).
// Made on the home thread; closed there before the engine goes. Threads may push to a closed queue
// for as long as it exists, engine or not; it may then be destroyed on any thread.
#ifndef MILLRACE_ENGINE_IO_SUBMISSION_QUEUE_H_
#define MILLRACE_ENGINE_IO_SUBMISSION_QUEUE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/io/doorbell.h"

namespace millrace {

// Base of what is pushed.
struct SubmissionItem {
  SubmissionItem* next_submission = nullptr;  // the queue's own
};

// Items in a row, oldest first, by the link that submitting them uses: nothing is allocated. One
// thread at a time.
template <typename Item>
class SubmissionFifo {
 public:
  bool empty() const { return oldest_ == nullptr; }
  void PushBack(Item& item) {
    item.next_submission = nullptr;
    (oldest_ == nullptr ? oldest_ : newest_->next_submission) = &item;
    newest_ = &item;
  }
  // Null if there is none.
  Item* PopFront() {
    SubmissionItem* const item = oldest_;
    if (item != nullptr) oldest_ = std::exchange(item->next_submission, nullptr);
    return static_cast<Item*>(item);
  }

 private:
  SubmissionItem* oldest_ = nullptr;
  SubmissionItem* newest_ = nullptr;  // unless empty
};

template <typename Item>
class SubmissionQueue {
  static_assert(std::is_base_of_v<SubmissionItem, Item>);

 public:
  // Called on the home thread, outside coroutines; must not suspend, nor destroy the queue. It may
  // close it.
  using Handler = absl::AnyInvocable<void(Item&)>;
  static constexpr size_t kBatchMax = 64;

  SubmissionQueue(Engine& engine, Handler handler, size_t batch_max = kBatchMax)
      : handler_(std::move(handler)), batch_max_(batch_max), bell_(engine, &OnBell, this) {}
  // Nothing may be queued (checked): Close() gives back what is.
  ~SubmissionQueue() {
    SubmissionItem* const left = newest_.load(std::memory_order_acquire);
    MILLRACE_CHECK(taken_.empty() && (left == nullptr || left == Closed()),
                   "submission queue destroyed with items in it");
  }
  SubmissionQueue(const SubmissionQueue&) = delete;
  SubmissionQueue& operator=(const SubmissionQueue&) = delete;

  // Any thread. False once the queue is closed: the item was not taken.
  [[nodiscard]] bool Push(Item& item) {
    SubmissionItem* head = newest_.load(std::memory_order_relaxed);
    do {
      if (head == Closed()) return false;
      item.next_submission = head;
    } while (!newest_.compare_exchange_weak(head, &item, std::memory_order_release,
                                            std::memory_order_relaxed));
    // The first one rings; the home thread takes all that arrived until it gets there.
    if (head == nullptr) bell_.Ring();
    return true;
  }

  // Home thread. From here on Push() refuses; `on_rest` is called with every item that was queued
  // and not handled.
  template <typename OnRest>
  void Close(OnRest&& on_rest) {
    TakeNew(Closed());
    bell_.Silence();
    while (Item* item = taken_.PopFront()) on_rest(*item);
  }
  bool is_closed() const { return newest_.load(std::memory_order_relaxed) == Closed(); }

 private:
  // No item's address; a mark in place of the newest item.
  static SubmissionItem* Closed() {
    return reinterpret_cast<SubmissionItem*>(uintptr_t{alignof(SubmissionItem)});
  }
  static void OnBell(void* self) { static_cast<SubmissionQueue*>(self)->HandleBatch(); }

  void HandleBatch() {
    if (!is_closed()) TakeNew(nullptr);
    for (size_t i = 0; i < batch_max_; ++i) {
      Item* const item = taken_.PopFront();
      if (item == nullptr) return;
      handler_(*item);
    }
    if (!taken_.empty()) bell_.Ring();
  }
  // Moves what was pushed behind what waits already, oldest first.
  void TakeNew(SubmissionItem* replacement) {
    SubmissionItem* item = newest_.exchange(replacement, std::memory_order_acquire);
    if (item == Closed()) return;
    SubmissionItem* oldest = nullptr;
    while (item != nullptr) {
      SubmissionItem* const older = std::exchange(item->next_submission, oldest);
      oldest = std::exchange(item, older);
    }
    while (oldest != nullptr) {
      SubmissionItem* const next = oldest->next_submission;
      taken_.PushBack(static_cast<Item&>(*oldest));
      oldest = next;
    }
  }

  Handler handler_;
  const size_t batch_max_;
  std::atomic<SubmissionItem*> newest_ = nullptr;  // pushed, newest first
  SubmissionFifo<Item> taken_;                     // home thread
  Doorbell bell_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_SUBMISSION_QUEUE_H_
