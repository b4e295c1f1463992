// RangeLock: byte ranges that coroutines hold, shared or exclusive.
//
// Overlapping ranges conflict unless both are shared; the rest runs in parallel. First come, first
// served among overlapping requests: a request also waits for an earlier *waiting* one that it
// overlaps. It waits only for requests that arrived before it, so waits cannot form a cycle (races
// R13, R14) as long as a coroutine holds one range of a lock at a time.
#ifndef MILLRACE_ENGINE_SYNC_RANGE_LOCK_H_
#define MILLRACE_ENGINE_SYNC_RANGE_LOCK_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

enum class LockMode : uint8_t { kShared, kExclusive };

class RangeLock final {
 public:
  // A held range. Lives where it was acquired (it does not move), until any coroutine releases it
  // or its destructor does; the lock must outlive it. Whoever waits for it is said to wait for the
  // coroutine that acquired it: if another is to release it, a wait cycle may be told that is none.
  class [[nodiscard]] Hold final : public Waitable {
   public:
    Hold() = default;
    ~Hold() { Release(); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    // No-op unless held; must not be called while CoAcquire() still waits (checked).
    void Release();
    bool is_held() const { return is_granted_; }
    const ByteRange& range() const { return range_; }

    void DescribeWait(WaitDescription& description) const override;

   private:
    friend class RangeLock;
    RangeLock* lock_ = nullptr;  // set while in the lock's list: held or waiting
    ByteRange range_;
    LockMode mode_ = LockMode::kShared;
    uint64_t owner_id_ = 0;  // the coroutine that acquired it; it may have ended since
    bool is_granted_ = false;
    WaitQueue queue_;
    ListLink link_;
  };

  explicit RangeLock(std::string_view name) : name_(name) {}

  // Waits until `range` is free, then fills `hold` (which must be empty). Not cancellable.
  void CoAcquire(ByteRange range, LockMode mode, Hold& hold) MILLRACE_MAY_SUSPEND;
  bool TryAcquire(ByteRange range, LockMode mode, Hold& hold);
  // Whether somebody holds or waits for any byte of `range`.
  bool IsBusy(ByteRange range) const;
  bool empty() const { return holds_.empty(); }

 private:
  static bool Conflicts(const Hold& earlier, const Hold& later);
  bool MustWait(const Hold& hold) const;
  void GrantAfterRelease();
  void Enter(ByteRange range, LockMode mode, Hold& hold);

  const std::string name_;
  IntrusiveList<Hold, &Hold::link_> holds_;  // in order of arrival; held and waiting
  size_t waiting_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SYNC_RANGE_LOCK_H_
