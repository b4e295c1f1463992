// ThrottleGroup: one set of limits that several throttle filters share.
//
// Requests wait in their filter's queue, first in first out. When one may pass, the filters take
// turns, and so do reads and writes where both wait. There is one timer, and it is the group's, not
// a member's: it is armed if and only if somebody waits. So a filter that leaves, is drained or is
// slow cannot take with it what the others wait for (races R32, R34, R35).
//
// A member that is being drained lets its requests go at once, ahead of all others, or the drain
// would wait for a clock that may not move (race R33); they are charged all the same, and whoever
// comes later pays.
//
// One engine, home thread. Owned by the embedder and by the filters in it.
#ifndef MILLRACE_GRAPH_FILTERS_THROTTLE_GROUP_H_
#define MILLRACE_GRAPH_FILTERS_THROTTLE_GROUP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/scheduler/wait.h"
#include "millrace/engine/sync/wait_queue.h"
#include "millrace/graph/filters/throttle_limits.h"

namespace millrace {

class ThrottleGroup {
 public:
  // One filter's place in the group.
  class Member {
   public:
    // Both must outlive the member.
    Member(ThrottleGroup& group, std::string name);
    // Leaves. Nothing may wait (checked): a node is drained before it goes.
    ~Member();
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

    // Returns when the request may go; it is charged then. Not cancellable: a format's metadata
    // write must not fail because the guest's request that caused it was cancelled.
    void CoPass(ThrottleDirection direction, uint64_t bytes) MILLRACE_MAY_SUSPEND;
    // Counted. While at least one is open, requests go at once; those that wait do so now.
    void BeginDrain();
    void EndDrain();
    size_t waiting() const;

   private:
    friend class ThrottleGroup;
    // Lives on the stack of the coroutine that waits.
    struct Request final : Waitable {
      Request(const Member& its_member, uint64_t its_bytes)
          : member(its_member), bytes(its_bytes) {}
      void DescribeWait(WaitDescription& description) const override;

      const Member& member;
      const uint64_t bytes;
      bool may_pass = false;
      WaitQueue queue;
      ListLink link;
    };
    using Queue = IntrusiveList<Request, &Request::link>;
    Queue& QueueOf(ThrottleDirection direction) { return queues_[static_cast<size_t>(direction)]; }

    ThrottleGroup& group_;
    const std::string name_;
    std::array<Queue, 2> queues_;  // by direction
    int drains_ = 0;
    ListLink link_;
  };

  // `scheduler` must outlive the group. Limits must be valid (ThrottleLimits::Validate; checked).
  ThrottleGroup(Scheduler& scheduler, std::string name, const ThrottleLimits& limits);
  // No members may be left (checked).
  ~ThrottleGroup();
  ThrottleGroup(const ThrottleGroup&) = delete;
  ThrottleGroup& operator=(const ThrottleGroup&) = delete;

  const std::string& name() const { return name_; }
  const ThrottleLimits& limits() const { return limits_; }
  // Takes effect at once, also for those who wait. InvalidArgument: nothing has changed.
  absl::Status SetLimits(const ThrottleLimits& limits);

  // Who is in it, whoever was granted last at the end.
  std::vector<std::string> MemberNames() const;

  // For tests: the timer is armed if and only if somebody waits.
  bool is_armed() const { return timer_.is_armed(); }
  size_t waiting() const;

 private:
  static void OnTimer(void* self) { static_cast<ThrottleGroup*>(self)->LetPass(); }
  // Lets everybody go who may, and arms the timer for the rest.
  void LetPass();
  void LetDrainedPass();
  // The next member whose turn it is, or null if nobody waits in that direction.
  Member* NextMember(ThrottleDirection direction);
  void Grant(Member& member, ThrottleDirection direction);

  Scheduler& scheduler_;
  const std::string name_;
  ThrottleLimits limits_;
  ThrottleBuckets buckets_;
  Timer timer_;
  // In turn: who was granted last goes to the end.
  IntrusiveList<Member, &Member::link_> members_;
  ThrottleDirection last_granted_ = ThrottleDirection::kWrite;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_THROTTLE_GROUP_H_
